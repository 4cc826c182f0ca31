"""An API server without adsync's CRDs, as a cluster is before the chart comes, that keeps an audit log; and a domain controller."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.kube import ControlPlane
from lab.samba import DomainController
from tests.audit import Audited
from tests.chart.support import helm, own_directory


@pytest.fixture(scope="session")
def processes() -> Iterator[Audited]:
    state = own_directory()
    started = Audited(state)
    try:
        yield started
    finally:
        started.stop_all(grace=0)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def control_plane(processes: Audited) -> ControlPlane:
    made = ControlPlane(processes)
    made.start()
    return made


@pytest.fixture(scope="session")
def dc(processes: Audited) -> Iterator[DomainController]:
    controller = DomainController(processes, "corp")
    controller.create()
    controller.start()
    yield controller
    controller.remove()


@pytest.fixture(scope="session")
def cluster_helm(control_plane: ControlPlane) -> Callable[..., str]:
    """`helm` with this cluster's kubeconfig."""

    def run(*args: str | Path, values: Mapping[str, Any] | None = None) -> str:
        return helm(*args, values=values, env=control_plane.environment())

    return run

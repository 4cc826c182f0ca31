"""An API server without adsync's CRDs, as a cluster is before the chart comes, that keeps an audit log; and a domain controller."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.kube import ControlPlane
from lab.processes import Processes
from lab.samba import DomainController
from tests.chart.support import helm, own_directory

# Who asked for what; no bodies, and none of the lab's own controllers.
AUDIT = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts:adsync-system"]}, {"level": "None"}],
}  # fmt: skip


class Audited(Processes):
    """Processes of which the API server keeps an audit log."""

    @property
    def audit_log(self) -> Path:
        return self.state / "audit.log"

    def start(self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
        if name == "kube-apiserver":
            policy = self.state / "audit.json"
            policy.write_text(json.dumps(AUDIT))
            argv = [*argv, f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}", "--audit-log-mode=blocking-strict"]
        return super().start(name, argv, env)

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()]


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

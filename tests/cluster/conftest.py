"""A whole cluster on this machine: control plane, one node on which pods really run, our image, and a domain controller that pods reach."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import image
from lab.api import KubeApi
from lab.kube import ControlPlane
from lab.node import CONTROLLERS, GATEWAY, Node, why_not
from lab.processes import Processes
from lab.samba import DomainController
from tests.chart.support import own_directory


@dataclass
class Cluster:
    control_plane: ControlPlane
    node: Node
    dc: DomainController
    api: KubeApi


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(f"no real cluster here: {reason}")
    state = own_directory()
    state.chmod(0o755)  # the kubelet's directories are below, and pods run as somebody else
    processes = Processes(state)
    control_plane = ControlPlane(processes, controllers=CONTROLLERS)
    node = Node(processes, control_plane)
    dc = DomainController(processes)
    try:
        archives = [image.archive(name, state / f"{number}.tar") for number, name in enumerate((image.pause(), image.build()))]
        control_plane.start()
        dc.create()
        dc.start()
        node.start(*archives)
        node.publish(GATEWAY, 636, dc.address, 636)
        api = KubeApi(control_plane)
        yield Cluster(control_plane, node, dc, api)
        api.close()
    finally:
        if keep := os.environ.get("ADSYNC_TEST_LOGS"):
            Path(keep).mkdir(parents=True, exist_ok=True)
            (Path(keep) / "pods.log").write_text(node.logs(""))
            for log in state.glob("*.log"):
                shutil.copy(log, keep)
        node.stop()
        processes.stop_all(grace=0)
        if (dc.directory / "lab.json").exists():
            dc.remove()
        shutil.rmtree(state, ignore_errors=True)

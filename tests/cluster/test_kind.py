"""What `make kind-demo` does in its cluster, done in ours: the same function, the same manifests; only Docker and kind are left out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lab import image
from lab.build import build
from lab.kind.demo import install
from lab.processes import LabError
from tests.chart.support import NAMESPACE
from tests.cluster.conftest import Cluster


def test_the_demo_on_kind_comes_up(cluster: Cluster, tmp_path: Path) -> None:
    def helm(*args: str, stdin: str = "") -> str:
        environment = {**os.environ, **cluster.control_plane.environment()}
        done = subprocess.run([build() / "helm", *args], input=stdin, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise LabError(done.stderr)
        return done.stdout

    def kubectl(*args: str, stdin: str = "") -> str:
        return cluster.control_plane.kubectl(*args, stdin=stdin)

    cluster.node.load(image.archive(image.domain_controller(), tmp_path / "dc.tar"))
    try:
        install(kubectl, helm, image=image.IMAGE, dc_image=image.DC)
    except LabError as error:
        raise AssertionError(f"{error}\n{cluster.node.logs('dc1')[-2000:]}\n{cluster.node.logs('adsync')[-2000:]}") from error
    assert kubectl("get", "suser", "anna", "-n", "people", "-o", "jsonpath={.status.account}") == "Enabled"
    helm("uninstall", "adsync", "--namespace", NAMESPACE)
    kubectl("delete", "namespace", "people", "corp-dc", "--timeout=60s")

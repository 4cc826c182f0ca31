"""An API server without adsync's CRDs, as a cluster is before the chart comes, that keeps an audit log; and a domain controller."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.api import KubeApi
from lab.kube import ControlPlane
from lab.operator import REPOSITORY, Operator
from lab.samba import DomainController
from tests.audit import Audited
from tests.chart.support import NAMESPACE, Rendered, helm, own_directory
from tests.integration.support import Site, eventually, new_container, take_finalizers_off, unique


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


@pytest.fixture(scope="module")
def home(control_plane: ControlPlane, dc: DomainController) -> Iterator[Site]:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(REPOSITORY / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(REPOSITORY / "crds"))
    namespace = unique("rights")
    for name in (namespace, NAMESPACE):
        control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    api = KubeApi(control_plane)
    with new_container(dc) as container:
        yield Site(api, control_plane, dc, namespace, container)
    take_finalizers_off(api, namespace)
    api.close()


@pytest.fixture
def as_account(control_plane: ControlPlane, processes: Audited, tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Makes operators that run as the chart's ServiceAccount, with its token, and with the options of a rendered chart."""
    made: list[Operator] = []

    def make(rendered: Rendered) -> Operator:
        wanted = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
        control_plane.apply(*(each for each in rendered if each["kind"] in wanted))
        chosen = ("--namespace=", "--secret-namespace=", "--leader-elect")
        options = [each for each in rendered.pod["containers"][0]["args"] if each.startswith(chosen)]
        config = json.loads(control_plane.kubeconfig.read_text())
        config["users"] = [
            {"name": "admin", "user": {"token": control_plane.kubectl("create", "token", "adsync", "-n", NAMESPACE).strip()}}
        ]
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        operator = Operator(processes, control_plane, options=(*options, "--operator-namespace", NAMESPACE))
        operator.environment["KUBECONFIG"] = str(kubeconfig)
        made.append(operator)
        return operator

    yield make
    for each in made:
        each.kill()
    roles = "clusterrole,clusterrolebinding,role,rolebinding"
    control_plane.kubectl("delete", roles, "-A", "-l", "app.kubernetes.io/instance=adsync")
    account = f"--as=system:serviceaccount:{NAMESPACE}:adsync"
    eventually(lambda: control_plane.kubectl("auth", "can-i", "list", "secrets", "-A", account, check=False).strip() == "no")

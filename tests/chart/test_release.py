"""The chart as a release of a real API server. There is no node: pods stay Pending, and whatever needs one is in tests/cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.kube import ControlPlane
from lab.operator import REPOSITORY
from lab.processes import LabError
from tests.chart.support import CHART, NAMESPACE, render
from tests.integration.support import eventually, unique

Helm = Callable[..., str]
DOMAIN = {
    "name": "corp", "namespace": "people",
    "spec": {"domainName": "corp.example.com", "servers": ["ldaps://dc1.corp.example.com"], "credentialsSecretRef": {"name": "corp-ad"}},
}  # fmt: skip
FULL = {
    "replicas": 2, "networkPolicy": {"enabled": True, "ldaps": {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}}, "domains": [DOMAIN],
    "metrics": {"dashboard": {"enabled": True}}, "nodeSelector": {"kubernetes.io/os": "linux"}, "priorityClassName": "system-cluster-critical",
    "tolerations": [{"key": "a", "operator": "Exists"}], "resolvers": ["10.0.0.53"], "imagePullSecrets": [{"name": "registry"}],
    "podLabels": {"team": "identity"}, "podAnnotations": {"a": "b"},
}  # fmt: skip


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane, cluster_helm: Helm) -> Iterator[Helm]:
    """A release with one ADDomain, installed where not even its kind was known."""
    control_plane.kubectl("delete", "crd", "-l", "app.kubernetes.io/instance=adsync", "--ignore-not-found")
    control_plane.kubectl("delete", "-f", str(REPOSITORY / "crds"), "--ignore-not-found", "--wait")
    for name in ("people", NAMESPACE):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"} if name == NAMESPACE else {}
        control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    eventually(lambda: "addomains" not in control_plane.kubectl("api-resources", "--api-group=adsync.dev"))
    cluster_helm("install", "adsync", CHART, "--namespace", NAMESPACE, values={"domains": [DOMAIN]})
    yield cluster_helm
    cluster_helm("uninstall", "adsync", "--namespace", NAMESPACE, "--no-hooks", "--ignore-not-found")


def domain(control_plane: ControlPlane) -> dict[str, Any]:
    found: dict[str, Any] = control_plane.get("addomain", "corp", "-n", "people")
    return found


def test_a_first_install_brings_kind_and_domain_at_once(installed: Helm, control_plane: ControlPlane) -> None:
    assert domain(control_plane)["spec"]["domainName"] == "corp.example.com"


def test_an_upgrade_takes_the_domain_over_and_changes_it(installed: Helm, control_plane: ControlPlane) -> None:
    changed = {**DOMAIN, "spec": {**DOMAIN["spec"], "mode": "Observe"}}  # type: ignore[dict-item]
    uid = domain(control_plane)["metadata"]["uid"]
    installed("upgrade", "adsync", CHART, "--namespace", NAMESPACE, values={"domains": [changed]})
    assert domain(control_plane)["spec"]["mode"] == "Observe"
    assert domain(control_plane)["metadata"]["uid"] == uid
    assert "kind: ADDomain" in installed("get", "manifest", "adsync", "--namespace", NAMESPACE)


def test_an_upgrade_can_turn_the_election_off_and_on(installed: Helm, control_plane: ControlPlane) -> None:
    for election, strategy in ((False, "Recreate"), (True, "RollingUpdate")):
        installed("upgrade", "adsync", CHART, "--namespace", NAMESPACE, values={"domains": [DOMAIN], "leaderElection": election})
        assert control_plane.get("deployment", "adsync", "-n", NAMESPACE)["spec"]["strategy"]["type"] == strategy


def test_an_upgrade_brings_the_crds_of_its_version(installed: Helm, control_plane: ControlPlane) -> None:
    control_plane.kubectl("patch", "crd", "syncedusers.adsync.dev", "--type=json", "-p", json.dumps(
        [{"op": "replace", "path": "/spec/names/shortNames", "value": ["old"]}]))  # fmt: skip
    installed("upgrade", "adsync", CHART, "--namespace", NAMESPACE, "--force-conflicts", values={"domains": [DOMAIN], "replicas": 2})
    assert control_plane.get("crd", "syncedusers.adsync.dev")["spec"]["names"]["shortNames"] == ["suser"]


@pytest.mark.parametrize(
    "values", [{}, FULL, {"namespaces": ["people", "default"]}, {"leaderElection": False, "fullnameOverride": "other"}]
)
def test_the_api_server_takes_every_manifest_strictly(installed: Helm, control_plane: ControlPlane, values: dict[str, Any]) -> None:
    manifests = render(values, "--api-versions", "adsync.dev/v1alpha1/ADDomain")
    said = control_plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-",
        stdin=yaml.safe_dump_all(list(manifests)),
    )  # fmt: skip
    assert len(said.splitlines()) == len(manifests)


def test_the_first_resources_in_the_notes_are_taken_as_they_stand(installed: Helm, control_plane: ControlPlane) -> None:
    notes = installed("install", "other", CHART, "--namespace", NAMESPACE, "--dry-run=client", values={"crds": {"enabled": False}})
    _, _, rest = notes.partition("kubectl apply -f - <<EOF\n")
    manifests, _, _ = rest.partition("\nEOF\n")
    said = control_plane.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
        stdin=manifests,
        check=False,
    )
    assert "synceduser.adsync.dev/anna" in said, said
    assert "addomain.adsync.dev/corp" in said, said


def test_the_pods_are_admitted_where_pod_security_is_restricted(installed: Helm, control_plane: ControlPlane) -> None:
    rendered = render(FULL)
    for name, spec in (("operator", rendered.pod), ("hook", rendered.one("Job")["spec"]["template"]["spec"])):
        spec = {key: value for key, value in spec.items() if key not in ("serviceAccountName", "imagePullSecrets")}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}
        eventually(lambda: control_plane.get("serviceaccount", "default", "-n", NAMESPACE))
        assert "created" in control_plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    loose: dict[str, Any] = {"containers": [{"name": "x", "image": "x"}]}
    with pytest.raises(LabError, match="violates PodSecurity"):  # the namespace is as strict as this test says
        control_plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": NAMESPACE}, "spec": loose}))  # fmt: skip


@pytest.mark.parametrize(
    ("role", "users", "domains"),
    [("view", {"get", "list", "watch"}, {"get", "list", "watch"}),
     ("edit", {"get", "list", "watch", "create", "update", "patch", "delete"}, {"get", "list", "watch"}),
     ("admin", {"get", "list", "watch", "create", "update", "patch", "delete"}, {"get", "list", "watch", "create", "update", "patch", "delete"})],
)  # fmt: skip
def test_the_clusters_roles_know_the_kinds(
    installed: Helm, control_plane: ControlPlane, role: str, users: set[str], domains: set[str]
) -> None:
    person = unique("person")
    control_plane.kubectl("create", "rolebinding", person, f"--clusterrole={role}", f"--user={person}", "-n", "people")

    def allowed(kind: str) -> set[str]:
        verbs = ("get", "list", "watch", "create", "update", "patch", "delete")
        asked = {verb: control_plane.kubectl("auth", "can-i", verb, kind, "-n", "people", f"--as={person}", check=False) for verb in verbs}
        return {verb for verb, said in asked.items() if said.strip() == "yes"}

    def as_meant() -> bool:
        assert allowed("syncedusers.adsync.dev") == users
        assert allowed("addomains.adsync.dev") == domains
        return True

    eventually(as_meant)
    for kind in ("addomains.adsync.dev", "syncedusers.adsync.dev"):
        asked = ("auth", "can-i", "patch", kind, "--subresource=status", "-n", "people", f"--as={person}")
        assert control_plane.kubectl(*asked, check=False).strip() == "no"


def test_the_uninstall_hook_deletes_and_waits(installed: Helm, control_plane: ControlPlane, tmp_path: Path) -> None:
    """The hook's script under the hook's own rights; a finalizer holds the domain until the "operator" (this test) takes it off."""
    hook = render({"domains": [DOMAIN]})
    control_plane.apply(*(each for each in hook if each["metadata"]["name"] == "adsync-uninstall" and each["kind"] != "Job"))
    (tmp_path / "token").write_text(control_plane.kubectl("create", "token", "adsync-uninstall", "-n", NAMESPACE))
    (tmp_path / "ca.crt").write_bytes(control_plane.ca_file.read_bytes())
    control_plane.kubectl(
        "patch", "addomain", "corp", "-n", "people", "--type=merge", "-p", '{"metadata":{"finalizers":["adsync.dev/directory"]}}'
    )
    script, *args = hook.one("Job")["spec"]["template"]["spec"]["containers"][0]["args"]
    environment = {
        "SERVICE_ACCOUNT_DIRECTORY": str(tmp_path), "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(control_plane.settings["api"]),
    }  # fmt: skip
    stuck = subprocess.run([sys.executable, "-c", script, "1", *args[1:]], env=environment, capture_output=True, text=True, check=False)
    assert stuck.returncode == 1
    assert "Not gone after 1 s: people/corp" in stuck.stdout
    running = subprocess.Popen([sys.executable, "-c", script, *args], env=environment, stdout=subprocess.PIPE, text=True)
    control_plane.kubectl("patch", "addomain", "corp", "-n", "people", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 0
    assert "ADDomain people/corp is gone." in said
    control_plane.kubectl("delete", "sa,role,rolebinding", "adsync-uninstall", "-n", NAMESPACE, "--ignore-not-found")
    control_plane.kubectl("delete", "role,rolebinding", "adsync-uninstall", "-n", "people", "--ignore-not-found")


def test_uninstalling_leaves_the_crds_and_nothing_else(installed: Helm, control_plane: ControlPlane) -> None:
    installed("uninstall", "adsync", "--namespace", NAMESPACE, "--no-hooks")
    kinds = "deployment,service,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding,poddisruptionbudget"
    assert not control_plane.get(kinds, "-A", "-l", "app.kubernetes.io/instance=adsync")["items"]
    assert "suser" in control_plane.kubectl("api-resources", "--api-group=adsync.dev")

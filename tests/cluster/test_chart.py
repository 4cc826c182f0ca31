"""The chart and the image as people use them: installed, upgraded and uninstalled with Helm on a cluster with a real node.

The tests build on each other, in this order; the operator runs under the chart's own ServiceAccount, rights and pod security.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import yaml

from lab.node import GATEWAY
from lab.operator import REPOSITORY
from lab.processes import LabError
from tests.chart.support import CHART, NAMESPACE, helm
from tests.cluster.conftest import Cluster
from tests.integration.support import Site, credentials, eventually

PEOPLE = "people"
VALUES: dict[str, Any] = {
    "image": {"repository": "localhost/adsync", "tag": "lab", "pullPolicy": "Never"}, "log": {"level": "debug", "format": "json"},
}  # fmt: skip


def run_helm(cluster: Cluster, *args: str, **values: Any) -> str:
    return helm(*args, "--namespace", NAMESPACE, values={**VALUES, **values} if args[0] != "uninstall" else None,
                env=cluster.control_plane.environment())  # fmt: skip


def domain(cluster: Cluster, **spec: Any) -> dict[str, Any]:
    """As an entry of the chart's value `domains`; the domain controller is reached by an address that its certificate does not name."""
    return {
        "name": "corp", "namespace": PEOPLE,
        "spec": {
            "domainName": cluster.dc.domain, "servers": [f"ldaps://{GATEWAY}"],
            "tls": {"caSecretRef": {"name": "corp-ad", "key": "ca.crt"}, "serverName": cluster.dc.host},
            "credentialsSecretRef": {"name": "corp-ad"}, "rootUserContainer": cluster.dc.container, "extraAttributes": ["department", "title"],
            **spec,
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def people(cluster: Cluster) -> Site:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    cluster.control_plane.kubectl("apply", "-f", str(REPOSITORY / "examples" / "00-namespace.yaml"))
    cluster.api.create(credentials(cluster.dc, PEOPLE))
    return Site(cluster.api, cluster.control_plane, cluster.dc, PEOPLE, cluster.dc.container)


def pods(cluster: Cluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.control_plane.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=adsync")["items"]
    return found


def rollout(cluster: Cluster) -> None:
    try:
        cluster.control_plane.kubectl("rollout", "status", "deployment/adsync", "-n", NAMESPACE, "--timeout=90s")
    except LabError as error:
        states = json.dumps([pod["status"] for pod in pods(cluster)], indent=1)
        raise AssertionError(f"{error}\n{states}\n{cluster.node.logs('adsync')[-4000:]}") from error


def test_installed_and_the_first_user_synced(cluster: Cluster, people: Site, record_property: Any) -> None:
    began = time.monotonic()
    run_helm(cluster, "install", "adsync", str(CHART), domains=[domain(cluster)])
    cluster.control_plane.kubectl("apply", "-f", str(REPOSITORY / "examples" / "30-users.yaml"))
    rollout(cluster)
    running = time.monotonic() - began
    people.await_reason("anna", timeout=60)
    took = time.monotonic() - began
    record_property("seconds_to_ready_pod", round(running, 1))
    record_property("seconds_to_first_user", round(took, 1))
    print(f"\nfrom `helm install`: pod Ready after {running:.1f} s, first user Ready after {took:.1f} s")
    for name in ("ben", "carla"):
        people.await_reason(name)
    assert cluster.dc.bind_as("anna", "Lantern-Harbour-42")
    assert took < 120


def test_the_pod_runs_as_the_chart_says(cluster: Cluster, people: Site) -> None:
    (pod,) = pods(cluster)
    assert pod["spec"]["serviceAccountName"] == "adsync"
    (status,) = pod["status"]["containerStatuses"]
    assert status["ready"]
    assert status["restartCount"] == 0
    started = eventually(lambda: [line for line in cluster.node.logs("adsync").splitlines() if "adsync begins" in line])
    assert started
    assert "forbidden" not in cluster.node.logs("adsync")


def test_every_example_is_taken_and_synced(cluster: Cluster, people: Site) -> None:
    cluster.control_plane.kubectl("apply", "-f", str(REPOSITORY / "examples" / "40-groups.yaml"))
    for each in yaml.safe_load_all((REPOSITORY / "examples" / "40-groups.yaml").read_text()):
        people.await_reason(each["metadata"]["name"], kind="SyncedGroup", timeout=60)


def test_an_upgrade_loses_no_change(cluster: Cluster, people: Site) -> None:
    """Users keep being made while the pods are replaced; then all of them are in the directory, each once."""
    before = {pod["metadata"]["uid"] for pod in pods(cluster)}
    made: list[str] = []
    values = {
        "domains": [domain(cluster, extraAttributes=["department", "title", "company"])], "replicas": 2, "podAnnotations": {"changed": "yes"},
    }  # fmt: skip

    def roll() -> None:
        run_helm(cluster, "upgrade", "adsync", str(CHART), **values)
        rollout(cluster)

    upgrade = threading.Thread(target=roll)
    upgrade.start()
    while upgrade.is_alive() or before & {pod["metadata"]["uid"] for pod in pods(cluster)}:
        made.append(f"roll{len(made)}")
        people.user(made[-1])
        upgrade.join(0.5)
        assert len(made) < 300, "the old pod does not go"
    assert made
    for name in made:
        people.await_reason(name, timeout=60)
        assert cluster.dc.find(name)
    assert len(pods(cluster)) == 2
    assert people.get("corp", "ADDomain")["spec"]["extraAttributes"] == ["department", "title", "company"]


def test_killing_the_leader_hands_over_to_the_standby(cluster: Cluster, people: Site) -> None:
    lease = cluster.api.get("Lease", NAMESPACE, "adsync-leader")["spec"]["holderIdentity"]
    leader = lease.rpartition("_")[0]
    cluster.control_plane.kubectl("delete", "pod", leader, "-n", NAMESPACE, "--grace-period=0", "--force")
    began = time.monotonic()

    def another_leads() -> bool:  # the kubelet ends the pod a moment after it is gone from the API, and until then it goes on working
        return bool(cluster.api.get("Lease", NAMESPACE, "adsync-leader")["spec"].get("holderIdentity") not in (None, "", lease))

    eventually(another_leads, 40, what="another pod leads")
    people.user("after-kill")
    people.await_reason("after-kill", timeout=40)
    print(f"\nafter the leader was killed, the next user was Ready in {time.monotonic() - began:.1f} s")


def test_uninstalling_leaves_nothing_stuck(cluster: Cluster, people: Site) -> None:
    """The chart's own domain goes by its hook, while the operator is at work; users stay, free of finalizers, and so do their accounts."""
    run_helm(cluster, "uninstall", "adsync")
    assert cluster.api.find("ADDomain", PEOPLE, "corp") is None
    assert cluster.dc.find("anna")
    kinds = "deployment,job,service,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding,poddisruptionbudget"
    left = cluster.control_plane.get(kinds, "-A", "-l", "app.kubernetes.io/instance=adsync")["items"]
    assert not [(each["kind"], each["metadata"]["name"]) for each in left]
    cluster.api.delete("Namespace", "", PEOPLE)
    eventually(lambda: cluster.api.find("Namespace", "", PEOPLE) is None, 60, what="the namespace with all users and groups is gone")

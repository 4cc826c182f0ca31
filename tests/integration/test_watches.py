"""The side towards Kubernetes against a real API server: watches, the Lease, the program's beginning and end. No directory is needed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from adsync.cluster.client import Cluster
from adsync.cluster.lease import Lease
from adsync.handlers import Watches
from lab.api import KubeApi
from lab.kube import ControlPlane
from tests.integration.support import Operator, eventually, secret

KINDS = ["ADDomain", "SyncedUser", "SyncedGroup", "Secret", "ConfigMap"]


class Options:
    namespaces: tuple[str, ...] = ()
    operator_namespace = "default"


class Sink:
    def __init__(self) -> None:
        self.got: list[tuple[str, str | None, dict[str, Any]]] = []

    def object_event(self, kind: str, type: str | None, obj: dict[str, Any]) -> None:  # noqa: A002
        self.got.append((kind, type, obj))

    def of(self, namespace: str) -> list[tuple[str, str | None, str]]:
        return [(kind, type_, obj["metadata"]["name"]) for kind, type_, obj in self.got if obj["metadata"].get("namespace") == namespace]


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


@pytest.fixture
async def cluster(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.setenv("KUBECONFIG", control_plane.environment()["KUBECONFIG"])
    cluster = await Cluster.connect(Options())
    yield cluster
    await cluster.close()


def manifest(kind: str, namespace: str, name: str, **content: Any) -> dict[str, Any]:
    version = "v1" if kind == "ConfigMap" else "adsync.dev/v1alpha1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **content}


def one_of_each(namespace: str) -> list[dict[str, Any]]:
    reference = [{"name": "corp"}]
    return [
        manifest(
            "ADDomain",
            namespace,
            "corp",
            spec={"domainName": "corp.example.com", "scopeGroup": "adsync", "credentialsSecretRef": {"name": "x"}},
        ),
        manifest("SyncedUser", namespace, "jdoe", spec={"username": "jdoe", "domains": reference}),
        manifest("SyncedGroup", namespace, "finance", spec={"name": "finance", "domains": reference}),
        manifest("ConfigMap", namespace, "ca", data={"ca.crt": "x"}),
        secret(namespace, "jdoe", {"password": "Geheim-1"}),
        {**secret(namespace, "release", {"release": "x"}), "type": "helm.sh/release.v1"},
    ]


@pytest.mark.parametrize("narrow", [False, True], ids=["cluster", "namespace"])
async def test_what_happens_is_told_and_nothing_is_written(api: KubeApi, cluster: Cluster, namespace: str, narrow: bool) -> None:
    made = one_of_each(namespace)
    for each in made[:3]:
        api.create(each)
    sink = Sink()
    watches = Watches(sink, lambda fresh: cluster.credentials(fresh=fresh), (namespace,) if narrow else ())
    await until(lambda: {kind for kind, _, _ in sink.of(namespace)} >= {"ADDomain", "SyncedUser", "SyncedGroup"})
    assert {type_ for kind, type_, _ in sink.of(namespace) if kind != "ConfigMap"} == {None}
    # A watch begins after its list: one object tells when all of them are there.
    for each in made[3:]:
        api.create(each)
    api.patch("SyncedUser", namespace, "jdoe", {"spec": {"email": "jdoe@example.com"}})
    await until(lambda: ("SyncedUser", "MODIFIED", "jdoe") in sink.of(namespace))
    api.delete("Secret", namespace, "jdoe")
    await until(lambda: ("Secret", "DELETED", "jdoe") in sink.of(namespace))
    assert {kind for kind, _, _ in sink.of(namespace)} == set(KINDS)
    assert not any(name == "release" for _, _, name in sink.of(namespace))
    assert any(kind == "Namespace" for kind, _, _ in sink.got) is not narrow
    assert not any("managedFields" in obj["metadata"] for _, _, obj in sink.got)
    await watches.stop()
    assert watches.stopped.done()
    assert watches.stopped.exception() is None
    for each in made[:3]:
        obj = api.get(each["kind"], namespace, each["metadata"]["name"])
        assert "status" not in obj
        assert not obj["metadata"].get("annotations")
        assert not obj["metadata"].get("finalizers")


async def test_watches_outlive_the_api_server(api: KubeApi, cluster: Cluster, control_plane: ControlPlane, namespace: str) -> None:
    sink = Sink()
    watches = Watches(sink, lambda fresh: cluster.credentials(fresh=fresh), (namespace,))
    api.create(secret(namespace, "first", {"a": "b"}))
    await until(lambda: any(name == "first" for _, _, name in sink.of(namespace)))
    api.close()
    await asyncio.to_thread(control_plane.restart_apiserver)
    api.create(secret(namespace, "second", {"a": "b"}))
    await until(lambda: any(name == "second" for _, _, name in sink.of(namespace)), 30)
    assert not watches.stopped.done()
    await watches.stop()


async def test_watches_that_end_by_themselves_say_so(cluster: Cluster) -> None:
    class Broken(Sink):
        def object_event(self, kind: str, type: str | None, obj: dict[str, Any]) -> None:  # noqa: A002
            raise KeyError("a bug")

    watches = Watches(Broken(), lambda fresh: cluster.credentials(fresh=fresh))
    await asyncio.wait([watches.stopped], timeout=20)
    with pytest.raises(KeyError):
        await watches.stopped
    await watches.stop()


async def test_a_real_lease_is_taken_renewed_and_handed_on(api: KubeApi, cluster: Cluster) -> None:
    first, second = Lease(cluster), Lease(cluster)
    await first.acquire()
    lease = await cluster.get("Lease", "default", "adsync-leader")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == first.identity
    waiting = asyncio.create_task(second.acquire())
    await first.release()
    async with asyncio.timeout(8):
        await waiting
    assert second.valid()
    assert not first.valid()
    await second.release()


def test_a_signal_ends_the_program_in_order(operators: Callable[..., Operator], namespace: str) -> None:
    operator = operators(namespace)
    operator.start()
    assert operator.alive()
    began = time.monotonic()
    operator.terminate()
    assert time.monotonic() - began < 10
    assert "ending" in operator.log
    assert '"level": "critical"' not in operator.log


def test_the_crds_that_are_printed_can_be_applied(control_plane: ControlPlane) -> None:
    printed = subprocess.run([sys.executable, "-m", "adsync", "crds"], capture_output=True, text=True, check=True).stdout
    control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=printed)
    eventually(lambda: control_plane.get("crd", "addomains.adsync.dev"))

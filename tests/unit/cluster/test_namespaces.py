"""Namespaces that can't be watched are read, each as far as it may be."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from adsync.cluster.client import Cluster
from adsync.cluster.namespaces import poll_namespaces
from adsync.errors import ClusterError
from tests.unit.cluster.support import until


class FakeCluster:
    namespaces = ("a", "b", "c")

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any] | ClusterError | None] = {}
        self.rounds = 0

    async def get_namespace(self, name: str) -> dict[str, Any] | None:
        self.rounds += name == "a"
        answer = self.answers[name]
        if isinstance(answer, ClusterError):
            raise answer
        return answer


def namespace(name: str, version: str, **labels: str) -> dict[str, Any]:
    return {"kind": "Namespace", "metadata": {"name": name, "resourceVersion": version, "labels": labels}}


async def test_what_is_new_is_delivered() -> None:
    cluster, got = FakeCluster(), list[tuple[str | None, str, Any]]()
    cluster.answers = {"a": namespace("a", "1"), "b": ClusterError("no", status=403), "c": None}

    def deliver(kind: str, event_type: str | None, obj: dict[str, Any]) -> None:
        assert kind == "Namespace"
        got.append((event_type, obj["metadata"]["name"], obj["metadata"].get("labels")))

    task = asyncio.create_task(poll_namespaces(cast("Cluster", cluster), deliver, interval=0.001))

    async def another_round() -> None:
        rounds = cluster.rounds
        await until(lambda: cluster.rounds >= rounds + 2)

    await another_round()
    assert got == [(None, "a", {}), (None, "b", None)]  # not readable: there, without labels
    got.clear()
    cluster.answers = {"a": namespace("a", "2", team="x"), "b": ClusterError("no", status=403), "c": namespace("c", "3")}
    await another_round()
    assert got == [("MODIFIED", "a", {"team": "x"}), (None, "c", {})]
    got.clear()
    cluster.answers |= {"a": ClusterError("busy", status=503), "c": None}
    await another_round()
    assert got == [("DELETED", "c", {})]  # what could not be read is not gone
    task.cancel()

"""Events never stand in anybody's way, and are never a flood."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from adsync.cluster.client import Cluster
from adsync.cluster.events import EventRecorder, shortened
from adsync.errors import ClusterError
from tests.unit.cluster.support import until

USER = {
    "apiVersion": "adsync.dev/v1alpha1",
    "kind": "SyncedUser",
    "metadata": {"namespace": "apps", "name": "jdoe", "uid": "1", "resourceVersion": "7"},
}


class FakeCluster:
    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.error: ClusterError | None = None

    async def create(self, kind: str, obj: dict[str, Any]) -> dict[str, Any]:
        assert kind == "Event"
        if self.error is not None:
            raise self.error
        self.created.append(obj)
        return obj


class Harness:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.now = 0.0
        self.dropped: list[str] = []
        self.recorder = EventRecorder(cast("Cluster", self.cluster), dropped=self.dropped.append, clock=lambda: self.now)

    async def post(self) -> list[str]:
        await self.recorder.flush()
        return [obj["note"] for obj in self.cluster.created]


@pytest.fixture
async def harness() -> Harness:
    return Harness()


async def test_an_event_says_who_what_and_about_whom(harness: Harness) -> None:
    harness.recorder.emit(USER, "Warning", "Protected", "an administrator", "Write")
    await harness.post()
    event = harness.cluster.created[0]
    assert event["metadata"]["namespace"] == "apps"
    assert event["metadata"]["name"].startswith("jdoe.")
    assert event["regarding"] == {
        "apiVersion": "adsync.dev/v1alpha1", "kind": "SyncedUser", "namespace": "apps", "name": "jdoe", "uid": "1", "resourceVersion": "7",
    }  # fmt: skip
    assert (event["type"], event["reason"], event["action"], event["note"]) == ("Warning", "Protected", "Write", "an administrator")
    assert event["reportingController"] == "adsync.dev/operator"
    assert event["reportingInstance"]
    assert event["eventTime"].endswith("Z")
    assert len(event["eventTime"]) == len("2026-01-01T00:00:00.000000Z")


async def test_the_same_saying_is_posted_once_in_ten_minutes(harness: Harness) -> None:
    for seconds, expected in ((0.0, 1), (599.0, 1), (601.0, 2)):
        harness.now = seconds
        harness.recorder.emit(USER, "Normal", "Created", "made")
        assert len(await harness.post()) == expected
    assert harness.dropped == ["repeated"]
    harness.recorder.emit(USER, "Normal", "Created", "made anew")
    assert len(await harness.post()) == 3


async def test_a_full_queue_loses_the_oldest(harness: Harness) -> None:
    for number in range(1003):
        harness.recorder.emit(USER, "Normal", "Created", f"number {number}")
    assert harness.dropped == ["overflow"] * 3
    assert (await harness.post())[0] == "number 3"


async def test_a_refused_event_is_lost_and_holds_nothing_up(harness: Harness) -> None:
    harness.cluster.error = ClusterError("being terminated", status=403)
    harness.recorder.emit(USER, "Normal", "Created", "lost")
    await harness.post()
    harness.cluster.error = None
    harness.recorder.emit(USER, "Normal", "Created", "told")
    assert await harness.post() == ["told"]
    assert harness.dropped == ["refused"]


async def test_a_burst_is_posted_at_once_and_the_rest_at_a_rate_that_is_low_while_more_is_said(harness: Harness) -> None:
    for number in range(60):
        harness.recorder.emit(USER, "Normal", "Created", f"number {number}")
    task = asyncio.create_task(harness.recorder.run())

    async def posted_at(seconds: float, expected: int) -> None:
        harness.now = seconds
        await until(lambda: len(harness.cluster.created) >= expected)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(harness.cluster.created) == expected

    await posted_at(0.0, 25)
    await posted_at(0.5, 30)  # ten a second: something was said half a second ago
    await posted_at(1.0, 40)  # twenty a second: nobody has said anything for a second
    task.cancel()


async def test_what_was_said_long_ago_is_forgotten(harness: Harness) -> None:
    for number in range(5000):
        harness.recorder.emit(USER, "Normal", "Created", f"number {number}")
    assert len(harness.recorder._said) == 4096


@pytest.mark.parametrize(("text", "length"), [("short", 5), ("x" * 1024, 1024), ("x" * 1025, 1024), ("ü" * 1000, 1024), ("😀" * 400, 1024)])
def test_a_note_fits_into_the_servers_limit(text: str, length: int) -> None:
    note = shortened(text)
    assert len(note.encode()) <= length
    assert len(note.encode()) >= length - 3
    assert "\ufffd" not in note

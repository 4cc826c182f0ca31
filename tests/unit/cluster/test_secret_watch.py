"""Secrets of one namespace: listed, followed, listed again where a watch can't go on, and refusals told of and outlived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from adsync.cluster import secret_watch as module
from adsync.cluster.secret_watch import SecretWatch
from adsync.errors import ClusterError
from tests.unit.cluster.support import until


def obj(name: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"namespace": "apps", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "managedFields": []}}


def event(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": obj(name, version)}


class Api:
    """Lists and watches as they are put down, in their order; after the last one a watch stays open."""

    def __init__(self) -> None:
        self.rest = self
        self.lists: list[list[str] | ClusterError] = []
        self.watches: list[list[dict[str, Any]] | ClusterError] = []
        self.since: list[str] = []

    async def list(self, kind: str, namespace: str, *, field_selector: str) -> tuple[list[dict[str, Any]], str]:
        assert (kind, namespace, field_selector) == ("Secret", "apps", module.UNINTERESTING)
        answer = self.lists.pop(0)
        if isinstance(answer, ClusterError):
            raise answer
        return [obj(name) for name in answer], "10"

    async def stream(self, path: str, *, what: str, params: dict[str, str], silence: float) -> AsyncGenerator[dict[str, Any], None]:
        assert path == "/api/v1/namespaces/apps/secrets"
        self.since.append(params["resourceVersion"])
        if not self.watches:
            await asyncio.Event().wait()
        answer = self.watches.pop(0)
        if isinstance(answer, ClusterError):
            raise answer
        for each in answer:
            yield each


class Place:
    def __init__(self) -> None:
        self.api = Api()
        self.seen: list[tuple[str | None, str]] = []
        self.refusals: list[bool] = []
        self.watch = SecretWatch(
            self.api,  # type: ignore[arg-type]
            "apps",
            lambda kind, raw: self.seen.append((kind, raw["metadata"]["name"])),
            lambda namespace, refused: self.refusals.append(refused),
        )


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(module, "_REFUSED_SECONDS", 0.01)
    monkeypatch.setattr(module, "_FAILED_SECONDS", 0.01)
    made = Place()
    running: list[asyncio.Task[None]] = []
    made.start = lambda: running.append(asyncio.create_task(made.watch.run()))  # type: ignore[attr-defined]
    yield made
    for each in running:
        assert not each.done()
        each.cancel()


async def test_what_is_listed_and_what_happens_then(place: Any) -> None:
    place.api.lists = [["a", "b"]]
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "20"}}}
    place.api.watches = [
        [event("ADDED", "c", 11), event("MODIFIED", "a", 12), event("DELETED", "b", 13), bookmark],
        [event("ADDED", "d", 21)],
    ]
    place.start()
    await until(lambda: len(place.api.since) == 3)
    assert place.seen == [(None, "a"), (None, "b"), ("ADDED", "c"), ("MODIFIED", "a"), ("DELETED", "b"), ("ADDED", "d")]
    assert place.api.since == ["10", "20", "21"]  # a watch that ends goes on where it was, without a list
    assert place.refusals == [False]


@pytest.mark.parametrize(
    "end", [[{"type": "ERROR", "object": {"kind": "Status", "code": 410}}], ClusterError("away", status=0), ClusterError("no", status=403)]
)
async def test_a_watch_that_cannot_go_on_begins_with_a_list(place: Any, end: Any) -> None:
    """And what went in the break is told of as deleted."""
    place.api.lists = [["a", "b"], ["b", "c"]]
    place.api.watches = [end]
    place.start()
    await until(lambda: len(place.api.since) == 2)
    assert place.seen == [(None, "a"), (None, "b"), ("DELETED", "a"), (None, "b"), (None, "c")]


async def test_a_refusal_is_told_of_and_asked_about_again(place: Any) -> None:
    place.api.lists = [ClusterError("no", status=403), ClusterError("no", status=403), ["a"]]
    assert not await place.watch.list()
    place.start()
    await until(lambda: place.seen)
    assert place.refusals == [True, True, False]


async def test_an_api_server_that_is_away_is_no_refusal(place: Any) -> None:
    place.api.lists = [ClusterError("away", status=0), ["a"]]
    place.start()
    await until(lambda: place.seen)
    assert place.refusals == [False]

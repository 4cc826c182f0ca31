"""Status: what differs, and nothing else; once, and until it is there."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any, cast

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsync.cluster.client import Cluster
from adsync.cluster.status import StatusWriter, json_patch
from adsync.errors import ClusterError
from tests.unit.cluster.support import until

Object = dict[str, Any]

names = st.text(alphabet="ab~/ é", max_size=3)
scalars = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "", "a", "1"])
json_values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8)
objects = st.dictionaries(names, json_values, max_size=4)


def without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_none(each) for name, each in value.items() if each is not None}
    return [without_none(each) for each in value] if isinstance(value, list) else value


def exact(value: Any) -> Any:
    """JSON's equality: true is not 1."""
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [exact(each) for each in value]
    return (isinstance(value, bool), value)


@given(objects, objects)
def test_the_patch_makes_the_new_of_the_old(old: Object, new: Object) -> None:
    old = without_none(old)
    assert exact(jsonpatch.apply_patch(old, json_patch(old, new))) == exact(without_none(new))


@given(objects)
def test_nothing_is_patched_where_nothing_differs(value: Object) -> None:
    assert json_patch(without_none(value), value) == []


@given(objects, objects)
def test_making_a_patch_changes_neither_side(old: Object, new: Object) -> None:
    before = copy.deepcopy((old, new))
    json_patch(old, new)
    assert (old, new) == before


def test_only_what_differs_is_sent() -> None:
    old = {"account": "Enabled", "domains": [{"name": "corp"}], "deep": {"kept": 1, "changed": 1}}
    new = {"account": "Enabled", "domains": [{"name": "corp"}], "deep": {"kept": 1, "changed": 2}, "added": True}
    assert json_patch(old, new) == [
        {"op": "replace", "path": "/deep/changed", "value": 2},
        {"op": "add", "path": "/added", "value": True},
    ]


class FakeCluster:
    """Applies patches to `objects`; `errors` are raised first, one a write."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.writes: list[tuple[str, list[Object]]] = []
        self.errors: list[ClusterError] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.flying = 0
        self.most = 0

    def add(self, name: str = "jdoe", uid: str = "1", **content: Any) -> Object:
        obj = {"kind": "SyncedUser", "metadata": {"namespace": "apps", "name": name, "uid": uid}, **content}
        self.objects["SyncedUser", "apps", name] = obj
        return copy.deepcopy(obj)

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def patch_status(self, kind: str, namespace: str, name: str, operations: list[Object], *, uid: str) -> Object | None:
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            self.writes.append((name, operations))
            if self.errors:
                raise self.errors.pop(0)
            obj = self.objects.get((kind, namespace, name))
            if obj is None or obj["metadata"]["uid"] != uid:
                return None
            try:
                new = jsonpatch.apply_patch(obj, operations)
            except jsonpatch.JsonPatchException:
                raise ClusterError("does not fit", status=409) from None
            self.objects[kind, namespace, name] = new
            return cast("Object", copy.deepcopy(new))
        finally:
            self.flying -= 1


class Harness:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.store: dict[tuple[str, str, str], Object] = {}
        self.results: list[str] = []
        self.writer = StatusWriter(
            cast("Cluster", self.cluster),
            lambda kind, namespace, name: self.store.get((kind, namespace, name)),
            self.written,
            count=lambda _kind, result: self.results.append(result),
        )

    def written(self, kind: str, obj: Object) -> None:
        self.store[kind, obj["metadata"]["namespace"], obj["metadata"]["name"]] = obj

    def add(self, name: str = "jdoe", **content: Any) -> None:
        self.store["SyncedUser", "apps", name] = self.cluster.add(name, **content)

    def submit(self, compose: Callable[[Object], Object], name: str = "jdoe", uid: str = "1", part: str = "") -> None:
        self.writer.submit("SyncedUser", "apps", name, uid, compose, part=part)

    async def settle(self) -> None:
        task = asyncio.create_task(self.writer.run())
        async with asyncio.timeout(10):
            await self.writer.drained()
        task.cancel()
        await asyncio.wait([task])

    def status(self, name: str = "jdoe") -> Any:
        return self.cluster.objects["SyncedUser", "apps", name].get("status")


@pytest.fixture
async def harness(monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr("adsync.cluster.status._BACKOFF_SECONDS", (0.005, 0.02))
    return Harness()


async def test_the_last_submission_of_a_part_wins_and_parts_add_up(harness: Harness) -> None:
    harness.add()
    harness.submit(lambda status: {**status, "a": 1}, part="corp")
    harness.submit(lambda status: {**status, "b": 2}, part="lab")
    harness.submit(lambda status: {**status, "a": 3}, part="corp")
    await harness.settle()
    assert harness.status() == {"a": 3, "b": 2}
    assert len(harness.cluster.writes) == 1
    assert harness.store["SyncedUser", "apps", "jdoe"]["status"] == {"a": 3, "b": 2}


async def test_an_equal_status_is_not_written(harness: Harness) -> None:
    harness.add(status={"a": 1})
    harness.submit(lambda _: {"a": 1, "b": None})
    await harness.settle()
    assert harness.cluster.writes == []
    assert harness.results == ["unchanged"]


async def test_an_empty_status_is_not_written_where_there_is_none(harness: Harness) -> None:
    harness.add()
    harness.submit(lambda _: {})
    await harness.settle()
    assert harness.cluster.writes == []


async def test_a_compose_function_may_change_what_it_is_given(harness: Harness) -> None:
    harness.add(status={"list": [1]})

    def compose(status: Object) -> Object:
        status["list"].append(2)
        return status

    harness.submit(compose)
    await harness.settle()
    assert harness.status() == {"list": [1, 2]}


async def test_a_status_that_cannot_be_made_keeps_no_other_from_being_written(harness: Harness) -> None:
    for name in ("jdoe", "other"):
        harness.add(name)
        harness.submit(lambda status, name=name: {"n": {"other": 1}[name]} | status, name)  # type: ignore[misc]
    await harness.settle()
    assert (harness.status("jdoe"), harness.status("other")) == (None, {"n": 1})
    assert sorted(harness.results) == ["refused", "written"]


async def test_one_write_in_flight_for_a_resource_and_sixteen_in_all(harness: Harness) -> None:
    for number in range(40):
        harness.add(f"u{number}")
        harness.submit(lambda status: {**status, "n": 1}, f"u{number}")
    harness.cluster.gate.clear()
    task = asyncio.create_task(harness.writer.run())
    await until(lambda: harness.cluster.flying >= 16)
    for number in range(40):  # while the first ones are in flight
        harness.submit(lambda status: {**status, "n": 2}, f"u{number}")
    harness.cluster.gate.set()
    await harness.writer.drained()
    task.cancel()
    assert harness.cluster.most == 16
    assert all(harness.status(f"u{number}") == {"n": 2} for number in range(40))
    assert len(harness.cluster.writes) == 16 * 2 + 24
    assert len(harness.writer) == 0


async def test_a_conflict_is_composed_again_from_what_is_there(harness: Harness) -> None:
    harness.add(status={"gone": 1})
    harness.cluster.add(status={"theirs": 1})
    harness.submit(lambda status: {name: value for name, value in status.items() if name != "gone"} | {"ours": 1})
    await harness.settle()
    assert harness.status() == {"theirs": 1, "ours": 1}
    assert harness.results == ["conflict", "written"]


@pytest.mark.parametrize("code", [0, 409, 429, 500, 503])
async def test_what_can_pass_is_tried_until_it_has_passed(harness: Harness, code: int) -> None:
    harness.add()
    harness.cluster.errors = [ClusterError("away", status=code)] * 6
    harness.submit(lambda status: {**status, "a": 1})
    await harness.settle()
    assert harness.status() == {"a": 1}


async def test_what_is_submitted_while_waiting_for_the_next_try_is_not_lost(harness: Harness) -> None:
    harness.add()
    harness.cluster.errors = [ClusterError("away", status=503)]
    harness.submit(lambda status: {**status, "a": 1}, part="a")
    task = asyncio.create_task(harness.writer.run())
    await until(lambda: "retried" in harness.results)
    harness.submit(lambda status: {**status, "b": 1}, part="b")
    await harness.writer.drained()
    task.cancel()
    assert harness.status() == {"a": 1, "b": 1}


@pytest.mark.parametrize("code", [403, 422])
async def test_what_is_refused_for_good_is_not_tried_again(harness: Harness, code: int) -> None:
    harness.add()
    harness.cluster.errors = [ClusterError("refused", status=code)]
    harness.submit(lambda status: {**status, "a": 1})
    await harness.settle()
    assert harness.results == ["refused"]
    harness.submit(lambda status: {**status, "a": 2})
    await harness.settle()
    assert harness.status() == {"a": 2}


async def test_an_object_of_the_same_name_gets_nothing_of_its_predecessor(harness: Harness) -> None:
    harness.add(uid="2")
    harness.submit(lambda _: {"a": "old"}, uid="1")
    await harness.settle()
    assert harness.results == ["gone"]
    harness.submit(lambda _: {"a": "old"}, uid="1", part="x")
    harness.submit(lambda status: {**status, "a": "new"}, uid="2")
    await harness.settle()
    assert harness.status() == {"a": "new"}


async def test_a_resource_that_is_gone_is_forgotten(harness: Harness) -> None:
    harness.submit(lambda _: {"a": 1}, "nobody")
    await harness.settle()
    assert harness.cluster.writes == []
    assert len(harness.writer) == 0

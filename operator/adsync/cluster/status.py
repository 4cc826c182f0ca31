"""Status, written where it differs and nowhere else.

Whoever knows something new about a resource submits a function that makes the new status from the one at hand. Submissions for one resource
are gathered until it is its turn, so that a burst of changes becomes one write; no resource has two writes in flight. A write that the API
server can't take now is tried again until it can, because nobody else will say it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import structlog

from adsync.cluster.client import Cluster, Object
from adsync.errors import ClusterError

_log = structlog.get_logger(__name__)

_IN_FLIGHT = 16
_BACKOFF_SECONDS = (0.2, 30.0)  # first, and longest
_GIVE_UP_STATUSES = frozenset({400, 403, 413, 422})  # the answer would be the same: until something new is submitted

Status = dict[str, Any]
Compose = Callable[[Status], Status]


class Key(NamedTuple):
    kind: str
    namespace: str
    name: str


class Counter(Protocol):
    """Is told of every attempt: the kind, and "written", "unchanged", "gone", "conflict", "retried" or "refused"."""

    def __call__(self, kind: str, result: str) -> None: ...


@dataclass
class _Pending:
    uid: str
    parts: dict[str, Compose] = field(default_factory=dict)
    failures: int = 0


class StatusWriter:
    """Writes the statuses of all resources. `run` does the work; `submit` may be called at any time from the same loop.

    `current` gives the object as last seen, or None where there is none; `on_written` takes the object that the API server answered with,
    so that the next status is composed from that and not from an older one.
    """

    def __init__(
        self,
        cluster: Cluster,
        current: Callable[[str, str, str], Object | None],
        on_written: Callable[[str, Object], None],
        *,
        count: Counter | None = None,
    ) -> None:
        self._cluster = cluster
        self._current = current
        self._on_written = on_written
        self._count = count or (lambda _kind, _result: None)
        self._pending: dict[Key, _Pending] = {}
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: set[Key] = set()
        self._flying: set[Key] = set()
        self._quiet_until = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, kind: str, namespace: str, name: str, uid: str, compose: Compose, *, part: str = "") -> None:
        """Asks for a status. `compose` gets a status of its own to change or replace ({} where there is none) and returns the new one.

        A later submission replaces an earlier one of the same `part` that has not been written yet; different parts (one for each domain
        that reports on a user) are applied one after the other. A submission for another UID replaces all: that was another object.
        """
        key = Key(kind, namespace, name)
        pending = self._pending.get(key)
        if pending is None or pending.uid != uid:
            pending = self._pending[key] = _Pending(uid)
        pending.parts[part] = compose
        self._idle.clear()
        if key not in self._flying:
            self._enqueue(key)

    def __len__(self) -> int:
        """How many resources wait for their status, those in flight included."""
        return len(self._pending.keys() | self._flying)

    async def drained(self) -> None:
        """Returns when everything submitted has been written or refused."""
        await self._idle.wait()

    async def run(self) -> None:
        """Writes until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(_IN_FLIGHT):
                group.create_task(self._worker(), name=f"status writer {number}")

    def _enqueue(self, key: Key) -> None:
        if key not in self._queued and key in self._pending:
            self._queued.add(key)
            self._ready.put_nowait(key)

    async def _worker(self) -> None:
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._flying.add(key)
            try:
                await self._write(key)
            finally:
                self._flying.discard(key)
                self._enqueue(key)
                if not self._pending and not self._flying:
                    self._idle.set()

    async def _write(self, key: Key) -> None:
        pending = self._pending.pop(key)
        try:
            result = await self._attempt(key, pending)
        except ClusterError as error:
            if error.status in _GIVE_UP_STATUSES:
                _log.error("status refused", kind=key.kind, namespace=key.namespace, name=key.name, error=str(error))
                result = "refused"
            else:
                self._retry_later(key, pending)
                self._complain(error)
                result = "retried"
        except Exception:  # noqa: BLE001 - one status that can't be made must not keep the others from being written
            _log.exception("status not made", kind=key.kind, namespace=key.namespace, name=key.name)
            result = "refused"
        except BaseException:
            self._restore(key, pending)
            raise
        self._count(key.kind, result)

    async def _attempt(self, key: Key, pending: _Pending) -> str:
        obj = self._current(*key)
        for _ in range(4):
            if obj is None or obj["metadata"].get("uid") != pending.uid:
                return "gone"
            old: Status = obj.get("status") or {}
            new = _copy(old)
            for compose in pending.parts.values():
                new = compose(new)
            operations = json_patch({"status": old} if "status" in obj else {}, {"status": new}) if new or old else []
            if not operations:
                return "unchanged"
            try:
                written = await self._cluster.patch_status(*key, operations, uid=pending.uid)
            except ClusterError as error:
                if error.status != 409:
                    raise
                self._count(key.kind, "conflict")
                obj = await self._cluster.get(*key)
                continue
            if written is None:
                return "gone"
            self._on_written(key.kind, written)
            return "written"
        raise ClusterError(f"The status of {key.kind} {key.namespace}/{key.name} is being written by somebody else.", status=409)

    def _complain(self, error: ClusterError) -> None:
        """Once in a while: an API server that is away is away for every resource."""
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + 30.0
            _log.warning("statuses can't be written and are tried again", waiting=len(self), error=str(error))

    def _restore(self, key: Key, pending: _Pending) -> None:
        """Puts back what was not written; what was submitted since goes on top of it."""
        newer = self._pending.get(key)
        if newer is None:
            self._pending[key] = pending
        elif newer.uid == pending.uid:
            newer.parts = {**pending.parts, **newer.parts}
            newer.failures = pending.failures

    def _retry_later(self, key: Key, pending: _Pending) -> None:
        pending.failures += 1
        first, longest = _BACKOFF_SECONDS
        delay = min(longest, first * 2 ** min(pending.failures, 10)) * random.uniform(0.7, 1.0)  # noqa: S311 - spreads retries, hides nothing
        self._restore(key, pending)
        # Out of the queue until then, also for what is submitted meanwhile: the server is not well.
        self._queued.add(key)
        asyncio.get_running_loop().call_later(delay, self._requeue, key)

    def _requeue(self, key: Key) -> None:
        self._queued.discard(key)
        self._enqueue(key)


def json_patch(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[Object]:
    """The operations (RFC 6902) that make `new` of `old`: objects are compared field by field, lists and values as a whole.

    A field whose new value is None counts as absent: the API server drops nulls that the schema does not allow. Empty where nothing
    differs.
    """
    gone = (name for name, value in old.items() if value is not None and new.get(name) is None)
    operations: list[Object] = [{"op": "remove", "path": f"{path}/{_escaped(name)}"} for name in gone]
    for name, value in new.items():
        where = f"{path}/{_escaped(name)}"
        if value is None:
            continue
        before = old.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            operations += json_patch(before, value, where)
        elif name not in old:
            operations.append({"op": "add", "path": where, "value": _without_none(value)})
        elif not _same(before, _without_none(value)):
            operations.append({"op": "replace", "path": where, "value": _without_none(value)})
    return operations


def _escaped(name: str) -> str:
    """RFC 6901 section 3."""
    return name.replace("~", "~0").replace("/", "~1")


def _same(left: object, right: object) -> bool:
    """JSON's equality, in which true is not 1, as it is in Python."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(value, right[name]) for name, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return left == right


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(each) for each in value]
    return value


def _copy(value: Any) -> Any:
    """A deep copy of JSON data, five times as fast as copy.deepcopy."""
    if isinstance(value, dict):
        return {name: _copy(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_copy(each) for each in value]
    return value

"""Kubernetes events about resources: what happened, for `kubectl describe`. Never in anybody's way, and never a flood.

An event is a courtesy. It is posted in the background, at a bounded rate, at most once in ten minutes for the same saying about the same
object, and lost where it can't be: what must be known is in the status.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from adsync.cluster.client import Cluster
from adsync.errors import ClusterError

_log = structlog.get_logger(__name__)

_REPEAT_SECONDS = 600.0
_REMEMBERED = 4096  # sayings; about 1 MiB
_QUEUE = 1000
_BURST = 25.0  # events at once
_RATE, _BUSY_RATE = 20.0, 10.0  # a second in the long run; and while ever more is being said, as what causes that needs the API server more
_CALM_SECONDS = 1.0  # without a new saying
_NOTE_LIMIT = 1024  # bytes: the API server's limit for `note`
CONTROLLER = "adsync.dev/operator"


class EventRecorder:
    """`emit` at any time from the loop in which `run` runs."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        posted: Callable[[str], None] | None = None,
        dropped: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._posted = posted or (lambda _type: None)
        self._dropped = dropped or (lambda _cause: None)
        self._clock = clock
        self._queue: deque[tuple[str, dict[str, Any]]] = deque()
        self._last_said = clock() - _CALM_SECONDS
        self._wake = asyncio.Event()
        self._said: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._instance = (os.environ.get("POD_NAME") or socket.gethostname())[:128]
        self._tokens, self._refilled = _BURST, clock()

    def emit(
        self,
        regarding: Mapping[str, Any],
        type: Literal["Normal", "Warning"],  # noqa: A002 - the API's own name for it
        reason: str,
        message: str,
        action: str = "Sync",
    ) -> None:
        """Says something about an object (raw, with kind and metadata).

        `reason` and `action` are CamelCase words, at most 128 characters. What was said within ten minutes is left out; where the queue is
        full, the oldest goes.
        """
        meta = regarding["metadata"]
        now = self._clock()
        key = (meta.get("uid", ""), reason, message)
        last = self._said.get(key)
        if last is not None and now - last < _REPEAT_SECONDS:
            self._dropped("repeated")
            return
        self._said[key] = now
        self._said.move_to_end(key)
        while len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        if len(self._queue) >= _QUEUE:
            self._queue.popleft()
            self._dropped("overflow")
        self._last_said = now
        self._queue.append((meta["namespace"], self._body(regarding, type, reason, message, action)))
        self._wake.set()

    async def run(self) -> None:
        """Posts until cancelled."""
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            await self._take_token()
            await self._post(*self._queue.popleft())

    async def flush(self) -> None:
        """Posts what is waiting, up to a burst of it; for the end of the process, after `run` has been cancelled."""
        waiting = [self._queue.popleft() for _ in range(min(len(self._queue), int(_BURST)))]
        await asyncio.gather(*(self._post(namespace, body) for namespace, body in waiting))

    async def _post(self, namespace: str, body: dict[str, Any]) -> None:
        body["metadata"] = {"namespace": namespace, "name": f"{body['regarding']['name'][:220]}.{secrets.token_hex(8)}"}
        try:
            await self._cluster.create("Event", body)
            self._posted(body["type"])
        except ClusterError as error:
            # Most often a namespace that is being deleted. The saying stays remembered: it is not worth a second try.
            self._dropped("refused")
            _log.debug("event not posted", error=str(error))

    async def _take_token(self) -> None:
        while True:
            now = self._clock()
            rate = _RATE if now - self._last_said >= _CALM_SECONDS else _BUSY_RATE
            self._tokens = min(_BURST, self._tokens + (now - self._refilled) * rate)
            self._refilled = now
            if self._tokens >= 1:
                self._tokens -= 1
                return
            await asyncio.sleep((1 - self._tokens) / rate)

    def _body(self, regarding: Mapping[str, Any], type_: str, reason: str, message: str, action: str) -> dict[str, Any]:
        meta = regarding["metadata"]
        about = {"apiVersion": regarding["apiVersion"], "kind": regarding["kind"], "namespace": meta["namespace"], "name": meta["name"]}
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": action[:128],
            "reason": reason[:128],
            "type": type_,
            "note": shortened(message),
            "regarding": about | {"uid": meta.get("uid", ""), "resourceVersion": meta.get("resourceVersion", "")},
        }


def shortened(message: str, limit: int = _NOTE_LIMIT) -> str:
    """At most `limit` bytes of UTF-8, never half a character, with an ellipsis where something was cut."""
    raw = message.encode()
    if len(raw) <= limit:
        return message
    return raw[: limit - 3].decode(errors="ignore") + "…"

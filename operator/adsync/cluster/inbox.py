"""From the thread of the watches into the operator's loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

_BATCH = 500  # events a turn of the operator's loop, which has other work too


class EventSink(Protocol):
    """Called in the operator's loop, once for each event, in the order of the events of each object.

    `type` is None for what is listed at the start and again after a break in the watch, else ADDED, MODIFIED or DELETED. The object is the
    receiver's to keep. A deletion that happens during a break gives no event.
    """

    def object_event(self, kind: str, type: str | None, obj: dict[str, Any]) -> None: ...  # noqa: A002 - the API's own name for it


class Inbox:
    """Hands events on in their order. `failed` is told in the loop of an error of the sink, after which nothing is delivered any more."""

    def __init__(self, sink: EventSink, failed: Callable[[Exception], object]) -> None:
        self._sink = sink
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._events: deque[tuple[str, str | None, dict[str, Any]]] = deque()
        self._awake = False
        self._lock = threading.Lock()

    def put(self, kind: str, event_type: str | None, obj: dict[str, Any]) -> None:
        """From any thread. One wake-up serves all that has come in when it is answered: a start brings ten thousand at once."""
        obj["metadata"].pop("managedFields", None)
        with self._lock:
            self._events.append((kind, event_type, obj))
            wake, self._awake = not self._awake, True
        if wake:
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            batch = [self._events.popleft() for _ in range(min(_BATCH, len(self._events)))]
            self._awake = bool(self._events)
            more = self._awake
        try:
            for kind, event_type, obj in batch:
                self._sink.object_event(kind, event_type, obj)
        except Exception as error:  # noqa: BLE001 - an event lost would be a change lost: whoever made the inbox has to end
            with self._lock:
                self._awake = True  # nobody wakes it any more
            self._failed(error)
            return
        if more:
            self._loop.call_soon(self._deliver)

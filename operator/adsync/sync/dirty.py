"""Which keys need a look: each at most once, none while it is being worked on, the failed ones again after a growing pause."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 300.0


class DirtySet(Generic[K]):
    """A queue without duplicates. `rank` orders the keys: the lower ones are taken first, and equal ones as they came. A rank with
    `patience` waits so many seconds at most for all of a lower rank to be done, those being worked on included.

    A key that is marked while it is out comes back as soon as it is done. `since` tells when a key became dirty (loop time, seconds), for
    the metrics of how long a change took.
    """

    def __init__(self, rank: Callable[[K], int], patience: Mapping[int, float] | None = None) -> None:
        self._rank = rank
        self._patience = patience or {}
        # Not plain dicts: to find the first of one whose front was taken out is a walk over all the places that were.
        self._queues: dict[int, OrderedDict[K, float]] = {}
        self._out: dict[K, float | None] = {}  # taken keys; a time where marked again meanwhile
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()  # workers without work

    def __len__(self) -> int:
        """How many wait or are being worked on; those that pause after a failure do not count."""
        return sum(map(len, self._queues.values())) + len(self._out)

    def __contains__(self, key: K) -> bool:
        return key in self._out or key in self._timers or any(key in queue for queue in self._queues.values())

    def oldest(self) -> float | None:
        """When the key that has waited longest became dirty; None if none waits."""
        firsts = [next(iter(queue.values())) for queue in self._queues.values() if queue]
        return min(firsts, default=None)

    def add(self, key: K) -> None:
        """Mark a key. A pause after a failure ends at once: something has changed."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        now = asyncio.get_running_loop().time()
        if key in self._out:
            self._out[key] = self._out[key] or now
            return
        rank = self._rank(key)
        for other, queue in self._queues.items():
            if other != rank and key in queue:
                now = queue.pop(key)  # what it asks for has changed while it waited: two workers must never have it
        self._queues.setdefault(rank, OrderedDict()).setdefault(key, now)
        self._wake_one()
        if patience := self._patience.get(rank):
            asyncio.get_running_loop().call_later(patience, self._wake_one)

    async def take(self) -> tuple[K, float]:
        """The next key, and since when it is dirty. It counts as out until `done` or `failed`."""
        while (taken := self.take_nowait()) is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting[waiter] = None
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # it was told of something, and can't see to it any more
                raise
            finally:
                self._waiting.pop(waiter, None)
        if any(self._queues.values()):
            self._wake_one()  # there may be one for somebody else as well
        return taken

    def _wake_one(self) -> None:
        """Of a hundred workers who wait, all but one would find nothing."""
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_result(None)
                return

    def take_nowait(self) -> tuple[K, float] | None:
        now = asyncio.get_running_loop().time()
        for rank in sorted(self._queues):
            if queue := self._queues[rank]:
                key = next(iter(queue))
                if now < queue[key] + self._patience.get(rank, 0.0) and any(self._rank(other) < rank for other in self._out):
                    continue
                since = queue.pop(key)
                self._out[key] = None
                return key, since
        return None

    def done(self, key: K) -> None:
        self._failures.pop(key, None)
        self._return(key)

    def failed(self, key: K, *, at_least: float = 0.0) -> float:
        """Have the key back after a pause that doubles with each failure; returns the pause in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures, 16)) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries
        pause = max(at_least, pause)
        if not self._return(key):
            self._timers[key] = asyncio.get_running_loop().call_later(pause, self._due, key)
        return pause

    def clear(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._queues.clear()
        self._timers.clear()
        self._failures.clear()
        self._out.clear()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _return(self, key: K) -> bool:
        """Take a key out of the hands of its worker; True where it was marked meanwhile, and so is queued again."""
        again = self._out.pop(key, None)
        if self._patience and any(self._queues.values()):
            self._wake_one()  # somebody may have waited for this one
        if again is None:
            return False
        self._queues.setdefault(self._rank(key), OrderedDict()).setdefault(key, again)
        self._wake_one()
        return True

"""Waiting for an event, but not for ever; and for a server, for ever."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator


class Patiently:
    def __iter__(self) -> Iterator[float]:
        """Delays between attempts in seconds, without end: an API server that is away for an hour must not end the operator."""
        return itertools.chain((0.2, 0.5, 1.0, 2.0), itertools.repeat(3.0))


async def woken(event: asyncio.Event, seconds: float) -> bool:
    """Whether an event comes within so many seconds.

    Not by asyncio.wait_for: before Python 3.12 that forgets a cancellation that comes together with what it waits for, and its task goes on
    for ever, as does whatever waits for the task to end.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

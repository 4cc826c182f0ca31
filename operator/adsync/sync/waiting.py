"""Waiting for an event, but not for ever."""

from __future__ import annotations

import asyncio


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

"""Waiting: in time, too late, and when the wait is called off."""

from __future__ import annotations

import asyncio

import pytest

from adsync.sync.waiting import woken


async def test_in_time_and_too_late() -> None:
    event = asyncio.Event()
    assert not await woken(event, 0.0)
    assert not await woken(event, 0.01)
    asyncio.get_running_loop().call_soon(event.set)
    assert await woken(event, 5.0)
    assert await woken(event, 0.0)


async def test_a_cancellation_that_comes_with_the_event_is_not_lost() -> None:
    event = asyncio.Event()

    async def forever() -> None:
        while True:
            await woken(event, 5.0)
            event.clear()

    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    task.cancel()
    done, _ = await asyncio.wait((task,), timeout=1.0)
    assert done
    with pytest.raises(asyncio.CancelledError):
        task.result()

"""When liveness fails: work waits and nobody gets on with it. Not when there is nothing to do, and not when it merely takes long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from unittest.mock import MagicMock

import pytest

from adsync.health import Heartbeats
from adsync.sync.dirty import DirtySet
from adsync.sync.session import Session
from adsync.sync.store import Key
from tests.unit.sync.support import CORP, JDOE, user_key

MAX_AGE = 180.0
Wait = Callable[[float], Awaitable[None]]


@pytest.fixture
async def wait(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Let seconds pass for the loop, a second at a time, without waiting for them."""
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)

    async def wait(seconds: float) -> None:
        nonlocal ahead
        for _ in range(int(seconds)):
            ahead += 1.0
            for _ in range(3):
                await asyncio.sleep(0)

    return wait


class Work:
    """A session that beats, with its dirty keys and what the liveness probe would see of it."""

    def __init__(self) -> None:
        self.dirty: DirtySet[Key] = DirtySet(lambda _key: 0)
        self.heartbeats = Heartbeats(asyncio.get_running_loop().time)
        beat = self.heartbeats.register(f"domain {CORP.namespace}/{CORP.name}", max_age=MAX_AGE)
        self.session = Session(MagicMock(), self.dirty, beat.beat, lambda: None)

    @property
    def late(self) -> bool:
        return bool(self.heartbeats.late())


@pytest.fixture
async def work(wait: Wait) -> AsyncIterator[Work]:
    work = Work()
    beating = asyncio.create_task(work.session._beat())
    await asyncio.sleep(0)
    yield work
    beating.cancel()
    await asyncio.wait([beating])


async def test_idle_is_alive(work: Work, wait: Wait) -> None:
    await wait(2 * MAX_AGE)
    assert not work.late


async def test_work_that_nobody_takes_on_fails(work: Work, wait: Wait) -> None:
    work.dirty.add(JDOE)
    await wait(MAX_AGE)
    assert not work.late
    await wait(MAX_AGE)
    assert work.late


async def test_work_that_gets_on_slowly_is_alive(work: Work, wait: Wait) -> None:
    """Ten thousand keys may wait for long, as long as one after the other is done."""
    for number in range(30):
        work.dirty.add(user_key(f"u{number}"))
    for _ in range(20):
        await wait(60)
        key, _since = await work.dirty.take()
        work.dirty.done(key)
        work.session._progress = asyncio.get_running_loop().time()
        assert not work.late


async def test_it_is_well_again_when_the_work_goes_on(work: Work, wait: Wait) -> None:
    work.dirty.add(JDOE)
    await wait(2 * MAX_AGE)
    assert work.late
    await work.dirty.take()
    work.dirty.done(JDOE)
    await wait(2)
    assert not work.late


@pytest.mark.parametrize(("interval", "took", "most"), [(0, 0, 12), (0, 3, 2), (30, 0, 2)])
async def test_comparisons_leave_the_domain_controller_its_time(wait: Wait, interval: int, took: int, most: int) -> None:
    session = Work().session
    session.place.rules.spec.resync_interval = timedelta(seconds=interval)  # type: ignore[misc]
    compared = 0

    async def compare() -> None:
        nonlocal compared
        compared += 1
        await asyncio.sleep(took)

    session._compare = compare  # type: ignore[method-assign]
    comparing = asyncio.create_task(session._compare_regularly())
    await wait(60)
    comparing.cancel()
    await asyncio.wait([comparing])
    assert 0 < compared <= most

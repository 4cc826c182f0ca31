"""The dirty set: every key once, none twice at a time, failed ones again after a growing pause."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from adsync.sync.dirty import DirtySet

RANKS = {"leaving": 0, "group": 2}


@pytest.fixture
def dirty() -> Iterator[DirtySet[str]]:
    made: DirtySet[str] = DirtySet(lambda key: RANKS.get(key, 1))
    yield made
    made.clear()


def drain(dirty: DirtySet[str]) -> list[str]:
    taken = []
    while (pair := dirty.take_nowait()) is not None:
        taken.append(pair[0])
    return taken


async def test_each_key_once_in_order(dirty: DirtySet[str]) -> None:
    for key in ("group", "b", "a", "b", "leaving", "group"):
        dirty.add(key)
    assert len(dirty) == 4
    assert drain(dirty) == ["leaving", "b", "a", "group"]


async def test_a_key_that_is_out_is_not_given_out_again(dirty: DirtySet[str]) -> None:
    dirty.add("a")
    assert dirty.take_nowait() is not None
    dirty.add("a")
    assert dirty.take_nowait() is None
    assert "a" in dirty
    assert len(dirty) == 1
    dirty.done("a")
    assert drain(dirty) == ["a"]
    dirty.done("a")
    assert "a" not in dirty
    assert len(dirty) == 0
    assert drain(dirty) == []


async def test_a_key_whose_rank_has_changed_is_still_one_key() -> None:
    """A user that is deleted while it waits must not be worked on twice at the same time."""
    ranks = {"a": 1, "b": 1}
    dirty: DirtySet[str] = DirtySet(lambda key: ranks[key])
    dirty.add("b")
    dirty.add("a")
    ranks["a"] = 0
    dirty.add("a")
    assert len(dirty) == 2
    assert drain(dirty) == ["a", "b"]
    ranks["b"] = 0
    dirty.done("b")
    dirty.done("a")
    assert len(dirty) == 0


async def test_a_rank_with_patience_waits_for_the_ranks_before_it() -> None:
    dirty: DirtySet[str] = DirtySet(lambda key: RANKS.get(key, 1), {2: 60.0})
    for key in ("group", "a"):
        dirty.add(key)
    assert drain(dirty) == ["a"]
    waiting = asyncio.ensure_future(dirty.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    dirty.done("a")
    assert (await asyncio.wait_for(waiting, 1.0))[0] == "group"
    dirty.clear()


async def test_patience_has_an_end() -> None:
    dirty: DirtySet[str] = DirtySet(lambda key: RANKS.get(key, 1), {2: 0.02})
    for key in ("group", "a"):
        dirty.add(key)
    assert drain(dirty) == ["a"]
    assert (await asyncio.wait_for(dirty.take(), 1.0))[0] == "group"
    dirty.clear()


async def test_takers_are_woken(dirty: DirtySet[str]) -> None:
    takers = [asyncio.ensure_future(dirty.take()) for _ in range(3)]
    await asyncio.sleep(0)
    dirty.add("a")
    dirty.add("b")
    dirty.add("c")
    assert {key for key, _ in await asyncio.wait_for(asyncio.gather(*takers), 1.0)} == {"a", "b", "c"}


async def test_since_when(dirty: DirtySet[str]) -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert dirty.oldest() is None
    dirty.add("group")
    dirty.add("a")
    oldest = dirty.oldest()
    assert oldest is not None
    assert before <= oldest <= loop.time()
    await asyncio.sleep(0.001)
    dirty.add("group")
    assert dirty.take_nowait() is not None
    pair = dirty.take_nowait()
    assert pair == ("group", oldest)
    dirty.add("group")
    dirty.done("group")
    again = dirty.take_nowait()
    assert again is not None
    assert again[1] > oldest


async def test_a_failed_key_pauses_for_longer_each_time(dirty: DirtySet[str]) -> None:
    pauses = []
    for _ in range(12):
        dirty.add("a")
        assert dirty.take_nowait() is not None
        pauses.append(dirty.failed("a"))
        assert dirty.take_nowait() is None
        assert len(dirty) == 0
        assert "a" in dirty
    assert 0.4 <= pauses[0] <= 0.6
    for number, pause in enumerate(pauses):
        expected = min(300.0, 0.5 * 2**number)
        assert expected * 0.8 <= pause <= expected * 1.2
    dirty.add("a")
    dirty.take_nowait()
    dirty.done("a")
    dirty.add("a")
    dirty.take_nowait()
    assert dirty.failed("a") <= 0.6


async def test_a_pause_is_never_shorter_than_asked_for(dirty: DirtySet[str]) -> None:
    for _ in range(20):
        dirty.add("a")
        dirty.take_nowait()
        assert dirty.failed("a", at_least=400.0) >= 400.0


async def test_a_failed_key_comes_back_by_itself(dirty: DirtySet[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adsync.sync.dirty._FIRST_PAUSE", 0.01)
    dirty.add("a")
    dirty.take_nowait()
    dirty.failed("a")
    assert dirty.take_nowait() is None
    assert (await asyncio.wait_for(dirty.take(), 1.0))[0] == "a"


async def test_news_end_a_pause(dirty: DirtySet[str]) -> None:
    dirty.add("a")
    dirty.take_nowait()
    dirty.failed("a")
    dirty.add("a")
    assert drain(dirty) == ["a"]
    dirty.add("a")  # marked again while it was out: what failed is out of date
    dirty.failed("a")
    assert drain(dirty) == ["a"]


async def test_cleared(dirty: DirtySet[str]) -> None:
    for key in ("a", "b", "c"):
        dirty.add(key)
    dirty.take_nowait()
    dirty.take_nowait()
    dirty.failed("a")
    dirty.clear()
    assert len(dirty) == 0
    assert not any(key in dirty for key in "abc")
    dirty.done("b")
    assert drain(dirty) == []


async def test_whoever_waits_gets_something_though_the_one_that_was_told_is_gone(dirty: DirtySet[str]) -> None:
    first, second = asyncio.create_task(dirty.take()), asyncio.create_task(dirty.take())
    await asyncio.sleep(0)
    dirty.add("a")  # the first is told of it
    first.cancel()
    async with asyncio.timeout(1.0):
        assert (await second)[0] == "a"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_as_many_as_there_is_work_for_are_told(dirty: DirtySet[str]) -> None:
    workers = [asyncio.create_task(dirty.take()) for _ in range(5)]
    await asyncio.sleep(0)
    for key in ("a", "b", "c"):
        dirty.add(key)
    done, waiting = await asyncio.wait(workers, timeout=0.1)
    assert sorted(task.result()[0] for task in done) == ["a", "b", "c"]
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    dirty.add("d")  # for nobody of those who are gone
    async with asyncio.timeout(1.0):
        assert (await dirty.take())[0] == "d"

"""The urgent ones first, never too many at once, and no place lost."""

from __future__ import annotations

import asyncio

from adsync.sync.turns import Turns


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Party:
    """Each guest stays until it is told to go; `came` has the names in their order."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.came: list[str] = []
        self.leave: dict[str, asyncio.Event] = {}

    def invite(self, name: str, rank: int) -> asyncio.Task[None]:
        self.leave[name] = asyncio.Event()
        return asyncio.create_task(self._stay(name, rank))

    async def _stay(self, name: str, rank: int) -> None:
        async with self.turns.taken(rank):
            self.came.append(name)
            await self.leave[name].wait()


async def test_who_waits_goes_by_rank_and_then_as_they_came() -> None:
    party = Party(1)
    tasks = [party.invite("first", 1)]
    await _settle()
    tasks += [party.invite("new a", 1), party.invite("new b", 1), party.invite("suspended", 0)]
    await _settle()
    assert party.came == ["first"]
    for name in ("first", "suspended", "new a", "new b"):
        party.leave[name].set()
        await _settle()
    assert party.came == ["first", "suspended", "new a", "new b"]
    await asyncio.gather(*tasks)


async def test_never_more_than_there_are_places() -> None:
    party = Party(2)
    tasks = [party.invite(str(number), 0) for number in range(5)]
    await _settle()
    assert party.came == ["0", "1"]
    party.leave["1"].set()
    await _settle()
    assert party.came == ["0", "1", "2"]
    for event in party.leave.values():
        event.set()
    await asyncio.gather(*tasks)
    assert len(party.came) == 5


async def test_a_place_is_given_back_by_whoever_is_cancelled_waiting_or_inside() -> None:
    party = Party(1)
    inside, waiting = party.invite("inside", 0), party.invite("waiting", 0)
    await _settle()
    waiting.cancel()
    await _settle()
    inside.cancel()
    await _settle()
    last = party.invite("last", 0)
    await _settle()
    assert party.came == ["inside", "last"]
    party.leave["last"].set()
    await last


async def test_a_turn_that_comes_together_with_a_cancellation_is_passed_on() -> None:
    party = Party(1)
    async with party.turns.taken(0):
        unlucky, lucky = party.invite("unlucky", 0), party.invite("lucky", 0)
        await _settle()
    unlucky.cancel()  # the place has been handed to it, and it has not run since
    await _settle()
    assert unlucky.cancelled()
    assert party.came == ["lucky"]
    party.leave["lucky"].set()
    await lucky

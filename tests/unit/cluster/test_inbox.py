"""From the watches' thread into the loop: everything, in order, and no faster than the loop can bear."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from adsync.cluster.inbox import Inbox
from tests.unit.cluster.support import until


class Sink:
    def __init__(self) -> None:
        self.got: list[tuple[str, str | None, int]] = []
        self.threads: set[int] = set()
        self.bad: int | None = None

    def object_event(self, kind: str, type: str | None, obj: dict[str, Any]) -> None:  # noqa: A002
        self.threads.add(threading.get_ident())
        assert "managedFields" not in obj["metadata"]
        if obj["n"] == self.bad:
            raise KeyError("a bug")
        self.got.append((kind, type, obj["n"]))


def feed(inbox: Inbox, thread: int, count: int) -> None:
    for number in range(count):
        inbox.put(f"K{thread}", "ADDED", {"metadata": {"managedFields": []}, "n": number})


async def test_every_event_arrives_in_order_in_the_loops_thread() -> None:
    sink, errors = Sink(), list[Exception]()
    inbox = Inbox(sink, errors.append)
    threads = [threading.Thread(target=feed, args=(inbox, number, 5000)) for number in range(4)]
    for thread in threads:
        thread.start()
    await until(lambda: len(sink.got) >= 20_000, 20)
    assert sink.threads == {threading.get_ident()}
    for number in range(4):
        assert [n for kind, _, n in sink.got if kind == f"K{number}"] == list(range(5000))
    assert errors == []


async def test_other_work_has_its_turn_during_a_flood() -> None:
    sink = Sink()
    inbox = Inbox(sink, lambda _: None)
    feed(inbox, 0, 5000)
    turns = 0
    while len(sink.got) < 5000:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10


async def test_an_error_of_the_receiver_ends_the_delivery() -> None:
    sink, errors = Sink(), list[Exception]()
    sink.bad = 3
    inbox = Inbox(sink, errors.append)
    feed(inbox, 0, 2000)
    await until(lambda: errors)
    feed(inbox, 0, 10)
    for _ in range(10):
        await asyncio.sleep(0)
    assert [n for _, _, n in sink.got] == [0, 1, 2]
    assert len(errors) == 1

"""The change feed's economy: what we write ourselves is read once, what others write at once, and bulk writes go without notifications."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from adsync.core.changes import Add
from adsync.core.dn import DN
from adsync.core.entries import Entry, EntryKind
from adsync.directory.model import Changes, Notification
from adsync.sync.feed import Feed
from adsync.sync.mirror import Mirror
from adsync.sync.readback import ReadBack

OURS, THEIRS = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"


def entry(guid: str, name: str, usn: int) -> Entry:
    return Entry(guid=guid, dn=DN.parse(f"CN={name},OU=People,DC=x"), kind=EntryKind.USER, sam=name, sid="", usn_changed=usn)


class Directory:
    """What the feed asks of the facade; remembers what was read by GUID, and how often somebody began to listen."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = {one.guid: one for one in entries}
        self.read: list[str] = []
        self.listeners = 0
        self.records = 0
        self.tells = False  # whether the record has anything in it
        self.notes: asyncio.Queue[Notification] = asyncio.Queue()

    async def find(self, *, sams: Iterable[str] = (), guids: Iterable[str] = ()) -> list[Entry]:
        sams, guids = set(sams), set(guids)
        self.read += guids
        return [one for one in self.entries.values() if one.sam in sams or one.guid in guids]

    async def changes_since(self, usn: int, **_: Any) -> Changes:
        self.records += 1
        usns = {one.guid: one.usn_changed for one in self.entries.values() if one.usn_changed > usn} if self.tells else {}
        return Changes(usns, high_usn=max(usns.values(), default=usn))

    async def notifications(self) -> AsyncGenerator[Notification, None]:
        self.listeners += 1
        while True:
            yield await self.notes.get()


def feed_of(directory: Directory, place: Any) -> Feed:
    feed = Feed(place, 0, lambda _before, _after: None)
    place.readback = ReadBack(directory, feed.take, lambda: place.writes_under_way)  # type: ignore[arg-type]
    return feed


@pytest.fixture
def directory() -> Directory:
    return Directory(entry(OURS, "ours", 5), entry(THEIRS, "theirs", 6))


@pytest.fixture
def place(directory: Directory) -> Any:
    gauge = SimpleNamespace(labels=lambda _name: SimpleNamespace(set=lambda _value: None))
    rules = SimpleNamespace(container=DN.parse("OU=People,DC=x"))
    return SimpleNamespace(
        directory=directory, mirror=Mirror(), metrics=SimpleNamespace(feed_lag_seconds=gauge), name="x", rules=rules, writes_under_way=0
    )


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the feed has no event of its own to wait for
            await asyncio.sleep(0.01)


async def test_what_we_write_is_not_read_twice(directory: Directory, place: Any) -> None:
    feed = feed_of(directory, place)
    running = asyncio.create_task(feed.run())
    try:
        with place.readback.writing(Add(DN.parse("CN=ours,OU=People,DC=x"), "user", {})):
            directory.notes.put_nowait(Notification(OURS, 5, "CN=Ours,OU=People,DC=x"))
            directory.notes.put_nowait(Notification(THEIRS, 6, "CN=theirs,OU=People,DC=x"))
            await until(lambda: place.mirror.by_guid(THEIRS) is not None)
        assert place.mirror.by_guid(OURS) is None
        await place.readback.by_sam("ours")
        assert place.mirror.by_guid(OURS) is not None
        # A later change of the same account is somebody else's.
        directory.entries[OURS] = entry(OURS, "ours", 7)
        directory.notes.put_nowait(Notification(OURS, 7, "CN=ours,OU=People,DC=x"))
        await until(lambda: place.mirror.by_guid(OURS).usn_changed == 7)
        assert directory.read == [THEIRS, OURS]
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_of_what_the_record_tells_only_the_news_is_read(directory: Directory, place: Any) -> None:
    directory.tells = True
    place.mirror.put(directory.entries[OURS])
    feed = feed_of(directory, place)
    running = asyncio.create_task(feed.run())
    try:
        await until(lambda: feed.mark == 6)
        assert directory.read == [THEIRS]
        assert place.mirror.by_guid(THEIRS) is not None
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_a_write_that_failed_explains_nothing(directory: Directory, place: Any) -> None:
    feed_of(directory, place)

    def fail() -> None:
        with place.readback.writing(Add(DN.parse("CN=ours,OU=People,DC=x"), "user", {})):
            assert place.readback.awaits(OURS, "CN=ours,OU=People,DC=x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not place.readback.awaits(OURS, "CN=ours,OU=People,DC=x")


async def test_the_record_is_read_however_fast_notifications_follow_each_other(
    directory: Directory, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adsync.sync.feed._RECORD_SECONDS", 0.1)
    feed = feed_of(directory, place)

    async def never_still() -> None:
        while True:
            feed._wake_up()
            await asyncio.sleep(0.005)

    tasks = [asyncio.create_task(feed.run()), asyncio.create_task(never_still())]
    try:
        await until(lambda: directory.records > 3)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_no_notifications_while_we_write_in_bulk(directory: Directory, place: Any) -> None:
    feed = feed_of(directory, place)
    running = asyncio.create_task(feed.run())
    try:
        await until(lambda: directory.listeners == 1 and directory.records == 1)
        place.writes_under_way = 20
        directory.notes.put_nowait(Notification(THEIRS, 6, "CN=theirs,OU=People,DC=x"))
        await until(lambda: place.mirror.by_guid(THEIRS) is not None)
        directory.notes.put_nowait(Notification(OURS, 5, "CN=ours,OU=People,DC=x"))
        await asyncio.sleep(0.4)
        assert not directory.notes.empty(), "nobody listens"
        place.writes_under_way = 0
        await until(lambda: directory.listeners == 2 and place.mirror.by_guid(OURS) is not None)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

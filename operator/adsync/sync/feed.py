"""What Active Directory changes by itself, brought into the mirror within a fraction of a second.

    notification     says that an object changed, and which: it is read at once, unless it is our own change, which is being read back anyway
    changes since    the record: everything above the mark (uSNChanged), read soon after a notification, for whatever the first missed
    light sweep      every minute objectGUIDs only: what was deleted, where tombstones can't be read, and what all else missed

Nothing is taken for gone before a read of the object itself says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing

import structlog

from adsync.core.entries import Entry
from adsync.directory.model import Notification
from adsync.errors import DirectoryError, DirectoryUnavailable
from adsync.sync.waiting import woken
from adsync.sync.workplace import Workplace

_log = structlog.get_logger(__name__)

_POLL_SECONDS = 5.0  # where the directory refuses notifications, and while we write in bulk
_BULK_WRITES, _FEW_WRITES = 8, 2  # under way at the same time: from more than the first on until not more than the second
_CALM_SECONDS = 0.25
_SWEEP_SECONDS = 60.0
_GATHER_SECONDS = 0.02
_OWN_WRITES_SECONDS = 0.1  # until the next look whether our own reading back has explained a notification
_RECORD_SECONDS = 3.0  # between two readings of the record, at least
_RECORD_SHARE = 20  # and so many times what the last one took: a slow directory is not kept busy by us
_MOST_AT_ONCE = 200
_RESUBSCRIBE_SECONDS = 1.0
_SETTLING_SECONDS = (1.0, 5.0, 20.0)  # signing in to listen takes a while, and nothing tells of what changes until then

Changed = Callable[[Entry | None, Entry | None], None]
"""Called with what was known of an object, and what is known now; None for nothing."""


class Feed:
    """Keeps the mirror current from `mark` on. Its methods end by raising DirectoryUnavailable."""

    def __init__(self, place: Workplace, mark: int, changed: Changed) -> None:
        self.place = place
        self.mark = mark
        self._changed = changed
        self._noted: dict[str, Notification] = {}
        self._wake = asyncio.Event()
        self._notified = True
        self._record_due = 0.0
        self._record_wanted = False
        self._current_at = asyncio.get_running_loop().time()

    @property
    def lag(self) -> float:
        """Seconds since the feed was last known to be read to its end."""
        return asyncio.get_running_loop().time() - self._current_at

    def take(self, entry: Entry) -> None:
        """Put what was read into the mirror, and tell of it if it is news."""
        before = self.place.mirror.put(entry)
        if before != entry:
            self._changed(before, entry)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._follow())
            tasks.create_task(self._sweep())

    async def _listen(self) -> None:
        """Turn notifications into wake-ups. They come on a connection of their own: when only that is lost, it is made again."""
        failures = 0
        while True:
            try:
                async with aclosing(self.place.directory.notifications()) as notes:
                    self._notified = True
                    self._wake_up()  # what changed while nobody listened
                    for seconds in _SETTLING_SECONDS:
                        asyncio.get_running_loop().call_later(seconds, self._wake_up)
                    async for note in notes:
                        failures = 0
                        if self._is_newer(note.guid, note.usn):
                            self._noted[note.guid] = note
                            self._wake_up()
                        if self.place.writes_under_way > _BULK_WRITES:
                            break
                await self._bulk_written()
                continue
            except DirectoryUnavailable:
                failures += 1
                if failures > 3:
                    raise
            except DirectoryError as error:
                _log.warning("change notifications are refused; polling instead", domain=self.place.name, error=str(error))
                self._notified = False
                return
            await asyncio.sleep(_RESUBSCRIBE_SECONDS * failures)

    async def _bulk_written(self) -> None:
        """While we write in bulk ourselves, poll: nearly all notifications would be about our own writes, and each costs the server a search
        (with Samba through the whole domain, which nearly halves the rate of writes)."""
        self._notified = False
        self._wake_up()
        while self.place.writes_under_way > _FEW_WRITES:  # noqa: ASYNC110 - there is no one event for "few enough for a while"
            await asyncio.sleep(_CALM_SECONDS)

    def _wake_up(self) -> None:
        self._record_wanted = True
        self._wake.set()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            pause = _SWEEP_SECONDS if self._notified else _POLL_SECONDS
            if self._record_wanted:
                pause = max(0.0, self._record_due - loop.time())
            if not await woken(self._wake, pause):
                await self._read_record()
                continue
            self._wake.clear()
            await self._read_noted()
            if self._record_wanted and loop.time() >= self._record_due:  # however fast notifications follow each other
                await self._read_record()

    async def _read_noted(self) -> None:
        """Read the objects that notifications named, but those that we have read meanwhile ourselves, or are about to."""
        await asyncio.sleep(_GATHER_SECONDS)
        unread = {guid: note for guid, note in self._noted.items() if self._is_newer(guid, note.usn)}
        self._noted = {guid: note for guid, note in unread.items() if self.place.readback.awaits(guid, note.dn)}
        if self._noted:
            asyncio.get_running_loop().call_later(_OWN_WRITES_SECONDS, self._wake.set)
        guids = [guid for guid in unread if guid not in self._noted]
        if not guids or len(guids) > _MOST_AT_ONCE:
            return
        found = await self.place.directory.find(guids=guids)
        for entry in found:
            self.take(entry)
        for guid in set(guids) - {entry.guid for entry in found}:
            await self._confirm_gone(guid)

    def _is_newer(self, guid: str, usn: int) -> bool:
        known = self.place.mirror.by_guid(guid)
        return known is None or known.usn_changed < usn

    async def _read_record(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._record_wanted = False
        changes = await self.place.directory.changes_since(self.mark)
        await self._read_news(changes.usns)  # mostly nothing: it has been read because of a notification, or back after our own write
        for guid in changes.deleted:
            if (gone := self.place.drop(guid)) is not None:
                self._changed(gone, None)
        self.mark = changes.high_usn
        self._current_at = began
        self.place.metrics.feed_lag_seconds.labels(self.place.name).set(0)
        self._record_due = loop.time() + max(_RECORD_SECONDS, _RECORD_SHARE * (loop.time() - began))

    async def _sweep(self) -> None:
        """Look, GUIDs only, for what the rest missed. A mass of absences is no different: each is confirmed by a read."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            there = await self.place.directory.guids()
            await self._read_news(there)
            for guid in [entry.guid for entry in self.place.mirror if entry.guid not in there]:
                await self._confirm_gone(guid)

    async def _read_news(self, usns: Mapping[str, int]) -> None:
        """Read those whose uSNChanged is not the one that is known."""
        news = [guid for guid, usn in usns.items() if self._is_newer(guid, usn)]
        for start in range(0, len(news), _MOST_AT_ONCE):
            for entry in await self.place.directory.find(guids=news[start : start + _MOST_AT_ONCE]):
                self.take(entry)

    async def _confirm_gone(self, guid: str) -> None:
        known = self.place.mirror.by_guid(guid)
        if known is None:
            return
        entry = await self.place.refresh(guid)
        if entry != known:
            self._changed(known, entry)

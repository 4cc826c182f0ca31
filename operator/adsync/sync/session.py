"""One connection's life in a domain: read everything once, then follow the changes of both sides until the connection or the spec ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from adsync.core.entries import Entry, EntryKind
from adsync.core.owner import OwnerMark
from adsync.errors import ClusterError, DirectoryUnavailable
from adsync.sync.dirty import DirtySet
from adsync.sync.feed import Feed
from adsync.sync.store import GROUP, USER, Key
from adsync.sync.users import UserSync
from adsync.sync.wishes import owner_of
from adsync.sync.workplace import Workplace

_log = structlog.get_logger(__name__)

_WORKERS = 24
_UNFORESEEN_SECONDS = 30.0
_PROTECTED = "it is a privileged group, or a member of one, directly or through other groups"


class Session:
    """Works through the dirty keys. `settled` is called whenever the domain's own status may have something new to tell."""

    def __init__(self, place: Workplace, dirty: DirtySet[Key], beat: Callable[[], None], settled: Callable[[], None]) -> None:
        self.place = place
        self.dirty = dirty
        self.beat = beat
        self.settled = settled
        self.users = UserSync(place)
        self.feed: Feed | None = None
        self.full_at: datetime | None = None
        self._owners: dict[str, Key] = {}
        self._resync = asyncio.Event()
        self._progress = self._yielded = 0.0

    def compare_all(self) -> None:
        """Ask for a full comparison now."""
        self._resync.set()

    async def run(self) -> None:
        """Raises DirectoryUnavailable when the connection is over."""
        mark = await self.place.directory.refresh_info()
        feed = self.feed = Feed(self.place, mark, self._changed)
        await self._compare()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_connection())
                tasks.create_task(feed.run())
                tasks.create_task(self._compare_regularly())
                tasks.create_task(self._beat())
                for _ in range(_WORKERS):
                    tasks.create_task(self._work())
        except BaseExceptionGroup as group:
            raise _most_telling(group) from None

    async def _watch_connection(self) -> None:
        await self.place.directory.closed.wait()
        raise DirectoryUnavailable(self.place.directory.reason or f"the connection to {self.place.directory.info.url} was closed")

    async def _beat(self) -> None:
        """A sign of life that stops when the workers have work and get nowhere."""
        loop = asyncio.get_running_loop()
        while True:
            oldest = self.dirty.oldest()
            if oldest is None or loop.time() - max(oldest, self._progress) < 120.0:
                self.beat()
            await asyncio.sleep(1.0)

    # --- comparing ---

    async def _compare_regularly(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._resync.wait(), self.place.rules.spec.resync_interval.total_seconds())
            self._resync.clear()
            await self._compare()

    async def _compare(self) -> None:
        """One paged sweep of the domain against what is wanted; then every bound resource is looked at."""
        place, loop = self.place, asyncio.get_running_loop()
        began = loop.time()
        seen: set[str] = set()
        async for page in place.directory.sweep(full_below=place.rules.container):
            for entry in page:
                seen.add(entry.guid)
                place.mirror.put(entry)
            self.beat()
        for guid in [entry.guid for entry in place.mirror if entry.guid not in seen]:
            await place.refresh(guid)
        place.protected = dict.fromkeys(await place.directory.protected_guids(), _PROTECTED)
        keys = place.store.bound_to(place.domain)
        self._owners = {owner_of(key, place.rules): key for key in keys}
        marks = (OwnerMark.parse(entry.mark) for entry in place.mirror if entry.kind is EntryKind.USER)
        place.guard.users = sum(1 for mark in marks if mark is not None and mark.owner in self._owners)
        for key in keys:
            self.dirty.add(key)
        place.metrics.full_sync_seconds.labels(place.name).observe(loop.time() - began)
        self.full_at = datetime.now(UTC)
        self.settled()

    def _changed(self, before: Entry | None, after: Entry | None) -> None:
        """The directory has news of an object: whoever owns it, or waits for its name, must look."""
        store = self.place.store
        keys: set[Key] = set()
        for entry in (before, after):
            if entry is None:
                continue
            mark = OwnerMark.parse(entry.mark)
            if mark is not None and mark.owner in self._owners:
                keys.add(self._owners[mark.owner])
            kind = USER if entry.kind is EntryKind.USER else GROUP
            keys |= store.claimants(kind, entry.sam)
            if entry.upn:
                keys |= store.claimants(kind, entry.upn) | store.claimants(kind, entry.upn.partition("@")[0])
            keys |= self.place.reports.recorded_at(self.place.domain, entry.guid)
        for key in keys:
            if self.place.domain in store.bindings.get(key, ()):
                self.dirty.add(key)

    # --- working ---

    async def _work(self) -> None:
        while True:
            key, since = await self.dirty.take()
            pause: float | None = None
            try:
                self._owners.setdefault(owner_of(key, self.place.rules), key)
                pause = await self.users.look(key)
            except DirectoryUnavailable:
                self.dirty.done(key)
                raise
            except ClusterError as error:
                # The API server is away, or refuses: nothing was begun that it does not know of. The status says nothing, as it can't.
                _log.warning("not finished, will be tried again", resource=str(key), error=str(error))
                pause = 0.0
            except Exception:  # noqa: BLE001 - one resource that trips over a defect must not stop the others
                _log.exception("unforeseen error; other resources go on", resource=str(key))
                pause = _UNFORESEEN_SECONDS
            loop = asyncio.get_running_loop()
            self._progress = loop.time()
            if pause is None:
                self.dirty.done(key)
                self.place.metrics.sync_seconds.labels(self.place.name, key.kind).observe(loop.time() - since)
            else:
                self.dirty.failed(key, at_least=pause)
            self.settled()
            if loop.time() - self._yielded > 0.02:  # ten thousand looks that find nothing must not hold up everything else
                await asyncio.sleep(0)
                self._yielded = loop.time()


def _most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the session: an unforeseen error before the loss of the connection, which may only follow from it."""
    flat: list[BaseException] = []
    queue: list[BaseException] = [group]
    while queue:
        error = queue.pop()
        if isinstance(error, BaseExceptionGroup):
            queue.extend(error.exceptions)
        else:
            flat.append(error)
    return next((error for error in flat if not isinstance(error, DirectoryUnavailable)), flat[0])

"""One connection's life in a domain: read everything once, then follow the changes of both sides until the connection or the spec ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from datetime import UTC, datetime

import structlog

from adsync.core.entries import Entry, EntryKind
from adsync.core.owner import OwnerMark
from adsync.errors import ClusterError, DirectoryUnavailable
from adsync.sync.comparison import Comparison
from adsync.sync.dirty import DirtySet
from adsync.sync.feed import Feed
from adsync.sync.groups import GroupSync
from adsync.sync.guard import Managed
from adsync.sync.imports import Imports
from adsync.sync.merging_groups import MergingGroups
from adsync.sync.merging_users import MergingUsers
from adsync.sync.store import GROUP, USER, Key
from adsync.sync.users import UserSync
from adsync.sync.waiting import woken
from adsync.sync.wishes import owner_of
from adsync.sync.workplace import Workplace

_log = structlog.get_logger(__name__)

_WORKERS = 100  # most of them wait: for the API server, for their turn to write, for what they wrote to be read back
_UNFORESEEN_SECONDS = 30.0
_RESYNC_LEAST_SECONDS, _RESYNC_SHARE = 5.0, 10  # between two comparisons: so many seconds, and so many times what the last one took
_TELL_SECONDS, _TELL_AT_LATEST_SECONDS = 0.3, 5.0
_PROTECTED = "it belongs to a privileged group, directly or through other groups, or is one"


class Session:
    """Works through the dirty keys. `settled` is called whenever the domain's own status may have something new to tell."""

    def __init__(self, place: Workplace, dirty: DirtySet[Key], beat: Callable[[], None], settled: Callable[[], None]) -> None:
        self.place = place
        self.dirty = dirty
        self.beat = beat
        self.settled = settled
        self.imports = Imports(place, self._mark, settled)
        self.users: UserSync = MergingUsers(place, self.imports) if self.imports.active else UserSync(place)
        self.groups: GroupSync = MergingGroups(place, self.imports) if self.imports.active else GroupSync(place)
        place.guard.count = self._managed
        place.members_changed, place.group_changed = self._members_changed, self._group_changed
        self._stale: set[str] = set()
        self._stale_wake = asyncio.Event()
        self._moved: set[str] = set()
        self.feed: Feed | None = None
        self.full_at: datetime | None = None
        self.compared_from = float("-inf")  # when the last comparison that came to its end began, by the loop's clock
        self._owners: dict[str, Key] = {}
        self.imports.know_owners(self._owners)
        self._comparison = Comparison(place, self._compared, beat)
        self._looked_at: set[Key] = set()  # in the comparison under way, or about to be
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
                tasks.create_task(self._read_members())
                tasks.create_task(self._tell_members())
                tasks.create_task(self.imports.run())
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
        loop, took = asyncio.get_running_loop(), 0.0
        while True:
            # Whatever the spec says, the domain controller has most of its time for others.
            least = max(_RESYNC_LEAST_SECONDS, _RESYNC_SHARE * took)
            await woken(self._resync, max(least, self.place.rules.spec.resync_interval.total_seconds()))
            self._resync.clear()
            began = loop.time()
            await self._compare()
            took = loop.time() - began

    async def _compare(self) -> None:
        """The domain is read, and every bound resource looked at: as its object is read, and the others then."""
        place, loop = self.place, asyncio.get_running_loop()
        began, revision = loop.time(), place.mirror.revision
        self._looked_at.clear()
        await self._comparison.run()
        await self._read_protected()
        keys = place.store.bound_to(place.domain)
        self._owners = {owner_of(key, place.rules): key for key in keys}
        self.imports.know_owners(self._owners)
        self.imports.changed()
        if place.mirror.revision != revision:
            self._looked_at.clear()  # some of them went by what is no more: a name that was taken, a member who has gone
        for key in keys - self._looked_at:
            self.dirty.add(key)
        self._looked_at.clear()
        place.metrics.full_sync_seconds.labels(place.name).observe(loop.time() - began)
        self.full_at, self.compared_from = datetime.now(UTC), began
        self.settled()

    def _compared(self, entry: Entry) -> None:
        mark, place = OwnerMark.parse(entry.mark), self.place
        keys = {self._owners[mark.owner]} if mark is not None and mark.owner in self._owners else set()
        for key in keys | place.reports.recorded_at(place.domain, entry.guid) | place.store.imported(place.domain, entry.guid):
            self._mark(key)
            self._looked_at.add(key)

    async def _read_protected(self) -> None:
        """Read who is privileged; whoever has become so, or is so no more, must look, and their groups."""
        place = self.place
        before, place.protected = place.protected, dict.fromkeys(await place.directory.protected_guids(), _PROTECTED)
        for guid in before.keys() ^ place.protected.keys():
            if (entry := place.mirror.by_guid(guid)) is not None:
                self._changed(None, entry)

    def _managed(self) -> Managed:
        """How many users and memberships this domain manages, for the safety limits."""
        users = memberships = 0
        for entry in self.place.mirror:
            mark = OwnerMark.parse(entry.mark)
            marked = mark is not None and mark.owner in self._owners
            if not marked and not self.place.reports.recorded_at(self.place.domain, entry.guid):
                continue
            if entry.kind is EntryKind.USER:
                users += 1
            else:
                memberships += len(self.place.mirror.members(entry.guid) or ())
        return Managed(users, memberships)

    def _mark(self, key: Key) -> None:
        if self.place.domain in self.place.store.bindings.get(key, ()):
            self.dirty.add(key)

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
            for kind in (USER, GROUP):  # a group can be in a user's way, and a user in a group's
                keys |= store.claimants(kind, entry.sam)
            if entry.upn:
                keys |= store.claimants(USER, entry.upn) | store.claimants(USER, entry.upn.partition("@")[0])
            keys |= self.place.reports.recorded_at(self.place.domain, entry.guid) | store.imported(self.place.domain, entry.guid)
            if before is None or after is None or before.dn != after.dn:
                self.imports.outer(entry.guid)
        if _matters_to_groups(before, after):
            wanting = [store.groups_wanting(user) for key in keys if key.kind == USER and (user := store.resources.get(key)) is not None]
            keys = keys.union(*wanting)
        for key in keys:
            if self.place.domain in store.bindings.get(key, ()):
                self.dirty.add(key)
        if after is not None and after.kind is EntryKind.GROUP:
            self._group_changed(after.guid)
            if before is not None and before.sam != after.sam:
                mirror = self.place.mirror
                self._members_changed((mirror.members(after.guid) or set()) | mirror.primary_members(after))

    # --- members ---

    def _group_changed(self, guid: str) -> None:
        self._stale.add(guid)
        self._stale_wake.set()

    async def _read_members(self) -> None:
        """Read the lists of groups that others have changed. What we have written ourselves is known."""
        place = self.place
        while True:
            await self._stale_wake.wait()
            self._stale_wake.clear()
            for guid in sorted(self._stale - place.writing):
                self._stale.discard(guid)
                entry = place.mirror.by_guid(guid)
                if entry is None or place.mirror.members_read_at(guid) >= entry.usn_changed or guid in place.writing:
                    continue
                await place.read_members(guid)
                self.imports.outer(guid)
                if guid in place.protected:
                    await self._read_protected()
                mark = OwnerMark.parse(entry.mark)
                if mark is not None and mark.owner in self._owners:
                    self.dirty.add(self._owners[mark.owner])
                for key in place.reports.recorded_at(place.domain, guid):
                    self.dirty.add(key)

    def _members_changed(self, guids: Set[str]) -> None:
        self._moved |= guids

    async def _tell_members(self) -> None:
        """Have the statuses of those who came into a group, or left one, say so: gathered, while the directory is still being written. A
        thousand users in twenty groups are else looked at, and their statuses written, over and over, at the cost of those very writes."""
        place, loop = self.place, asyncio.get_running_loop()
        since = loop.time()
        while True:
            await asyncio.sleep(_TELL_SECONDS)
            if not self._moved:
                since = loop.time()
                continue
            if (place.writing or place.busy) and loop.time() - since < _TELL_AT_LATEST_SECONDS:
                continue
            since = loop.time()
            moved, self._moved = self._moved, set()
            for guid in moved:
                entry = place.mirror.by_guid(guid)
                mark = OwnerMark.parse(entry.mark) if entry is not None else None
                keys = {self._owners[mark.owner]} if mark is not None and mark.owner in self._owners else set()
                for key in keys | place.reports.recorded_at(place.domain, guid):
                    self.dirty.add(key)

    # --- working ---

    async def _work(self) -> None:
        while True:
            key, since = await self.dirty.take()
            pause: float | None = None
            try:
                self._owners.setdefault(owner_of(key, self.place.rules), key)
                pause = await (self.users if key.kind == USER else self.groups).look(key)
            except (DirectoryUnavailable, asyncio.CancelledError):
                self.dirty.add(key)  # the session is over in the middle of a look: the next one, or Offline, takes it up again
                self.dirty.done(key)
                raise
            except ClusterError as error:
                # The API server is away, or refuses: nothing was begun that it does not know of. The status says nothing, as it can't.
                _log.warning("not finished, will be tried again", resource=str(key), error=str(error))
                pause = 0.0
            except Exception:  # noqa: BLE001 - one resource that trips over a defect must not stop the others
                if self.place.domain in self.place.store.resources:  # else it went in the middle of a look, and this session ends
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


def _matters_to_groups(before: Entry | None, after: Entry | None) -> bool:
    """Whether somebody may now be a member who could not, or the other way round."""
    if before is None or after is None:
        return True
    return (before.mark, before.dn, before.admin_count, before.primary_group) != (
        after.mark,
        after.dn,
        after.admin_count,
        after.primary_group,
    )


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

"""The domain read into the mirror, page by page: the safety net under the change feed.

at the start, once an hour, and after a change of the domain's password policy
            everything, the members of all groups and what the directory works out for each account included
in between  all stored attributes; the rest only of what has moved (uSNChanged), or turns by itself with time

What the server works out, and member lists, cost it more than all else. Between two readings they change with uSNChanged; what does not (a
fine-grained password policy, rights of the service account on a group) can wait for the hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from adsync.core.entries import Entry, EntryKind
from adsync.core.filetime import from_datetime
from adsync.sync.workplace import Workplace

_THOROUGH_SECONDS = 3600.0
_MANY_ACCOUNTS, _MANY_GROUPS = 500, 20  # from here on reading all of them again is cheaper than one by one
_BATCH = 100


class Comparison:
    """`current` is told of every account that is known to be so in the directory, as soon as it is: a look at it need not wait for the end,
    while the directory is at the next page. Not of groups, whose members are read last, and not where everything is read, which may be the
    first time. `beat` is called now and then, as a sign of life."""

    def __init__(self, place: Workplace, current: Callable[[Entry], None], beat: Callable[[], None]) -> None:
        self._place = place
        self._current = current
        self._beat = beat
        self._thorough_due = 0.0

    async def run(self) -> None:
        """Ends normally only when all was read."""
        now, place = asyncio.get_running_loop().time(), self._place
        before, place.policy = place.policy, await place.directory.read_policy()
        thorough = now >= self._thorough_due or place.policy != before
        if not (await self._thorough() if thorough else await self._of_what_moved()):
            await self._thorough()
        await self._members(all_of_them=thorough)
        if thorough:
            self._thorough_due = now + _THOROUGH_SECONDS

    async def _thorough(self) -> bool:
        place, seen = self._place, set[str]()
        async for page in place.directory.sweep(full_below=place.rules.container):
            for entry in page:
                seen.add(entry.guid)
                place.mirror.put(entry)
            self._beat()
        await self._confirm_absent(seen)
        return True

    async def _of_what_moved(self) -> bool:
        """False where too much has moved, and all is to be read instead."""
        place, mirror, seen, moved = self._place, self._place.mirror, set[str](), list[str]()
        now = from_datetime(datetime.now(UTC))
        async for page in place.directory.sweep(full_below=place.rules.container, constructed=False):
            for entry in page:
                seen.add(entry.guid)
                known = mirror.by_guid(entry.guid)
                if known is None or known.usn_changed != entry.usn_changed or known.turns_by_itself(now):
                    moved.append(entry.guid)
                else:
                    self._put(entry.with_constructed_of(known))
            self._beat()
        if len(moved) > _MANY_ACCOUNTS:
            return False
        for start in range(0, len(moved), _BATCH):
            for entry in await place.directory.find(guids=moved[start : start + _BATCH]):
                self._put(entry)
        await self._confirm_absent(seen)
        return True

    def _put(self, entry: Entry) -> None:
        self._place.mirror.put(entry)
        if entry.kind is EntryKind.USER:
            self._current(entry)

    async def _confirm_absent(self, seen: set[str]) -> None:
        for guid in [entry.guid for entry in self._place.mirror if entry.guid not in seen]:
            await self._place.refresh(guid)

    async def _members(self, *, all_of_them: bool) -> None:
        place = self._place
        moved = [entry.guid for entry in place.mirror if self._is_unread(entry)]
        if not all_of_them and len(moved) <= _MANY_GROUPS:
            for guid in moved:
                await place.read_members(guid)
            return
        mirror = place.mirror
        async for lists in place.directory.member_lists():
            for members in lists:
                # The strings of the mirror, so that a hundred groups do not hold a hundred copies of each GUID.
                guids = {known.guid if (known := mirror.by_guid(link.guid)) else link.guid for link in members.members if link.guid}
                if members.usn >= mirror.members_read_at(members.guid) and members.guid not in place.writing:
                    mirror.put_members(members.guid, members.usn, guids)
            self._beat()

    def _is_unread(self, entry: Entry) -> bool:
        place = self._place
        return (
            entry.kind is EntryKind.GROUP
            and place.mirror.members_read_at(entry.guid) < entry.usn_changed
            and entry.guid not in place.writing
        )

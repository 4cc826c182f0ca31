"""How members join: by objectGUID, or, where many come at once, by name.

A GUID follows its object wherever it goes, but a domain controller has to look each one up, which for a thousand values costs it a quarter
more than their DNs do (Samba). A DN can pass to somebody else between our last look and the write. So whoever joined by name is looked for
in the group afterwards, and who came in by another's name is taken out at once, before anybody is told that the group is in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import structlog

from adsync.core.changes import Add, ModifyMembers
from adsync.core.dn import DN
from adsync.core.entries import Entry
from adsync.errors import AlreadyExists, DirectoryError, DirectoryUnavailable
from adsync.resources.addomain import Mode
from adsync.sync.store import Key
from adsync.sync.workplace import Unseen, Workplace

_log = structlog.get_logger(__name__)

_MANY = 100
"""Fewer are not worth the reading of the group."""
_LARGE = 500
"""Members of a group that is not read as a whole for each change of ours."""


class Joining:
    """Writes who joins a group. What is unseen outlives the connection, but not the process: see `confirm`."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    async def create(self, key: Key, change: Add, members: Sequence[str]) -> Add:
        """Make a group, with its first members (objectGUIDs) in the same operation where the directory takes that; returns what was done."""
        place = self._place
        if members:
            whole = replace(change, members=tuple(members), names=self._names(members))
            self._remember(key, whole.members, whole.names, frozenset())
            try:
                await place.apply(whole)
            except (DirectoryUnavailable, AlreadyExists):
                raise
            except DirectoryError as error:
                # Most likely one of them is gone. Which one shows when they are added to the group that is there.
                _log.info("the group is made without its members", group=str(change.dn), error=str(error))
                place.memory.unseen.pop(key, None)
            else:
                return whole
        await place.apply(change)
        return change

    async def write(self, key: Key, change: ModifyMembers, *, many: bool) -> None:
        """Apply a change of members. Raises what the directory says. `many` says that the group is not much larger than what is added: then
        reading it back is only a part of the work."""
        if many and (names := self._names(change.add)):
            change = replace(change, names=names)
            self._remember(key, change.add, names, frozenset(self._place.mirror.members(change.guid) or ()))
        await self._place.apply(change)

    async def mark(self, guid: str) -> None:
        """Right after a write: up to which change of the group its list is known. Small ones are read back as a whole later on (`confirm`). Of
        a large one nobody can tell whether others have changed it between our check and this: the next full comparison does."""
        if self._is_large(guid) and (now := await self._place.refresh(guid)) is not None:
            self._place.mirror.changed_members(guid, now.usn_changed, (), ())

    def _is_large(self, guid: str) -> bool:
        return len(self._place.mirror.members(guid) or ()) > _LARGE

    def unseen(self, key: Key) -> bool:
        """Whether somebody has joined by name who is yet to be looked for in the group; which may lead to a write."""
        return key in self._place.memory.unseen and self._place.resource.spec.mode is not Mode.OBSERVE

    async def confirm(self, key: Key, entry: Entry) -> bool:
        """Read back what was written. False where somebody had come in by the name of another, who therefore is missing.

        A crash right here would leave somebody in who took another's name within these seconds; the next start takes them for a stranger.
        """
        place, unseen = self._place, self._place.memory.unseen.get(key)
        if unseen is None:
            if not self._is_large(entry.guid):
                await place.read_members(entry.guid)
            return True
        expected = unseen.before.union(unseen.names.values())
        found = [link for link in await place.read_members(entry.guid) if link.guid not in expected]
        strays = tuple(link.guid for link in found if DN.parse(link.dn) in unseen.names)
        if strays:
            _log.warning("others had taken the names of members who joined; set right", group=str(entry.dn), count=len(strays))
            await place.apply(ModifyMembers(entry.guid, entry.dn, remove=strays))
            await place.read_members(entry.guid)
        del place.memory.unseen[key]
        return not strays

    def _names(self, guids: Sequence[str]) -> tuple[DN, ...]:
        """The DNs by which they are known, if they are many; else nothing."""
        entries = [self._place.mirror.by_guid(guid) for guid in guids] if len(guids) >= _MANY else []
        names = tuple(entry.dn for entry in entries if entry is not None)
        return names if len(names) == len(guids) else ()

    def _remember(self, key: Key, guids: Sequence[str], names: Sequence[DN], before: frozenset[str]) -> None:
        if names:
            unseen = self._place.memory.unseen.setdefault(key, Unseen({}, before))
            unseen.names.update(zip(names, guids, strict=True))

"""What a domain knows of its directory: one record per user and group, found by every name it goes by.

Filled by a sweep and kept current by the change feed and by reading back what we write. It is never asked whether something is
*absent* in a way that would remove anything: that takes a read of the object itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from adsync.core.dn import DN, fold_case
from adsync.core.entries import Entry, EntryKind
from adsync.core.owner import OwnerMark

_DOMAIN_USERS = 513


class Mirror:
    """Implements `core.identity.Lookup`."""

    def __init__(self) -> None:
        self.revision = 0  # another one after every change
        self._entries: dict[str, Entry] = {}
        self._sams: dict[str, str] = {}
        self._upns: dict[str, str] = {}
        self._dns: dict[DN, str] = {}
        self._owners: defaultdict[str, set[str]] = defaultdict(set)
        self._members: dict[str, tuple[int, set[str]]] = {}  # group → its uSNChanged when read, members
        self._groups: defaultdict[str, set[str]] = defaultdict(set)  # member → groups
        self._primaries: defaultdict[int, set[str]] = defaultdict(set)  # RID of a primary group → members

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def by_guid(self, guid: str) -> Entry | None:
        return self._entries.get(guid)

    def by_owner(self, owner: str) -> Sequence[Entry]:
        return [self._entries[guid] for guid in self._owners.get(owner, ())]

    def by_sam(self, sam: str) -> Entry | None:
        return self._named(self._sams.get(fold_case(sam)))

    def by_upn(self, upn: str) -> Entry | None:
        return self._named(self._upns.get(fold_case(upn)))

    def by_dn(self, dn: DN) -> Entry | None:
        return self._named(self._dns.get(dn))

    def users_below(self, container: DN) -> int:
        return sum(1 for entry in self if entry.kind is EntryKind.USER and entry.dn.is_below(container))

    def put(self, entry: Entry) -> Entry | None:
        """Take over what was read; returns what was known before. A record older than the known one (by uSNChanged) is ignored."""
        known = self._entries.get(entry.guid)
        if known is not None:
            if known == entry or known.usn_changed > entry.usn_changed:
                return known  # the very record is kept: whoever remembers what it went by sees at a glance that it is the same
            self._unindex(known)
        self.revision += 1
        self._entries[entry.guid] = entry
        self._sams[fold_case(entry.sam)] = entry.guid
        if entry.upn:
            self._upns[fold_case(entry.upn)] = entry.guid
        self._dns[entry.dn] = entry.guid
        if entry.primary_group not in (0, _DOMAIN_USERS):
            self._primaries[entry.primary_group].add(entry.guid)
        if mark := OwnerMark.parse(entry.mark):
            self._owners[mark.owner].add(entry.guid)
        return known

    def drop(self, guid: str) -> Entry | None:
        """Forget an object that is gone, and with it its memberships: AD takes a deleted object out of its groups (MS-ADTS 3.1.1.5.5)."""
        entry = self._entries.pop(guid, None)
        if entry is not None:
            self.revision += 1
            self._unindex(entry)
            self.put_members(guid, 0, set())
            self._members.pop(guid, None)
            for group in self._groups.pop(guid, ()):
                self._members[group][1].discard(guid)
        return entry

    # --- members ---

    def members(self, group: str) -> set[str] | None:
        """The complete member list of a group, primary members not among them; None where it has not been read."""
        known = self._members.get(group)
        return None if known is None else known[1]

    def members_read_at(self, group: str) -> int:
        """The group's uSNChanged when its members were read; -1 where they were not."""
        known = self._members.get(group)
        return -1 if known is None else known[0]

    def put_members(self, group: str, usn: int, members: set[str]) -> set[str]:
        """Take over a complete list; returns who came or went."""
        before = self._members[group][1] if group in self._members else set()
        if group not in self._members or before != members:
            self.revision += 1
        for guid in members - before:
            self._groups[guid].add(group)
        for guid in before - members:
            self._groups[guid].discard(group)
        self._members[group] = (usn, members)
        return before ^ members

    def changed_members(self, group: str, usn: int, added: Iterable[str], removed: Iterable[str]) -> None:
        """Take over what we wrote ourselves: the directory confirmed it, so that the list need not be read again."""
        known = self.members(group)
        if known is not None:
            self.put_members(group, usn, (known | set(added)) - set(removed))

    def groups_of(self, guid: str) -> list[Entry]:
        """The groups that list an account, and its primary group unless that is Domain Users, which everybody has."""
        entry = self.by_guid(guid)
        groups = [group for each in self._groups.get(guid, ()) if (group := self.by_guid(each)) is not None]
        if entry is not None and entry.primary_group not in (0, _DOMAIN_USERS):
            groups += [group for group in self._by_rid(entry.primary_group) if group not in groups]
        return groups

    def primary_members(self, group: Entry) -> set[str]:
        """Those whose primary group this is; they are in no `member` list (MS-ADTS 3.1.1.4.5.14). Not told for Domain Users."""
        return self._primaries.get(group.rid, set())

    def _by_rid(self, rid: int) -> list[Entry]:
        return [entry for entry in self if entry.kind is EntryKind.GROUP and entry.rid == rid]

    def _named(self, guid: str | None) -> Entry | None:
        return None if guid is None else self._entries.get(guid)

    def _unindex(self, entry: Entry) -> None:
        # A name may have passed to another object meanwhile: only what still points here is taken out.
        for index, key in ((self._sams, fold_case(entry.sam)), (self._upns, fold_case(entry.upn))):
            if index.get(key) == entry.guid:
                del index[key]
        if self._dns.get(entry.dn) == entry.guid:
            del self._dns[entry.dn]
        self._primaries[entry.primary_group].discard(entry.guid)
        if mark := OwnerMark.parse(entry.mark):
            self._owners[mark.owner].discard(entry.guid)
            if not self._owners[mark.owner]:
                del self._owners[mark.owner]

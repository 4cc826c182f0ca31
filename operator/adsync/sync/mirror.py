"""What a domain knows of its directory: one record per user and group, found by every name it goes by.

Filled by a sweep and kept current by the change feed and by reading back what we write. It is never asked whether something is
*absent* in a way that would remove anything: that takes a read of the object itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from adsync.core.dn import DN
from adsync.core.entries import Entry, EntryKind
from adsync.core.owner import OwnerMark


class Mirror:
    """Implements `core.identity.Lookup`."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._sams: dict[str, str] = {}
        self._upns: dict[str, str] = {}
        self._dns: dict[DN, str] = {}
        self._owners: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def by_guid(self, guid: str) -> Entry | None:
        return self._entries.get(guid)

    def by_owner(self, owner: str) -> Sequence[Entry]:
        return [self._entries[guid] for guid in self._owners.get(owner, ())]

    def by_sam(self, sam: str) -> Entry | None:
        return self._named(self._sams.get(sam.casefold()))

    def by_upn(self, upn: str) -> Entry | None:
        return self._named(self._upns.get(upn.casefold()))

    def by_dn(self, dn: DN) -> Entry | None:
        return self._named(self._dns.get(dn))

    def users_below(self, container: DN) -> int:
        return sum(1 for entry in self if entry.kind is EntryKind.USER and entry.dn.is_below(container))

    def put(self, entry: Entry) -> Entry | None:
        """Take over what was read; returns what was known before. A record older than the known one (by uSNChanged) is ignored."""
        known = self._entries.get(entry.guid)
        if known is not None:
            if known.usn_changed > entry.usn_changed:
                return known
            self._unindex(known)
        self._entries[entry.guid] = entry
        self._sams[entry.sam.casefold()] = entry.guid
        if entry.upn:
            self._upns[entry.upn.casefold()] = entry.guid
        self._dns[entry.dn] = entry.guid
        if mark := OwnerMark.parse(entry.mark):
            self._owners[mark.owner].add(entry.guid)
        return known

    def drop(self, guid: str) -> Entry | None:
        entry = self._entries.pop(guid, None)
        if entry is not None:
            self._unindex(entry)
        return entry

    def keep_only(self, guids: Iterable[str]) -> list[Entry]:
        """Drop, after a complete sweep, what it did not meet; returns what went."""
        gone = self._entries.keys() - set(guids)
        return [entry for guid in gone if (entry := self.drop(guid)) is not None]

    def _named(self, guid: str | None) -> Entry | None:
        return None if guid is None else self._entries.get(guid)

    def _unindex(self, entry: Entry) -> None:
        # A name may have passed to another object meanwhile: only what still points here is taken out.
        for index, key in ((self._sams, entry.sam.casefold()), (self._upns, entry.upn.casefold())):
            if index.get(key) == entry.guid:
                del index[key]
        if self._dns.get(entry.dn) == entry.guid:
            del self._dns[entry.dn]
        if mark := OwnerMark.parse(entry.mark):
            self._owners[mark.owner].discard(entry.guid)
            if not self._owners[mark.owner]:
                del self._owners[mark.owner]

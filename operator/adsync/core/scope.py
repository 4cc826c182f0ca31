"""Who is in scope of an import: the scope group's members, and every group in it, however nested, with everybody below it.

    Group1 ⊃ User1, User2, Group2;  Group2 ⊃ User3, User4;  the scope group ⊃ Group1
    in scope        User1 to User4, Group1, Group2
    flattened       Group2 has User3 and User4; Group1 has all four, User3 and User4 through Group2

Cycles end. Objects that are not below the root container are counted and not imported, and nor is what is nested in them. A group whose
member list is not known makes the scope incomplete: then nobody is missing from it, as far as anyone can tell, and nobody is removed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from typing import Protocol

from adsync.core.dn import DN
from adsync.core.entries import Entry, EntryKind


class Links(Protocol):
    """The part of what is known of the directory that scope goes by. `members` is None where a group's list has not been read to its end."""

    def by_guid(self, guid: str) -> Entry | None: ...
    def by_sam(self, sam: str) -> Entry | None: ...
    def by_dn(self, dn: DN) -> Entry | None: ...
    def members(self, group: str) -> Set[str] | None: ...
    def primary_members(self, group: Entry) -> Set[str]: ...


@dataclass(frozen=True, slots=True)
class Flat:
    """A group's users, by objectGUID: those on its list, and those that come from nesting, with the inner group that holds them. Whose primary
    group it is is on no list, and can't be taken out either: such a user counts as nested, in the group itself."""

    direct: frozenset[str] = frozenset()
    nested: Mapping[str, str] = field(default_factory=dict)  # user → inner group
    complete: bool = True

    @property
    def users(self) -> Set[str]:
        return self.direct | self.nested.keys()


@dataclass(frozen=True, slots=True)
class Scope:
    """`group` is the scope group's entry, None where it can't be found. Sets are of objectGUIDs."""

    group: Entry | None = None
    complete: bool = False
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    elsewhere: int = 0

    def __contains__(self, guid: str) -> bool:
        return guid in self.users or guid in self.groups


def named_group(name: str | None, links: Links) -> Entry | None:
    """The group that a spec names by its sAMAccountName or its DN."""
    if not name:
        return None
    entry = links.by_dn(DN.parse(name)) if "=" in name else links.by_sam(name)
    return entry if entry is not None and entry.kind is EntryKind.GROUP else None


def scope_of(scope_group: str | None, admins_group: str | None, container: DN, links: Links, protected: Collection[str] = ()) -> Scope:
    """The whole scope. The scope group and the admins group are not in it themselves, and neither are `protected` groups or what is only
    in those: their membership is nobody's to write."""
    top = named_group(scope_group, links)
    if top is None or not top.dn.is_below(container):
        return Scope()
    admins = named_group(admins_group, links)
    special = {top.guid} | ({admins.guid} if admins is not None else set())
    users: set[str] = set()
    groups: set[str] = set()
    outside: set[str] = set()
    complete, waiting, seen = True, [top.guid], {top.guid}
    while waiting:
        inside = _inside(waiting.pop(), links)
        if inside is None:
            complete = False
            continue
        for guid in inside:
            entry = links.by_guid(guid)
            if entry is None or not entry.dn.is_below(container):
                outside.add(guid)
            elif entry.kind is EntryKind.USER:
                users.add(guid)
            elif guid not in seen and not _off_limits(entry, protected):
                seen.add(guid)
                waiting.append(guid)
                if guid not in special:
                    groups.add(guid)
    named = (_inside(admins.guid, links) or set()) if admins is not None else set()
    return Scope(top, complete, frozenset(users), frozenset(groups), frozenset(users & named), len(outside))


def _inside(group: str, links: Links) -> Set[str] | None:
    """Who is in a group itself, on its list or because it is their primary group; None where the list is not known."""
    listed, entry = links.members(group), links.by_guid(group)
    return listed if listed is None or entry is None else listed | links.primary_members(entry)


def _off_limits(group: Entry, protected: Collection[str]) -> bool:
    return group.critical or group.admin_count == 1 or group.guid in protected


def flatten(group: str, container: DN, links: Links) -> Flat:
    """All users below a group, each once. `complete` is False where a member list on the way has not been read."""
    listed = links.members(group)
    if listed is None:
        return Flat(complete=False)
    direct: set[str] = set()
    nested: dict[str, str] = {}
    complete, waiting, seen = True, [group], set[str]()
    while waiting:
        inner = waiting.pop()
        if inner in seen:
            continue
        seen.add(inner)
        below = _inside(inner, links)
        if below is None:
            complete = False
            continue
        for guid in below:
            if (entry := links.by_guid(guid)) is None or not entry.dn.is_below(container):
                continue
            if entry.kind is EntryKind.GROUP:
                waiting.append(guid)
            elif inner == group and guid in listed:
                direct.add(guid)
            else:
                nested.setdefault(guid, inner)
    return Flat(frozenset(direct), nested, complete)


def unread_below(group: str, links: Links) -> str | None:
    """A group whose member list is not known, this one or one in it, however nested; None where there is none."""
    waiting, seen = [group], set[str]()
    while waiting:
        each = waiting.pop()
        members = links.members(each)
        if members is None:
            return each
        seen.add(each)
        inner = (entry for guid in members if (entry := links.by_guid(guid)) is not None and entry.kind is EntryKind.GROUP)
        waiting += [entry.guid for entry in inner if entry.guid not in seen]
    return None

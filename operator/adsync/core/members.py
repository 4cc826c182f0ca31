"""Who shall be in a group, who is, and what to do about it.

    member of the group now        Managed    Exact    Additive
    wanted                         stays      stays    stays
    of ours, not wanted            goes       goes     stays
    a stranger                     stays      goes     stays
    privileged                     stays      stays    stays

    wanted and not in the group: added, unless it is pending (not in this domain yet, privileged, ...)
    a primary member is in neither list, and counts as in

"Of ours" goes by the owner mark in the directory, so that an account whose resource is gone is not a stranger.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from adsync.core.changes import ModifyMembers
from adsync.core.dn import DN
from adsync.resources.syncedgroup import MembershipPolicy

_TOLD = 10

MOST_VALUES = 1000
"""In one operation; AD takes up to 5,000 in one modify (MaxValRange and the version store permitting)."""


@dataclass(frozen=True, slots=True)
class WantedMember:
    """One member that the resource asks for: its objectGUID in this domain, or why it has to wait. `known` is a GUID that may be its,
    and is therefore not taken out meanwhile."""

    user: str
    guid: str = ""
    pending: str = ""
    known: str = ""


@dataclass(frozen=True, slots=True)
class MembersPlan:
    """GUIDs to add and to remove. `foreign` counts the present members that are nobody's we want."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    desired: int = 0
    applied: int = 0
    foreign: int = 0
    pending: tuple[WantedMember, ...] = ()

    @property
    def done(self) -> bool:
        return not self.add and not self.remove

    def without(self, add: Collection[str], remove: Collection[str]) -> MembersPlan:
        """The plan, with these members left as they are."""
        if not add and not remove:
            return self
        left = {*add, *remove}
        return replace(
            self,
            add=tuple(member for member in self.add if member not in left),
            remove=tuple(member for member in self.remove if member not in left),
        )


def plan_members(
    wanted: Iterable[WantedMember],
    present: Set[str],
    *,
    policy: MembershipPolicy,
    ours: Collection[str],
    privileged: Collection[str] | Mapping[str, str],
    primary: Set[str] = frozenset(),
) -> MembersPlan:
    """`present` must be the complete list. `ours` are the GUIDs of accounts that carry an owner mark of this cluster; `primary` those whose
    primary group this is."""
    wanted = list(wanted)
    pending = tuple(member for member in wanted if member.pending)
    desired = {member.guid for member in wanted if member.guid and not member.pending}
    spared = desired | {guid for member in pending for guid in (member.guid, member.known) if guid}
    here = present | primary
    extra = present - spared
    if policy is MembershipPolicy.ADDITIVE:
        going: set[str] = set()
    elif policy is MembershipPolicy.MANAGED:
        going = {guid for guid in extra if guid in ours and guid not in privileged}
    else:
        going = {guid for guid in extra if guid not in privileged}
    return MembersPlan(
        add=tuple(sorted(desired - here)),
        remove=tuple(sorted(going)),
        desired=len(wanted),
        applied=len(desired & here),
        foreign=len(extra - going),
        pending=pending,
    )


def member_changes(add: Sequence[str], remove: Sequence[str], guid: str, dn: DN, name: Callable[[str], str]) -> tuple[ModifyMembers, ...]:
    """The operations, as few as can be, those who join first. `name` is how a person knows the member with an objectGUID."""
    made = []
    for start in range(0, len(add) + len(remove), MOST_VALUES):
        joining = tuple(add[start : start + MOST_VALUES])
        leaving = tuple(remove[max(0, start - len(add)) : max(0, start + MOST_VALUES - len(add))])
        told = ", ".join(part for part in (_told("+", joining, name), _told("−", leaving, name)) if part)
        made.append(ModifyMembers(guid, dn, joining, leaving, told))
    return tuple(made)


def _told(sign: str, batch: tuple[str, ...], name: Callable[[str], str]) -> str:
    more = f" and {len(batch) - _TOLD} more" if len(batch) > _TOLD else ""
    return ", ".join(f"{sign}{name(guid)}" for guid in batch[:_TOLD]) + more

"""The plan for one group in one domain, apart from its members: found, created, adopted, renamed, moved and released as a user is.

The scope and admins groups are never adopted: who may be managed must not be managed by those who are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from adsync.core.changes import Add, Change, Edit, Modify, Move, Verb
from adsync.core.dn import DN, fold_case
from adsync.core.entries import Entry, EntryKind
from adsync.core.identity import Claim, Found, Verdict, find, may_adopt
from adsync.core.names import CN_LIMIT, SAM_GROUP_LIMIT, check_sam
from adsync.core.owner import OwnerMark
from adsync.core.rules import DESCRIPTION, DomainRules
from adsync.core.users import SAM, Surroundings, attribute_edits, out_of_reach, place_change, place_taken, removal_changes
from adsync.errors import InvalidSpec
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.syncedgroup import GroupDomainStatus, GroupScope, SyncedGroupSpec
from adsync.resources.synceduser import Origin

GROUP_TYPE = "groupType"
_SECURITY = -0x80000000
_SCOPES = {GroupScope.GLOBAL: 0x2, GroupScope.DOMAIN_LOCAL: 0x4, GroupScope.UNIVERSAL: 0x8}  # MS-ADTS 2.2.12


@dataclass(frozen=True, slots=True)
class GroupWish:
    """What a SyncedGroup asks of one domain, members apart. `attributes` are the managed ones; "" clears."""

    owner: str
    name: str
    attributes: Mapping[str, str]
    scope: GroupScope
    container: DN | None
    recorded: GroupDomainStatus
    agreed: Mapping[str, str]
    from_elsewhere: bool = False
    linked: str = ""  # as in Claim
    yields: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """As UserPlan, without a password."""

    found: Found | None = None
    changes: tuple[Change, ...] = ()
    verdict: Verdict | None = None
    drift: tuple[Edit, ...] = ()


def group_attributes(spec: SyncedGroupSpec, rules: DomainRules) -> dict[str, str]:
    given = {DESCRIPTION: spec.description, rules.fields["email"]: spec.email}
    return {name: value for name, value in given.items() if value is not None}


def plan_group(wish: GroupWish, rules: DomainRules, around: Surroundings) -> GroupPlan:
    """Raises InvalidSpec where the name can't be had."""
    check_sam(wish.name, SAM_GROUP_LIMIT, "spec.name")
    found = find(group_claim(wish), around.lookup)
    if isinstance(found, Verdict):
        return GroupPlan(verdict=found)
    if found.entry is None:
        return _plan_new(wish, rules, found, around)
    if verdict := out_of_reach(found.entry, rules, around):
        return GroupPlan(found, verdict=verdict)
    if verdict := special(found.entry, rules):
        return GroupPlan(found, verdict=verdict)
    if found.adopting and (
        verdict := may_adopt(found.entry, rules.spec.adoption_policy, email="", entry_email="", from_elsewhere=wish.from_elsewhere)
    ):
        return GroupPlan(found, verdict=verdict)
    return _plan_present(wish, rules, found, found.entry, around)


def plan_group_removal(wish: GroupWish, policy: DeletionPolicy, rules: DomainRules, around: Surroundings) -> GroupPlan:
    """As plan_user_removal: no changes and no verdict means that the resource may go, and a verdict that it goes as it is."""
    found = find(replace(group_claim(wish), name=""), around.lookup)
    if isinstance(found, Verdict):
        return GroupPlan(verdict=found)
    if found.entry is None or found.adopting:
        return GroupPlan(replace(found, entry=None))
    if verdict := out_of_reach(found.entry, rules, around) or special(found.entry, rules):
        return GroupPlan(found, verdict=verdict)
    return GroupPlan(found, removal_changes(policy, found, found.entry, rules))


def group_claim(wish: GroupWish) -> Claim:
    guid = wish.recorded.object_guid or ""
    return Claim(wish.owner, EntryKind.GROUP, guid, wish.name, origin=wish.recorded.origin, linked=wish.linked, yields=wish.yields)


def special(entry: Entry, rules: DomainRules) -> Verdict | None:
    """Why a group must not be managed for what it is to the domain itself, if so."""
    for field, named in (("scopeGroup", rules.spec.scope_group), ("adminsGroup", rules.spec.admins_group)):
        if named and (entry.dn == DN.parse(named) if "=" in named else fold_case(entry.sam) == fold_case(named)):
            return Verdict(Reason.ADOPTION_REFUSED, f"{entry.dn} is the domain's {field}, which is never managed by a SyncedGroup")
    return None


def _plan_new(wish: GroupWish, rules: DomainRules, found: Found, around: Surroundings) -> GroupPlan:
    if len(wish.name) > CN_LIMIT:
        raise InvalidSpec(f"spec.name has {len(wish.name)} characters; a group that is created takes it as its cn, which holds {CN_LIMIT}")
    dn = (wish.container or rules.container).child("CN", wish.name)
    if taken := around.lookup.by_dn(dn):
        return GroupPlan(found, verdict=Verdict(Reason.CONFLICT, f"{taken.dn} exists with another name, {taken.sam!r}"))
    attributes = {name: value for name, value in wish.attributes.items() if value}
    attributes |= {
        SAM: wish.name,
        GROUP_TYPE: str(_SECURITY | _SCOPES[wish.scope]),
        rules.mark_attribute: str(OwnerMark(wish.owner, Origin.CREATED)),
    }
    return GroupPlan(found, (Add(dn, "group", attributes),))


def _plan_present(wish: GroupWish, rules: DomainRules, found: Found, entry: Entry, around: Surroundings) -> GroupPlan:
    edits = attribute_edits(wish.attributes, entry)
    if entry.sam != wish.name:
        other = around.lookup.by_sam(wish.name)
        if other is not None and other.guid != entry.guid:
            return GroupPlan(
                found, verdict=Verdict(Reason.CONFLICT, f"the group can't be renamed to {wish.name!r}: that name is taken by {other.dn}")
            )
        edits.insert(0, Edit(SAM, entry.sam, wish.name))
    drift = () if found.adopting else tuple(edit for edit in edits if _agreed(wish, rules, edit))
    verbs = tuple(Verb.CLEAR_ATTRIBUTE for edit in edits if edit.new is None)
    changes: list[Change] = []
    target = place_change(entry, found, wish.container, wish.agreed, ("name", wish.name, wish.name))
    if target is not None and (verdict := place_taken(entry, target, around.lookup)):
        return GroupPlan(found, verdict=verdict)
    if not found.unmarkable and (edits or target is not None or not found.linked):
        mark = str(OwnerMark(wish.owner, found.origin))
        if entry.mark != mark:
            edits.append(Edit(rules.mark_attribute, entry.mark or None, mark, exact=True))
    if target is not None:
        changes.append(Move(entry.guid, entry.dn, target))
    if edits:
        changes.append(Modify(entry.guid, entry.dn, tuple(edits), verbs=verbs))
    return GroupPlan(found, tuple(changes), drift=drift)


def agreed_group(wish: GroupWish, rules: DomainRules) -> dict[str, str]:
    """As agreed_values of a user."""
    values = {"name": wish.name}
    for field, attribute in (("description", DESCRIPTION), ("email", rules.fields["email"])):
        if attribute in wish.attributes:
            values[field] = wish.attributes[attribute]
    if wish.container is not None:
        values["container"] = str(wish.container)
    return values


def _agreed(wish: GroupWish, rules: DomainRules, edit: Edit) -> bool:
    field = {SAM: "name", DESCRIPTION: "description", rules.fields["email"]: "email"}.get(edit.attribute, "")
    return field in wish.agreed and (wish.agreed[field] or None) == edit.new

"""One group under Import or Bidirectional: its fields as a user's, then its members as sets (core/merge.py).

The directory's set is everybody below the group, however nested; the resource's is what it lists. Nested members are never written as direct
ones, and one that is taken out of the outer group's resource is set back. A group whose members a selector chooses, or that does not say
anything about members, takes nothing back from the directory: its members are written as under Export.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from adsync.core.both import group_attributes_of, group_in_directory, group_in_spec
from adsync.core.carried import AgreedMembers
from adsync.core.changes import ModifyMembers
from adsync.core.entries import Entry
from adsync.core.groups import GroupPlan, GroupWish, agreed_group, group_claim, plan_group, plan_group_removal, special
from adsync.core.identity import Verdict, find, may_adopt
from adsync.core.members import MembersPlan, WantedMember
from adsync.core.merge import Merged, base_from_digest, members_digest, merge, merge_members
from adsync.core.report import GroupFacts, about
from adsync.core.scope import Flat, flatten, unread_below
from adsync.core.users import out_of_reach
from adsync.resources.addomain import Mode
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.syncedgroup import MembershipPolicy
from adsync.sync.groups import Done, GroupSync
from adsync.sync.imports import Imports
from adsync.sync.merging import Merging
from adsync.sync.objects import AGAIN, Again, Outcome
from adsync.sync.store import USER, Binding, Key, Resource
from adsync.sync.wishes import bare_group_wish, group_wish
from adsync.sync.workplace import Workplace

_IN_SCOPE = "in_scope"
_DIGEST = "members_digest"


class MergingGroups(Merging, GroupSync):
    """Looks at groups."""

    def __init__(self, place: Workplace, imports: Imports) -> None:
        super().__init__(place, imports)
        self._last_below: tuple[tuple[str, str, tuple[int, ...]], Flat, dict[str, str]] | None = None

    async def sync(self, resource: Resource, binding: Binding) -> float | None:
        done = Done()
        said = "one of the two sides keeps changing while the other is written"
        return await self.rounds(resource, lambda current: self._round(current, binding, done), said)

    async def _round(self, resource: Resource, binding: Binding, done: Done) -> Outcome:
        place, wish = self.place, self._wish(resource, binding)
        if self.imports.is_imported(resource):
            outcome = await self.leave(resource, wish.linked)
            if not isinstance(outcome, Again):
                return outcome
        found = find(group_claim(wish), place.mirror)
        if isinstance(found, Verdict):
            return self.stuck(resource, found)
        entry, merged = found.entry, Merged()
        if entry is None:
            gone = await self.deleted(resource, has_been_in=_IN_SCOPE in wish.agreed)
            if isinstance(gone, Again):
                return AGAIN
            plan = GroupPlan(verdict=gone) if gone else self._plan_absent(wish)
        else:
            merged = self._merge(resource, wish, entry)
            wish = replace(wish, name=merged.values["name"], attributes=group_attributes_of(merged.values, place.rules))
            left = self.out_of_scope(entry, has_been_in=_IN_SCOPE in wish.agreed)
            plan = GroupPlan(found, verdict=left) if left else self._plan(wish, entry)
        if plan.verdict is not None:
            return self._report(resource, GroupFacts(plan.verdict, found=plan.found))
        if plan.changes or entry is None:
            return await self._carry_to_directory(resource, wish, plan, merged, done)
        merged, contested = self.without_contested(resource, wish.agreed, merged)
        if merged.to_resource:
            return await self._carry_to_resource(resource, entry, wish, merged, done)
        if verdict := contested or await self._belong(resource, entry, wish):
            return self._report(resource, GroupFacts(verdict, found=plan.found))
        return await self._members(resource, wish, plan, entry, done)

    async def _carry_to_directory(self, resource: Resource, wish: GroupWish, plan: GroupPlan, merged: Merged, done: Done) -> Outcome:
        """As a look of Export does it."""
        entry = plan.found.entry if plan.found else None
        if verdict := self.hindrance(resource, plan.changes, plan.drift, entry):
            return self._report(resource, GroupFacts(verdict, found=plan.found, planned=plan.changes))
        if entry is None and await self.found_by_read(resource):
            return AGAIN
        self.send_to_directory(resource.key, entry.guid if entry else "", merged, group_in_spec(resource.spec))
        written = await self._carry_out(resource, wish, plan, done)
        if written:
            self.tell_conflicts(resource, merged)
        return None if written is None else AGAIN

    async def _members(self, resource: Resource, wish: GroupWish, plan: GroupPlan, entry: Entry, done: Done) -> Outcome:
        agreed = agreed_group(wish, self.place.rules)
        if not self.read_only and not wish.linked and (_IN_SCOPE in wish.agreed or entry.guid in self.imports.scope):
            agreed[_IN_SCOPE] = "true"
        facts = GroupFacts(Verdict(Reason.SYNCED, ""), found=plan.found, agreed=agreed, wrote=done.wrote)
        if not resource.spec.manages_membership and not self.imports.is_imported(resource):
            self.place.guard.withdraw(resource.key)
            return self._report(resource, facts)
        if resource.spec.member_selector is not None and not self.read_only:
            return await self._sync_members(resource, entry, facts, done)
        return await self._sync_both(resource, entry, facts, done)

    # --- the group itself ---

    def _wish(self, resource: Resource, binding: Binding) -> GroupWish:
        place, linked = self.place, self.imports.linked(resource)
        entry = place.mirror.by_guid(linked) if linked else place.mirror.by_sam(resource.spec.name)
        wish = group_wish(resource, place.resource, binding, place.rules, self._recorded(resource))
        return replace(wish, linked=linked, yields=self.imports.yields(resource, entry))

    def _merge(self, resource: Resource, wish: GroupWish, entry: Entry) -> Merged:
        spec = self.place.rules.spec
        agreed = wish.agreed if about(wish.recorded, entry.guid) is wish.recorded else {}
        here, there = group_in_spec(resource.spec), group_in_directory(entry, self.place.rules)
        return merge(
            self.base(resource.key, entry.guid, {name: str(value) for name, value in agreed.items()}, here, there),
            here,
            there,
            spec.authority,
            imported=self.imports.is_imported(resource),
            import_only=self.read_only,
        )

    def _plan(self, wish: GroupWish, entry: Entry) -> GroupPlan:
        place = self.place
        if not self.read_only:
            return plan_group(wish, place.rules, place.around())
        found = find(group_claim(wish), place.mirror)
        if isinstance(found, Verdict):
            return GroupPlan(verdict=found)
        verdict = out_of_reach(entry, place.rules, place.around()) or special(entry, place.rules)
        if verdict is None and found.adopting:
            policy = place.rules.spec.adoption_policy
            verdict = may_adopt(entry, policy, email="", entry_email="", from_elsewhere=wish.from_elsewhere)
        return GroupPlan(found, verdict=verdict)

    def _plan_absent(self, wish: GroupWish) -> GroupPlan:
        if not self.read_only:
            return plan_group(wish, self.place.rules, self.place.around())
        said = f"there is no group {wish.name!r} in the directory, and direction Import creates none"
        return GroupPlan(verdict=Verdict(Reason.OUT_OF_SCOPE, said))

    async def _carry_to_resource(self, resource: Resource, entry: Entry, wish: GroupWish, merged: Merged, done: Done) -> Outcome:
        """Write what the directory has won to the spec."""
        place = self.place
        if place.resource.spec.mode is Mode.OBSERVE:
            said = f"mode Observe: spec would be changed: {', '.join(merged.to_resource)}"
            return self._report(resource, GroupFacts(Verdict(Reason.OBSERVING, said)))
        self.send_to_resource(resource.key, entry.guid, merged)
        if not await self.write_spec(resource, {name: merged.values[name] for name in merged.to_resource}):
            return 0.0
        done.wrote = True
        self.tell_conflicts(resource, merged)
        told = "; ".join(f"{name}: {merged.values[name] or '(none)'}" for name in merged.to_resource)
        if self.edited(wish.agreed, merged) == merged.to_resource:
            place.quarrels.note(resource.key)
            place.reports.event(resource, "SetBack", f"direction Import: set back what was edited: {told}", warning=True)
        else:
            place.reports.event(resource, "Imported", f"from the directory: {told}")
        return AGAIN

    async def _belong(self, resource: Resource, entry: Entry, wish: GroupWish) -> Verdict | None:
        scope = self.imports.scope
        if self.imports.is_imported(resource):
            await self.mark_imported(resource)
            return None
        if self.read_only or not scope.complete:
            return None
        return None if entry.guid in scope or _IN_SCOPE in wish.agreed else await self.join(resource, entry)

    def _report(self, resource: Resource, facts: GroupFacts) -> float | None:
        if facts.agreed is not None:
            self.agree(resource)
        return super()._report(resource, facts)

    # --- members of both sides ---

    async def _sync_both(self, resource: Resource, entry: Entry, facts: GroupFacts, done: Done) -> Outcome:
        if not await self.know_members(resource, entry):
            said = "the members of the group, or of one in it, can't be read"
            return self._report(resource, GroupFacts(Verdict(Reason.PROGRESSING, said), found=facts.found))
        return (
            await self._finish_members(resource, entry, facts) if self.read_only else await self._sync_members(resource, entry, facts, done)
        )

    async def know_members(self, resource: Resource, entry: Entry) -> bool:
        """And those of the groups in it, where both sides' sets are merged."""
        if resource.spec.member_selector is not None and not self.read_only:
            return await super().know_members(resource, entry)
        return (await self._read_below(entry)).complete

    async def _write_members(self, resource: Resource, entry: Entry, facts: GroupFacts, done: Done) -> Outcome:
        """As for Export; and the scope, and every group around, must look at what was written."""
        before = set(self.place.mirror.members(entry.guid) or ())
        try:
            return await super()._write_members(resource, entry, facts, done)
        finally:
            if before != (self.place.mirror.members(entry.guid) or set()):
                self.imports.outer(entry.guid)

    async def _change_members(self, resource: Resource, entry: Entry, changes: Sequence[ModifyMembers], made: list[ModifyMembers]) -> bool:
        """As for Export; noting who goes across before it is known whether they arrive."""
        known = self.place.memory.members.get(resource.key)
        if known is not None and known.guid == entry.guid:
            for change in changes:
                known.send_to_directory(self._names(resource, change.add), self._names(resource, change.remove))
        return await super()._change_members(resource, entry, changes, made)

    def _names(self, resource: Resource, guids: Iterable[str]) -> set[str]:
        names = (self.imports.member_name(guid, resource.key.namespace) for guid in guids)
        return {name for name in names if name is not None}

    async def _read_below(self, entry: Entry) -> Flat:
        """Everybody below a group. Lists that are not known are read first."""
        place, seen = self.place, set[str]()
        while True:
            flat = flatten(entry.guid, place.rules.container, place.mirror)
            unread = None if flat.complete else unread_below(entry.guid, place.mirror)
            if unread is None or unread in seen:
                return flat
            seen.add(unread)
            await place.read_members(unread)

    def _below(self, namespace: str, entry: Entry) -> tuple[Flat, dict[str, str]]:
        """Everybody below a group, and their objectGUIDs by the name of their resource. One look asks four times, and mostly nothing has
        happened in between."""
        asked = (entry.guid, namespace, self.imports.names_as_of)
        if self._last_below is None or self._last_below[0] != asked:
            flat = flatten(entry.guid, self.place.rules.container, self.place.mirror)
            named = {name: guid for guid in flat.users if (name := self.imports.member_name(guid, namespace)) is not None}
            self._last_below = asked, flat, named
        return self._last_below[1:]

    def _sets(self, resource: Resource, entry: Entry) -> tuple[Flat, dict[str, str], frozenset[str], frozenset[str]]:
        """Those below the group as `_below` tells, the directory's set and the resource's, by name."""
        flat, named = self._below(resource.key.namespace, entry)
        listed = frozenset(member.name for member in resource.spec.members or ())
        return flat, named, frozenset(named), listed

    def _merged_members(self, resource: Resource, entry: Entry) -> tuple[Flat, dict[str, str], frozenset[str]]:
        place, key = self.place, resource.key
        flat, named, there, listed = self._sets(resource, entry)
        if self.read_only or resource.spec.members is None:
            return flat, named, there  # an imported group that does not list anybody (any more) empties none: it is told anew
        status = about(self._recorded(resource), entry.guid)
        known = place.memory.members.get(key)
        if known is None or known.guid != entry.guid:
            recorded, told = status.last_synced, status.membership
            keep_all = not self.imports.is_imported(resource) and resource.spec.membership_policy is not MembershipPolicy.EXACT
            digest, authority = recorded.members_digest if recorded else None, place.rules.spec.authority
            able = {name for name in listed if name in named or not self._member(Key(USER, key.namespace, name)).pending}
            pending = {each.user for each in (told.pending if told else None) or ()}
            found = base_from_digest(digest, able, there, authority, listed=listed, pending=pending, keep_all=keep_all)
            if found.conflict:
                winner = place.rules.spec.authority
                said = f"the members were changed on both sides while nobody looked; {winner} wins"
                place.reports.event(resource, "Conflict", said, warning=True)
            known = place.memory.members[key] = AgreedMembers(entry.guid, found.members)
        result = merge_members(known.base(listed, there), listed, there)
        nested = {name for name in there - result if named[name] in flat.nested}
        return flat, named, result | nested

    def _first_members(self, _resource: Resource) -> Sequence[str]:
        """Who is to be in it shows when the sets of both sides are merged."""
        return ()

    def _plan_members(self, resource: Resource, entry: Entry) -> MembersPlan:
        if resource.spec.member_selector is not None and not self.read_only:
            return super()._plan_members(resource, entry)
        place = self.place
        flat, named, result = self._merged_members(resource, entry)
        wanted = [
            WantedMember(name, guid=named[name]) if name in named else self._member(Key(USER, resource.key.namespace, name))
            for name in sorted(result)
        ]
        privileged = self._privileged(set(flat.direct))
        going = {guid for name, guid in named.items() if name not in result and guid in flat.direct and guid not in privileged}
        coming = {member.guid for member in wanted if member.guid and not member.pending} - flat.users
        primary = place.mirror.primary_members(entry)
        return MembersPlan(
            add=tuple(sorted(coming - primary)),
            remove=tuple(sorted(going)),
            desired=len(result),
            applied=len(result & named.keys()),
            foreign=len(flat.users) - len(result & named.keys()),
            pending=tuple(member for member in wanted if member.pending),
        )

    def _account(self, user: Resource) -> tuple[Entry | None, str]:
        """An imported user's account needs no mark to be known."""
        if linked := self.imports.linked(user):
            return self.place.mirror.by_guid(linked), linked
        return super()._account(user)

    def _ours(self, present: set[str]) -> set[str]:
        imported = {guid for guid in present if self.place.store.imported(self.place.domain, guid)}
        return super()._ours(present) | imported

    async def members_written(self, resource: Resource, entry: Entry, facts: GroupFacts) -> float | None:
        if facts.verdict.reason is not Reason.SYNCED or (resource.spec.member_selector is not None and not self.read_only):
            return self._report(resource, facts)
        return await self._finish_members(resource, entry, facts)

    async def _finish_members(self, resource: Resource, entry: Entry, facts: GroupFacts) -> float | None:
        """The directory has what it shall have; now the resource, and what both agree on."""
        place, key = self.place, resource.key
        flat, named, result = self._merged_members(resource, entry)
        listed = frozenset(member.name for member in resource.spec.members or ())
        membership = self._membership(self._plan_members(resource, entry), entry)
        recorded = self._recorded(resource).last_synced
        agreed = facts.agreed or {}
        if result != listed:
            back = self._set_back(resource, flat, named, listed, result)
            held = self.contested(resource, ("members",)) if back else None
            if held is not None:  # the others go across all the same
                result = (result - back.keys()) | (listed & back.keys())
                back = {}
            if place.resource.spec.mode is Mode.OBSERVE:
                held = Verdict(Reason.OBSERVING, f"mode Observe: spec.members would be changed: {_difference(listed, result)}")
            elif result != listed:
                if (known := place.memory.members.get(key)) is not None:
                    known.send_to_resource(result - listed, listed - result)
                if not await self.write_spec(resource, {"members": [{"name": name} for name in sorted(result)]}):
                    return 0.0
                self._tell_members(resource, back, listed, result)
                facts = replace(facts, wrote=True)
                resource = place.store.resources.get(key, resource)
            if held is not None:
                as_before = {_DIGEST: recorded.members_digest} if recorded and recorded.members_digest else {}
                return self._report(resource, replace(facts, agreed=agreed | as_before).with_members(held, (), membership))
        both = result & named.keys()
        place.memory.members[key] = AgreedMembers(entry.guid, frozenset(both))
        facts = replace(facts, agreed={**agreed, _DIGEST: members_digest(both)})
        membership = self._membership(self._plan_members(resource, entry), entry)
        return self._report(resource, facts.with_members(None, (), membership))

    def _set_back(
        self, resource: Resource, flat: Flat, named: dict[str, str], listed: frozenset[str], result: frozenset[str]
    ) -> dict[str, str]:
        """The members that somebody has taken out (under Import: or put in) in the resource and that the directory does not let go, each with
        the inner group that holds it, or "" where there is none."""
        place = self.place
        recorded = self._recorded(resource).last_synced
        edited = self.read_only and recorded is not None and members_digest(result) == recorded.members_digest
        known = place.memory.members.get(resource.key)
        base = known.members if known is not None else frozenset[str]()
        back = dict.fromkeys(result ^ listed, "") if edited else {}
        for name in (result - listed) & named.keys():
            holder = flat.nested.get(named[name])
            if (edited or name in base) and holder is not None and (group := place.mirror.by_guid(holder)) is not None:
                back[name] = group.sam
        return back

    def _tell_members(self, resource: Resource, back: dict[str, str], listed: frozenset[str], result: frozenset[str]) -> None:
        event, told = self.place.reports.event, f"members: {_difference(listed, result)}"
        if back:
            self.place.quarrels.note(resource.key)
        if inner := sorted((name, group) for name, group in back.items() if group):
            through = ", ".join(f"{name} (through {group})" for name, group in inner[:10])
            said = f"set back: members of an inner group can't be taken out of the outer one: {through}; change the inner group"
            event(resource, "SetBack", said, warning=True)
        if any(not group for group in back.values()) or (back and self.read_only):
            event(resource, "SetBack", f"direction Import: set back what was edited: {told}", warning=True)
        elif (result ^ listed) - back.keys():
            event(resource, "Imported", f"from the directory: {told}")

    # --- going ---

    def vanished(self, key: Key) -> None:
        self.place.memory.members.pop(key, None)
        super().vanished(key)

    def removal_plan(self, resource: Resource, policy: DeletionPolicy) -> GroupPlan:
        place, linked = self.place, self.imports.linked(resource)
        wish = bare_group_wish(resource, place.rules, self._recorded(resource))
        wish = replace(wish, linked=linked, yields=self.imports.yields(resource, place.mirror.by_guid(linked) if linked else None))
        plan = plan_group_removal(wish, policy, place.rules, place.around())
        agreed = wish.recorded.last_synced
        left = self.copied(resource) or self.released_as_left(
            resource, plan.found.entry if plan.found else None, has_been_in=bool(agreed and agreed.in_scope)
        )
        return replace(plan, changes=(), verdict=left) if left and plan.verdict is None else plan


def _difference(before: frozenset[str], after: frozenset[str]) -> str:
    told = [f"+{name}" for name in sorted(after - before)] + [f"−{name}" for name in sorted(before - after)]
    more = f" and {len(told) - 10} more" if len(told) > 10 else ""
    return ", ".join(told[:10]) + more

"""One group in one domain, from a look to its report: the group itself as a user is, then its members.

Members are only ever taken out on the ground of a complete list: one that was read to its end, and has been kept current since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from adsync.core.changes import Add, Change, Modify, ModifyMembers, past
from adsync.core.entries import Entry, EntryKind
from adsync.core.groups import GroupPlan, GroupWish, agreed_group, plan_group, plan_group_removal
from adsync.core.identity import Verdict
from adsync.core.members import MOST_VALUES, MembersPlan, WantedMember, member_changes, plan_members
from adsync.core.owner import OwnerMark
from adsync.core.report import GroupFacts, group_entry
from adsync.errors import AlreadyExists, NoSuchObject, ValueMismatch
from adsync.resources.addomain import Mode
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.syncedgroup import GroupDomainStatus, GroupMembership, PendingMember, SyncedGroupSpec
from adsync.sync.joining import Joining
from adsync.sync.objects import AGAIN, ObjectSync, Outcome
from adsync.sync.quarrels import Sides, members_verdict
from adsync.sync.store import USER, Binding, Key, Resource
from adsync.sync.wishes import bare_group_wish, group_wish, owner_of
from adsync.sync.workplace import Workplace

_SHOWN = 100
_LARGE = 100  # members
_LARGE_IN_FLIGHT = 3  # finalizers of large groups that are being set: one alone would take its time where the API server is slow
_AHEAD, _AHEAD_SECONDS = 3, 1.0  # writes that keep a directory busy until there is another


@dataclass(slots=True)
class Done:
    """What was done in this look."""

    wrote: bool = False


@dataclass(frozen=True, slots=True)
class MembersStep:
    """Why not everything may be written, if so; what therefore is only planned; and what is to be written."""

    held: Verdict | None = None
    planned: tuple[ModifyMembers, ...] = ()
    changes: tuple[ModifyMembers, ...] = ()


class GroupSync(ObjectSync):
    """Looks at groups."""

    def __init__(self, place: Workplace) -> None:
        super().__init__(place)
        self.joining = Joining(place)
        self._large = asyncio.Semaphore(_LARGE_IN_FLIGHT)

    def vanished(self, key: Key) -> None:
        self.place.memory.unseen.pop(key, None)
        self.place.quarrels.members.forget(key)
        super().vanished(key)

    def name(self, resource: Resource) -> str:
        return str(resource.spec.name)

    async def sync(self, resource: Resource, binding: Binding) -> float | None:
        done = Done()
        said = "the directory, or somebody in it, keeps changing what is written"
        return await self.rounds(resource, lambda current: self._round(current, binding, done), said)

    async def _round(self, resource: Resource, binding: Binding, done: Done) -> Outcome:
        place = self.place
        wish = group_wish(resource, place.resource, binding, place.rules, self._recorded(resource))
        plan = plan_group(wish, place.rules, place.around())
        entry = plan.found.entry if plan.found else None
        if plan.verdict is not None:
            return self._report(resource, GroupFacts(plan.verdict, found=plan.found))
        if plan.changes or entry is None:
            if verdict := self.hindrance(resource, plan.changes, plan.drift, entry):
                return self._report(resource, GroupFacts(verdict, found=plan.found, planned=plan.changes))
            if entry is None and await self.found_by_read(resource):
                return AGAIN
            return None if await self._carry_out(resource, wish, plan, done) is None else AGAIN
        facts = GroupFacts(Verdict(Reason.SYNCED, ""), found=plan.found, agreed=agreed_group(wish, place.rules), wrote=done.wrote)
        if not resource.spec.manages_membership:
            place.guard.withdraw(resource.key)
            return self._report(resource, facts)
        return await self._sync_members(resource, entry, facts, done)

    async def _carry_out(self, resource: Resource, wish: GroupWish, plan: GroupPlan, done: Done) -> bool | None:
        """As `at_its_turn`; and read back what was written."""
        if not await self._hold_ahead(resource):
            return None
        entry, made = plan.found.entry if plan.found else None, list[Change]()
        written = await self.at_its_turn(resource, entry, lambda current: self._write(current, wish, plan, made))
        if written:
            done.wrote = True
            await self._read_back(resource, wish, entry, made)
        return written

    async def _write(self, resource: Resource, wish: GroupWish, plan: GroupPlan, made: list[Change]) -> bool:
        """Make the changes, in order. False where the plan has to be made again, from what was learnt."""
        place = self.place
        for change in plan.changes:
            try:
                if isinstance(change, Add):
                    made.append(await self.joining.create(resource.key, change, self._first_members(resource)))
                else:
                    await place.apply(change)
                    made.append(change)
            except (ValueMismatch, NoSuchObject):
                await self.learn(change)
                return False
            except AlreadyExists:
                if not await place.find_names(wish.name, "") and place.mirror.by_sam(wish.name) is None:
                    raise
                return False
            place.guard.note(resource.key, change)
        self._tell(resource, plan, made)
        return True

    async def _read_back(self, resource: Resource, wish: GroupWish, entry: Entry | None, made: Sequence[Change]) -> None:
        place = self.place
        if entry is not None:
            await place.readback.by_guid(entry.guid)
            return
        members = next((change.members for change in made if isinstance(change, Add)), ())
        if 0 < len(members) < MOST_VALUES:  # else the rest is to join at once
            await place.lull(resource.key)
        await place.readback.by_sam(wish.name)
        # A new group has whom we made it with: its list is known to be complete.
        if (new := place.mirror.by_sam(wish.name)) is not None and place.mirror.members(new.guid) is None:
            place.members_changed(place.mirror.put_members(new.guid, new.usn_changed, set(members)))

    def _tell(self, resource: Resource, plan: GroupPlan, done: Sequence[Change]) -> None:
        event, found = self.place.reports.event, plan.found
        for change in done:
            if isinstance(change, Modify):  # the owner mark is no news to anybody
                told = [str(edit) for edit in change.edits if edit.attribute != self.place.rules.mark_attribute]
            else:
                told = [past(change)]
            if told:
                event(resource, "Created" if isinstance(change, Add) else "Updated", "; ".join(told))
            if isinstance(change, Add) and change.members:
                (joined,) = member_changes(change.members, (), "", change.dn, self._shown_name)
                event(resource, "MembersChanged", f"{change.dn}: {joined.told}")
        if found and found.adopting and found.entry:
            event(resource, "Adopted", f"took over {found.entry.dn}")
        if plan.drift:
            self.place.quarrels.note(resource.key)
            self.place.metrics.drift_reverted.labels(self.place.name).inc(len(plan.drift))
            event(resource, "DriftReverted", "set back what was changed in the directory: " + "; ".join(map(str, plan.drift)))

    async def _hold_ahead(self, resource: Resource) -> bool:
        """Hold large resources before their turn, few at once and not far ahead of the directory: each costs the API server dozens of
        milliseconds, and all of them together would keep the first from the directory until the last is through, and others from their turn."""
        if resource.held or len(resource.spec.members or ()) < _LARGE:
            return True
        async with self._large:
            await self.place.few_writes(_AHEAD, at_most=_AHEAD_SECONDS)
            return await self.hold(resource)

    # --- members ---

    def _first_members(self, resource: Resource) -> Sequence[str]:
        """The objectGUIDs of those whom a new group is made with: as many as go into one operation."""
        if not resource.spec.manages_membership:
            return ()
        return [member.guid for member in self._wanted(resource) if member.guid and not member.pending][:MOST_VALUES]

    async def _sync_members(self, resource: Resource, entry: Entry, facts: GroupFacts, done: Done) -> Outcome:
        place = self.place
        if not await self.know_members(resource, entry):
            return AGAIN
        place.writing.add(entry.guid)
        try:
            return await self._write_members(resource, entry, facts, done)
        finally:
            place.writing.discard(entry.guid)
            place.group_changed(entry.guid)

    async def know_members(self, _resource: Resource, entry: Entry) -> bool:
        """See that every list that a plan goes by is known to its end. False where the group is gone. Raises IncompleteRead."""
        if self.place.mirror.members(entry.guid) is None:
            await self.place.read_members(entry.guid)
        return self.place.mirror.members(entry.guid) is not None

    async def _write_members(self, resource: Resource, entry: Entry, facts: GroupFacts, done: Done) -> Outcome:
        place = self.place
        step = self._judge(resource, entry, self._plan_members(resource, entry))
        made: list[ModifyMembers] = []
        if step.changes:
            if not await self._hold_ahead(resource):
                return None

            async def write(current: Resource) -> bool:
                nonlocal step
                if (now := place.mirror.by_guid(entry.guid)) is None or now.usn_changed > place.mirror.members_read_at(entry.guid):
                    await place.read_members(entry.guid)  # somebody has changed the group since: its list may be another
                if not await self.know_members(current, entry):
                    return False
                step = self._judge(current, entry, self._plan_members(current, entry))
                return await self._change_members(current, entry, step.changes, made)

            written = await self.at_its_turn(resource, entry, write)
            if not written:
                return None if written is None else AGAIN
        if made or self.joining.unseen(resource.key):
            await place.lull(resource.key)
            if not await self.joining.confirm(resource.key, entry):
                return 0.0
            if not await self.know_members(resource, entry):
                return AGAIN
        plan = self._plan_members(resource, entry)
        held = step.held is not None and step.held.reason is not Reason.CONTESTED
        if made:
            done.wrote = True
            place.reports.event(resource, "MembersChanged", f"{entry.dn}: {'; '.join(change.told for change in made)}")
            if plan.add or (plan.remove and not held):
                return AGAIN  # somebody else has changed the members since
        if not held:
            place.guard.withdraw(resource.key)
        facts = replace(facts, wrote=done.wrote).with_members(step.held, step.planned, self._membership(plan, entry))
        return await self.members_written(resource, entry, facts)

    async def _change_members(self, resource: Resource, entry: Entry, changes: Sequence[ModifyMembers], made: list[ModifyMembers]) -> bool:
        """False where somebody turned out to be gone, or the group."""
        place = self.place
        joining = sum(len(change.add) for change in changes)
        many = joining >= len(place.mirror.members(entry.guid) or ())
        for change in changes:
            try:
                await self.joining.write(resource.key, change, many=many)
            except NoSuchObject:
                for guid in (entry.guid, *change.add, *change.remove):  # find out who, and have its own resource look
                    if await place.refresh(guid) is None:
                        place.members_changed({guid})
                return False
            place.quarrels.members.note(resource.key, Sides(change.add, change.remove))
            if change.remove:  # else others may be held meanwhile, and have to stay so
                place.guard.note(resource.key, change)
            made.append(change)
            place.mirror.changed_members(entry.guid, place.mirror.members_read_at(entry.guid), change.add, change.remove)
            place.members_changed({*change.add, *change.remove})
        await self.joining.mark(entry.guid)
        return True

    async def members_written(self, resource: Resource, _entry: Entry, facts: GroupFacts) -> float | None:
        """The directory has the members that it shall have, as far as may be."""
        return self._report(resource, facts)

    def _judge(self, resource: Resource, entry: Entry, plan: MembersPlan) -> MembersStep:
        """What of a plan may be written: not whom others fight about. Who joins never waits for a limit on those who leave."""

        def changes(add: Sequence[str], remove: Sequence[str]) -> tuple[ModifyMembers, ...]:
            return member_changes(add, remove, entry.guid, entry.dn, self._shown_name)

        everything = changes(plan.add, plan.remove)
        if self.place.resource.spec.mode is Mode.OBSERVE:
            if plan.done:
                return MembersStep()
            said = f"mode Observe: {len(plan.add)} members would be added, {len(plan.remove)} removed"
            return MembersStep(Verdict(Reason.OBSERVING, said), everything)
        contested = self.place.quarrels.members.contested(resource.key, Sides(plan.add, plan.remove))
        left = members_verdict(contested, self._shown_name) if any(contested) else None
        plan = plan.without(*contested)
        leaving = changes((), plan.remove)
        if leaving and (held := self.place.guard.judge(resource.key, leaving)):
            return MembersStep(held, leaving, changes(plan.add, ()))
        return MembersStep(left, changes(*contested), changes(plan.add, plan.remove))

    def _shown_name(self, guid: str) -> str:
        entry = self.place.mirror.by_guid(guid)
        return entry.sam if entry is not None else guid

    def _plan_members(self, resource: Resource, entry: Entry) -> MembersPlan:
        mirror = self.place.mirror
        present = mirror.members(entry.guid)
        assert present is not None
        return plan_members(
            self._wanted(resource),
            present,
            policy=resource.spec.membership_policy,
            ours=self._ours(present),
            privileged=self._privileged(present),
            primary=mirror.primary_members(entry),
        )

    def _ours(self, present: set[str]) -> set[str]:
        """Those that carry an owner mark of this cluster."""
        mirror, prefix = self.place.mirror, f"adsync1:u:{self.place.rules.cluster}:"
        return {guid for guid in present if (member := mirror.by_guid(guid)) is not None and member.mark.startswith(prefix)}

    def _privileged(self, present: set[str]) -> set[str]:
        place = self.place
        own = place.directory.info.account_guid
        marked = {guid for guid in present if (member := place.mirror.by_guid(guid)) is not None and member.admin_count == 1}
        return (present & place.protected.keys()) | marked | {own}

    def _wanted(self, resource: Resource) -> list[WantedMember]:
        """The SyncedUsers that are listed, and those that the selector matches, each with its account in this domain."""
        store, spec, namespace = self.place.store, resource.spec, resource.key.namespace
        assert isinstance(spec, SyncedGroupSpec)
        listed = [member.name for member in spec.members or ()]
        if spec.member_selector is not None:
            selected = (user for user in store.users_in(namespace) if spec.member_selector.matches(user.labels))
            listed += [user.key.name for user in selected if not user.deleting]
        return [self._member(Key(USER, namespace, name)) for name in dict.fromkeys(listed)]

    def _member(self, key: Key) -> WantedMember:
        place = self.place
        user = place.store.resources.get(key)
        if user is None:
            return WantedMember(key.name, pending=f"there is no SyncedUser {key.name} in namespace {key.namespace}")
        if not place.store.is_wanted(key, place.domain):
            return WantedMember(key.name, pending="the user is not bound to this domain")
        if user.deleting:
            return WantedMember(key.name, pending="the user is being deleted")
        entry, known = self._account(user)
        if entry is None:
            standing = place.reports.standings(place.domain).get(key)
            waiting = f": {standing.reason}" if standing and standing.reason not in (None, Reason.SYNCED, Reason.PROGRESSING) else ""
            return WantedMember(key.name, pending=f"the user has no account in this domain yet{waiting}", known=known)
        if entry.guid in place.protected or entry.admin_count == 1:
            return WantedMember(key.name, guid=entry.guid, pending="the account is privileged and is never written")
        if not entry.dn.is_below(place.rules.container):
            return WantedMember(key.name, guid=entry.guid, pending=f"the account is not below {place.rules.container}")
        return WantedMember(key.name, guid=entry.guid)

    def _account(self, user: Resource) -> tuple[Entry | None, str]:
        """The user's account: by its owner mark, or, where the mark's place holds a foreign value, by what the status records; and that."""
        place, mirror = self.place, self.place.mirror
        marked = [entry for entry in mirror.by_owner(owner_of(user.key, place.rules)) if entry.kind is EntryKind.USER]
        if len(marked) == 1:
            return marked[0], ""
        known = place.reports.recorded(user, place.domain).object_guid or ""
        entry = mirror.by_guid(known) if known else None
        if entry is None or not entry.mark or OwnerMark.parse(entry.mark) is not None:
            return next((each for each in marked if each.guid == known), None), known
        return entry, known

    def _membership(self, plan: MembersPlan, entry: Entry) -> GroupMembership:
        mirror = self.place.mirror
        nested = [
            member.sam
            for guid in mirror.members(entry.guid) or ()
            if (member := mirror.by_guid(guid)) is not None and member.kind is EntryKind.GROUP
        ]
        return GroupMembership(
            desired=plan.desired,
            applied=plan.applied,
            foreign=plan.foreign,
            pending=[PendingMember(user=member.user, reason=member.pending) for member in plan.pending[:_SHOWN]] or None,
            nested_groups=sorted(nested)[:_SHOWN] or None,
        )

    # --- reports ---

    def _recorded(self, resource: Resource) -> GroupDomainStatus:
        recorded = self.place.reports.recorded(resource, self.place.domain)
        assert isinstance(recorded, GroupDomainStatus)
        return recorded

    def stuck(self, resource: Resource, verdict: Verdict, planned: Sequence[Change] = ()) -> float | None:
        return self._report(resource, GroupFacts(verdict, planned=tuple(planned)))

    def _report(self, resource: Resource, facts: GroupFacts) -> float | None:
        before = self._recorded(resource)
        entry = group_entry(before, facts, datetime.now(UTC))
        self.place.reports.put(resource, self.place.domain, entry)
        return self.outcome(resource, (before.reason, before.message), facts.verdict, facts.planned)

    # --- going ---

    def removal_plan(self, resource: Resource, policy: DeletionPolicy) -> GroupPlan:
        wish = bare_group_wish(resource, self.place.rules, self._recorded(resource))
        return plan_group_removal(wish, policy, self.place.rules, self.place.around())

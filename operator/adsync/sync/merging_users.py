"""One user under Import or Bidirectional, from a look to its report:

    imported, and its account has left?             go, as onScopeRemoval says
    written by hand, and its account has left?      OutOfScope
    merge: last agreed, spec, directory             the merged values are what is wanted from now on
    the directory differs?                          write it, as for Export (never under Import)
    the spec differs?                               write it, as our own field manager
    not in scope yet?                               join the scope group (what came from Kubernetes, Bidirectional)

The last round finds nothing to do; what both sides then have is the next base.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from adsync.core.both import IN_SCOPE, SUSPENDED, USERNAME, names_for, user_attributes, user_in_directory, user_in_spec, user_spec
from adsync.core.changes import PasswordSource
from adsync.core.entries import Entry
from adsync.core.identity import Verdict, find, may_adopt
from adsync.core.merge import Merged, merge
from adsync.core.passwords import PasswordStep
from adsync.core.report import UserFacts
from adsync.core.users import UserPlan, UserWish, of_this_account, out_of_reach, plan_user, plan_user_removal, user_claim
from adsync.resources.addomain import Mode
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import PasswordState, UserDomainStatus, UserMembership
from adsync.sync.imports import Imports
from adsync.sync.merging import Departure, Merging
from adsync.sync.objects import AGAIN, Again, Outcome
from adsync.sync.store import Binding, Key, Resource
from adsync.sync.users import Done, UserSync, bare_user_wish
from adsync.sync.wishes import user_wish
from adsync.sync.workplace import Workplace


@dataclass(frozen=True, slots=True)
class _Clean:
    """What a look went by that found nothing to do. While all of it is the same, so is the answer."""

    subject: int  # a hash of all of the resource but its status
    entry: Entry
    groups: tuple[str, ...]
    in_scope: bool | None  # None while that is not known
    admin: bool
    protected: bool
    secret: object
    taken_over: Key | None
    version: str = field(default="", compare=False)  # of the resource that says so; "" where its status was yet to be written


class MergingUsers(Merging, UserSync):
    """Looks at users."""

    def __init__(self, place: Workplace, imports: Imports) -> None:
        super().__init__(place, imports)
        self._clean: dict[Key, _Clean] = {}

    async def sync(self, resource: Resource, binding: Binding) -> float | None:
        if self._is_clean(resource):
            return None
        self._clean.pop(resource.key, None)
        done = Done()
        said = "one of the two sides keeps changing while the other is written"
        return await self.rounds(resource, lambda current: self._round(current, binding, done), said)

    async def _round(self, resource: Resource, binding: Binding, done: Done) -> Outcome:
        place, wish = self.place, self._wish(resource, binding, done)
        if self.imports.is_imported(resource):
            outcome = await self.leave(resource, wish.linked)
            if not isinstance(outcome, Again):
                return outcome
        found = find(user_claim(wish, place.rules), place.mirror)
        if isinstance(found, Verdict):
            return self.stuck(resource, found)
        entry, merged = found.entry, Merged()
        if entry is None:
            gone = await self.deleted(resource, has_been_in=IN_SCOPE in wish.agreed)
            if isinstance(gone, Again):
                return AGAIN
            plan = UserPlan(verdict=gone) if gone else self._plan_absent(wish)
        else:
            left = self.out_of_scope(entry, has_been_in=IN_SCOPE in wish.agreed)
            merged = self._merge(resource, wish, entry)
            wish = self._merged_wish(wish, merged, entry)
            plan = UserPlan(found, verdict=left) if left else self._plan(wish, entry)
        if plan.verdict is None and plan.changes:
            return await self._carry_to_directory(resource, wish, plan, merged, done)
        if plan.verdict is not None or entry is None:
            return self._settled(resource, wish, plan, done)
        merged, contested = self.without_contested(resource, wish.agreed, merged)
        if merged.to_resource:
            if place.resource.spec.mode is Mode.OBSERVE:
                said = f"mode Observe: spec would be changed: {', '.join(merged.to_resource)}"
                return self._report(resource, self._facts(Verdict(Reason.OBSERVING, said), wish, plan, done), wish.recorded)
            return AGAIN if await self._carry_to_resource(resource, entry, wish, merged, done) else 0.0
        if verdict := contested or await self._belong(resource, entry, wish):
            return self._report(resource, self._facts(verdict, wish, plan, done), wish.recorded)
        pause = self._settled(resource, wish, plan, done)
        self._note_clean(resource, entry, pause)
        return pause

    async def _carry_to_directory(self, resource: Resource, wish: UserWish, plan: UserPlan, merged: Merged, done: Done) -> Outcome:
        """As a look of Export does it."""
        entry, place = plan.found.entry if plan.found else None, self.place
        if verdict := self.hindrance(resource, plan.changes, plan.drift, entry):
            return self._report(resource, self._facts(verdict, wish, plan, done), wish.recorded)
        if entry is None and await self.found_by_read(resource):
            return AGAIN
        self.send_to_directory(resource.key, entry.guid if entry else "", merged, user_in_spec(resource.spec, place.rules))
        written = await self._carry_out(resource, wish, plan, done)
        if written:
            self.tell_conflicts(resource, merged)
        return None if written is None else AGAIN

    def vanished(self, key: Key) -> None:
        self._clean.pop(key, None)
        super().vanished(key)

    # --- what is wanted ---

    def _wish(self, resource: Resource, binding: Binding, done: Done) -> UserWish:
        place = self.place
        names_ = place.rules.names(resource.spec.username) if not self.imports.is_imported(resource) else None
        named = (place.mirror.by_sam(names_.sam) or place.mirror.by_upn(names_.upn)) if names_ else None
        linked = self.imports.linked(resource)
        return user_wish(
            resource,
            place.resource,
            binding,
            place.rules,
            place.store,
            self._recorded(resource),
            retry_rejected=not done.refused and resource.requested != resource.status.get("lastHandledReconcileAt", ""),
            just_pushed=done.pushed,
            linked=linked,
            yields=self.imports.yields(resource, place.mirror.by_guid(linked) if linked else named),
        )

    def _merge(self, resource: Resource, wish: UserWish, entry: Entry) -> Merged:
        rules = self.place.rules
        here, there = user_in_spec(resource.spec, rules), user_in_directory(entry, rules)
        return merge(
            self.base(resource.key, entry.guid, of_this_account(wish, entry).agreed, here, there),
            here,
            there,
            rules.spec.authority,
            imported=self.imports.is_imported(resource),
            import_only=self.read_only,
        )

    def _merged_wish(self, wish: UserWish, merged: Merged, entry: Entry) -> UserWish:
        """What both sides shall have, as a wish for the directory: where its own value won nothing is written."""
        rules, values = self.place.rules, merged.values
        return replace(
            wish,
            names=names_for(values[USERNAME], entry, rules),
            username=values[USERNAME],
            attributes=user_attributes(values, rules),
            suspended=values[SUSPENDED] == "true" if SUSPENDED in values else None,
        )

    def _plan(self, wish: UserWish, entry: Entry) -> UserPlan:
        place = self.place
        if not self.read_only:
            return plan_user(wish, place.rules, place.around())
        found = find(user_claim(wish, place.rules), place.mirror)
        if isinstance(found, Verdict):
            return UserPlan(verdict=found)
        verdict = out_of_reach(entry, place.rules, place.around())
        if verdict is None and found.adopting:
            verdict = may_adopt(
                entry,
                place.rules.spec.adoption_policy,
                email=wish.email,
                entry_email=entry.attributes.get(place.rules.fields["email"], ""),
                from_elsewhere=wish.from_elsewhere,
            )
        step = PasswordStep(PasswordSource.NONE, PasswordState.UNKNOWN, "passwords are never imported, and direction Import sets none")
        return UserPlan(found, password=step, verdict=verdict)

    def _plan_absent(self, wish: UserWish) -> UserPlan:
        if not self.read_only:
            return plan_user(wish, self.place.rules, self.place.around())
        said = f"there is no account {wish.username!r} in the directory, and direction Import creates none"
        return UserPlan(verdict=Verdict(Reason.OUT_OF_SCOPE, said))

    # --- the resource's side ---

    async def _carry_to_resource(self, resource: Resource, entry: Entry, wish: UserWish, merged: Merged, done: Done) -> bool:
        """Write what the directory has won to the spec. False where it was edited meanwhile."""
        place = self.place
        spec = user_in_spec(resource.spec, place.rules)
        self.send_to_resource(resource.key, entry.guid, merged)
        if not await self.write_spec(resource, user_spec(merged.values, merged.to_resource, place.rules)):
            return False
        done.wrote = True
        self.tell_conflicts(resource, merged)
        changes = {name: f"{name}: {spec[name] or '(none)'} → {merged.values[name] or '(none)'}" for name in merged.to_resource}
        edited = self.edited(wish.agreed, merged)
        back = [told for name, told in changes.items() if name in edited]
        come = [told for told in changes.values() if told not in back]
        if back:
            place.quarrels.note(resource.key)
            place.reports.event(resource, "SetBack", "direction Import: set back what was edited: " + "; ".join(back), warning=True)
        if come:
            place.reports.event(resource, "Imported", "from the directory: " + "; ".join(come))
        return True

    async def _belong(self, resource: Resource, entry: Entry, wish: UserWish) -> Verdict | None:
        """See that the account is in scope, and that an imported resource is labelled as what it is."""
        scope = self.imports.scope
        if self.imports.is_imported(resource):
            await self.mark_imported(resource, admin=entry.guid in scope.admins)
            return None
        if self.read_only or entry.guid in scope or IN_SCOPE in wish.agreed or not scope.complete:
            return None
        return await self.join(resource, entry)

    async def suspend(self, resource: Resource, departure: Departure) -> float | None:
        place, recorded = self.place, self._recorded(resource)
        if place.resource.spec.mode is Mode.OBSERVE:
            return self.stuck(resource, Verdict(Reason.OBSERVING, f"mode Observe: the resource would be suspended, as {departure.why}"))
        if resource.spec.suspended is not True:
            if not await self.write_spec(resource, {SUSPENDED: True}):
                return 0.0
            place.reports.event(resource, "LeftScope", f"{departure.why}; the resource was suspended, the directory is left as it is")
            resource = place.store.resources.get(resource.key, resource)
        # The base says so as well, so that the directory's value wins when the account comes back.
        agreed = {**(recorded.last_synced or {}), SUSPENDED: "true"}
        facts = UserFacts(Verdict(Reason.OUT_OF_SCOPE, f"{departure.why}; the resource is suspended"), agreed=agreed)
        return self._report(resource, facts, recorded)

    # --- reports ---

    def _report(self, resource: Resource, facts: UserFacts, before: UserDomainStatus) -> float | None:
        if facts.agreed is not None:
            self.agree(resource)
        return super()._report(resource, facts, before)

    def _membership(self, entry: Entry) -> UserMembership:
        scope = self.imports.scope
        told = super()._membership(entry)
        if not scope.complete:
            return told
        return told.model_copy(update={"in_scope": entry.guid in scope.users, "admin": entry.guid in scope.admins})

    def _facts(self, verdict: Verdict, wish: UserWish, plan: UserPlan, done: Done, *, equal: bool = False) -> UserFacts:
        facts = super()._facts(verdict, wish, plan, done, equal=equal)
        entry = plan.found.entry if plan.found else None
        if facts.agreed is None or entry is None:
            return facts
        agreed = dict(facts.agreed)
        if not wish.linked or self.read_only:
            seen = IN_SCOPE in wish.agreed or entry.guid in self.imports.scope
            agreed |= {IN_SCOPE: "true"} if seen else {}
        return replace(facts, agreed=agreed)

    def removal_plan(self, resource: Resource, policy: DeletionPolicy) -> UserPlan:
        place, linked = self.place, self.imports.linked(resource)
        wish = bare_user_wish(resource, place, self._recorded(resource))
        wish = replace(wish, linked=linked, yields=self.imports.yields(resource, place.mirror.by_guid(linked) if linked else None))
        plan = plan_user_removal(wish, policy, place.rules, place.around())
        left = self.copied(resource) or self.released_as_left(
            resource, plan.found.entry if plan.found else None, has_been_in=IN_SCOPE in (wish.recorded.last_synced or {})
        )
        return replace(plan, changes=(), verdict=left) if left and plan.verdict is None else plan

    # --- looks that find nothing ---

    def _facts_now(self, resource: Resource, entry: Entry) -> _Clean:
        place, scope = self.place, self.imports.scope
        named = resource.spec.password_secret_ref is not None
        return _Clean(
            subject=_subject(resource),
            entry=entry,
            groups=tuple(sorted(group.sam for group in place.mirror.groups_of(entry.guid))),
            in_scope=entry.guid in scope.users if scope.complete else None,
            admin=entry.guid in scope.admins,
            protected=entry.guid in place.protected,
            secret=place.store.secret_of(resource)[0] if named else None,
            taken_over=self.imports.by_hand(entry),
        )

    def _is_clean(self, resource: Resource) -> bool:
        """Where the last look's status had yet to be written, the resource has to be just what the API server made of it by that."""
        known, reports = self._clean.get(resource.key), self.place.reports
        if known is None or (known.version != resource.version and (known.version or not reports.is_as_told(resource, self.place.domain))):
            return False
        entry = self.place.mirror.by_guid(known.entry.guid)
        return entry is not None and self._facts_now(resource, entry) == known

    def _note_clean(self, resource: Resource, entry: Entry, pause: float | None) -> None:
        if pause is None:
            told = self.place.reports.is_told(resource, self.place.domain)
            self._clean[resource.key] = replace(self._facts_now(resource, entry), version=resource.version if told else "")


def _subject(resource: Resource) -> int:
    labels, annotations = frozenset(resource.labels.items()), frozenset(resource.annotations.items())
    return hash((resource.uid, resource.generation, resource.deleting, resource.finalizers, labels, annotations))

"""One user in one domain, from a look to its report:

    refused (namespace, spec, an older claim)?      report why
    plan from the mirror; nothing differs?          report what is there
    Observe?                                        report what would be done
    above the safety limit?                         report that it is held
    read the account afresh, privileged or not      plan again from that
    finalizer, password, write                      read back, and begin again

The last round finds nothing to do, so that what is reported is always what the directory has confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr

from adsync.core.changes import Add, Change, Modify, PasswordSource, past
from adsync.core.entries import Entry
from adsync.core.identity import Verdict
from adsync.core.names import AccountNames
from adsync.core.owner import PasswordDigest
from adsync.core.passwords import PasswordWish
from adsync.core.report import UserFacts, ours, user_entry
from adsync.core.users import UAC, UserPlan, UserWish, agreed_values, plan_user, plan_user_removal
from adsync.errors import AlreadyExists, NoSuchObject, PasswordRefused, ValueMismatch
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import PasswordState, PasswordStatus, UserDomainStatus, UserMembership
from adsync.sync.objects import AGAIN, ObjectSync, Outcome
from adsync.sync.passwords import asked_for, fetch_password, random_secret, refused_beforehand
from adsync.sync.store import Binding, Resource
from adsync.sync.wishes import owner_of, user_wish
from adsync.sync.workplace import Workplace

_SHOWN_GROUPS = 100


@dataclass(slots=True)
class Done:
    """What was written in this look."""

    wrote: bool = False
    pushed: PasswordDigest | None = None
    refused: bool = False  # the directory, or what is known of its policy, refused the password


class UserSync(ObjectSync):
    """Looks at users."""

    def name(self, resource: Resource) -> str:
        return str(resource.spec.username)

    async def sync(self, resource: Resource, binding: Binding) -> float | None:
        done = Done()
        said = "the directory, or somebody in it, keeps changing what is written"
        return await self.rounds(resource, lambda current: self._round(current, binding, done), said)

    async def _round(self, resource: Resource, binding: Binding, done: Done) -> Outcome:
        place, recorded = self.place, self._recorded(resource)
        retry = not done.refused and resource.requested != resource.status.get("lastHandledReconcileAt", "")
        wish = user_wish(
            resource, place.resource, binding, place.rules, place.store, recorded, retry_rejected=retry, just_pushed=done.pushed
        )
        plan = plan_user(wish, place.rules, place.around())
        if not plan.changes:
            return self._settled(resource, wish, plan, done)
        entry = plan.found.entry if plan.found else None
        if verdict := self.hindrance(resource, plan.changes, plan.drift, entry):
            return self._report(resource, self._facts(verdict, wish, plan, done), wish.recorded)
        if entry is None and await self.found_by_read(resource):
            return AGAIN
        return None if await self._carry_out(resource, wish, plan, done) is None else AGAIN

    async def _carry_out(self, resource: Resource, wish: UserWish, plan: UserPlan, done: Done) -> bool | None:
        """As `at_its_turn`; and read back what was written."""
        entry = plan.found.entry if plan.found else None
        written = await self.at_its_turn(resource, entry, lambda current: self._write(current, wish, plan, done))
        if written:
            await self._read_back(wish, plan)
        return written

    async def _write(self, resource: Resource, wish: UserWish, plan: UserPlan, done: Done) -> bool:
        """Make the changes, in order. False where the plan has to be made again, from what was learnt."""
        place, entry = self.place, plan.found.entry if plan.found else None
        for change in plan.changes:
            password: SecretStr | None = None
            source = change.password if isinstance(change, (Add, Modify)) else PasswordSource.NONE
            if source is PasswordSource.SECRET:
                password = await fetch_password(place, resource, wish)
                if password is None:
                    return False
                if refusal := await refused_beforehand(place, wish, entry, password):
                    self._refused(resource, wish, refusal, done)
                    return False
            elif source is PasswordSource.RANDOM:
                password = random_secret(place.policy)
            try:
                await place.apply(change, password)
            except PasswordRefused as error:
                if source is not PasswordSource.SECRET:
                    raise
                self._refused(resource, wish, f"{error}; the domain asks for {await asked_for(place, entry)}", done)
                return False
            except (ValueMismatch, NoSuchObject):
                await self.learn(change)
                return False
            except AlreadyExists:
                if not await place.find_names(wish.names.sam, wish.names.upn):
                    raise
                return False
            place.guard.note(resource.key, change)
            done.wrote = True
            if source is PasswordSource.SECRET:
                done.pushed = wish.password.digest
                place.memory.refused.pop(resource.key, None)
                place.metrics.password_pushes.labels(place.name, "ok").inc()
        self._tell(resource, plan)
        return True

    async def _read_back(self, wish: UserWish, plan: UserPlan) -> None:
        entry = plan.found.entry if plan.found else None
        if entry is None:
            await self.place.readback.by_sam(wish.names.sam)
        else:
            await self.place.readback.by_guid(entry.guid)

    def _refused(self, resource: Resource, wish: UserWish, message: str, done: Done) -> None:
        done.refused = True
        digest = str(wish.password.digest) if wish.password.digest else None
        self.place.memory.refused[resource.key] = PasswordStatus(state=PasswordState.REJECTED, digest=digest, message=message)
        self.place.metrics.password_pushes.labels(self.place.name, "rejected").inc()

    def _recorded(self, resource: Resource) -> UserDomainStatus:
        """The status entry, with a refusal of this look's own in it."""
        recorded = self.place.reports.recorded(resource, self.place.domain)
        assert isinstance(recorded, UserDomainStatus)
        refused = self.place.memory.refused.get(resource.key)
        if refused is None or (
            recorded.password and recorded.password.digest == refused.digest and recorded.password.state is refused.state
        ):
            return recorded
        kept = (recorded.password or PasswordStatus()).model_copy(
            update={"state": refused.state, "digest": refused.digest, "message": refused.message}
        )
        return recorded.model_copy(update={"password": kept})

    # --- reports ---

    def _settled(self, resource: Resource, wish: UserWish, plan: UserPlan, done: Done) -> float | None:
        """Nothing is left to do, or nothing can be done: the plan's own verdict says which."""
        self.place.guard.withdraw(resource.key)
        return self._report(
            resource, self._facts(plan.verdict or _verdict(plan, wish), wish, plan, done, equal=plan.verdict is None), wish.recorded
        )

    def _facts(self, verdict: Verdict, wish: UserWish, plan: UserPlan, done: Done, *, equal: bool = False) -> UserFacts:
        entry = ours(plan.found, equal=equal)
        sent = plan.password is not None and plan.password.source is not PasswordSource.NONE
        return UserFacts(
            verdict,
            found=plan.found,
            password=None if sent else plan.password,  # what is yet to be sent is not told as if it were
            wish=wish.password,
            requested=wish.suspended,
            agreed=agreed_values(wish, self.place.rules) if equal else None,
            planned=plan.changes,
            membership=self._membership(entry) if entry is not None else None,
            wrote=done.wrote,
            pushed=done.pushed is not None,
        )

    def _membership(self, entry: Entry) -> UserMembership:
        """What the directory says, whoever put it there."""
        groups = sorted(group.sam for group in self.place.mirror.groups_of(entry.guid))
        return UserMembership(groups=groups[:_SHOWN_GROUPS], count=len(groups))

    def stuck(self, resource: Resource, verdict: Verdict, planned: Sequence[Change] = ()) -> float | None:
        return self._report(resource, UserFacts(verdict, planned=tuple(planned)), self._recorded(resource))

    def _report(self, resource: Resource, facts: UserFacts, before: UserDomainStatus) -> float | None:
        entry = user_entry(before, facts, datetime.now(UTC))
        self.place.reports.put(resource, self.place.domain, entry)
        return self.outcome(resource, (before.reason, before.message), facts.verdict, facts.planned)

    def _tell(self, resource: Resource, plan: UserPlan) -> None:
        """Events for what was written."""
        event = self.place.reports.event
        found = plan.found
        for change in plan.changes:
            if isinstance(change, Add):
                given = change.password is PasswordSource.SECRET
                password = f" with the password of Secret {resource.spec.password_secret_ref.name}" if given else ""
                event(resource, "Created", f"created {change.dn}{password}")
            elif isinstance(change, Modify):
                self._tell_modify(resource, plan, change)
            else:
                event(resource, "Moved", past(change))
        if found and found.adopting and found.entry:
            event(resource, "Adopted", f"took over {found.entry.dn}")
        if plan.drift:
            self.place.quarrels.note(resource.key)
            self.place.metrics.drift_reverted.labels(self.place.name).inc(len(plan.drift))
            event(resource, "DriftReverted", "set back what was changed in the directory: " + "; ".join(map(str, plan.drift)))

    def _tell_modify(self, resource: Resource, plan: UserPlan, change: Modify) -> None:
        event = self.place.reports.event
        if change.password is PasswordSource.SECRET:
            event(resource, "PasswordSet", f"set the password of {change.dn}")
        told = [
            edit
            for edit in change.edits
            if edit.attribute not in (self.place.rules.mark_attribute, "pwdLastSet") and edit not in plan.drift
        ]
        for edit in told:
            if edit.attribute == UAC:
                disabled = bool(int(edit.new or 0) & 2)
                event(resource, "Suspended" if disabled else "Resumed", f"{'disabled' if disabled else 'enabled'} {change.dn}")
        if plain := [str(edit) for edit in told if edit.attribute != UAC]:
            event(resource, "Updated", "; ".join(plain))

    # --- going ---

    def removal_plan(self, resource: Resource, policy: DeletionPolicy) -> UserPlan:
        wish = bare_user_wish(resource, self.place, self._recorded(resource))
        return plan_user_removal(wish, policy, self.place.rules, self.place.around())


def _verdict(plan: UserPlan, wish: UserWish) -> Verdict:
    """What Ready says of an account that is as it should be, as far as can be."""
    step, found = plan.password, plan.found
    if step is not None and step.state is PasswordState.REJECTED:
        return Verdict(Reason.PASSWORD_REJECTED, f"the password was refused: {step.message}")
    if step is not None and step.state is PasswordState.PENDING and step.named:
        return Verdict(wish.password.reason, step.message)
    if found is not None and found.unmarkable:
        return Verdict(
            Reason.SYNCED, "the ownership attribute holds somebody else's value and is left alone: identity rests on this status"
        )
    return Verdict(Reason.SYNCED, "")


def bare_user_wish(resource: Resource, place: Workplace, recorded: UserDomainStatus) -> UserWish:
    """Enough to find what is ours: nothing is looked for by name when a resource goes."""
    return UserWish(
        owner=owner_of(resource.key, place.rules),
        names=AccountNames("", "", ""),
        username="",
        attributes={},
        email="",
        suspended=None,
        container=None,
        password=PasswordWish(),
        recorded=recorded,
        agreed={},
    )

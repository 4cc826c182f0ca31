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

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from pydantic import SecretStr

from adsync.core.changes import Add, Change, Modify, PasswordSource
from adsync.core.entries import Entry
from adsync.core.identity import Verdict
from adsync.core.names import AccountNames
from adsync.core.passwords import PasswordWish, known_refusal, policy_in_words
from adsync.core.report import UserFacts, user_entry
from adsync.core.users import UAC, UserPlan, UserWish, agreed_values, plan_user, plan_user_removal
from adsync.errors import (
    AlreadyExists,
    DirectoryError,
    DirectoryUnavailable,
    InsufficientRights,
    InvalidSpec,
    NoSuchObject,
    PasswordRefused,
    ValueMismatch,
)
from adsync.resources import names
from adsync.resources.addomain import Mode
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import READINESS, Reason
from adsync.resources.synceduser import PasswordState, PasswordStatus, UserDomainStatus
from adsync.sync.passwords import fetch_password, random_secret
from adsync.sync.reports import as_object
from adsync.sync.store import Binding, Key, Resource
from adsync.sync.wishes import owner_of, user_wish
from adsync.sync.workplace import Workplace

_log = structlog.get_logger(__name__)

_ROUNDS = 6
_BY_EVENT = frozenset({Reason.PASSWORD_PENDING})  # under way, but only an event can change it: not worth looking again


@dataclass(slots=True)
class _Done:
    """What was written in this look."""

    wrote: bool = False
    pushed: bool = False
    created: bool = False


class UserSync:
    """Looks at users. `look` returns the least pause in seconds after which the key wants another look, or None where it is settled."""

    def __init__(self, place: Workplace) -> None:
        self.place = place

    async def look(self, key: Key) -> float | None:
        """Raises DirectoryUnavailable where the connection is gone; anything else becomes a report."""
        place = self.place
        resource = place.store.resources.get(key)
        binding = place.store.bindings.get(key, {}).get(place.domain)
        if resource is None or binding is None:
            place.reports.forget(key)
            place.guard.withdraw(key)
            return None
        try:
            if resource.deleting or not binding.wanted or place.going:
                return await self._release(resource)
            return await self._sync(resource, binding)
        except DirectoryUnavailable:
            raise
        except AlreadyExists as error:
            return self._stuck(resource, Verdict(Reason.CONFLICT, f"{error}"))
        except InsufficientRights as error:
            return self._stuck(resource, Verdict(Reason.INSUFFICIENT_RIGHTS, str(error)))
        except DirectoryError as error:
            return self._stuck(resource, Verdict(Reason.DIRECTORY_ERROR, str(error)))

    # --- wanted ---

    async def _sync(self, resource: Resource, binding: Binding) -> float | None:
        place, done = self.place, _Done()
        checked = ""
        for _ in range(_ROUNDS):
            recorded = self._recorded(resource)
            try:
                if verdict := self._refusal(resource):
                    return self._stuck(resource, verdict)
                retry = resource.requested != resource.status.get("lastHandledReconcileAt", "")
                wish = user_wish(resource, place.resource, binding, place.rules, place.store, recorded, retry_rejected=retry)
            except InvalidSpec as error:
                return self._stuck(resource, Verdict(Reason.INVALID_SPEC, str(error)))
            plan = plan_user(wish, place.rules, place.around())
            if plan.verdict is not None:
                return self._stuck(resource, plan.verdict, plan, wish, done)
            if not plan.changes:
                return self._settled(resource, wish, plan, done)
            if place.resource.spec.mode is Mode.OBSERVE:
                return self._observed(resource, wish, plan)
            if verdict := place.guard.judge(resource.key, plan.changes):
                return self._stuck(resource, verdict, plan, wish, done)
            entry = plan.found.entry if plan.found else None
            if entry is None:
                if await self._found_by_read(wish):
                    continue
                if verdict := self._unproven(resource, wish):
                    return self._stuck(resource, verdict, plan, wish, done)
            if entry is not None and checked != entry.guid:
                checked = entry.guid
                if await place.recheck(entry.guid) != entry or entry.guid in place.protected:
                    continue
            if not await self._hold(resource):
                return None
            resource = place.store.resources.get(resource.key, resource)
            if not await self._write(resource, wish, plan, done):
                continue
            await self._read_back(wish, plan)
        return self._stuck(
            resource, Verdict(Reason.CONTESTED, "the directory, or somebody in it, keeps changing what is written"), done=done
        )

    def _refusal(self, resource: Resource) -> Verdict | None:
        place = self.place
        if not place.store.namespace_allowed(place.resource, resource.key.namespace):
            said = f"the domain does not allow namespace {resource.key.namespace}; see allowedNamespaces of ADDomain {place.name}"
            return Verdict(Reason.NAMESPACE_NOT_ALLOWED, said)
        if resource.problem:
            return Verdict(Reason.INVALID_SPEC, resource.problem)
        name = resource.spec.username
        older = place.store.older_claimant(resource, place.domain, name)
        if older is None:
            return None
        # Whoever has the account already keeps it, whatever its age.
        marked = place.mirror.by_owner(owner_of(resource.key, place.rules))
        if any(entry.sam.casefold() == name.casefold() for entry in marked):
            return None
        return Verdict(Reason.CONFLICT, f"{older.key} is older and names the same account, {name!r}; rename or delete one of them")

    async def _found_by_read(self, wish: UserWish) -> bool:
        """Whether an account that the status records, and the mirror does not know, is in the directory after all."""
        guid = wish.recorded.object_guid
        return bool(guid) and self.place.mirror.by_guid(guid or "") is None and await self.place.refresh(guid or "") is not None

    def _unproven(self, resource: Resource, wish: UserWish) -> Verdict | None:
        """Why it is not certain that an account that may have been there is gone; None where it is."""
        place, guid = self.place, wish.recorded.object_guid
        if place.absence_proven or not (guid or resource.held):
            return None
        where = f"the account with objectGUID {guid}" if guid else "an account that may have been created before"
        said = f"{where} is not on {place.directory.info.url}, which may not have caught up yet; nothing is created or released meanwhile"
        return Verdict(Reason.PROGRESSING, said)

    async def _hold(self, resource: Resource) -> bool:
        """Set the finalizer before the first write. False where the resource is gone, or going."""
        if resource.held:
            return True
        obj = await self.place.cluster.add_finalizer(as_object(resource), names.FINALIZER)
        if obj is None:
            return False
        self.place.reports.taken(resource.key.kind, obj)
        return True

    async def _write(self, resource: Resource, wish: UserWish, plan: UserPlan, done: _Done) -> bool:
        """Make the changes, in order. False where the plan has to be made again, from what was learnt."""
        place = self.place
        for change in plan.changes:
            password: SecretStr | None = None
            source = change.password if isinstance(change, (Add, Modify)) else PasswordSource.NONE
            if source is PasswordSource.SECRET:
                password = await fetch_password(place, resource, wish)
                if password is None:
                    return False
                sam = wish.names.sam
                if refusal := known_refusal(
                    password.get_secret_value(), place.policy, sam=sam, display_name=wish.attributes.get("displayName", "")
                ):
                    self._refused(resource, wish, refusal)
                    return False
            elif source is PasswordSource.RANDOM:
                password = random_secret(place.policy)
            try:
                await place.apply(change, password)
            except PasswordRefused as error:
                if source is not PasswordSource.SECRET:
                    raise
                self._refused(resource, wish, f"{error}; the domain asks for {policy_in_words(place.policy)}")
                return False
            except (ValueMismatch, NoSuchObject):
                if not isinstance(change, Add):
                    await place.refresh(change.guid)
                return False
            except AlreadyExists:
                if not await place.find_names(wish.names.sam, wish.names.upn):
                    raise
                return False
            place.guard.note(resource.key, change)
            done.wrote = True
            done.pushed = done.pushed or source is PasswordSource.SECRET
            done.created = done.created or isinstance(change, Add)
            if source is PasswordSource.SECRET:
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

    def _refused(self, resource: Resource, wish: UserWish, message: str) -> None:
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

    def _settled(self, resource: Resource, wish: UserWish, plan: UserPlan, done: _Done) -> float | None:
        facts = UserFacts(
            verdict=_verdict(plan),
            found=plan.found,
            password=plan.password,
            wish=wish.password,
            requested=wish.suspended,
            agreed=agreed_values(wish, self.place.rules),
            wrote=done.wrote,
            pushed=done.pushed,
        )
        return self._report(resource, facts, wish.recorded)

    def _observed(self, resource: Resource, wish: UserWish, plan: UserPlan) -> float | None:
        said = f"mode Observe: {len(plan.changes)} change{'s' if len(plan.changes) > 1 else ''} would be made"
        facts = UserFacts(Verdict(Reason.OBSERVING, said), found=plan.found, requested=wish.suspended, planned=plan.changes)
        return self._report(resource, facts, wish.recorded)

    def _stuck(
        self, resource: Resource, verdict: Verdict, plan: UserPlan | None = None, wish: UserWish | None = None, done: _Done | None = None
    ) -> float | None:
        facts = UserFacts(
            verdict,
            found=plan.found if plan else None,
            password=plan.password if plan and plan.password and plan.password.source is PasswordSource.NONE else None,
            wish=wish.password if wish else None,
            requested=wish.suspended if wish else None,
            planned=plan.changes if plan and verdict.reason is Reason.SAFETY_LIMIT else (),
            wrote=bool(done and done.wrote),
            pushed=bool(done and done.pushed),
        )
        return self._report(resource, facts, wish.recorded if wish else None)

    def _report(self, resource: Resource, facts: UserFacts, recorded: UserDomainStatus | None) -> float | None:
        place = self.place
        before = recorded or self._recorded(resource)
        entry = user_entry(before, facts, datetime.now(UTC))
        place.reports.put(resource, place.domain, entry)
        if entry.reason is not before.reason or entry.message != before.message:
            readiness = READINESS[facts.verdict.reason]
            if facts.planned and facts.verdict.reason is Reason.OBSERVING:
                place.reports.event(resource, "WouldChange", "; ".join(map(str, facts.planned)))
            elif not readiness.ready:
                place.reports.event(resource, str(facts.verdict.reason), facts.verdict.message, warning=True)
        reason = facts.verdict.reason
        return 0.0 if READINESS[reason].reconciling and reason not in _BY_EVENT else None

    def _tell(self, resource: Resource, plan: UserPlan) -> None:
        """Events for what was written."""
        event = self.place.reports.event
        found = plan.found
        for change in plan.changes:
            if isinstance(change, Add):
                event(resource, "Created", f"created {change.dn}")
            elif isinstance(change, Modify):
                self._tell_modify(resource, plan, change)
            else:
                event(resource, "Moved", str(change))
        if found and found.adopting and found.entry:
            event(resource, "Adopted", f"took over {found.entry.dn}")
        if plan.drift:
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

    async def _release(self, resource: Resource) -> float | None:
        """Apply the deletion policy, until the directory shows that it is done; then let the resource go, as far as this domain is concerned."""
        place = self.place
        if place.going and not resource.deleting and resource.key.namespace in place.store.terminating:
            return None  # its namespace is going too: its own deletion is about to come, and says what to do
        policy = self._deletion_policy(resource)
        wish = _bare_wish(resource, place, self._recorded(resource))
        for _ in range(_ROUNDS):
            if not place.store.namespace_allowed(place.resource, resource.key.namespace):
                said = f"released as it is: ADDomain {place.name} does not allow namespace {resource.key.namespace}"
                place.reports.event(resource, str(Reason.NAMESPACE_NOT_ALLOWED), said, warning=True)
                break
            plan = plan_user_removal(wish, policy, place.rules, place.around())
            if plan.verdict is not None:
                place.reports.event(resource, str(plan.verdict.reason), f"released as it is: {plan.verdict.message}", warning=True)
                break
            entry = plan.found.entry if plan.found else None
            if entry is None:
                if await self._found_by_read(wish):
                    continue
                if verdict := self._unproven(resource, wish):
                    return self._stuck(resource, verdict, plan)
                break
            if not plan.changes:
                break
            if place.resource.spec.mode is Mode.OBSERVE:
                return self._observed(resource, wish, plan)
            if not place.going and (verdict := place.guard.judge(resource.key, plan.changes)):
                return self._stuck(resource, verdict, plan, wish)
            if await place.recheck(entry.guid) != entry or entry.guid in place.protected:
                continue
            await self._apply_removal(resource, plan.changes, entry)
        else:
            return self._stuck(resource, Verdict(Reason.CONTESTED, "the directory, or somebody in it, keeps undoing the deletion policy"))
        place.guard.withdraw(resource.key)
        place.memory.refused.pop(resource.key, None)
        await place.reports.release(resource, place.domain)
        return None

    async def _apply_removal(self, resource: Resource, changes: tuple[Change, ...], entry: Entry) -> None:
        place = self.place
        for change in changes:
            try:
                await place.apply(change)
            except (ValueMismatch, NoSuchObject):
                await place.refresh(entry.guid)
                return
            place.guard.note(resource.key, change)
            place.reports.event(resource, "Released", f"{change}")
        await place.refresh(entry.guid)

    def _deletion_policy(self, resource: Resource) -> DeletionPolicy:
        if self.place.going and not resource.deleting:
            return DeletionPolicy.RETAIN
        own: DeletionPolicy | None = resource.spec.deletion_policy if resource.spec is not None else None
        general: DeletionPolicy = self.place.resource.spec.deletion_policy
        return own or general


def _verdict(plan: UserPlan) -> Verdict:
    """What Ready says of an account that is as it should be, as far as can be."""
    step, found = plan.password, plan.found
    if step is not None and step.state is PasswordState.REJECTED:
        return Verdict(Reason.PASSWORD_REJECTED, f"the password was refused: {step.message}")
    if step is not None and step.state is PasswordState.PENDING and step.named:
        return Verdict(Reason.PASSWORD_PENDING, step.message)
    if found is not None and found.unmarkable:
        return Verdict(
            Reason.SYNCED, "the ownership attribute holds somebody else's value and is left alone: identity rests on this status"
        )
    return Verdict(Reason.SYNCED, "")


def _bare_wish(resource: Resource, place: Workplace, recorded: UserDomainStatus) -> UserWish:
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

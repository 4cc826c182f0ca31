"""What looking at a user and looking at a group have in common: refusals, the finalizer, what is certain to be absent, and letting go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeAlias

from adsync.core.changes import Add, Change, Edit, Modify, Move, past
from adsync.core.dn import fold_case
from adsync.core.entries import Entry
from adsync.core.identity import Found, Verdict
from adsync.core.owner import OwnerMark
from adsync.core.rules import DomainRules
from adsync.errors import (
    AlreadyExists,
    DirectoryError,
    DirectoryUnavailable,
    InsufficientRights,
    InvalidSpec,
    NoSuchObject,
    ValueMismatch,
    ValueRefused,
)
from adsync.resources import names
from adsync.resources.addomain import Mode
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import READINESS, Reason
from adsync.sync.reports import as_object
from adsync.sync.store import Binding, Key, Resource, differs
from adsync.sync.wishes import owner_of
from adsync.sync.workplace import NEW, USUAL, Workplace

ROUNDS = 6
_GOING_ATTEMPTS = 4
_BY_EVENT = frozenset({Reason.PASSWORD_PENDING})  # under way, but only an event can change it: not worth looking again


def _manages(domain: Resource, entry: Entry) -> bool:
    """Whether an object is below the root container of an ADDomain."""
    try:
        return entry.dn.is_below(DomainRules.resolve(domain.spec, "").container)
    except InvalidSpec:
        return False


class Again:
    """The outcome of a round after which another one is due."""


AGAIN: Final = Again()
Outcome: TypeAlias = float | Again | None
"""Of a round: AGAIN, or as of a look."""


class RemovalPlan(Protocol):
    """The part of a plan that letting go looks at."""

    @property
    def found(self) -> Found | None: ...
    @property
    def changes(self) -> tuple[Change, ...]: ...
    @property
    def verdict(self) -> Verdict | None: ...


class ObjectSync(ABC):
    """Looks at resources of one kind. `look` returns the least pause in seconds after which the key wants another look; None: it is settled."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._refusals: Counter[Key] = Counter()  # of the directory, while the domain is going

    async def look(self, key: Key) -> float | None:
        """Raises DirectoryUnavailable where the connection is gone, ClusterError where the API server is; anything else becomes a report."""
        place = self.place
        resource = place.store.resources.get(key)
        binding = place.store.bindings.get(key, {}).get(place.domain)
        if resource is None or binding is None:
            place.reports.forget(key)
            place.guard.withdraw(key)
            self.vanished(key)
            return None
        try:
            if resource.deleting or not binding.wanted or place.going:
                return await self._release(resource)
            if verdict := self._refusal(resource):
                return self.stuck(resource, verdict)
            return await self.sync(resource, binding)
        except DirectoryUnavailable:
            raise
        except (InvalidSpec, ValueRefused) as error:
            verdict = Verdict(Reason.INVALID_SPEC, str(error))
        except AlreadyExists as error:
            verdict = Verdict(Reason.CONFLICT, str(error))
        except InsufficientRights as error:
            verdict = Verdict(Reason.INSUFFICIENT_RIGHTS, str(error))
        except DirectoryError as error:
            verdict = Verdict(Reason.DIRECTORY_ERROR, str(error))
        finally:
            place.pressing.discard(key)
            place.guard.finished(key)
        if place.going:
            self._refusals[key] += 1
            if self._refusals[key] >= _GOING_ATTEMPTS:  # a domain that is going must come to its end
                self._released_as_is(resource, verdict)
                await self._let_go_of(resource)
                return None
        return self.stuck(resource, verdict)

    # --- what each kind does for itself ---

    @abstractmethod
    async def sync(self, resource: Resource, binding: Binding) -> float | None:
        """Bring the object to what the resource wants."""

    @abstractmethod
    def removal_plan(self, resource: Resource, policy: DeletionPolicy) -> RemovalPlan: ...

    @abstractmethod
    def stuck(self, resource: Resource, verdict: Verdict, planned: Sequence[Change] = ()) -> float | None:
        """Report that nothing goes on, and why."""

    @abstractmethod
    def name(self, resource: Resource) -> str:
        """The name that the resource claims."""

    # --- what import and both ways add ---

    read_only = False  # whether nothing may be written to the directory at all

    def vanished(self, key: Key) -> None:  # noqa: B027 - nothing to do, unless something is imported
        """A resource is gone, or no longer bound to this domain."""

    async def let_go(self, _resource: Resource, _entry: Entry) -> Verdict | None:
        """What else is to be done in the directory once the deletion policy is served; why it can't be done now, or None."""
        return None

    # --- what they have in common ---

    def _shut_out(self, resource: Resource) -> Verdict | None:
        place = self.place
        if place.store.namespace_allowed(place.resource, resource.key.namespace):
            return None
        said = f"the domain does not allow namespace {resource.key.namespace}; see allowedNamespaces of ADDomain {place.name}"
        return Verdict(Reason.NAMESPACE_NOT_ALLOWED, said)

    def _refusal(self, resource: Resource) -> Verdict | None:
        if verdict := self._shut_out(resource):
            return verdict
        if resource.problem:
            return Verdict(Reason.INVALID_SPEC, resource.problem)
        name = self.name(resource)
        rival = self._keeper(resource, name)
        if rival is None:
            return None
        why = "is older" if rival.age < resource.age else "has it already"
        return Verdict(Reason.CONFLICT, f"{rival.key} {why} and names the same account, {name!r}; rename or delete one of them")

    def _keeper(self, resource: Resource, name: str) -> Resource | None:
        """Who else keeps the account of this name: whoever has it already, whatever its age, and else the older one."""
        place = self.place
        there = place.mirror.by_sam(name)
        if there is not None and there.mark and OwnerMark.parse(there.mark) is None:  # whose it is, only the statuses can say
            holders = [
                each
                for each in (resource, *place.store.rivals(resource, place.domain, name))
                if place.reports.recorded(each, place.domain).object_guid == there.guid
            ]
            if len(holders) == 1:
                return None if holders[0] is resource else holders[0]
        marked = place.mirror.by_owner(owner_of(resource.key, place.rules))
        if any(fold_case(entry.sam) == fold_case(name) for entry in marked):
            return None
        return place.store.older_claimant(resource, place.domain, name)

    async def found_by_read(self, resource: Resource) -> bool:
        """Whether an object that the status records, and the mirror does not know, is in the directory after all."""
        guid = self.place.reports.recorded(resource, self.place.domain).object_guid
        return bool(guid) and self.place.mirror.by_guid(guid or "") is None and await self.place.refresh(guid or "") is not None

    def unproven(self, resource: Resource) -> Verdict | None:
        """Why it is not certain that an object that may have been there is gone; None where it is."""
        place = self.place
        guid = place.reports.recorded(resource, place.domain).object_guid
        if place.absence_proven or not (guid or resource.held):
            return None
        where = f"the object with objectGUID {guid}" if guid else "an object that may have been created before"
        said = f"{where} is not on {place.directory.info.url}, which may not have caught up yet; nothing is created or released meanwhile"
        return Verdict(Reason.PROGRESSING, said)

    def hindrance(self, resource: Resource, changes: Sequence[Change], drift: Sequence[Edit], entry: Entry | None) -> Verdict | None:
        """Why a plan is not carried out, if so: the mode, a quarrel, an absence that is not certain, or the safety limit."""
        place = self.place
        if place.resource.spec.mode is Mode.OBSERVE:
            return Verdict(Reason.OBSERVING, f"mode Observe: {len(changes)} change{'s' if len(changes) > 1 else ''} would be made")
        if verdict := place.quarrels.verdict(resource.key, drift):
            return verdict
        if entry is None and (verdict := self.unproven(resource)):
            return verdict
        return place.guard.judge(resource.key, changes)

    async def rounds(self, resource: Resource, once: Callable[[Resource], Awaitable[Outcome]], contested: str) -> float | None:
        """Go round until there is nothing left to do, each time from the resource as it is by then; `contested` says what keeps that from
        coming."""
        for _ in range(ROUNDS):
            resource = self.place.store.resources.get(resource.key, resource)
            outcome = await once(resource)
            if not isinstance(outcome, Again):
                return outcome
        return self.stuck(resource, Verdict(Reason.CONTESTED, contested))

    async def at_its_turn(self, resource: Resource, entry: Entry | None, write: Callable[[Resource], Awaitable[bool]]) -> bool | None:
        """Carry out, when its turn to be written has come, what was planned for an object (None: that is yet to be made), if it is then still
        right: the object is read afresh, privileged or not, and the resource is the same. `write` gets the resource as it is by then, and
        says whether it did what it was to do.

        False where the plan has to be made again, None where the resource has changed or gone while it waited: it is marked for another
        look then.
        """
        place = self.place
        async with place.ahead.taken(NEW if entry is None else USUAL):
            current = place.store.resources.get(resource.key)
            if current is None or differs(resource, current):
                return None
            if entry is not None and not await self._still(entry):
                return False
            if not await self.hold(current):
                return None
            return await write(current)

    async def _still(self, entry: Entry) -> bool:
        """Whether an object is as it was, apart from what no plan goes by, and may be written."""
        fresh = await self.place.recheck(entry.guid)
        same = fresh is not None and replace(fresh, usn_changed=entry.usn_changed) == entry
        return same and entry.guid not in self.place.protected

    async def hold(self, resource: Resource) -> bool:
        """Set the finalizer before the first write. False where the resource is gone, or going."""
        self.place.pressing.add(resource.key)
        if resource.held:
            return True
        obj = await self.place.cluster.add_finalizer(as_object(resource), names.FINALIZER)
        if obj is None:
            return False
        self.place.reports.taken(resource.key.kind, obj)
        return True

    async def learn(self, change: Change) -> None:
        """After a refusal that says that things are not as they were: read what the plan was made from. Raises InvalidSpec for a container
        that is not there."""
        parent = change.dn.parent if isinstance(change, Add) else change.new_dn.parent if isinstance(change, Move) else None
        if parent is not None and not await self.place.directory.exists(parent):
            raise InvalidSpec(f"the container {parent} does not exist; create it in the directory, or correct the spec")
        if not isinstance(change, Add):
            await self.place.refresh(change.guid)

    def outcome(
        self, resource: Resource, before: tuple[Reason | None, str | None], verdict: Verdict, planned: Sequence[Change]
    ) -> float | None:
        """Tell of what is new, and when to look again."""
        if (verdict.reason, verdict.message or None) != before:
            if planned and verdict.reason is Reason.OBSERVING:
                self.place.reports.event(resource, "WouldChange", "; ".join(map(str, planned)))
            elif not READINESS[verdict.reason].ready:
                self.place.reports.event(resource, str(verdict.reason), verdict.message, warning=True)
        if verdict.reason is Reason.CONTESTED:
            return self.place.quarrels.rest(resource.key)
        return 0.0 if READINESS[verdict.reason].reconciling and verdict.reason not in _BY_EVENT else None

    # --- going ---

    async def _release(self, resource: Resource) -> float | None:
        """Apply the deletion policy until the directory shows that it is done; then let the resource go, as far as this domain goes."""
        place = self.place
        if place.going and not resource.deleting and resource.key.namespace in place.store.terminating:
            return None  # its namespace is going too: its own deletion is about to come, and says what to do
        policy = self._deletion_policy(resource)
        carried_out = False
        for _ in range(ROUNDS):
            if self.read_only:
                break
            plan = self.removal_plan(resource, policy)
            if verdict := self._shut_out(resource) or plan.verdict:
                self._released_as_is(resource, verdict)
                break
            entry = plan.found.entry if plan.found else None
            if entry is None:
                if await self.found_by_read(resource):
                    continue
                if not carried_out and (verdict := self.unproven(resource)):
                    return self.stuck(resource, verdict)
                break
            if not plan.changes:
                if verdict := await self.let_go(resource, entry):
                    return self.stuck(resource, verdict)
                break
            if verdict := self._passed_on(resource, entry) or self._never_written():
                self._released_as_is(resource, verdict)
                break
            if place.resource.spec.mode is Mode.OBSERVE:
                return self.stuck(resource, Verdict(Reason.OBSERVING, "mode Observe: the deletion policy would be applied"), plan.changes)
            if not place.going and (verdict := place.guard.judge(resource.key, plan.changes)):
                return self.stuck(resource, verdict, plan.changes)
            if not await self._still(entry):
                continue
            carried_out = await self._apply_removal(resource, plan.changes, entry)
        else:
            return self.stuck(resource, Verdict(Reason.CONTESTED, "the directory, or somebody in it, keeps undoing the deletion policy"))
        await self._let_go_of(resource)
        return None

    async def _let_go_of(self, resource: Resource) -> None:
        place = self.place
        place.guard.withdraw(resource.key)
        place.memory.refused.pop(resource.key, None)
        self._refusals.pop(resource.key, None)
        await place.reports.release(resource, place.domain)

    def _never_written(self) -> Verdict | None:
        """Whether the domain goes and only observes: nobody could ever carry out the policy."""
        if self.place.going and self.place.resource.spec.mode is Mode.OBSERVE:
            return Verdict(Reason.OBSERVING, "mode Observe: the domain goes without having written anything")
        return None

    def _passed_on(self, resource: Resource, entry: Entry) -> Verdict | None:
        """Whether a resource that stays is bound to the same object by another ADDomain, whose it is by the same owner mark: after an ADDomain
        was given another name, or namespace, nobody is to be disabled."""
        place = self.place
        if resource.deleting:
            return None
        for domain, binding in place.store.bindings.get(resource.key, {}).items():
            other = place.store.resources.get(domain)
            if domain == place.domain or not binding.wanted or other is None or other.deleting or other.spec is None:
                continue
            same = (other.spec.domain_name.lower(), other.spec.cluster_name, other.spec.ownership_attribute) == (
                place.rules.spec.domain_name.lower(),
                place.rules.spec.cluster_name,
                place.rules.spec.ownership_attribute,
            )
            if same and place.store.namespace_allowed(other, resource.key.namespace) and _manages(other, entry):
                return Verdict(Reason.SYNCED, f"ADDomain {domain.namespace}/{domain.name} manages {entry.dn} as well")
        return None

    def _released_as_is(self, resource: Resource, why: Verdict) -> None:
        self.place.reports.event(resource, str(why.reason), f"released as it is: {why.message}", warning=True)

    async def _apply_removal(self, resource: Resource, changes: Sequence[Change], entry: Entry) -> bool:
        """False where the object turned out to be another than was planned for."""
        place = self.place
        for change in changes:
            try:
                await place.apply(change)
            except (ValueMismatch, NoSuchObject):
                await place.refresh(entry.guid)
                return False
            place.guard.note(resource.key, change)
            marked_only = isinstance(change, Modify) and all(edit.attribute == place.rules.mark_attribute for edit in change.edits)
            place.reports.event(resource, "Released", f"let go of {change.dn}, which stays as it is" if marked_only else past(change))
        await place.refresh(entry.guid)
        return True

    def _deletion_policy(self, resource: Resource) -> DeletionPolicy:
        if self.place.going and not resource.deleting:
            return DeletionPolicy.RETAIN
        own: DeletionPolicy | None = resource.spec.deletion_policy if resource.spec is not None else None
        general: DeletionPolicy = self.place.resource.spec.deletion_policy
        return own or general

"""What the status says: one entry per domain from a finished plan, and the whole from the entries. Pure, and stable: the same facts give
the same status, so that a look that found nothing new writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from adsync.core.changes import Change
from adsync.core.entries import Entry
from adsync.core.filetime import timestamp, to_datetime, to_text
from adsync.core.identity import Found, Verdict
from adsync.core.passwords import PasswordStep, PasswordWish
from adsync.resources import conditions
from adsync.resources.conditions import READINESS, Condition, ConditionStatus, ConditionType, Reason
from adsync.resources.syncedgroup import GroupDomainStatus, GroupLastSynced, GroupMembership
from adsync.resources.synceduser import AccountState, PasswordState, PasswordStatus, Suspension, UserDomainStatus, UserMembership

MESSAGE_LIMIT = 1024
_PLANNED_LIMIT = 20

# The worst first: what a person must look at comes before what passes by itself.
_PASSWORD_ORDER = (
    PasswordState.REJECTED,
    PasswordState.EXPIRED,
    PasswordState.CHANGED_IN_DIRECTORY,
    PasswordState.PENDING,
    PasswordState.UNKNOWN,
    PasswordState.GENERATED,
    PasswordState.SYNCED,
)
_GOOD_PASSWORDS = frozenset({PasswordState.SYNCED})

StatusT = TypeVar("StatusT", UserDomainStatus, GroupDomainStatus)


@dataclass(frozen=True, slots=True)
class UserFacts:
    """What is known of a user in one domain after a look."""

    verdict: Verdict
    found: Found | None = None
    password: PasswordStep | None = None
    wish: PasswordWish | None = None
    requested: bool | None = None
    agreed: dict[str, str] | None = None  # set where both sides are equal now
    planned: tuple[Change, ...] = ()
    membership: UserMembership | None = None
    wrote: bool = False
    pushed: bool = False


def about(recorded: StatusT, guid: str) -> StatusT:
    """What is recorded of the object with this objectGUID. Where another one went by the name before (it was deleted, and made again), nothing
    was agreed on with this one, and no password was set; only one that was refused stays refused."""
    if recorded.object_guid in (None, "", guid):
        return recorded
    password: PasswordStatus | None = getattr(recorded, "password", None)  # a user's
    if password is not None and password.state is not PasswordState.REJECTED:
        return recorded.model_copy(update={"last_synced": None, "password": None})
    return recorded.model_copy(update={"last_synced": None})


def user_entry(recorded: UserDomainStatus, facts: UserFacts, now: datetime) -> UserDomainStatus:
    """The status entry for one domain. What the look did not tell stays as it was recorded."""
    entry = ours(facts.found, equal=facts.agreed is not None)
    recorded = about(recorded, entry.guid) if entry is not None else recorded
    new = settle(recorded, facts.verdict, facts.planned, equal=facts.agreed is not None, wrote=facts.wrote, now=now)
    update: dict[str, Any] = {}
    if entry is not None and facts.found is not None:
        update = {
            "distinguished_name": str(entry.dn),
            "object_guid": entry.guid,
            "username": entry.sam,
            "origin": facts.found.origin,
            "suspension": _suspension(recorded.suspension, entry, facts.requested, now),
        }
    if facts.password is not None:
        update["password"] = _password(recorded.password or PasswordStatus(), facts, facts.password, entry, now)
    if facts.agreed is not None:
        update["last_synced"] = facts.agreed
    if facts.membership is not None:
        update["membership"] = facts.membership
    return new.model_copy(update=update)


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What is known of a group in one domain after a look."""

    verdict: Verdict
    found: Found | None = None
    agreed: dict[str, str] | None = None
    planned: tuple[Change, ...] = ()
    membership: GroupMembership | None = None
    wrote: bool = False

    def with_members(self, held: Verdict | None, planned: tuple[Change, ...], membership: GroupMembership) -> GroupFacts:
        """With how the members stand; `held` is why some of them are not as wanted, though they could be."""
        return replace(self, verdict=held or self.verdict, planned=planned, membership=membership)


def group_entry(recorded: GroupDomainStatus, facts: GroupFacts, now: datetime) -> GroupDomainStatus:
    """The status entry for one domain. What the look did not tell stays as it was recorded."""
    entry = ours(facts.found, equal=facts.agreed is not None)
    recorded = about(recorded, entry.guid) if entry is not None else recorded
    new = settle(recorded, facts.verdict, facts.planned, equal=facts.agreed is not None, wrote=facts.wrote, now=now)
    update: dict[str, Any] = {}
    if entry is not None and facts.found is not None:
        update = {"distinguished_name": str(entry.dn), "object_guid": entry.guid, "origin": facts.found.origin}
    if facts.agreed is not None:
        update["last_synced"] = GroupLastSynced.model_validate(facts.agreed)
        update["membership"] = facts.membership
    return new.model_copy(update=update)


def ours(found: Found | None, *, equal: bool) -> Entry | None:
    """The object to report on. One that is being adopted is ours once it is as wanted: where a foreign value stands in the mark's place, no
    mark ever shows that, and the status alone can."""
    return found.entry if found is not None and (equal or not found.adopting) else None


def settle(recorded: StatusT, verdict: Verdict, planned: tuple[Change, ...], *, equal: bool, wrote: bool, now: datetime) -> StatusT:
    """The part of an entry that users and groups have in common."""
    synced = wrote or (equal and recorded.last_sync_time is None)
    return recorded.model_copy(
        update={
            "ready": READINESS[verdict.reason].ready,
            "reason": verdict.reason,
            "message": verdict.message[:MESSAGE_LIMIT] or None,
            "planned_changes": [str(change)[:MESSAGE_LIMIT] for change in planned[:_PLANNED_LIMIT]] or None,
            "last_sync_time": now if synced else recorded.last_sync_time,
        }
    )


def _suspension(recorded: Suspension | None, entry: Entry, requested: bool | None, now: datetime) -> Suspension:
    account = AccountState.DISABLED if entry.disabled else AccountState.ENABLED
    same = recorded is not None and recorded.account is account
    since = recorded.last_transition_time if recorded is not None and same else now
    return Suspension(requested=requested, account=account, locked_out=entry.locked_out, last_transition_time=since)


def _password(recorded: PasswordStatus, facts: UserFacts, step: PasswordStep, entry: Entry | None, now: datetime) -> PasswordStatus:
    digest = step.digest
    if step.state is PasswordState.REJECTED and facts.wish is not None:
        digest = facts.wish.digest  # the refused one, so that it is not tried again
    settled = step.state in (PasswordState.SYNCED, PasswordState.EXPIRED, PasswordState.CHANGED_IN_DIRECTORY)
    version = facts.wish.version if facts.wish and settled and facts.wish.digest == digest else recorded.secret_version
    status = PasswordStatus(
        state=step.state,
        message=step.message[:MESSAGE_LIMIT] or None,
        digest=str(digest) if digest else None,
        secret_version=version if digest else None,
        last_sync_time=now if facts.pushed else recorded.last_sync_time,
        last_set_in_directory=recorded.last_set_in_directory,
    )
    if status.last_sync_time is None and step.state is PasswordState.SYNCED:
        status.last_sync_time = now
    if entry is not None:
        status.must_change = entry.pwd_last_set == 0
        expires = to_datetime(entry.password_expires)
        status.expires_at = expires.replace(microsecond=0) if expires else None
        if step.of_ours:
            status.last_set_in_directory = to_text(entry.pwd_last_set)
    return status


# --- the whole ----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subject:
    """The resource that a status belongs to."""

    generation: int  # the one that every domain has looked at
    requested_at: str  # the annotation reconcile-requested-at that every domain has acted on, or ""
    problem: str = field(default="", compare=False)  # why the spec can't be read, if so


def user_status(old: dict[str, Any], subject: Subject, entries: Sequence[UserDomainStatus], now: datetime) -> dict[str, Any]:
    """The status of a SyncedUser, as JSON, from its entries; fields that we do not know stay."""
    entries = sorted(entries, key=lambda entry: entry.key)  # whoever reports first, the whole says the same
    new = _common(old, subject, entries, now)
    accounts = {entry.suspension.account for entry in entries if entry.suspension and entry.suspension.account}
    passwords = [entry.password.state for entry in entries if entry.password and entry.password.state]
    account = AccountState.UNKNOWN if not accounts else accounts.pop() if len(accounts) == 1 else AccountState.MIXED
    password = min(passwords, key=_PASSWORD_ORDER.index, default=PasswordState.UNKNOWN)
    counts = [entry.membership.count for entry in entries if entry.membership and entry.membership.count is not None]
    new["account"] = str(account)
    new["password"] = str(password)
    if counts:
        new["groupCount"] = sum(counts)
    suspended = {AccountState.DISABLED: ConditionStatus.TRUE, AccountState.ENABLED: ConditionStatus.FALSE}.get(
        account, ConditionStatus.UNKNOWN
    )
    synced = ConditionStatus.UNKNOWN if not passwords else ConditionStatus.TRUE if password in _GOOD_PASSWORDS else ConditionStatus.FALSE
    told = next(
        (entry.password.message for entry in entries if entry.password and entry.password.state is password and entry.password.message), ""
    )
    new["conditions"] = _with(
        new["conditions"],
        _condition(ConditionType.ACCOUNT_SUSPENDED, suspended, str(account), "", subject, now),
        _condition(ConditionType.PASSWORD_SYNCED, synced, str(password), told, subject, now),
    )
    return new


def group_status(old: dict[str, Any], subject: Subject, entries: Sequence[GroupDomainStatus], now: datetime) -> dict[str, Any]:
    """The status of a SyncedGroup, as JSON, from its entries; fields that we do not know stay."""
    entries = sorted(entries, key=lambda entry: entry.key)
    new = _common(old, subject, entries, now)
    memberships = [entry.membership for entry in entries if entry.membership]
    new["memberCount"] = sum(membership.applied or 0 for membership in memberships)
    new["pendingCount"] = sum((membership.desired or 0) - (membership.applied or 0) for membership in memberships)
    count = new["pendingCount"]
    status = ConditionStatus.UNKNOWN if not memberships else ConditionStatus.FALSE if count else ConditionStatus.TRUE
    reason = {ConditionStatus.UNKNOWN: "Unknown", ConditionStatus.FALSE: "MembersPending", ConditionStatus.TRUE: "Synced"}[status]
    told = f"{count} member{' is' if count == 1 else 's are'} pending; status.domains[].membership.pending says why" if count else ""
    new["conditions"] = _with(new["conditions"], _condition(ConditionType.MEMBERSHIP_SYNCED, status, reason, told, subject, now))
    return new


def _common(
    old: dict[str, Any], subject: Subject, entries: Sequence[UserDomainStatus | GroupDomainStatus], now: datetime
) -> dict[str, Any]:
    new = dict(old)
    verdict = Verdict(Reason.INVALID_SPEC, subject.problem) if subject.problem and not entries else summary(entries)
    settled = conditions.with_reason(_read(old), verdict.reason, verdict.message, generation=subject.generation, now=now)
    new["conditions"] = [condition.to_json() for condition in settled]
    new["observedGeneration"] = subject.generation
    if subject.requested_at:
        new["lastHandledReconcileAt"] = subject.requested_at
    times = [entry.last_sync_time for entry in entries if entry.last_sync_time]
    if times:
        new["lastSyncTime"] = timestamp(max(times))
    new["domains"] = [entry.to_json() for entry in entries]
    return new


def summary(entries: Sequence[UserDomainStatus | GroupDomainStatus]) -> Verdict:
    """One verdict over all domains: the stuck ones first, then those under way."""
    if not entries:
        return Verdict(Reason.SYNCED, "bound to no domain: name one in spec.domains")
    judged = [(READINESS[entry.reason], entry) for entry in entries if entry.reason]
    bad = [entry for readiness, entry in judged if readiness.stalled] or [entry for readiness, entry in judged if not readiness.ready]
    if not bad:
        return Verdict(Reason.SYNCED, next((entry.message for _, entry in judged if entry.message), "") if len(entries) == 1 else "")
    first = bad[0]
    message = "; ".join(f"{entry.name}: {entry.message or entry.reason}" for entry in bad) if len(entries) > 1 else first.message or ""
    return Verdict(first.reason or Reason.PROGRESSING, message[:MESSAGE_LIMIT])


def _condition(kind: ConditionType, status: ConditionStatus, reason: str, message: str, subject: Subject, now: datetime) -> Condition:
    return Condition(
        type=kind, status=status, reason=reason, message=message, last_transition_time=now, observed_generation=subject.generation
    )


def _read(old: dict[str, Any]) -> list[Condition]:
    return conditions.read(old.get("conditions") or ())


def _with(existing: list[dict[str, Any]], *new: Condition) -> list[dict[str, Any]]:
    merged = [Condition.model_validate(each) for each in existing]
    for condition in new:
        merged = conditions.put(merged, condition)
    return [condition.to_json() for condition in merged]

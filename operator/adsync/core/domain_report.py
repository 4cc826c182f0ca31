"""What an ADDomain's status says. Pure: from the facts that the domain's loop gathers to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adsync.core.filetime import timestamp
from adsync.core.identity import Verdict
from adsync.core.policy import PasswordPolicy
from adsync.resources import conditions
from adsync.resources.addomain_status import (
    DomainController,
    GroupCounts,
    PlannedChanges,
    SafetyStatus,
    ScopeGroupStatus,
    UserCounts,
)
from adsync.resources.conditions import Condition, ConditionStatus, ConditionType, Reason


@dataclass(frozen=True, slots=True)
class Finding:
    """What one condition says. `status` None is Unknown."""

    status: bool | None
    reason: str
    message: str = ""


@dataclass(slots=True)
class DomainFacts:
    """Everything that is known of a domain now. What is None or missing keeps the value that the status has."""

    verdict: Verdict
    generation: int
    requested_at: str = ""
    findings: dict[ConditionType, Finding] = field(default_factory=dict)
    controller: DomainController | None = None
    policy: PasswordPolicy | None = None
    users: UserCounts | None = None
    groups: GroupCounts | None = None
    scope_group: ScopeGroupStatus | None = None
    planned: PlannedChanges | None = None
    safety: SafetyStatus | None = None
    refused: str = ""
    missing_rights: list[str] | None = None
    excess_rights: list[str] | None = None
    full_sync: datetime | None = None
    seen: datetime | None = None


_LAZY_SECONDS = 300
"""How old lastSyncTime may grow before it alone is a reason to write."""


def domain_status(old: Mapping[str, Any], facts: DomainFacts, now: datetime) -> dict[str, Any]:
    """The status, as JSON; fields that we do not know stay. The same facts give the same status within five minutes."""
    new = dict(old)
    present = conditions.read(old.get("conditions") or ())
    settled = conditions.with_reason(present, facts.verdict.reason, facts.verdict.message, generation=facts.generation, now=now)
    for kind, finding in facts.findings.items():
        settled = conditions.put(settled, _condition(kind, finding, facts.generation, now))
    new["conditions"] = [condition.to_json() for condition in settled]
    new["observedGeneration"] = facts.generation
    if facts.requested_at:
        new["lastHandledReconcileAt"] = facts.requested_at
    kept = {
        "domainController": facts.controller,
        "users": facts.users,
        "groups": facts.groups,
        "scopeGroup": facts.scope_group,
        "safety": facts.safety,
    }
    new |= {name: model.to_json() for name, model in kept.items() if model is not None}
    for name, value in (
        ("plannedChanges", facts.planned.to_json() if facts.planned else None),
        ("refusedCredentials", facts.refused or None),
    ):
        if value is None:
            new.pop(name, None)
        else:
            new[name] = value
    if facts.policy is not None:
        new["passwordPolicy"] = _policy(facts.policy)
    for name, rights in (("missingRights", facts.missing_rights), ("excessRights", facts.excess_rights)):
        if rights is not None:
            new[name] = [right[:1024] for right in rights[:256]]
    if facts.full_sync is not None:
        new["lastFullSyncTime"] = timestamp(facts.full_sync)
    if facts.seen is not None and _stale(old.get("lastSyncTime"), facts.seen, new != dict(old)):
        new["lastSyncTime"] = timestamp(facts.seen)
    return new


def _stale(old: str | None, seen: datetime, writing: bool) -> bool:
    try:
        return old is None or writing or (seen - datetime.fromisoformat(old)).total_seconds() > _LAZY_SECONDS
    except (ValueError, TypeError):  # somebody else's writing
        return True


def _condition(kind: ConditionType, finding: Finding, generation: int, now: datetime) -> Condition:
    status = ConditionStatus.UNKNOWN if finding.status is None else ConditionStatus.TRUE if finding.status else ConditionStatus.FALSE
    return Condition(
        type=kind,
        status=status,
        reason=finding.reason,
        message=finding.message[:1024],
        last_transition_time=now,
        observed_generation=generation,
    )


def _policy(policy: PasswordPolicy) -> dict[str, Any]:
    told: dict[str, Any] = {
        "minLength": policy.min_length,
        "complexity": policy.complexity,
        "historyLength": policy.history_length,
        "minAge": f"{policy.min_age}s",
        "lockoutThreshold": policy.lockout_threshold,
    }
    return told | ({"maxAge": f"{policy.max_age}s"} if policy.max_age else {})


def count_reasons(reasons: Mapping[Reason | None, int]) -> dict[str, int]:
    """total, synced, pending and failed, from how many resources have which reason."""
    counts = {"total": 0, "synced": 0, "pending": 0, "failed": 0}
    for reason, number in reasons.items():
        readiness = conditions.READINESS[reason or Reason.PROGRESSING]
        counts["total"] += number
        counts["synced" if readiness.ready else "pending" if readiness.reconciling else "failed"] += number
    return counts

"""What an ADDomain's status says, and that it is written only when there is something to say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adsync.core.domain_report import DomainFacts, Finding, count_reasons, domain_status
from adsync.core.filetime import timestamp
from adsync.core.identity import Verdict
from adsync.core.policy import PasswordPolicy
from adsync.resources import ADDomainStatus
from adsync.resources.addomain_status import DomainController, PlannedChanges, Removal, SafetyStatus, UserCounts
from adsync.resources.conditions import Condition, ConditionType, Reason

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
SYNCED = Verdict(Reason.SYNCED, "")


def facts(**changes: Any) -> DomainFacts:
    given: dict[str, Any] = {
        "verdict": SYNCED,
        "generation": 2,
        "findings": {ConditionType.CONNECTED: Finding(True, "Connected", "to dc1")},
        "controller": DomainController(url="ldaps://dc1", invocation_id="i"),
        "policy": PasswordPolicy(min_length=7, complexity=True, max_age=3_628_800),
        "users": UserCounts(total=3, synced=3, pending=0, failed=0),
        "safety": SafetyStatus(removals=[Removal(time=NOW, verb="delete", count=2)], held=0),
        "missing_rights": [],
        "seen": NOW,
        "full_sync": NOW,
    }
    return DomainFacts(**(given | changes))


def conditions(status: dict[str, Any]) -> dict[str, Condition]:
    return {each["type"]: Condition.model_validate(each) for each in status["conditions"]}


FIRST = domain_status({}, facts(requested_at="r1"), NOW)


def test_what_is_said() -> None:
    ADDomainStatus.model_validate(FIRST)
    assert FIRST["observedGeneration"] == 2
    assert FIRST["lastHandledReconcileAt"] == "r1"
    assert FIRST["domainController"] == {"url": "ldaps://dc1", "invocationId": "i"}
    assert FIRST["passwordPolicy"] == {
        "minLength": 7, "complexity": True, "historyLength": 0, "minAge": "0s", "maxAge": "3628800s", "lockoutThreshold": 0
    }  # fmt: skip
    assert FIRST["users"] == {"total": 3, "synced": 3, "pending": 0, "failed": 0}
    assert FIRST["safety"] == {"removals": [{"time": timestamp(NOW), "verb": "delete", "count": 2}], "held": 0}
    assert FIRST["missingRights"] == []
    assert FIRST["lastSyncTime"] == FIRST["lastFullSyncTime"] == timestamp(NOW)
    assert conditions(FIRST).keys() == {"Ready", "Connected"}


def test_what_somebody_else_wrote_into_a_status_and_nobody_can_read_is_told_anew() -> None:
    strange = FIRST | {"lastSyncTime": "0000-01-01T00:00:00Z"}
    strange["conditions"] = [{**each, "lastTransitionTime": "2026-06-30T23:59:60Z"} for each in FIRST["conditions"]]
    ADDomainStatus.model_validate(domain_status(strange, facts(), NOW))


def test_passwords_that_never_expire() -> None:
    assert "maxAge" not in domain_status({}, facts(policy=PasswordPolicy()), NOW)["passwordPolicy"]


def test_the_same_facts_write_nothing_for_a_while() -> None:
    for minutes in range(1, 5):
        later = NOW + timedelta(minutes=minutes)
        assert domain_status(FIRST, facts(requested_at="r1", seen=later), later) == FIRST
    later = NOW + timedelta(minutes=6)
    assert domain_status(FIRST, facts(requested_at="r1", seen=later), later) == FIRST | {"lastSyncTime": timestamp(later)}


def test_a_time_goes_along_with_what_is_written_anyway() -> None:
    later = NOW + timedelta(minutes=1)
    new = domain_status(FIRST, facts(users=UserCounts(total=4), seen=later), later)
    assert new["lastSyncTime"] == timestamp(later)
    assert new["lastHandledReconcileAt"] == "r1"


def test_a_domain_that_is_away_keeps_what_was_known() -> None:
    bad = DomainFacts(
        Verdict(Reason.DOMAIN_UNAVAILABLE, "no route"), 2, findings={ConditionType.CONNECTED: Finding(False, "Unreachable", "no route")}
    )
    later = NOW + timedelta(hours=1)
    new = domain_status(FIRST, bad, later)
    changed = {name for name in new if new[name] != FIRST.get(name)} | (FIRST.keys() - new.keys())
    assert changed == {"conditions"}
    read = conditions(new)
    assert (read["Connected"].status, read["Connected"].reason) == ("False", "Unreachable")
    assert read["Connected"].last_transition_time == later.replace(microsecond=0)
    assert read["Ready"].status == "False"
    assert read["Reconciling"].status == "True"
    assert conditions(domain_status(new, facts(), later)).keys() == {"Ready", "Connected"}


def test_what_is_held_and_what_was_refused_goes_when_it_is_over() -> None:
    new = domain_status(FIRST, facts(planned=PlannedChanges(count=1, digest="d"), refused="k:x"), NOW)
    assert (new["plannedChanges"], new["refusedCredentials"]) == ({"count": 1, "digest": "d"}, "k:x")
    over = domain_status(new, facts(), NOW)
    assert "plannedChanges" not in over
    assert "refusedCredentials" not in over


def test_unknown_is_a_status_of_its_own() -> None:
    new = domain_status({}, facts(findings={ConditionType.SCOPE_FOUND: Finding(None, "NotRead")}), NOW)
    assert conditions(new)["ScopeFound"].status == "Unknown"


def test_fields_that_we_do_not_know_stay() -> None:
    assert domain_status({"later": 1}, facts(), NOW)["later"] == 1


@pytest.mark.parametrize("count", [0, 300])
def test_rights_are_bounded(count: int) -> None:
    new = domain_status({}, facts(missing_rights=["x" * 2000] * count), NOW)
    ADDomainStatus.model_validate(new)
    assert len(new["missingRights"]) == min(count, 256)


def test_counts() -> None:
    reasons = {Reason.SYNCED: 5, Reason.PROGRESSING: 1, None: 1, Reason.PASSWORD_PENDING: 2, Reason.CONFLICT: 3, Reason.OBSERVING: 1}
    assert count_reasons(reasons) == {"total": 13, "synced": 5, "pending": 4, "failed": 4}
    assert count_reasons({}) == {"total": 0, "synced": 0, "pending": 0, "failed": 0}

"""Conditions: the table of reasons, and when lastTransitionTime moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adsync.resources.conditions import READINESS, Condition, ConditionStatus, ConditionType, Reason, drop, find, put, with_reason

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
UNDER_WAY = {"Progressing", "PasswordPending", "DomainUnavailable", "DirectoryError", "Contested"}


@pytest.mark.parametrize("reason", Reason)
def test_the_table_of_reasons(reason: Reason) -> None:
    ready, reconciling, stalled = READINESS[reason]
    assert ready is (reason == "Synced")
    assert reconciling is (reason in UNDER_WAY)
    assert stalled is (not ready and not reconciling)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.SYNCED, {"Ready": "True"}),
        (Reason.PROGRESSING, {"Ready": "False", "Reconciling": "True"}),
        (Reason.CONFLICT, {"Ready": "False", "Stalled": "True"}),
    ],
)
def test_only_what_is_true_stands_beside_ready(reason: Reason, expected: dict[str, str]) -> None:
    before: list[Condition] = []
    for other in Reason:
        before = with_reason(before, other, "", generation=1, now=NOW)
    after = with_reason(before, reason, "why", generation=2, now=LATER)
    assert {condition.type: condition.status for condition in after} == expected
    assert {condition.reason for condition in after} == {reason}
    assert {condition.message for condition in after} == {"why"}
    assert {condition.observed_generation for condition in after} == {2}


def test_the_transition_time_moves_only_with_the_status() -> None:
    first = with_reason([], Reason.PROGRESSING, "", generation=1, now=NOW)
    second = with_reason(first, Reason.CONFLICT, "taken", generation=2, now=LATER)
    ready = find(second, ConditionType.READY)
    assert ready is not None
    assert (ready.reason, ready.last_transition_time) == ("Conflict", NOW)
    third = find(with_reason(second, Reason.SYNCED, "", generation=2, now=LATER), ConditionType.READY)
    assert third is not None
    assert third.last_transition_time == LATER


def test_other_conditions_are_left_alone() -> None:
    connected = Condition(type=ConditionType.CONNECTED, status=ConditionStatus.TRUE, reason="Connected", last_transition_time=NOW)
    conditions = with_reason([connected], Reason.SYNCED, "", generation=1, now=LATER)
    assert find(conditions, ConditionType.CONNECTED) == connected
    assert drop(conditions, ConditionType.READY) == [connected]
    assert find([connected], ConditionType.READY) is None


def test_putting_the_same_changes_nothing() -> None:
    conditions = with_reason([], Reason.SYNCED, "", generation=1, now=NOW)
    assert put(conditions, conditions[0].model_copy(update={"last_transition_time": LATER})) == conditions


def test_a_condition_in_json() -> None:
    (condition,) = with_reason([], Reason.SYNCED, "in step", generation=3, now=NOW)
    assert condition.to_json() == {
        "type": "Ready",
        "status": "True",
        "reason": "Synced",
        "message": "in step",
        "lastTransitionTime": "2026-05-01T12:00:00Z",
        "observedGeneration": 3,
    }

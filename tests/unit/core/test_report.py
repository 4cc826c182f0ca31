"""What a status says: the truth, in the worst case first, and nothing new where nothing is new."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adsync.core.changes import Delete, PasswordSource
from adsync.core.dn import DN
from adsync.core.entries import ACCOUNTDISABLE, LOCKOUT, NEVER, NORMAL_ACCOUNT, Entry
from adsync.core.filetime import timestamp, to_datetime, to_text
from adsync.core.identity import Found, Verdict
from adsync.core.passwords import PasswordStep
from adsync.core.report import GroupFacts, Subject, UserFacts, about, group_entry, group_status, summary, user_entry, user_status
from adsync.resources import SyncedGroupStatus, SyncedUserStatus
from adsync.resources.conditions import READINESS, Condition, ConditionType, Reason, find
from adsync.resources.syncedgroup import GroupDomainStatus, GroupMembership
from adsync.resources.synceduser import Origin, PasswordState, UserDomainStatus, UserMembership
from tests.unit.core.support import GUID, ROOT, TICKS, digest_of, ours, recorded, secret

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SYNCED = Verdict(Reason.SYNCED, "")
SENT = PasswordStep(PasswordSource.NONE, PasswordState.SYNCED, "", digest_of("Correct-Horse-1"), named=True, of_ours=True)
SUBJECT = Subject(3, "")


def facts(account: Entry | None = None, **changes: Any) -> UserFacts:
    """After a look that found everything in step."""
    found = Found(account or ours(), Origin.CREATED)
    given: dict[str, Any] = {"found": found, "password": SENT, "wish": secret(), "agreed": {"username": "jdoe"}}
    return UserFacts(**({"verdict": SYNCED} | given | changes))


def told(entry: UserDomainStatus) -> dict[str, Any]:
    """As it comes back from the API server."""
    return UserDomainStatus.model_validate(entry.to_json()).to_json()


FIRST = user_entry(recorded(), facts(wrote=True, pushed=True), NOW)


# --- one domain's entry ---------------------------------------------------------------------------------------------------------------------


def test_what_is_said_of_a_user_in_step() -> None:
    account = ours(computed_control=LOCKOUT, password_expires=TICKS + 864_000_000_000)
    entry = user_entry(
        recorded(), facts(account, requested=False, wrote=True, pushed=True, membership=UserMembership(groups=["a"], count=1)), NOW
    )
    stamp = "2026-01-02T03:04:05Z"
    assert told(entry) == {
        "name": "corp",
        "namespace": "",
        "ready": True,
        "reason": "Synced",
        "lastSyncTime": stamp,
        "distinguishedName": f"CN=jdoe,{ROOT}",
        "objectGUID": GUID,
        "username": "jdoe",
        "origin": "Created",
        "suspension": {"requested": False, "account": "Enabled", "lockedOut": True, "lastTransitionTime": stamp},
        "password": {
            "state": "Synced",
            "digest": str(digest_of("Correct-Horse-1")),
            "secretVersion": "7",
            "lastSyncTime": stamp,
            "lastSetInDirectory": to_text(TICKS),
            "expiresAt": "2022-06-19T04:26:40Z",
            "mustChange": False,
        },
        "membership": {"groups": ["a"], "count": 1},
        "lastSynced": {"username": "jdoe"},
    }  # fmt: skip


def test_a_look_that_finds_nothing_new_says_nothing_new() -> None:
    before = UserDomainStatus.model_validate(FIRST.to_json())
    assert user_entry(before, facts(), LATER) == before
    assert user_entry(FIRST, facts(), LATER).to_json() == FIRST.to_json()


def test_the_time_moves_when_something_was_carried_across() -> None:
    assert told(user_entry(FIRST, facts(wrote=True), LATER))["lastSyncTime"] == timestamp(LATER)
    assert told(user_entry(FIRST, facts(wrote=True), LATER))["password"]["lastSyncTime"] == timestamp(NOW)
    assert told(user_entry(FIRST, facts(wrote=True, pushed=True), LATER))["password"]["lastSyncTime"] == timestamp(LATER)


def test_first_found_equal_counts_as_synced() -> None:
    assert told(user_entry(recorded(), facts(), NOW))["lastSyncTime"] == timestamp(NOW)
    assert "lastSyncTime" not in told(user_entry(recorded(), UserFacts(Verdict(Reason.PROTECTED, "no")), NOW))


def test_the_suspension_moves_when_the_account_does() -> None:
    disabled = ours(user_account_control=NORMAL_ACCOUNT | ACCOUNTDISABLE)
    suspension = told(user_entry(FIRST, facts(disabled, requested=True), LATER))["suspension"]
    assert (suspension["account"], suspension["lastTransitionTime"]) == ("Disabled", timestamp(LATER))
    kept = told(user_entry(FIRST, facts(requested=True), LATER))["suspension"]
    assert (kept["requested"], kept["lastTransitionTime"]) == (True, timestamp(NOW))


def test_trouble_keeps_what_was_known() -> None:
    entry = told(user_entry(FIRST, UserFacts(Verdict(Reason.DOMAIN_UNAVAILABLE, "no route")), LATER))
    assert entry == told(FIRST) | {"ready": False, "reason": "DomainUnavailable", "message": "no route"}


def test_a_stranger_is_not_told_as_ours() -> None:
    """The GUID of an account that may not be adopted must not get into the status, which is believed later."""
    refused = UserFacts(Verdict(Reason.ADOPTION_REFUSED, "no"), found=Found(ours(), Origin.ADOPTED, adopting=True))
    assert "objectGUID" not in told(user_entry(recorded(), refused, NOW))


def test_an_account_that_is_not_there_is_not_told() -> None:
    assert "objectGUID" not in told(user_entry(recorded(), facts(found=Found(None, Origin.CREATED), agreed=None), NOW))


def test_what_is_planned_is_told_as_long_as_it_is_planned() -> None:
    change = Delete(GUID, DN.parse(f"CN=jdoe,{ROOT}"))
    planned = user_entry(FIRST, facts(verdict=Verdict(Reason.OBSERVING, ""), planned=(change,) * 30), NOW)
    assert planned.planned_changes == [f"delete CN=jdoe,{ROOT}"] * 20
    assert "plannedChanges" not in told(user_entry(planned, facts(), NOW))


def test_long_messages_are_cut() -> None:
    entry = user_entry(recorded(), UserFacts(Verdict(Reason.DIRECTORY_ERROR, "x" * 5000)), NOW)
    assert len(entry.message or "") == 1024


@pytest.mark.parametrize(
    ("step", "digest", "version"),
    [
        (SENT, digest_of("Correct-Horse-1"), "7"),
        (replace(SENT, state=PasswordState.EXPIRED), digest_of("Correct-Horse-1"), "7"),
        (replace(SENT, state=PasswordState.CHANGED_IN_DIRECTORY, of_ours=False), digest_of("Correct-Horse-1"), "7"),
        # The refused value is remembered, and never as one that was pushed.
        (PasswordStep(PasswordSource.NONE, PasswordState.REJECTED, "too short", digest_of("old")), digest_of("Correct-Horse-1"), "3"),
        (PasswordStep(PasswordSource.NONE, PasswordState.PENDING, "gone", digest_of("old")), digest_of("old"), "3"),
        (PasswordStep(PasswordSource.NONE, PasswordState.GENERATED, "random"), None, None),
    ],
)
def test_which_password_is_recorded(step: PasswordStep, digest: object, version: str | None) -> None:
    before = recorded(password={"state": "Synced", "digest": str(digest_of("old")), "secretVersion": "3"})
    password = told(user_entry(before, facts(password=step), NOW))["password"]
    assert password.get("digest") == (str(digest) if digest else None)
    assert password.get("secretVersion") == version
    assert password["state"] == step.state


def test_a_change_in_the_directory_is_not_recorded_as_our_own() -> None:
    """Else the next look would find nothing strange any more."""
    changed = replace(SENT, state=PasswordState.CHANGED_IN_DIRECTORY, of_ours=False)
    account = ours(pwd_last_set=TICKS + 99_000_000)
    assert told(user_entry(FIRST, facts(account, password=changed), LATER))["password"]["lastSetInDirectory"] == to_text(TICKS)
    assert told(user_entry(FIRST, facts(account), LATER))["password"]["lastSetInDirectory"] == to_text(TICKS + 99_000_000)


def test_a_password_that_must_be_changed_or_never_expires() -> None:
    password = told(user_entry(recorded(), facts(ours(pwd_last_set=0, password_expires=NEVER)), NOW))["password"]
    assert password["mustChange"] is True
    assert "expiresAt" not in password
    assert "lastSetInDirectory" not in password


# --- the whole ------------------------------------------------------------------------------------------------------------------------------


def named(name: str, reason: Reason, message: str = "", **fields: Any) -> UserDomainStatus:
    return UserDomainStatus.model_validate(
        {"name": name, "reason": reason, "ready": READINESS[reason].ready, "message": message or None, **fields}
    )


def conditions(status: dict[str, Any]) -> dict[str, Condition]:
    read = [Condition.model_validate(each) for each in status["conditions"]]
    assert len({each.type for each in read}) == len(read)
    return {each.type: each for each in read}


def test_the_same_entries_give_the_same_status_later() -> None:
    first = user_status({}, SUBJECT, [FIRST], NOW)
    SyncedUserStatus.model_validate(first)
    again = user_status(first, SUBJECT, [UserDomainStatus.model_validate(each) for each in first["domains"]], LATER)
    assert again == first


def test_the_order_in_which_the_domains_report_changes_nothing() -> None:
    entries = [named("a", Reason.CONFLICT, "x"), named("b", Reason.PROTECTED, "y"), named("c", Reason.SYNCED)]
    statuses = [user_status({}, SUBJECT, each, NOW) for each in itertools.permutations(entries)]
    assert all(status == statuses[0] for status in statuses)
    assert [entry["name"] for entry in statuses[0]["domains"]] == ["a", "b", "c"]


def test_fields_that_we_do_not_know_stay() -> None:
    assert user_status({"later": 1}, SUBJECT, [], NOW)["later"] == 1


@pytest.mark.parametrize("reason", Reason)
def test_ready_reconciling_and_stalled(reason: Reason) -> None:
    status = conditions(user_status({}, SUBJECT, [named("corp", reason, "so it is")], NOW))
    expected = READINESS[reason]
    assert (status["Ready"].status == "True") is expected.ready
    assert ("Reconciling" in status) is expected.reconciling
    assert ("Stalled" in status) is expected.stalled
    assert status["Ready"].reason == reason
    assert status["Ready"].message == "so it is"
    assert all(each.observed_generation == 3 for each in status.values())


def test_a_transition_is_when_the_status_changes_and_only_then() -> None:
    first = user_status({}, SUBJECT, [named("corp", Reason.SYNCED)], NOW)
    worse = user_status(first, SUBJECT, [named("corp", Reason.CONFLICT)], LATER)
    other = user_status(worse, Subject(4, ""), [named("corp", Reason.PROTECTED)], LATER + timedelta(hours=1))
    times = [conditions(each)["Ready"].last_transition_time for each in (first, worse, other)]
    assert times == [NOW.replace(microsecond=0), LATER.replace(microsecond=0), LATER.replace(microsecond=0)]
    assert conditions(other)["Ready"].reason == "Protected"
    assert conditions(other)["Ready"].observed_generation == 4


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ((Reason.SYNCED, Reason.SYNCED), Reason.SYNCED),
        ((Reason.SYNCED, Reason.PROGRESSING), Reason.PROGRESSING),
        ((Reason.PROGRESSING, Reason.CONFLICT), Reason.CONFLICT),
        ((Reason.DOMAIN_UNAVAILABLE, Reason.SYNCED, Reason.PROTECTED), Reason.PROTECTED),
    ],
)
def test_the_worst_comes_first(reasons: tuple[Reason, ...], expected: Reason) -> None:
    for order in itertools.permutations(reasons):
        assert summary([named(f"d{at}", reason) for at, reason in enumerate(order)]).reason is expected


def test_the_summary_names_the_domains_that_are_in_trouble() -> None:
    entries = [named("a", Reason.CONFLICT, "taken"), named("b", Reason.SYNCED, "fine"), named("c", Reason.PROTECTED)]
    assert summary(entries).message == "a: taken; c: Protected"
    assert summary(entries[:1]).message == "taken"
    assert summary([entries[1]]).message == "fine"
    assert summary([]).reason is Reason.SYNCED
    assert "spec.domains" in summary([]).message


def test_a_spec_that_cannot_be_read_and_names_no_domain_is_not_called_synced() -> None:
    status = user_status({}, Subject(1, "", problem="spec.username is missing"), [], NOW)
    ready = find([Condition.model_validate(each) for each in status["conditions"]], ConditionType.READY)
    assert ready is not None
    assert (ready.reason, ready.message) == ("InvalidSpec", "spec.username is missing")


@pytest.mark.parametrize(
    ("accounts", "expected", "condition"),
    [
        ([], "Unknown", "Unknown"),
        (["Enabled"], "Enabled", "False"),
        (["Disabled", "Disabled"], "Disabled", "True"),
        (["Enabled", "Disabled"], "Mixed", "Unknown"),
    ],
)
def test_the_account_over_all_domains(accounts: list[str], expected: str, condition: str) -> None:
    entries = [named(f"d{at}", Reason.SYNCED, suspension={"account": account}) for at, account in enumerate(accounts)]
    status = user_status({}, SUBJECT, entries, NOW)
    assert status["account"] == expected
    assert conditions(status)["AccountSuspended"].status == condition
    assert conditions(status)["AccountSuspended"].reason == expected


ORDER = ["Rejected", "Expired", "ChangedInDirectory", "Pending", "Unknown", "Generated", "Synced"]


@pytest.mark.parametrize(("worse", "better"), [*itertools.combinations(ORDER, 2)])
def test_the_worst_password_of_all_domains(worse: str, better: str) -> None:
    assert set(ORDER) == set(PasswordState)
    entries = [
        named("a", Reason.SYNCED, password={"state": better, "message": "good"}),
        named("b", Reason.SYNCED, password={"state": worse, "message": "bad"}),
    ]
    status = user_status({}, SUBJECT, entries, NOW)
    assert status["password"] == worse
    synced = conditions(status)["PasswordSynced"]
    assert (synced.status, synced.reason, synced.message) == ("False", worse, "bad")


def test_no_password_is_known() -> None:
    status = user_status({}, SUBJECT, [named("corp", Reason.CONFLICT)], NOW)
    assert status["password"] == "Unknown"
    assert conditions(status)["PasswordSynced"].status == "Unknown"


def test_groups_add_up_and_times_are_the_latest() -> None:
    entries = [
        named("a", Reason.SYNCED, membership={"count": 2}, lastSyncTime=timestamp(NOW)),
        named("b", Reason.SYNCED, membership={"count": 3}, lastSyncTime=timestamp(LATER)),
        named("c", Reason.SYNCED),
    ]
    status = user_status({}, Subject(3, "now"), entries, NOW)
    assert status["groupCount"] == 5
    assert status["lastSyncTime"] == timestamp(LATER)
    assert status["lastHandledReconcileAt"] == "now"


# --- groups ---------------------------------------------------------------------------------------------------------------------------------


def test_a_group_that_is_not_read_keeps_its_membership() -> None:
    before = GroupDomainStatus(name="corp", membership=GroupMembership(desired=2, applied=2))
    assert group_entry(before, GroupFacts(Verdict(Reason.DIRECTORY_ERROR, "x")), NOW).membership == before.membership


@pytest.mark.parametrize(
    ("memberships", "expected"),
    [
        ([], (0, 0, "Unknown")),
        ([(2, 2)], (2, 0, "True")),
        ([(2, 2), (5, 3)], (5, 2, "False")),
    ],
)
def test_members_over_all_domains(memberships: list[tuple[int, int]], expected: tuple[int, int, str]) -> None:
    entries = [
        GroupDomainStatus(name=f"d{at}", reason=Reason.SYNCED, membership=GroupMembership(desired=desired, applied=applied))
        for at, (desired, applied) in enumerate(memberships)
    ]
    status = group_status({}, SUBJECT, entries, NOW)
    SyncedGroupStatus.model_validate(status)
    assert (status["memberCount"], status["pendingCount"], conditions(status)["MembershipSynced"].status) == expected
    assert group_status(status, SUBJECT, entries, LATER) == status


# --- times ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filetime", "text"),
    [
        (0, None),
        (-1, None),
        (NEVER, None),
        (NEVER - 1, None),
        (116444736000000000, "1970-01-01T00:00:00.000000Z"),
        (116444736000000010, "1970-01-01T00:00:00.000001Z"),
    ],
)
def test_filetimes(filetime: int, text: str | None) -> None:
    assert to_text(filetime) == text
    assert (to_datetime(filetime) is None) is (text is None)


# --- another object under the same name -----------------------------------------------------------------------------------------------------

OTHER = "0f000000-0000-4000-8000-00000000000f"
BEFORE = {"objectGUID": OTHER, "lastSynced": {"firstName": "Jane"}, "password": {"state": "Synced", "digest": "aa:x"}}


def test_what_is_recorded_of_another_object_says_nothing_of_this_one() -> None:
    assert about(recorded(**BEFORE), OTHER) == recorded(**BEFORE)
    told = about(recorded(**BEFORE), GUID)
    assert (told.last_synced, told.password) == (None, None)
    refused = about(recorded(**BEFORE | {"password": {"state": "Rejected", "digest": "aa:x"}}), GUID)
    assert refused.password is not None, "or it would be tried again at every look"
    facts = UserFacts(Verdict(Reason.CONTESTED, ""), found=Found(ours(), Origin.ADOPTED))
    assert user_entry(recorded(**BEFORE), facts, datetime.now(UTC)).last_synced is None

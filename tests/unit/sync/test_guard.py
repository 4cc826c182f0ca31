"""The guard: what it lets through, what it holds, and what it remembers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adsync.core.changes import Add, Change, Delete, Edit, Modify, ModifyMembers, Move, Verb
from adsync.core.dn import DN
from adsync.resources.addomain import Safety
from adsync.resources.addomain_status import SafetyStatus
from adsync.resources.conditions import Reason
from adsync.sync.guard import Guard, Managed, verbs_of
from adsync.sync.store import Key
from tests.unit.core.support import ROOT
from tests.unit.sync.support import user_key


def dn(name: str) -> DN:
    return DN.parse(ROOT).child("CN", name)


def guard(recorded: SafetyStatus | None = None, *, users: int = 0, memberships: int = 0, **safety: Any) -> Guard:
    made = Guard(Safety.model_validate({"minRemovals": 2, **safety}), recorded)
    made.count = lambda: Managed(users, memberships)
    return made


def delete(name: str) -> tuple[Change, ...]:
    return (Delete(name, dn(name)),)


def disable(name: str, verb: Verb = Verb.DISABLE) -> tuple[Change, ...]:
    return (Modify(name, dn(name), (Edit("userAccountControl", "512", "514", exact=True),), verbs=(verb,)),)


def carry_out(made: Guard, name: str, changes: tuple[Change, ...]) -> bool:
    """Whether the changes are let through; if so, they are made."""
    key = user_key(name)
    if made.judge(key, changes) is not None:
        return False
    for change in changes:
        made.note(key, change)
    made.finished(key)
    return True


@pytest.mark.parametrize("window", ["0s", "1s", "999999999d"])
def test_a_window_of_any_length(window: str) -> None:
    made = guard(window=window)
    assert carry_out(made, "a", delete("a"))
    assert made.status() is not None or window == "0s"


def test_what_removes_nothing_is_never_held() -> None:
    made = guard(minRemovals=0, maxRemovals="0%")
    harmless: list[tuple[Change, ...]] = [
        (Add(dn("a"), "user", {}),),
        (Move("a", dn("a"), dn("b")),),
        (Modify("a", dn("a"), (Edit("title", "x", "y"),)),),
        (ModifyMembers("g", dn("g"), add=("a", "b")),),
        (),
    ]
    assert all(carry_out(made, "a", each) for each in harmless)
    assert made.status() is None
    assert made.planned() is None


def test_up_to_the_limit() -> None:
    made = guard()
    assert [carry_out(made, name, delete(name)) for name in "abcd"] == [True, True, False, False]
    verdict = made.judge(user_key("c"), delete("c"))
    assert verdict is not None
    assert verdict.reason is Reason.SAFETY_LIMIT
    assert "more than 2 changes of the kind delete" in verdict.message


def test_those_that_are_under_way_count() -> None:
    """Many are judged before the first has been made."""
    made = guard()
    assert [made.judge(user_key(name), delete(name)) is None for name in "abcd"] == [True, True, False, False]
    assert made.judge(user_key("a"), delete("a")) is None, "the same change again is no further one"


@pytest.mark.parametrize("how", ["finished", "withdrawn"])
def test_what_was_let_through_and_not_made_does_not_count(how: str) -> None:
    made = guard()
    for name in "ab":
        assert made.judge(user_key(name), delete(name)) is None
        (made.finished if how == "finished" else made.withdraw)(user_key(name))
    assert [carry_out(made, name, delete(name)) for name in "cde"] == [True, True, False]


def test_a_change_that_was_made_counts_once() -> None:
    made = guard()
    assert made.judge(user_key("a"), delete("a")) is None
    made.note(user_key("a"), *delete("a"))
    assert made.judge(user_key("b"), delete("b")) is None


def test_each_verb_has_its_own_limit() -> None:
    made = guard()
    for name in "ab":
        assert carry_out(made, name, delete(name))
        assert carry_out(made, name, disable(name))
        assert carry_out(made, name, disable(name, Verb.SUSPEND))
        assert carry_out(made, name, (ModifyMembers("g", dn("g"), remove=(name,)),))
    assert not carry_out(made, "c", disable("c"))


def test_shares_of_what_is_managed() -> None:
    made = guard(users=100, memberships=50, maxRemovals="10%", maxSuspensions="30%")
    removed = [carry_out(made, str(at), delete(str(at))) for at in range(11)]
    suspended = [carry_out(made, str(at), disable(str(at), Verb.SUSPEND)) for at in range(31)]
    assert (sum(removed), sum(suspended)) == (10, 30)
    assert carry_out(made, "g", (ModifyMembers("g", dn("g"), remove=("a",) * 5),))
    assert not carry_out(made, "g", (ModifyMembers("g", dn("g"), remove=("a",)),))


def test_approval_lets_exactly_the_held_set_through() -> None:
    made = guard(minRemovals=0)
    for name in "ab":
        assert not carry_out(made, name, delete(name))
    planned = made.planned()
    assert planned is not None
    assert planned.count == 2
    assert planned.sample == [f"SyncedUser team-a/{name}: delete CN={name},{ROOT}" for name in "ab"]
    assert not carry_out(made, "c", delete("c"))
    assert made.approve("nonsense") == []
    assert made.approve(planned.digest or "") == ["SyncedUser team-a/a", "SyncedUser team-a/b"]
    assert not carry_out(made, "a", disable("a"))
    assert carry_out(made, "a", delete("a"))
    assert carry_out(made, "b", delete("b"))
    assert not carry_out(made, "a", delete("a")), "an approval is good for one time"
    assert not carry_out(made, "c", delete("c"))
    status = made.status()
    assert status is not None
    assert (status.approved_digest, status.held) == (planned.digest, 2)


def test_members_that_are_approved_are_these_and_no_others() -> None:
    made, group = guard(minRemovals=0), Key("SyncedGroup", "team-a", "g")
    assert made.judge(group, (ModifyMembers("g", dn("g"), remove=("a",)),)) is not None
    planned = made.planned()
    assert planned is not None
    made.approve(planned.digest or "")
    assert made.judge(group, (ModifyMembers("g", dn("g"), remove=("b",)),)) is not None
    assert made.judge(group, (ModifyMembers("g", dn("g"), remove=("a",)),)) is None


def test_what_is_no_longer_wanted_is_not_held() -> None:
    made = guard(minRemovals=0)
    carry_out(made, "a", delete("a"))
    made.judge(user_key("a"), (Move("a", dn("a"), dn("b")),))
    assert made.planned() is None
    carry_out(made, "a", delete("a"))
    made.withdraw(user_key("a"))
    assert made.planned() is None


def test_a_wider_limit_lets_go_on() -> None:
    made = guard(minRemovals=0)
    assert not carry_out(made, "a", delete("a"))
    made.update(Safety.model_validate({"minRemovals": 1}))
    assert carry_out(made, "a", delete("a"))
    assert made.planned() is None


def test_the_ledger_survives_a_restart() -> None:
    first = guard()
    assert carry_out(first, "a", delete("a"))
    assert carry_out(first, "b", delete("b"))
    status = first.status()
    assert status is not None
    second = guard(SafetyStatus.model_validate(status.to_json()))
    assert not carry_out(second, "c", delete("c"))
    assert carry_out(second, "c", disable("c"))


def test_what_is_older_than_the_window_or_unknown_does_not_count() -> None:
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    now = datetime.now(UTC).isoformat()
    recorded = SafetyStatus.model_validate(
        {"removals": [{"time": long_ago, "verb": "delete", "count": 9}, {"time": now, "verb": "eat", "count": 9}]}
    )
    made = guard(recorded)
    assert carry_out(made, "a", delete("a"))
    status = made.status()
    assert status is not None
    assert [(removal.verb, removal.count) for removal in status.removals or ()] == [("delete", 1)]


def test_which_verbs_count() -> None:
    assert verbs_of(ModifyMembers("g", dn("g"), add=("a",), remove=("b", "c"))) == (Verb.REMOVE_MEMBER,) * 2
    assert verbs_of(Delete("a", dn("a"))) == (Verb.DELETE,)
    assert verbs_of(Move("a", dn("a"), dn("b"))) == ()


def test_after_a_restart_the_share_is_still_of_what_there_was() -> None:
    before = guard(users=100, maxRemovals="100%")
    assert all(carry_out(before, str(at), delete(str(at))) for at in range(60))
    after = guard(before.status(), users=40, maxRemovals="100%")
    assert all(carry_out(after, str(at), delete(str(at))) for at in range(60, 100))
    assert not carry_out(after, "one more", delete("one more"))

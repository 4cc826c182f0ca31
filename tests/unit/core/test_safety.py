"""The limit on removals: the window, the limits of each verb, and what is held until exactly that is approved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adsync.core.changes import Verb
from adsync.core.safety import HeldChanges, Ledger, Limits, digest_of, exceeded

NOW = datetime(2026, 1, 2, 12, 30, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = Limits(removals=0.1, suspensions=0.3, at_least=5, window=HOUR)


@pytest.mark.parametrize(
    ("verb", "population", "allowed"),
    [
        (Verb.DELETE, 0, 5),
        (Verb.DELETE, 50, 5),
        (Verb.DELETE, 59, 5),
        (Verb.DELETE, 60, 6),
        (Verb.DISABLE, 1000, 100),
        (Verb.REMOVE_MEMBER, 1000, 100),
        (Verb.CLEAR_ATTRIBUTE, 1000, 100),
        (Verb.SUSPEND, 1000, 300),
    ],
)
def test_how_many_are_allowed(verb: Verb, population: int, allowed: int) -> None:
    assert LIMITS.allowed(verb, population) == allowed


@pytest.mark.parametrize("percent", range(101))
def test_a_share_of_a_hundred_is_exactly_that_many(percent: int) -> None:
    assert Limits(percent / 100, 0, 0, HOUR).allowed(Verb.DELETE, 100) == percent


def test_up_to_the_limit_and_not_beyond() -> None:
    ledger = Ledger()
    for _ in range(5):
        assert exceeded(LIMITS, ledger, NOW, [Verb.DELETE], {}) is None
        ledger.note(NOW, [Verb.DELETE], HOUR)
    assert exceeded(LIMITS, ledger, NOW, [Verb.DELETE], {}) is Verb.DELETE
    assert exceeded(LIMITS, ledger, NOW, [Verb.DELETE], {Verb.DELETE: 60}) is None
    assert exceeded(LIMITS, ledger, NOW, [Verb.DISABLE], {}) is None
    assert exceeded(LIMITS, ledger, NOW, [Verb.DISABLE, Verb.DELETE], {}) is Verb.DELETE
    assert exceeded(LIMITS, ledger, NOW, [], {}) is None


def test_a_change_counts_with_all_that_it_removes() -> None:
    assert exceeded(LIMITS, Ledger(), NOW, [Verb.REMOVE_MEMBER] * 5, {}) is None
    assert exceeded(LIMITS, Ledger(), NOW, [Verb.REMOVE_MEMBER] * 6, {}) is Verb.REMOVE_MEMBER


@pytest.mark.parametrize("window", [timedelta(seconds=20), timedelta(minutes=1), HOUR, timedelta(days=1)])
@pytest.mark.parametrize("second", [0, 15, 59])
def test_the_window_slides(window: timedelta, second: int) -> None:
    """What was removed counts for the length of the window, whatever the clock showed; a hundredth more or less is nothing."""
    ledger, now = Ledger(), NOW.replace(second=second)
    ledger.note(now, [Verb.DELETE, Verb.DELETE, Verb.SUSPEND], window)
    for share in (0.0, 0.5, 0.9):
        assert ledger.spent(now + window * share, Verb.DELETE, window) == 2
    assert ledger.spent(now + window * 0.5, Verb.SUSPEND, window) == 1
    assert ledger.spent(now + window * 1.1, Verb.DELETE, window) == 0
    assert ledger.entries == {}


@pytest.mark.parametrize("window", [timedelta(seconds=20), HOUR, timedelta(days=30)])
def test_the_ledger_stays_small_enough_for_a_status(window: timedelta) -> None:
    ledger = Ledger()
    for step in range(2000):
        now = NOW + window * (step / 2000)
        ledger.note(now, Verb, window)
    assert ledger.spent(NOW + window * 0.999, Verb.DELETE, window) >= 1950
    assert len(ledger.entries) <= 1000  # maxItems of status.safety.removals
    assert all(moment.microsecond == 0 for moment, _ in ledger.entries)


# --- what is held ---------------------------------------------------------------------------------------------------------------------------


def held(**changes: str) -> HeldChanges:
    made = HeldChanges()
    for key, change in changes.items():
        made.hold(key, change)
    return made


def test_the_set_is_frozen_when_it_is_published() -> None:
    changes = held(a="delete a", b="delete b")
    digest = changes.digest
    changes.published = True
    changes.hold("c", "delete c")
    assert changes.digest == digest
    assert changes.frozen.keys() == {"a", "b"}
    changes.hold("a", "delete a")
    assert changes.digest == digest


def test_until_it_is_published_it_grows() -> None:
    changes = held(a="delete a")
    digest = changes.digest
    changes.hold("b", "delete b")
    assert changes.digest != digest
    assert changes.frozen.keys() == {"a", "b"}


def test_an_approval_lets_exactly_the_set_through() -> None:
    changes = held(a="delete a", b="delete b")
    digest = changes.digest
    changes.published = True
    changes.hold("c", "delete c")
    assert changes.approve("nonsense") == []
    assert changes.approve("") == []
    assert not changes.is_approved("a", "delete a")
    assert changes.approve(digest) == ["a", "b"]
    assert changes.is_approved("a", "delete a")
    assert not changes.is_approved("a", "delete a and its mother")
    assert not changes.is_approved("c", "delete c")
    assert changes.frozen == {"c": "delete c"}
    assert changes.approve(digest) == []


def test_an_approval_is_used_up() -> None:
    changes = held(a="delete a")
    changes.approve(changes.digest)
    changes.withdraw("a")
    assert not changes.is_approved("a", "delete a")


def test_what_is_no_longer_wanted_leaves_the_set() -> None:
    changes = held(a="delete a", b="delete b")
    digest = changes.digest
    changes.published = True
    changes.withdraw("b")
    assert changes.digest == digest_of({"a": "delete a"}) != digest
    assert changes.approve(digest) == []


def test_what_asks_for_something_else_goes_to_the_next_set() -> None:
    changes = held(a="delete a", b="delete b")
    changes.published = True
    changes.hold("a", "disable a")
    assert changes.frozen == {"b": "delete b"}
    assert changes.waiting == {"a": "disable a"}


@pytest.mark.parametrize("how", ["withdrawn", "changed"])
def test_when_a_set_has_become_empty_the_next_one_takes_its_place(how: str) -> None:
    """Or nobody could ever approve what waits."""
    changes = held(a="delete a")
    changes.published = True
    changes.hold("c", "delete c")
    if how == "withdrawn":
        changes.withdraw("a")
    else:
        changes.hold("a", "disable a")
    assert "c" in changes.frozen
    assert not changes.published
    assert changes.approve(changes.digest)


def test_digests() -> None:
    assert digest_of({}) == ""
    assert digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"})
    assert len({digest_of(each) for each in ({"a": "1"}, {"a": "2"}, {"b": "1"}, {"a": "1", "b": "2"})}) == 4

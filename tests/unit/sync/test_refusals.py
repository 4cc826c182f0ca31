"""How often credentials are tried that a directory may refuse: a service account must not be locked out."""

from __future__ import annotations

import itertools

from adsync.sync.refusals import REFUSED_SECONDS, Refusals

SVC = "svc corp.example.com"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_refused_is_not_tried_for_an_hour() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    refusals.refuse("wrong", SVC)
    assert refusals.is_refused("wrong")
    assert not refusals.is_refused("right")
    clock.now = REFUSED_SECONDS - 1
    assert refusals.is_refused("wrong")
    clock.now = REFUSED_SECONDS
    assert not refusals.is_refused("wrong")
    refusals.recall("wrong")
    assert refusals.is_refused("wrong")


def test_a_correction_is_tried_at_once() -> None:
    refusals = Refusals(Clock())
    refusals.refuse("wrong", SVC)
    assert refusals.pause("right", SVC) == 0
    assert refusals.pause("other", "svc elsewhere.example.com") == 0


def test_a_secret_edited_without_end_costs_a_few_attempts() -> None:
    """Windows's security baselines lock an account out after ten within ten minutes."""
    clock, tries = Clock(), 0
    refusals = Refusals(clock)
    for attempt in itertools.count():
        if clock.now > 600:
            break
        clock.now += 1
        if not refusals.pause(f"wrong-{attempt}", SVC):
            refusals.refuse(f"wrong-{attempt}", SVC)
            tries += 1
    assert 4 <= tries <= 7


def test_what_was_accepted_before_waits_for_nobodys_mistakes() -> None:
    refusals = Refusals(Clock())
    refusals.accept("right", SVC)
    for attempt in range(9):
        refusals.refuse(f"wrong-{attempt}", SVC)
    assert refusals.pause("new", SVC) > 0
    assert refusals.pause("right", SVC) == 0
    refusals.accept("right", SVC)
    assert refusals.pause("new", SVC) == 0
    refusals.refuse("right", SVC)
    assert refusals.is_refused("right")


def test_old_mistakes_are_forgotten() -> None:
    clock = Clock()
    refusals = Refusals(clock)
    for attempt in range(9):
        refusals.refuse(f"wrong-{attempt}", SVC)
    clock.now = REFUSED_SECONDS + 1
    refusals.refuse("another", SVC)
    assert refusals.pause("right", SVC) == 0

from adsync.core.changes import Edit
from adsync.resources.conditions import Reason
from adsync.sync.quarrels import Quarrels
from adsync.sync.store import USER, Key

KEY = Key(USER, "people", "anna")
DRIFT = [Edit("mail", "theirs", "ours")]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def quarrel(quarrels: Quarrels, clock: Clock, rounds: int = 5) -> None:
    for _ in range(rounds):
        quarrels.note(KEY)
        clock.now += 1


def test_a_few_rounds_are_no_quarrel() -> None:
    clock = Clock()
    quarrels = Quarrels(clock)
    quarrel(quarrels, clock, 4)
    assert quarrels.verdict(KEY, DRIFT) is None
    clock.now += 120
    quarrel(quarrels, clock, 4)
    assert quarrels.verdict(KEY, DRIFT) is None


def test_the_pauses_grow_and_end() -> None:
    clock = Clock()
    quarrels = Quarrels(clock)
    lasted = []
    for _ in range(3):
        quarrel(quarrels, clock)
        verdict = quarrels.verdict(KEY, DRIFT)
        assert verdict is not None
        assert verdict.reason is Reason.CONTESTED
        assert "mail" in verdict.message
        lasted.append(quarrels.rest(KEY))
        clock.now += quarrels.rest(KEY)
        assert quarrels.verdict(KEY, DRIFT) is None
    assert lasted[0] * 3 < lasted[1] * 2 < lasted[2] * 1.5


def test_what_is_no_drift_goes_on() -> None:
    clock = Clock()
    quarrels = Quarrels(clock)
    quarrel(quarrels, clock)
    assert quarrels.verdict(KEY, []) is None
    assert quarrels.verdict(Key(USER, "people", "ben"), DRIFT) is None


def test_an_old_quarrel_is_forgotten() -> None:
    clock = Clock()
    quarrels = Quarrels(clock)
    quarrel(quarrels, clock)
    clock.now += 3 * 3600
    assert quarrels.verdict(KEY, DRIFT) is None
    quarrel(quarrels, clock)
    assert quarrels.rest(KEY) <= 30

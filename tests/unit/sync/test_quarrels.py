from adsync.core.changes import Edit
from adsync.resources.conditions import Reason
from adsync.sync.quarrels import MemberQuarrels, Quarrels, Sides, members_verdict
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


# --- members ---


def write(quarrels: MemberQuarrels, clock: Clock, *add: str, remove: tuple[str, ...] = (), rounds: int = 1) -> None:
    for _ in range(rounds):
        quarrels.note(KEY, Sides(add, remove))
        clock.now += 1


def test_who_is_put_back_again_and_again_is_left_alone_and_nobody_else() -> None:
    clock = Clock()
    quarrels = MemberQuarrels(clock)
    everybody = Sides(("anna", "ben"), ("eve", "mallory"))
    write(quarrels, clock, "anna", remove=("eve",), rounds=4)
    assert quarrels.contested(KEY, everybody) == Sides()
    write(quarrels, clock, "anna", "ben", remove=("eve", "mallory"))
    assert quarrels.contested(KEY, everybody) == Sides(("anna",), ("eve",))
    assert quarrels.contested(KEY, Sides(("eve",), ("anna",))) == Sides(), "the other way round is another wish"
    assert quarrels.contested(Key(USER, "people", "ben"), everybody) == Sides()


def test_what_is_wanted_now_and_then_not_is_no_fight() -> None:
    """A spec that is edited to and fro, or the labels that a selector goes by."""
    clock = Clock()
    quarrels = MemberQuarrels(clock)
    for _ in range(10):
        write(quarrels, clock, "anna")
        write(quarrels, clock, remove=("anna",))
    assert quarrels.contested(KEY, Sides(("anna",), ("anna",))) == Sides()


def test_many_batches_and_members_one_by_one_are_no_fight() -> None:
    clock = Clock()
    quarrels = MemberQuarrels(clock)
    for number in range(20):
        write(quarrels, clock, *(f"{number}-{each}" for each in range(1000)))
    assert quarrels.contested(KEY, Sides(tuple(f"{number}-0" for number in range(20)))) == Sides()


def test_slow_rounds_about_a_member_are_no_fight() -> None:
    clock = Clock()
    quarrels = MemberQuarrels(clock)
    for _ in range(10):
        write(quarrels, clock, "anna")
        clock.now += 15
    assert quarrels.contested(KEY, Sides(("anna",))) == Sides()


def test_the_pauses_about_a_member_grow_and_end() -> None:
    clock = Clock()
    quarrels = MemberQuarrels(clock)
    lasted = []
    for _ in range(3):
        write(quarrels, clock, "anna", rounds=4)
        assert quarrels.contested(KEY, Sides(("anna",))) == Sides(), "rounds before the pause do not count again"
        write(quarrels, clock, "anna")
        assert quarrels.contested(KEY, Sides(("anna",))).add == ("anna",)
        lasted.append(quarrels.rest(KEY))
        clock.now += quarrels.rest(KEY)
        assert quarrels.contested(KEY, Sides(("anna",))) == Sides()
        assert quarrels.rest(KEY) == 0
    assert lasted[0] * 3 < lasted[1] * 2 < lasted[2] * 1.5


def test_an_old_fight_about_a_member_is_forgotten() -> None:
    clock = Clock()
    quarrels = MemberQuarrels(clock)
    write(quarrels, clock, "anna", rounds=5)
    clock.now += 3 * 3600
    assert quarrels.contested(KEY, Sides(("anna",))) == Sides()
    write(quarrels, clock, "anna", rounds=5)
    assert quarrels.rest(KEY) <= 30
    quarrels.forget(KEY)
    assert quarrels.contested(KEY, Sides(("anna",))) == Sides()


def test_what_was_written_long_ago_is_not_kept() -> None:
    clock = Clock()
    quarrels = MemberQuarrels(clock)
    write(quarrels, clock, "anna")
    clock.now += 120
    other = Key(USER, "people", "ben")
    quarrels.note(other, Sides(("ben",)))
    assert set(quarrels._written) == {other}


def test_the_pause_of_members_is_the_group_s() -> None:
    clock = Clock()
    quarrels = Quarrels(clock)
    write(quarrels.members, clock, "anna", rounds=5)
    assert 0 < quarrels.rest(KEY) <= 30


def test_the_message_names_the_members() -> None:
    verdict = members_verdict(Sides(("2", "1"), tuple(map(str, range(12)))), lambda guid: f"u{guid}")
    assert verdict.reason is Reason.CONTESTED
    assert "taking out u1, u2 and putting in u0, u1, u10, u11, u2, u3, u4, u5, u6, u7 and 2 more;" in verdict.message
    assert "putting" not in members_verdict(Sides(("1",)), str).message

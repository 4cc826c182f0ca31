"""Two writers on one attribute, or on one member of a group, must not fight by the second: after a few rounds the one of them that is us
pauses, longer each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from adsync.core.changes import Edit
from adsync.core.identity import Verdict
from adsync.resources.conditions import Reason
from adsync.sync.store import Key

_ROUNDS = 5
_WITHIN_SECONDS = 60.0
_PAUSE_SECONDS, _LONGEST_SECONDS = 30.0, 3600.0
_FORGOTTEN_SECONDS = 7200.0
_TOLD = 10


@dataclass(slots=True)
class _Quarrel:
    reverts: list[float]
    pauses: int = 0
    until: float = 0.0


class Quarrels:
    """Remembers, per resource, when values were set back. `clock` gives seconds. `members` are those of groups."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.members = MemberQuarrels(clock)
        self._clock = clock
        self._quarrels: dict[Key, _Quarrel] = {}

    def note(self, key: Key) -> None:
        """A value that somebody else wrote was set back."""
        now = self._clock()
        quarrel = self._quarrels.setdefault(key, _Quarrel([]))
        quarrel.reverts = [each for each in quarrel.reverts if now - each < _WITHIN_SECONDS] + [now]
        if len(quarrel.reverts) >= _ROUNDS:
            quarrel.until = now + _pause(quarrel.pauses)
            quarrel.pauses += 1
            quarrel.reverts.clear()

    def verdict(self, key: Key, drift: Sequence[Edit]) -> Verdict | None:
        """Why the values in `drift` are left alone for now, if they are."""
        quarrel, now = self._quarrels.get(key), self._clock()
        if quarrel is None or not drift:
            return None
        if now - quarrel.until > _FORGOTTEN_SECONDS and not quarrel.reverts:
            del self._quarrels[key]
            return None
        if now >= quarrel.until:
            return None
        named = ", ".join(edit.attribute for edit in drift)
        said = f"somebody else keeps writing {named}; it is left alone for a while. Find out who, and stop one of the two"
        return Verdict(Reason.CONTESTED, said)

    def rest(self, key: Key) -> float:
        """Seconds until the pause is over."""
        quarrel = self._quarrels.get(key)
        own = max(0.0, quarrel.until - self._clock()) if quarrel else 0.0
        return own or self.members.rest(key)


class Sides(NamedTuple):
    """The objectGUIDs of members who join, and of those who leave."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class _Written(NamedTuple):
    at: float
    sides: Sides


@dataclass(slots=True)
class _Contest:
    """About one member, and whether it is to be in the group (`add`). Rounds before `since` have been paused for already."""

    pauses: int
    since: float
    until: float


class MemberQuarrels:
    """Remembers, per group, what was written of its members lately. `clock` gives seconds.

    Every write starts from the list as the directory has it. So who is added again, and was not removed by us in between, has been taken out
    by somebody else, whatever the spec, a selector or a batch had to do with it; likewise who is removed again. That is one round.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._written: dict[Key, list[_Written]] = {}  # the group that was written last comes last
        self._contests: dict[Key, dict[tuple[str, bool], _Contest]] = {}

    def note(self, key: Key, sides: Sides) -> None:
        """Members of a group were written."""
        now = self._clock()
        log = [each for each in self._written.pop(key, ()) if now - each.at < _WITHIN_SECONDS] + [_Written(now, sides)]
        self._written[key] = log
        while now - self._written[oldest := next(iter(self._written))][-1].at >= _WITHIN_SECONDS:
            del self._written[oldest]
        if len(log) >= _ROUNDS:
            self._count(key, log, add=True)
            self._count(key, log, add=False)

    def _count(self, key: Key, log: Sequence[_Written], *, add: bool) -> None:
        """Those whom the last write has added (or removed) once too often."""
        now, contests, rounds = self._clock(), self._contests.get(key, {}), Counter[str]()
        members = set(log[-1].sides[not add])
        for written in reversed(log):
            members.difference_update(written.sides[add])
            for member in members.intersection(written.sides[not add]):
                contest = contests.get((member, add))
                rounds[member] += contest is None or written.at > contest.since
        for member in (member for member, count in rounds.items() if count >= _ROUNDS):
            contest = contests.get((member, add))
            pauses = contest.pauses if contest else 0
            self._contests.setdefault(key, {})[member, add] = _Contest(pauses + 1, now, now + _pause(pauses))

    def contested(self, key: Key, sides: Sides) -> Sides:
        """Who of those to be written is left alone for now."""
        contests, now = self._contests.get(key), self._clock()
        if not contests:
            return Sides()
        for each in [each for each, contest in contests.items() if now - contest.until > _FORGOTTEN_SECONDS]:
            del contests[each]
        paused = {each for each, contest in contests.items() if now < contest.until}
        return Sides(*(tuple(member for member in side if (member, add) in paused) for side, add in zip(sides, (True, False), strict=True)))

    def rest(self, key: Key) -> float:
        """Seconds until the first pause of a group is over."""
        now = self._clock()
        return min((contest.until - now for contest in self._contests.get(key, {}).values() if now < contest.until), default=0.0)

    def forget(self, key: Key) -> None:
        """The group's resource is gone."""
        self._written.pop(key, None)
        self._contests.pop(key, None)


def _pause(before: int) -> float:
    """Seconds, after so many pauses."""
    return min(_LONGEST_SECONDS, _PAUSE_SECONDS * 2.0 ** min(before, 10))


def members_verdict(sides: Sides, name: Callable[[str], str]) -> Verdict:
    """Of a group some of whose members are left alone. `name` is how a person knows the member with an objectGUID."""
    parts = [
        f"{what} {', '.join(sorted(map(name, side))[:_TOLD])}{f' and {len(side) - _TOLD} more' if len(side) > _TOLD else ''}"
        for what, side in (("taking out", sides.add), ("putting in", sides.remove))
        if side
    ]
    said = f"somebody else keeps {' and '.join(parts)}; these members are left alone for a while, all others are not"
    return Verdict(Reason.CONTESTED, f"{said}. Find out who, and stop one of the two")

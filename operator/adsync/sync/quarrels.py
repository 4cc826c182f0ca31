"""Two writers on one attribute must not fight by the second: after a few rounds the one of them that is us pauses, longer each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adsync.core.changes import Edit
from adsync.core.identity import Verdict
from adsync.resources.conditions import Reason
from adsync.sync.store import Key

_ROUNDS = 5
_WITHIN_SECONDS = 60.0
_PAUSE_SECONDS, _LONGEST_SECONDS = 30.0, 3600.0
_FORGOTTEN_SECONDS = 7200.0


@dataclass(slots=True)
class _Quarrel:
    reverts: list[float]
    pauses: int = 0
    until: float = 0.0


class Quarrels:
    """Remembers, per resource, when values were set back. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._quarrels: dict[Key, _Quarrel] = {}

    def note(self, key: Key) -> None:
        """A value that somebody else wrote was set back."""
        now = self._clock()
        quarrel = self._quarrels.setdefault(key, _Quarrel([]))
        quarrel.reverts = [each for each in quarrel.reverts if now - each < _WITHIN_SECONDS] + [now]
        if len(quarrel.reverts) >= _ROUNDS:
            quarrel.until = now + min(_LONGEST_SECONDS, _PAUSE_SECONDS * 2.0 ** min(quarrel.pauses, 10))
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
        return max(0.0, quarrel.until - self._clock()) if quarrel else 0.0

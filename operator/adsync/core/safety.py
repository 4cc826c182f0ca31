"""The limit on removals: how many there may be in a sliding window, and which are held until somebody approves them.

Pure bookkeeping. A ledger is a list of (moment, verb, count), kept in the ADDomain's status so that a restart does not empty the window.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from adsync.core.changes import Verb


@dataclass(frozen=True, slots=True)
class Limits:
    """`removals` and `suspensions` are shares of the managed population (0..1); `at_least` is always allowed."""

    removals: float
    suspensions: float
    at_least: int
    window: timedelta

    def allowed(self, verb: Verb, population: int) -> int:
        share = self.suspensions if verb is Verb.SUSPEND else self.removals
        return max(self.at_least, int(share * population + 1e-9))  # 29% of 100 are 29, whatever binary fractions make of them


@dataclass(slots=True)
class Ledger:
    """What was removed within the window. Moments are kept to a 150th of the window: the status stays small, and so much more or less is nothing."""

    entries: dict[tuple[datetime, Verb], int] = field(default_factory=dict)

    def note(self, now: datetime, verbs: Iterable[Verb], window: timedelta) -> None:
        grain = max(1, int(window.total_seconds()) // 150)
        seconds = int(now.timestamp())
        moment = datetime.fromtimestamp(seconds - seconds % grain, UTC)
        for verb in verbs:
            self.entries[moment, verb] = self.entries.get((moment, verb), 0) + 1

    def spent(self, now: datetime, verb: Verb, window: timedelta) -> int:
        self.entries = {key: count for key, count in self.entries.items() if key[0] + window > now}
        return sum(count for (_, each), count in self.entries.items() if each is verb)


def exceeded(
    limits: Limits, ledger: Ledger, now: datetime, verbs: Iterable[Verb], populations: Mapping[Verb, int], under_way: Iterable[Verb] = ()
) -> Verb | None:
    """The first verb whose limit the change would go beyond, or None. `under_way` are those of changes that are let through, and not made yet."""
    begun = Counter(under_way)
    for verb, count in Counter(verbs).items():
        if ledger.spent(now, verb, limits.window) + begun[verb] + count > limits.allowed(verb, populations.get(verb, 0)):
            return verb
    return None


@dataclass(slots=True)
class HeldChanges:
    """Changes above the limit, by the key of their resource. The set is frozen when it is published; later ones form the next set."""

    frozen: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    published: bool = False
    last_approved: str = ""
    approved: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Also of what was approved last, so that the same changes, asked for again one day, need a new approval."""
        return digest_of(self.frozen, self.last_approved)

    def hold(self, key: str, change: str) -> None:
        if key in self.frozen or not self.published:
            if self.frozen.get(key) != change and self.published:
                del self.frozen[key]  # it asks for something else now, which nobody has seen
                self.waiting[key] = change
                self._go_on()
            else:
                self.frozen[key] = change
        else:
            self.waiting[key] = change

    def is_approved(self, key: str, change: str) -> bool:
        return self.approved.get(key) == change

    def approve(self, digest: str) -> list[str]:
        """Let the frozen set through if `digest` is exactly its own; returns the keys that may go on."""
        if not self.frozen or digest != self.digest:
            return []
        keys = list(self.frozen)
        self.last_approved = digest
        self.approved |= self.frozen
        self.frozen = {}
        self._go_on()
        return keys

    def withdraw(self, key: str) -> None:
        """The change is no longer wanted, or was made."""
        for each in (self.frozen, self.waiting, self.approved):
            each.pop(key, None)
        self._go_on()

    def _go_on(self) -> None:
        """When a set is through, or nobody wants it any more, what has waited is the next one."""
        if not self.frozen:
            self.frozen, self.waiting, self.published = self.waiting, {}, False


def digest_of(changes: Mapping[str, str], salt: str = "") -> str:
    """A short digest of a set of changes, the same whatever their order; "" for none."""
    if not changes:
        return ""
    told = "\n".join(f"{key}\0{change}" for key, change in sorted(changes.items()))
    return hashlib.sha256(f"{salt}\n{told}".encode()).hexdigest()[:16]

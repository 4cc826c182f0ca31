"""The guard of one domain: judges every plan against the safety limits before anything is written, and remembers across restarts what went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import NamedTuple

from adsync.core.changes import Change, Delete, DropResource, Modify, ModifyMembers, Verb
from adsync.core.identity import Verdict
from adsync.core.safety import HeldChanges, Ledger, Limits, exceeded
from adsync.resources.addomain import Safety
from adsync.resources.addomain_status import PlannedChanges, Removal, SafetyStatus
from adsync.resources.common import format_duration
from adsync.resources.conditions import Reason
from adsync.sync.store import Key

_SAMPLE = 20
_SHRINKING = frozenset({Verb.DELETE, Verb.DISABLE, Verb.REMOVE_MEMBER})
_COUNT_HOLDS = timedelta(seconds=2)
_LONGEST_WINDOW = timedelta(days=3650)  # what begins with the year 9999 in it can't be counted with


class Managed(NamedTuple):
    """How many users and memberships a domain manages."""

    users: int
    memberships: int


class Guard:
    """`count` tells how many the domain manages, of which the limits are shares."""

    def __init__(self, safety: Safety, recorded: SafetyStatus | None) -> None:
        self.update(safety)
        self.held = HeldChanges()
        self.held.last_approved = (recorded.approved_digest if recorded else None) or ""
        self.ledger = Ledger()
        self._under_way: dict[Key, Counter[Verb]] = {}  # let through, not made yet: many are judged before the first is made
        self.count: Callable[[], Managed] = lambda: Managed(0, 0)
        self._managed, self._counted_at = Managed(0, 0), datetime.min.replace(tzinfo=UTC)
        self._gone: dict[Verb, int] = {}
        for removal in (recorded.removals if recorded else None) or ():
            if removal.verb in {str(verb) for verb in Verb}:
                self.ledger.entries[removal.time, Verb(removal.verb)] = removal.count

    def update(self, safety: Safety) -> None:
        self.limits = Limits(
            safety.max_removals / 100, safety.max_suspensions / 100, safety.min_removals, min(safety.window, _LONGEST_WINDOW)
        )

    def withdraw(self, key: Key) -> None:
        """The change is no longer wanted."""
        self.finished(key)
        self.held.withdraw(str(key))

    def finished(self, key: Key) -> None:
        """The look at a resource is over: what was let through for it and not made does not count any more."""
        self._under_way.pop(key, None)

    def judge(self, key: Key, changes: Sequence[Change | DropResource]) -> Verdict | None:
        """None where the changes may be made; the reason where they are held."""
        verbs = [verb for change in changes for verb in verbs_of(change)]
        self.finished(key)
        if not verbs:
            self.held.withdraw(str(key))
            return None
        told = "; ".join(map(_exactly, changes))
        if self.held.is_approved(str(key), told):
            return None
        now = datetime.now(UTC)
        if now - self._counted_at > _COUNT_HOLDS:  # not anew for each of a thousand removals
            self._managed, self._counted_at = self.count(), now
            # What was removed within the window is managed no more, and was: the share is of what there was, also after a restart.
            self._gone = {verb: self.ledger.spent(now, verb, self.limits.window) for verb in _SHRINKING}
        populations = {
            verb: (self._managed.memberships if verb is Verb.REMOVE_MEMBER else self._managed.users) + self._gone.get(verb, 0)
            for verb in Verb
        }
        under_way = chain.from_iterable(counter.elements() for counter in self._under_way.values())
        verb = exceeded(self.limits, self.ledger, now, verbs, populations, under_way)
        if verb is None:
            self._under_way[key] = Counter(verbs)
            self.held.withdraw(str(key))
            return None
        self.held.hold(str(key), told)
        limit = self.limits.allowed(verb, populations[verb])
        said = f"more than {limit} changes of the kind {verb} within {format_duration(self.limits.window)} are held"
        message = f"{said}; approve them on the ADDomain (its WithinSafetyLimit condition says how), or raise spec.safety"
        return Verdict(Reason.SAFETY_LIMIT, message)

    def note(self, key: Key, change: Change | DropResource) -> None:
        """A change was made."""
        self.ledger.note(datetime.now(UTC), verbs_of(change), self.limits.window)
        if key in self._under_way:
            self._under_way[key] -= Counter(verbs_of(change))
        self.held.withdraw(str(key))

    def status(self) -> SafetyStatus | None:
        now = datetime.now(UTC)
        self.ledger.spent(now, Verb.DELETE, self.limits.window)
        removals = [Removal(time=time, verb=str(verb), count=count) for (time, verb), count in sorted(self.ledger.entries.items())]
        held = len(self.held.frozen) + len(self.held.waiting)
        if not removals and not held and not self.held.last_approved:
            return None
        return SafetyStatus(removals=removals[-1000:] or None, held=held, approved_digest=self.held.last_approved or None)

    @property
    def unseen(self) -> int:
        """How many are held that no status has shown yet: the set may still grow."""
        return 0 if self.held.published else len(self.held.frozen)

    @property
    def later(self) -> int:
        """How many are held beside those whose digest is shown: the next set."""
        return len(self.held.waiting)

    def planned(self) -> PlannedChanges | None:
        """What is held, as the status shows it. Showing it freezes the set."""
        if not self.held.frozen:
            return None
        self.held.published = True
        sample = [f"{key}: {change}"[:1024] for key, change in sorted(self.held.frozen.items())[:_SAMPLE]]
        return PlannedChanges(count=len(self.held.frozen), digest=self.held.digest, sample=sample)

    def approve(self, digest: str) -> list[str]:
        """Let the held set with exactly this digest through; returns the keys, as `str(Key)`, that may go on."""
        return self.held.approve(digest)

    def stray(self, digest: str) -> str:
        """What to say of an approval that is of no set there is or was; "" where nothing is shown to be approved."""
        held = self.held
        if not held.frozen or not held.published or digest in (held.digest, held.last_approved):
            return ""
        return f"{digest!r} is not the digest of what is held now, which is {held.digest}; nothing was let through"


def _exactly(change: Change | DropResource) -> str:
    """A change in words that no other change has: what is approved is this and nothing else."""
    return f"{change} ({' '.join(change.remove)})" if isinstance(change, ModifyMembers) else str(change)


def verbs_of(change: Change | DropResource) -> tuple[Verb, ...]:
    return change.verbs if isinstance(change, (Modify, Delete, ModifyMembers, DropResource)) else ()

"""Credentials that a directory has refused: they are not tried again soon, and others for the same account not at any rate, as each wrong
one counts towards a lockout.

    refused before                 not for an hour
    accepted before                at once
    new, nothing refused lately    at once, and once more after the first refusal: somebody corrects a mistake
    new, after more refusals       after a pause that grows with them
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

REFUSED_SECONDS = 3600.0
_PAUSES = (0.0, 0.0, 5.0, 20.0, 60.0, 300.0)  # by how many were refused in a row
_REMEMBERED = 1000


@dataclass(slots=True)
class _Account:
    """What was refused of late for one account: how many in a row, and when the last."""

    refusals: int = 0
    last: float = 0.0


class Refusals:
    """Of all domains of the process, which may share an account. `credentials` are keyed digests, `account` a name and its domain; `clock`
    gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}
        self._accepted: dict[str, None] = {}
        self._accounts: dict[str, _Account] = {}

    def is_refused(self, credentials: str) -> bool:
        return self._until.get(credentials, 0.0) > self._clock()

    def pause(self, credentials: str, account: str) -> float:
        """How many seconds to wait before these are tried, because others were refused for the same account."""
        if credentials in self._accepted or (known := self._accounts.get(account)) is None:
            return 0.0
        return max(0.0, known.last + _PAUSES[min(known.refusals, len(_PAUSES) - 1)] - self._clock())

    def refuse(self, credentials: str, account: str) -> None:
        now = self._clock()
        self._until = {each: until for each, until in self._until.items() if until > now} | {credentials: now + REFUSED_SECONDS}
        self._accepted.pop(credentials, None)
        self._accounts = {name: each for name, each in self._accounts.items() if each.last + REFUSED_SECONDS > now}
        known = self._accounts.setdefault(account, _Account())
        known.refusals, known.last = known.refusals + 1, now

    def recall(self, credentials: str) -> None:
        """A status says that these were refused before this process began."""
        if not self.is_refused(credentials):
            self._until[credentials] = self._clock() + REFUSED_SECONDS

    def accept(self, credentials: str, account: str) -> None:
        self._until.pop(credentials, None)
        self._accounts.pop(account, None)
        self._accepted[credentials] = None
        while len(self._accepted) > _REMEMBERED:
            del self._accepted[next(iter(self._accepted))]

"""What a domain's own status says of held changes."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from adsync.core.changes import Delete
from adsync.core.dn import DN
from adsync.core.policy import UNKNOWN
from adsync.metrics import Metrics
from adsync.resources.addomain import Safety
from adsync.resources.conditions import ConditionType, Reason
from adsync.sync.guard import Guard
from adsync.sync.teller import Teller
from tests.unit.core.support import ROOT
from tests.unit.sync.support import domain, domain_key, store, user_key


class Events:
    """Reports, as far as a domain's status asks for them."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.writer = self

    def event(self, _resource: Any, reason: str, message: str, *, warning: bool = False) -> None:
        self.said.append(f"{reason}: {message}")

    def standings(self, _domain: Any) -> dict[Any, Any]:
        return {}

    def submit(self, *_arguments: Any, **_keywords: Any) -> None:
        """Nobody looks at the status here, but at the facts that it is made from."""


class Held:
    """A domain that may remove nobody, and a look at its status for each second that passes."""

    def __init__(self) -> None:
        self.events = Events()
        self.guard = Guard(Safety.model_validate({"minRemovals": 0, "maxRemovals": "0%"}), None)
        reports: Any = self.events
        self.teller = Teller(domain_key(), store(domain()), reports, Metrics())
        self.teller.guard = self.guard

    def delete(self, *names: str) -> None:
        for name in names:
            assert self.guard.judge(user_key(name), (Delete(name, DN.parse(ROOT).child("CN", name)),))

    def look(self) -> tuple[int, str]:
        """How many are shown to be approved, and what the condition says."""
        self.teller._tell_now()
        facts = self.teller.facts
        finding = facts.findings[ConditionType.WITHIN_SAFETY_LIMIT]
        assert finding.status is False
        return facts.planned.count or 0 if facts.planned else 0, finding.message


async def test_a_set_that_grows_is_shown_when_it_has_grown() -> None:
    held = Held()
    held.delete("a", "b")
    assert held.look() == (0, "2 changes are held; the digest to approve follows when no more are coming")
    held.delete("c", "d")
    assert held.look()[0] == 0
    assert held.teller._timer is not None, "it looks again by itself"
    assert not held.events.said
    count, told = held.look()
    assert count == 4
    assert re.search(r"^4 changes are held; approve them with annotation adsync\.dev/approve=[0-9a-f]{16}$", told)
    assert held.events.said == ["SafetyLimit: 4 changes are held; status.plannedChanges shows what, with the digest to approve"]
    held.look()
    assert len(held.events.said) == 1, "told once"


async def test_what_comes_after_it_was_shown_is_told_of() -> None:
    held = Held()
    held.delete("a")
    held.look()
    held.look()
    held.delete("b", "c")
    count, told = held.look()
    assert count == 1
    assert told.startswith("1 change is held; ")
    assert told.endswith("; 2 that came later form the next set")


async def test_one_that_grows_and_grows_is_shown_all_the_same() -> None:
    held = Held()
    shown = 0
    for number in range(30):
        held.delete(f"u{number}")
        shown = shown or held.look()[0]
    assert 5 <= shown <= 15


async def test_an_approval_of_nothing_is_told() -> None:
    held = Held()
    held.delete("a")
    assert held.guard.stray("0123") == "", "nothing is shown yet"
    held.look()
    held.look()
    digest = held.guard.held.digest
    assert held.guard.stray("0123") == f"'0123' is not the digest of what is held now, which is {digest}; nothing was let through"
    assert held.guard.stray(digest) == ""
    held.guard.approve(digest)
    held.delete("b")
    held.look()
    held.look()
    assert held.guard.stray(digest) == "", "an approval that has been served stays on the resource"


async def test_a_comparison_that_was_asked_for_is_told_of_when_it_is_done() -> None:
    held = Held()
    teller, now = held.teller, asyncio.get_running_loop().time()
    imports = SimpleNamespace(active=False, complaint="")
    session: Any = SimpleNamespace(
        full_at=datetime.now(UTC), compared_from=now - 1, imports=imports, feed=None, place=SimpleNamespace(policy=UNKNOWN)
    )
    teller.session, teller.requested, teller.requested_since = session, "please", now
    teller._tell_now()
    assert teller.facts.requested_at == ""
    session.compared_from = now + 1
    teller._tell_now()
    assert teller.facts.requested_at == "please"
    imports.complaint = "exceeded quota"
    teller._tell_now()
    assert teller.facts.verdict.reason is Reason.PROGRESSING

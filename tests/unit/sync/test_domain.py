"""A domain's loop where something fails that nobody has foreseen: it says so and begins anew, and no other domain is troubled."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from adsync.core.identity import Verdict
from adsync.health import Heartbeats
from adsync.metrics import Metrics
from adsync.resources.conditions import Reason
from adsync.sync.domain import DomainLoop, Shared
from adsync.sync.refusals import Refusals
from adsync.sync.reports import Reports
from adsync.sync.setup import Halt
from adsync.sync.store import DOMAIN
from tests.unit.cluster.support import until
from tests.unit.sync.support import CORP, domain, store


async def test_a_defect_ends_neither_the_operator_nor_the_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0

    async def set_up(*_: Any) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise RuntimeError("that can't be")
        raise Halt(Verdict(Reason.PAUSED, "spec.paused is true"))

    monkeypatch.setattr("adsync.sync.domain.set_up", set_up)
    monkeypatch.setattr("adsync.sync.domain._UNFORESEEN_SECONDS", 0.01)
    said: list[str] = []
    known = store(domain())
    events = SimpleNamespace(emit=lambda _about, _type, reason, message, **_: said.append(f"{reason}: {message}"))
    reports = Reports(known, SimpleNamespace(), events, lambda _dirty: None)  # type: ignore[arg-type]
    shared = Shared(known, SimpleNamespace(), reports, Metrics(), "uid", (), lambda: True, Refusals(lambda: 0.0))  # type: ignore[arg-type]
    loop = DomainLoop(CORP, shared, Heartbeats().register("corp", max_age=1.0))
    running = asyncio.create_task(loop.run())
    await until(lambda: attempts > 1)
    assert said[0].startswith("DirectoryError: an unforeseen error (RuntimeError)")
    assert "that can't be" not in said[0], "an unknown error's text may hold anything"
    known.remove(DOMAIN, CORP.namespace, CORP.name)
    loop.changed()
    await asyncio.wait_for(running, 5)

"""Edits that come while a look of both ways is under way: the base of a merge is what has gone across by then."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from adsync.core.changes import Change
from adsync.core.entries import Entry
from adsync.errors import DirectoryUnavailable
from adsync.resources.conditions import Reason
from adsync.sync.imports import Imports
from adsync.sync.merging_users import MergingUsers
from tests.unit.core.support import ours as marked
from tests.unit.sync.support import JDOE, user
from tests.unit.sync.test_looks import Place

AUTHORITIES = ["ActiveDirectory", "Kubernetes"]


def both_ways(*entries: Entry, authority: str = "ActiveDirectory") -> Place:
    place = Place(*entries, direction="Bidirectional", authority=authority, scopeGroup="everybody")
    signed_in(place)

    async def apply_spec(_obj: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
        known = place.store.resources[JDOE]
        return user("jdoe", status=known.status, meta={"generation": known.generation + 1}, **fields)

    place.cluster.apply_spec = apply_spec  # type: ignore[attr-defined]
    return place


def signed_in(place: Place) -> None:
    """Another session: what the looks remember themselves is gone."""
    place.users = MergingUsers(place.work, Imports(place.work, lambda _key: None, lambda: None))


def title(place: Place, wanted: str) -> None:
    place.ask(attributes={"title": wanted})


async def settled(place: Place) -> str:
    """The title on both sides, when a look finds no more to do."""
    for _ in range(5):
        if (await place.look()).reason is Reason.SYNCED and place.pause is None:
            spec = place.store.resources[JDOE].spec.attributes
            there = place.account().attributes.get("title")
            if there == spec["title"]:
                return str(there)
    raise AssertionError("it does not settle")


@pytest.mark.parametrize("authority", AUTHORITIES)
async def test_a_spec_that_is_edited_while_its_last_edit_is_written(authority: str) -> None:
    place = both_ways(marked(attributes={"title": "CFO"}), authority=authority)
    title(place, "CFO")
    assert await settled(place) == "CFO"
    title(place, "CTO")

    def meanwhile(_change: Change) -> None:
        place.directory.before_write = lambda _change: None
        title(place, "CEO")

    place.directory.before_write = meanwhile
    assert await settled(place) == "CEO"
    assert not [said for reason, said in place.events.said if reason == "Conflict"]


async def test_a_spec_that_is_edited_while_its_account_is_made() -> None:
    place = both_ways()
    title(place, "CTO")

    def meanwhile(_change: Change) -> None:
        place.directory.before_write = lambda _change: None
        title(place, "CEO")

    place.directory.before_write = meanwhile
    assert await settled(place) == "CEO"


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_spec_that_is_edited_after_a_write_that_nobody_answered(arrived: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    place = both_ways(marked(attributes={"title": "CFO"}))
    title(place, "CFO")
    assert await settled(place) == "CFO"
    title(place, "CTO")
    apply = place.directory.apply

    async def unanswered(change: Change, password: SecretStr | None = None) -> None:
        if arrived:
            await apply(change, password)
        raise DirectoryUnavailable("the connection was lost")

    with monkeypatch.context() as patched:
        patched.setattr(place.directory, "apply", unanswered)
        with pytest.raises(DirectoryUnavailable):
            await place.look()
    for each in place.directory.ad.entries.values():
        place.work.mirror.put(each)
    signed_in(place)
    title(place, "CEO")
    assert await settled(place) == "CEO"
    assert not [said for reason, said in place.events.said if reason == "Conflict"]

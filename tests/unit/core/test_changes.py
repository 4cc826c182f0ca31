"""Changes in words: what is wanted, and what has been done."""

from __future__ import annotations

import pytest

from adsync.core.changes import Add, Change, Delete, Edit, Modify, Move, Verb, past
from adsync.core.dn import DN
from tests.unit.core.support import ROOT

HOME = DN.parse(ROOT)
JO = HOME.child("CN", "jo")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("512", "514", "userAccountControl: 512 → 514 (disabled)"),
        ("66050", "66048", "userAccountControl: 66050 → 66048 (enabled)"),
        ("512", "66048", "userAccountControl: 512 → 66048"),
        (None, "514", "userAccountControl: (none) → 514 (disabled)"),
    ],
)
def test_the_switch_among_the_flags_is_named(old: str | None, new: str, told: str) -> None:
    assert str(Edit("userAccountControl", old, new)) == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Add(JO, "group", {}), f"created group {JO}"),
        (Add(JO, "group", {}, members=("a", "b")), f"created group {JO} with 2 members"),
        (Move("g", JO, HOME.child("CN", "joe")), f"renamed {JO} → CN=joe,{ROOT}"),
        (Move("g", JO, HOME.child("OU", "sales").child("CN", "jo")), f"moved {JO} → CN=jo,OU=sales,{ROOT}"),
        (Delete("g", JO), f"deleted {JO}"),
        (Modify("g", JO, (Edit("userAccountControl", "512", "514"),), verbs=(Verb.DISABLE,)), f"disabled {JO}"),
        (Modify("g", JO, (Edit("title", "a", "b"),)), "title: a → b"),
    ],
)
def test_what_was_done_is_told_as_done(change: Change, told: str) -> None:
    assert past(change) == told

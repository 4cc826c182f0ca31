"""The mirror: found by every name it goes by, and by no name that it has given up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adsync.core.dn import DN
from adsync.core.entries import Entry, EntryKind
from adsync.core.owner import OwnerMark
from adsync.sync.mirror import Mirror
from tests.unit.core.support import GUID, OWNER, ROOT, STRANGER, entry, ours

OTHER = "00000000-0000-0000-0000-000000000002"


def mirror(*entries: Entry) -> Mirror:
    made = Mirror()
    for each in entries:
        made.put(each)
    return made


def newer(each: Entry, **changes: object) -> Entry:
    return replace(each, usn_changed=each.usn_changed + 1, **changes)  # type: ignore[arg-type]


def test_names_that_only_some_servers_take_for_one_are_two() -> None:
    """Whoever asks for the one must never get the other's account."""
    sharp, double, kelvin = entry("a", "strauß"), entry("b", "strauss"), entry("c", "\u212aai")
    made = mirror(sharp, double, kelvin)
    assert (made.by_sam("STRAUß"), made.by_sam("Strauss"), made.by_sam("kai")) == (sharp, double, None)
    assert made.by_upn("strauß@corp.example.com") is sharp


def test_found_by_every_name() -> None:
    account = ours()
    made = mirror(account)
    assert made.by_guid(GUID) is account
    assert made.by_sam("JDOE") is account
    assert made.by_upn("JDoe@Corp.Example.com") is account
    assert made.by_dn(DN.parse(f"cn=JDOE, {ROOT}")) is account
    assert made.by_owner(OWNER) == [account]
    assert list(made) == [account]
    assert made.users_below(DN.parse(ROOT)) == 1


def test_not_found() -> None:
    made = mirror(entry(upn=""))
    assert made.by_guid(OTHER) is None
    assert made.by_sam("other") is None
    assert made.by_upn("") is None
    assert list(made.by_owner(OWNER)) == []


def test_old_names_are_given_up() -> None:
    account = ours()
    made = mirror(account)
    changed = newer(account, sam="b", upn="b@x", dn=DN.parse(f"CN=b,{ROOT}"), mark=str(OwnerMark(STRANGER)))
    assert made.put(changed) is account
    assert (made.by_sam("jdoe"), made.by_upn(account.upn), made.by_dn(account.dn), list(made.by_owner(OWNER))) == (None, None, None, [])
    assert made.by_sam("b") is made.by_upn("b@x") is made.by_dn(changed.dn) is made.by_owner(STRANGER)[0] is changed


@pytest.mark.parametrize("order", [0, 1])
def test_two_that_swap_their_names(order: int) -> None:
    first, second = entry(GUID, "a"), entry(OTHER, "b")
    made = mirror(first, second)
    swapped = [newer(first, sam="b", upn=second.upn, dn=second.dn), newer(second, sam="a", upn=first.upn, dn=first.dn)]
    for each in swapped[:: 1 if order else -1]:
        made.put(each)
    for each in swapped:
        assert made.by_sam(each.sam) is made.by_upn(each.upn) is made.by_dn(each.dn) is each


def test_what_is_older_is_not_taken() -> None:
    account = entry(usn_changed=5)
    made = mirror(account)
    made.put(replace(account, usn_changed=4, sam="old"))
    assert made.by_guid(GUID) is account
    same = replace(account, computed_control=0x10)  # constructed attributes move without uSNChanged
    made.put(same)
    assert made.by_guid(GUID) is same


def test_dropped() -> None:
    account = ours()
    made = mirror(account)
    assert made.drop(GUID) is account
    assert made.drop(GUID) is None
    assert len(made) == 0
    assert made.by_sam("jdoe") is None
    assert made.by_upn(account.upn) is None
    assert made.by_dn(account.dn) is None
    assert list(made.by_owner(OWNER)) == []


def test_a_name_that_was_passed_on_stays_with_its_new_owner() -> None:
    made = mirror(entry(GUID, "a"))
    heir = entry(OTHER, "a", upn="", dn=f"CN=x,{ROOT}")
    made.put(heir)
    made.drop(GUID)
    assert made.by_sam("a") is heir


# --- members --------------------------------------------------------------------------------------------------------------------------------

G1, G2 = "g1", "g2"


def group(guid: str, **changes: object) -> Entry:
    return entry(guid, guid, kind=EntryKind.GROUP, sid=f"S-1-5-21-1-2-3-{2000 + int(guid[1])}", upn="", **changes)


def test_members_and_groups() -> None:
    made = mirror(group(G1), group(G2), entry())
    assert made.members(G1) is None
    assert made.members_read_at(G1) == -1
    assert made.put_members(G1, 7, {GUID, OTHER}) == {GUID, OTHER}
    assert made.put_members(G2, 7, {GUID}) == {GUID}
    assert made.members_read_at(G1) == 7
    assert {each.guid for each in made.groups_of(GUID)} == {G1, G2}
    assert made.put_members(G1, 8, {OTHER}) == {GUID}
    assert {each.guid for each in made.groups_of(GUID)} == {G2}
    made.changed_members(G1, 9, {GUID}, {OTHER})
    assert (made.members(G1), made.members_read_at(G1)) == ({GUID}, 9)
    made.changed_members("unread", 9, {GUID}, set())
    assert made.members("unread") is None, "a list that was never read must not pass for a complete one"


def test_a_member_that_is_gone_is_in_no_group() -> None:
    made = mirror(group(G1), entry())
    made.put_members(G1, 7, {GUID, OTHER})
    made.drop(GUID)
    assert made.members(G1) == {OTHER}
    made.put(entry())
    assert made.groups_of(GUID) == []


def test_a_group_that_is_gone_has_no_members() -> None:
    made = mirror(group(G1), entry())
    made.put_members(G1, 7, {GUID})
    made.drop(G1)
    assert made.members(G1) is None
    made.put(group(G1))
    assert made.groups_of(GUID) == []


def test_primary_groups() -> None:
    made = mirror(group(G1), entry(primary_group=2001), entry(OTHER, "other"))
    assert [each.guid for each in made.groups_of(GUID)] == [G1]
    assert made.groups_of(OTHER) == []
    home = made.by_guid(G1)
    assert home is not None
    assert made.primary_members(home) == {GUID}
    made.put(newer(entry(), primary_group=513))
    assert made.primary_members(home) == set()
    assert made.groups_of(GUID) == []

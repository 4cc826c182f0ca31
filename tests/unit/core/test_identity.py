"""Which account is a resource's: every row of the table in core/identity.py, who may be adopted, and who is never written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adsync.core.entries import Entry, EntryKind
from adsync.core.identity import Claim, Found, Verdict, find, may_adopt, privileged
from adsync.core.owner import OwnerMark
from adsync.resources.addomain import AdoptionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import Origin
from tests.unit.core.support import GUID, OWNER, STRANGER, Directory, entry, ours

OTHER = "00000000-0000-0000-0000-000000000002"
CLAIM = Claim(OWNER, EntryKind.USER, GUID, "jdoe", origin=Origin.ADOPTED)
UNRECORDED = replace(CLAIM, guid="", origin=None)
FOREIGN = "seen by the help desk"
THEIRS = str(OwnerMark(STRANGER, Origin.CREATED))


def found(claim: Claim, *entries: Entry) -> Found:
    result = find(claim, Directory(*entries))
    assert isinstance(result, Found)
    return result


def conflict(claim: Claim, *entries: Entry) -> str:
    result = find(claim, Directory(*entries))
    assert isinstance(result, Verdict)
    assert result.reason is Reason.CONFLICT
    return result.message


def test_by_guid_with_our_mark() -> None:
    account = ours(sam="renamed", dn="CN=renamed,CN=Users,DC=corp,DC=example,DC=com")
    assert found(CLAIM, account) == Found(account, Origin.CREATED, OwnerMark(OWNER, Origin.CREATED))


def test_by_guid_with_a_foreign_value() -> None:
    account = entry(sam="renamed", mark=FOREIGN)
    assert found(CLAIM, account) == Found(account, Origin.ADOPTED, unmarkable=True)
    assert found(replace(CLAIM, origin=Origin.CREATED), account).origin is Origin.CREATED


def test_by_guid_without_a_mark_is_not_believed() -> None:
    """A status can be forged: whoever writes a stranger's objectGUID there must not get the account."""
    forged = entry(OTHER, "boss")
    assert found(replace(CLAIM, guid=OTHER), forged) == Found(None, Origin.CREATED)


def test_by_guid_with_another_owners_mark_is_not_believed() -> None:
    forged = entry(OTHER, "boss", mark=THEIRS)
    assert found(replace(CLAIM, guid=OTHER), forged).entry is None


def test_by_guid_of_another_kind_is_not_believed() -> None:
    group = entry(OTHER, "boss", kind=EntryKind.GROUP, mark=FOREIGN)
    assert found(replace(CLAIM, guid=OTHER), group).entry is None


def test_by_mark_when_the_status_was_lost() -> None:
    account = ours(sam="renamed")
    assert found(UNRECORDED, account) == Found(account, Origin.CREATED, OwnerMark(OWNER, Origin.CREATED))


def test_the_mark_decides_against_the_name_and_against_a_guid_that_is_not_ours() -> None:
    account, namesake = ours(OTHER, "renamed"), entry(GUID, "jdoe")
    assert found(CLAIM, namesake, account).entry == account


def test_the_recorded_account_decides_among_two_with_our_mark() -> None:
    account, copy = ours(), ours(OTHER, "copy")
    assert found(CLAIM, copy, account).entry == account


def test_two_with_our_mark_and_no_record() -> None:
    said = conflict(UNRECORDED, ours(), ours(OTHER, "copy"))
    assert "CN=copy," in said
    assert "CN=jdoe," in said
    assert "clear the mark" in said


def test_by_name_another_resources() -> None:
    assert "belongs to SyncedUser team-b/other of cluster prod-2" in conflict(UNRECORDED, entry(mark=THEIRS))


@pytest.mark.parametrize(("mark", "unmarkable"), [("", False), (FOREIGN, True)])
def test_by_name_a_strangers(mark: str, unmarkable: bool) -> None:
    account = entry(sam="JDoe", mark=mark)
    assert found(UNRECORDED, account) == Found(account, Origin.ADOPTED, unmarkable=unmarkable, adopting=True)


def test_by_name_of_another_kind() -> None:
    assert "taken by the group" in conflict(UNRECORDED, entry(kind=EntryKind.GROUP))


def test_by_upn_where_the_username_is_kept_there() -> None:
    account, namesake = entry(sam="other", upn="jdoe@corp.example.com"), entry(OTHER, "jdoe", upn="")
    claim = replace(UNRECORDED, name="JDoe@corp.example.com", by_upn=True)
    assert found(claim, namesake, account).entry == account
    assert found(claim, namesake).entry is None


def test_nothing_is_to_be_created() -> None:
    assert found(CLAIM) == Found(None, Origin.CREATED)


LINKED = replace(UNRECORDED, linked=GUID, name="renamed")


@pytest.mark.parametrize(("mark", "unmarkable"), [("", False), (FOREIGN, True)])
def test_by_link_without_a_mark(mark: str, unmarkable: bool) -> None:
    account = entry(mark=mark)
    assert found(LINKED, account) == Found(account, Origin.IMPORTED, unmarkable=unmarkable, linked=True)


def test_by_link_with_our_mark() -> None:
    account, other = ours(), ours(OTHER, "other")
    assert found(LINKED, other, account) == Found(account, Origin.CREATED, OwnerMark(OWNER, Origin.CREATED))


def test_by_link_another_resources_unless_it_gives_way() -> None:
    account = entry(mark=THEIRS)
    assert "belongs to SyncedUser team-b/other" in conflict(LINKED, account)
    assert found(replace(LINKED, yields=(STRANGER,)), account) == Found(account, Origin.IMPORTED, linked=True)


def test_a_link_to_nothing_or_to_another_kind_says_nothing() -> None:
    for there in ([], [entry(kind=EntryKind.GROUP)]):
        assert found(LINKED, *there) == Found(None, Origin.CREATED)


def test_by_name_the_imported_twin_gives_way() -> None:
    account = entry(mark=THEIRS)
    assert found(replace(UNRECORDED, yields=(STRANGER,)), account) == Found(account, Origin.ADOPTED, adopting=True)
    assert "belongs to" in conflict(replace(UNRECORDED, yields=("somebody else",)), account)


def test_the_origin_comes_from_the_mark_then_from_the_record() -> None:
    unsaid = replace(ours(), mark=OWNER)
    assert found(CLAIM, unsaid).origin is Origin.ADOPTED
    assert found(replace(CLAIM, origin=Origin.IMPORTED), unsaid).origin is Origin.IMPORTED
    assert found(UNRECORDED, unsaid).origin is Origin.ADOPTED
    assert found(replace(CLAIM, origin=Origin.ADOPTED), ours(origin=Origin.CREATED)).origin is Origin.CREATED


# --- adoption -------------------------------------------------------------------------------------------------------------------------------

NEVER, MATCH, ALWAYS = AdoptionPolicy


@pytest.mark.parametrize(
    ("policy", "kind", "email", "there", "elsewhere", "refused"),
    [
        (NEVER, EntryKind.USER, "a@b", "a@b", False, "adoptionPolicy is Never"),
        (NEVER, EntryKind.GROUP, "", "", False, "adoptionPolicy is Never"),
        (MATCH, EntryKind.USER, "a@b", "A@B", False, ""),
        (MATCH, EntryKind.USER, "a@b", "a@c", False, "its email differs"),
        (MATCH, EntryKind.USER, "", "a@b", False, "spec.email is not set"),
        (MATCH, EntryKind.USER, "a@b", "", False, "the account has no email"),
        (MATCH, EntryKind.USER, "", "", False, "spec.email is not set"),
        (MATCH, EntryKind.GROUP, "", "", False, ""),
        (ALWAYS, EntryKind.USER, "", "", False, ""),
        (ALWAYS, EntryKind.USER, "a@b", "a@b", True, "mayAdopt"),
        (ALWAYS, EntryKind.GROUP, "", "", True, "mayAdopt"),
    ],
)
def test_adoption(policy: AdoptionPolicy, kind: EntryKind, email: str, there: str, elsewhere: bool, refused: str) -> None:
    verdict = may_adopt(entry(kind=kind), policy, email=email, entry_email=there, from_elsewhere=elsewhere)
    if refused:
        assert verdict is not None
        assert verdict.reason is Reason.ADOPTION_REFUSED
        assert refused in verdict.message
    else:
        assert verdict is None


# --- privileged -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "why"),
    [
        (entry("own"), "own service account"),
        (entry(sid="S-1-5-21-1-2-3-500"), "built-in Administrator"),
        (entry(sid="S-1-5-21-1-2-3-501"), "built-in Guest"),
        (entry(sid="S-1-5-21-1-2-3-502"), "krbtgt"),
        (entry(admin_count=1), "adminCount=1"),
        (entry(OTHER), "a member of Domain Admins"),
        (entry(critical=True), "critical system object"),
        (entry(kind=EntryKind.GROUP, admin_count=1), "adminCount=1"),
    ],
)
def test_privileged(account: Entry, why: str) -> None:
    verdict = privileged(account, {OTHER: "it is a member of Domain Admins"}, "own")
    assert verdict is not None
    assert verdict.reason is Reason.PROTECTED
    assert why in verdict.message
    assert str(account.dn) in verdict.message


@pytest.mark.parametrize("account", [entry(), entry(admin_count=0), entry(sid="S-1-5-21-500-502-3-1500"), entry(sid="")])
def test_ordinary(account: Entry) -> None:
    assert privileged(account, {OTHER: "it is a member of Domain Admins"}, "own") is None

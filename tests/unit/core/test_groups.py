"""The plan for a group, apart from its members: as for a user, without a password, and never for the groups that steer the sync itself."""

from __future__ import annotations

from typing import Any

import pytest

from adsync.core.changes import Add, Delete, Edit, Modify, Move, Verb
from adsync.core.dn import DN
from adsync.core.entries import Entry, EntryKind
from adsync.core.groups import GroupPlan, GroupWish, agreed_group, group_attributes, plan_group, plan_group_removal
from adsync.core.owner import OwnerMark, owner_id
from adsync.core.rules import DomainRules
from adsync.errors import InvalidSpec
from adsync.resources import SyncedGroupSpec, parse_spec
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.syncedgroup import GroupDomainStatus, GroupScope
from adsync.resources.synceduser import Origin
from tests.unit.core.support import ROOT, STRANGER, around, edits_of, entry, modification, rules

RULES = rules(scopeGroup="adsync", adminsGroup=f"CN=Admins,{ROOT}")
OWNER = owner_id("prod-1", "group", "team-a", "finance")
CREATED = str(OwnerMark(OWNER, Origin.CREATED))
GUID = "00000000-0000-0000-0000-00000000000f"
HOME = DN.parse(f"CN=finance,{ROOT}")
SALES = DN.parse(f"OU=Sales,{ROOT}")


def group(name: str = "finance", **changes: Any) -> Entry:
    given: dict[str, Any] = {"kind": EntryKind.GROUP, "upn": "", "user_account_control": 0, "group_type": -2147483646}
    return entry(changes.pop("guid", GUID), name, **(given | changes))


def wish(name: str = "finance", **changes: Any) -> GroupWish:
    given: dict[str, Any] = {
        "attributes": {},
        "scope": GroupScope.GLOBAL,
        "container": None,
        "recorded": GroupDomainStatus(name="corp"),
        "agreed": {},
    }
    return GroupWish(owner=OWNER, name=name, **(given | changes))


def plan(*entries: Entry, domain: DomainRules = RULES, name: str = "finance", **wanted: Any) -> GroupPlan:
    return plan_group(wish(name, **wanted), domain, around(*entries))


def reason(made: GroupPlan) -> Reason | None:
    assert made.verdict is None or made.changes == ()
    return made.verdict.reason if made.verdict else None


@pytest.mark.parametrize(
    ("scope", "group_type"),
    [(GroupScope.GLOBAL, "-2147483646"), (GroupScope.DOMAIN_LOCAL, "-2147483644"), (GroupScope.UNIVERSAL, "-2147483640")],
)
def test_created_as_a_security_group(scope: GroupScope, group_type: str) -> None:
    (change,) = plan(scope=scope, attributes={"description": "Money", "mail": ""}).changes
    assert change == Add(
        HOME, "group", {"description": "Money", "sAMAccountName": "finance", "groupType": group_type, "adminDescription": CREATED}
    )


def test_created_in_its_container() -> None:
    (change,) = plan(container=SALES).changes
    assert isinstance(change, Add)
    assert change.dn == SALES.child("CN", "finance")


def test_a_created_groups_name_must_fit_its_cn() -> None:
    assert plan(name="x" * 64).changes
    with pytest.raises(InvalidSpec, match="64"):
        plan(name="x" * 65)
    long = group("x" * 65, dn=f"CN=short,{ROOT}", mark=CREATED)
    assert plan(long, name="x" * 65).changes == (), "one that is there may have it"
    with pytest.raises(InvalidSpec):
        plan(name="a,b")


@pytest.mark.parametrize(("policy", "expected"), [("Never", Reason.ADOPTION_REFUSED), ("MatchEmail", None), ("Always", None)])
def test_adopted_by_name_unless_never(policy: str, expected: Reason | None) -> None:
    there = group(dn=f"CN=Finance Department,{SALES}")
    made = plan(there, domain=rules(adoptionPolicy=policy), container=DN.parse(ROOT))
    assert reason(made) is expected
    if expected is None:
        assert edits_of(made.changes) == {
            "adminDescription": Edit("adminDescription", None, str(OwnerMark(OWNER, Origin.ADOPTED)), exact=True)
        }
        assert len(made.changes) == 1, "adoption never renames or moves"


def test_not_adopted_for_a_namespace_that_may_not() -> None:
    assert reason(plan(group(), from_elsewhere=True)) is Reason.ADOPTION_REFUSED


@pytest.mark.parametrize("mark", ["", CREATED])
@pytest.mark.parametrize(("name", "dn"), [("ADSync", f"CN=x,{ROOT}"), ("whatever", f"cn=admins, {ROOT}")])
def test_the_groups_that_steer_the_sync_are_never_managed(name: str, dn: str, mark: str) -> None:
    there = group(name, dn=dn, mark=mark)
    made = plan(there, name=name, attributes={"description": "x"})
    assert made.verdict is not None
    assert made.changes == ()
    assert plan_group_removal(wish(name), DeletionPolicy.DELETE, RULES, around(there)).changes == ()


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (group(mark=str(OwnerMark(STRANGER))), Reason.CONFLICT),
        (group(kind=EntryKind.USER), Reason.CONFLICT),
        (group(mark=CREATED, admin_count=1), Reason.PROTECTED),
        (group(mark=CREATED, dn="CN=finance,CN=Users,DC=corp,DC=example,DC=com"), Reason.OUT_OF_SCOPE),
        (group("other", dn=str(HOME)), Reason.CONFLICT),
    ],
)
def test_not_written(there: Entry, expected: Reason) -> None:
    assert reason(plan(there, attributes={"description": "x"})) is expected


def test_what_differs_and_what_is_drift() -> None:
    there = group(mark=CREATED, attributes={"description": "old", "mail": "a@b"})
    made = plan(there, attributes={"description": "Money", "mail": ""}, agreed={"name": "finance", "description": "Money"})
    change = modification(made.changes)
    assert set(change.edits) == {Edit("description", "old", "Money"), Edit("mail", "a@b", None)}
    assert change.verbs == (Verb.CLEAR_ATTRIBUTE,)
    assert [edit.attribute for edit in made.drift] == ["description"]
    assert plan(there, attributes={"description": "old"}).changes == ()


def test_renamed() -> None:
    agreed = {"name": "finance"}
    move, modify = plan(group(mark=CREATED), name="money", agreed=agreed).changes
    assert move == Move(GUID, HOME, HOME.parent.child("CN", "money"))
    assert isinstance(modify, Modify)
    assert modify.edits == (Edit("sAMAccountName", "finance", "money"),)
    adopted = plan(group(mark=str(OwnerMark(OWNER, Origin.ADOPTED))), name="money", agreed=agreed)
    assert modification(adopted.changes).edits == modify.edits
    rival = group("Money", guid="other", dn=f"CN=x,{ROOT}")
    assert reason(plan(group(mark=CREATED), rival, name="money", agreed=agreed)) is Reason.CONFLICT


def test_moved_when_the_container_is_edited() -> None:
    assert plan(group(mark=CREATED), container=SALES, agreed={"name": "finance"}).changes == (
        Move(GUID, HOME, SALES.child("CN", "finance")),
    )
    assert plan(group(mark=CREATED), container=SALES).changes == ()


@pytest.mark.parametrize("policy", DeletionPolicy)
def test_removed(policy: DeletionPolicy) -> None:
    there = group(mark=CREATED)
    (change,) = plan_group_removal(wish(), policy, RULES, around(there)).changes
    if policy is DeletionPolicy.DELETE:
        assert change == Delete(GUID, HOME)
    else:
        assert modification([change]).edits == (Edit("adminDescription", CREATED, None, exact=True),), "a group can't be disabled"
    assert plan_group_removal(wish(), policy, RULES, around(group())).changes == (), "a stranger's"


def test_what_is_asked_and_agreed() -> None:
    spec = parse_spec(SyncedGroupSpec, {"name": "finance", "description": "Money", "email": ""})
    attributes = group_attributes(spec, RULES)
    assert attributes == {"description": "Money", "mail": ""}
    agreed = agreed_group(wish(attributes=attributes, container=SALES), RULES)
    assert agreed == {"name": "finance", "description": "Money", "email": "", "container": str(SALES)}

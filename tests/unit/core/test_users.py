"""The plan for a user, row by row of the table in core/users.py. That plans settle is shown by tests/property/test_plans.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adsync.core.changes import Add, Change, Delete, Edit, Modify, Move, PasswordSource, Verb
from adsync.core.dn import DN
from adsync.core.entries import ACCOUNTDISABLE, DONT_EXPIRE_PASSWORD, LOCKOUT, NORMAL_ACCOUNT, Entry, EntryKind
from adsync.core.names import AccountNames
from adsync.core.owner import OwnerMark
from adsync.core.passwords import PasswordWish
from adsync.core.rules import DomainRules
from adsync.core.users import Surroundings, UserPlan, agreed_values, plan_user, plan_user_removal
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import Origin, PasswordState
from tests.unit.core.support import (
    GUID,
    OWNER,
    ROOT,
    STRANGER,
    TICKS,
    around,
    digest_of,
    edits_of,
    entry,
    modification,
    ours,
    recorded,
    rules,
    secret,
    wish,
)

RULES = rules()
OTHER = "00000000-0000-0000-0000-000000000002"
FOREIGN = "seen by the help desk"
MARK = str(OwnerMark(OWNER, Origin.CREATED))
MISSING = PasswordWish(named=True, missing="Secret pw does not exist in namespace team-a")
OUTSIDE = "CN=jdoe,CN=Users,DC=corp,DC=example,DC=com"


def plan(*entries: Entry, domain: DomainRules = RULES, username: str = "jdoe", **wanted: Any) -> UserPlan:
    return plan_user(wish(domain, username, **wanted), domain, around(*entries))


def refused(made: UserPlan) -> tuple[Reason, str]:
    assert made.verdict is not None
    assert made.changes == ()
    return made.verdict.reason, made.verdict.message


def done(made: UserPlan) -> tuple[Change, ...]:
    assert made.verdict is None
    return made.changes


def added(made: UserPlan) -> Add:
    (add,) = done(made)
    assert isinstance(add, Add)
    return add


# --- not there ------------------------------------------------------------------------------------------------------------------------------


def test_created_with_a_random_password() -> None:
    made = plan(attributes={"mail": "j@example.com", "sn": ""})
    assert added(made) == Add(
        DN.parse(f"CN=jdoe,{ROOT}"),
        "user",
        {
            "mail": "j@example.com",
            "sAMAccountName": "jdoe",
            "userPrincipalName": "jdoe@corp.example.com",
            "userAccountControl": str(NORMAL_ACCOUNT),
            "adminDescription": MARK,
        },
        PasswordSource.RANDOM,
    )
    assert made.password is not None
    assert made.password.state is PasswordState.GENERATED


def test_created_with_the_password_of_the_secret_in_one_operation() -> None:
    made = plan(password=secret())
    assert added(made).password is PasswordSource.SECRET
    assert OwnerMark.parse(added(made).attributes["adminDescription"]) == OwnerMark(OWNER, Origin.CREATED, digest_of("Correct-Horse-1"))


@pytest.mark.parametrize(("suspended", "control"), [(None, 0x200), (False, 0x200), (True, 0x202)])
def test_created_enabled_unless_suspended(suspended: bool | None, control: int) -> None:
    assert added(plan(suspended=suspended)).attributes["userAccountControl"] == str(control)


def test_created_with_a_password_to_be_changed() -> None:
    domain = rules(password={"mustChangeAtNextLogon": True})
    assert added(plan(domain=domain, password=secret())).attributes["pwdLastSet"] == "0"
    assert "pwdLastSet" not in added(plan(password=secret())).attributes


def test_created_in_its_container() -> None:
    assert added(plan(container=DN.parse(f"OU=Sales,{ROOT}"))).dn == DN.parse(f"CN=jdoe,OU=Sales,{ROOT}")


def test_created_where_the_mark_goes_elsewhere() -> None:
    assert added(plan(domain=rules(ownershipAttribute="info"))).attributes["info"] == MARK


def test_a_name_that_needs_escapes_stays_one_name() -> None:
    assert added(plan(username="Doe Jane#1")).dn.parent == DN.parse(ROOT)


def test_a_named_secret_is_waited_for() -> None:
    made = plan(password=MISSING)
    reason, said = refused(made)
    assert (reason, MISSING.missing in said) == (Reason.PASSWORD_PENDING, True)
    assert made.password is not None
    assert made.password.state is PasswordState.PENDING


def test_a_password_that_was_refused_still_creates() -> None:
    before = recorded(password={"state": "Rejected", "digest": str(digest_of("Correct-Horse-1")), "message": "too short"})
    made = plan(password=secret(), recorded=before)
    assert added(made).password is PasswordSource.RANDOM
    assert made.password is not None
    assert (made.password.state, made.password.message) == (PasswordState.REJECTED, "too short")


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (entry(OTHER, "other", upn="JDoe@corp.example.com"), "is taken by CN=other,"),
        (entry(OTHER, "other", dn=f"CN=JDOE,{ROOT}"), "exists with another username, 'other'"),
    ],
)
def test_a_name_that_is_taken_otherwise(there: Entry, said: str) -> None:
    reason, told = refused(plan(there))
    assert (reason, said in told) == (Reason.CONFLICT, True)


def test_a_sam_that_is_taken_where_the_username_is_the_upn() -> None:
    domain = rules(userFieldMapping={"username": "userPrincipalName"})
    assert refused(plan(entry(OTHER, "jdoe", upn="x@y"), domain=domain))[0] is Reason.CONFLICT
    made = plan(entry(OTHER, "other", upn="x@y"), domain=domain, username="jdoe@sub.example")
    assert added(made).attributes["userPrincipalName"] == "jdoe@sub.example"


# --- a stranger's ---------------------------------------------------------------------------------------------------------------------------

SAME_EMAIL: dict[str, Any] = {"email": "J@example.com", "attributes": {"mail": "J@example.com"}}


def theirs(**changes: Any) -> Entry:
    return entry(attributes={"mail": "j@example.com"}, **changes)


def test_adopted_with_the_mark_and_without_a_password() -> None:
    made = plan(theirs(), email="J@EXAMPLE.com")
    change = modification(done(made))
    assert change == Modify(
        GUID, DN.parse(f"CN=jdoe,{ROOT}"), (Edit("adminDescription", None, str(OwnerMark(OWNER, Origin.ADOPTED)), exact=True),)
    )
    assert made.password is not None
    assert made.password.state is PasswordState.PENDING
    assert made.found is not None
    assert made.found.adopting


def test_an_account_made_again_gets_the_password_of_the_secret() -> None:
    """That it was set before was another account."""
    before = recorded(
        objectGUID="0f000000-0000-4000-8000-00000000000f",
        password={"state": "Synced", "digest": str(digest_of("Correct-Horse-1")), "secretVersion": "7"},
    )
    change = modification(done(plan(theirs(), password=secret(), recorded=before, **SAME_EMAIL)))
    assert change.password is PasswordSource.SECRET


def test_adopted_with_the_password_of_the_secret() -> None:
    change = modification(done(plan(theirs(), password=secret(), **SAME_EMAIL)))
    assert change.password is PasswordSource.SECRET
    assert OwnerMark.parse(edits_of([change])["adminDescription"].new or "") == OwnerMark(
        OWNER, Origin.ADOPTED, digest_of("Correct-Horse-1")
    )


def test_adopted_although_the_secret_is_not_there() -> None:
    assert done(plan(theirs(), password=MISSING, **SAME_EMAIL))


def test_an_adopted_account_keeps_its_place_cn_and_upn() -> None:
    there = theirs(dn=f"CN=Doe\\, Jane,OU=Sales,{ROOT}", upn="jane@old.example")
    assert set(edits_of(done(plan(there, container=DN.parse(ROOT), **SAME_EMAIL)))) == {"adminDescription", "mail"}


def test_adoption_is_no_drift() -> None:
    agreed = {"email": "J@example.com", "username": "jdoe"}
    assert plan(theirs(), agreed=agreed, **SAME_EMAIL).drift == ()


@pytest.mark.parametrize(
    ("policy", "wanted", "reason"),
    [
        ("Never", SAME_EMAIL, Reason.ADOPTION_REFUSED),
        ("MatchEmail", {}, Reason.ADOPTION_REFUSED),
        ("MatchEmail", {"email": "k@example.com"}, Reason.ADOPTION_REFUSED),
        ("Always", {"from_elsewhere": True}, Reason.ADOPTION_REFUSED),
        ("Always", {}, None),
    ],
)
def test_adoption_as_the_policy_says(policy: str, wanted: dict[str, Any], reason: Reason | None) -> None:
    made = plan(theirs(), domain=rules(adoptionPolicy=policy), **wanted)
    assert (made.verdict.reason if made.verdict else None) is reason
    assert bool(made.changes) is (reason is None)


def test_the_email_is_compared_in_the_attribute_that_it_is_kept_in() -> None:
    domain = rules(userFieldMapping={"email": "extensionAttribute1"})
    assert plan(theirs(), domain=domain, email="j@example.com").verdict is not None
    assert plan(entry(attributes={"extensionAttribute1": "j@example.com"}), domain=domain, email="j@example.com").verdict is None


def test_a_foreign_ownership_value_is_never_overwritten() -> None:
    made = plan(theirs(mark=FOREIGN), attributes={"title": "CFO"}, email="j@example.com")
    assert set(edits_of(done(made))) == {"title"}
    assert made.found is not None
    assert made.found.unmarkable
    again = plan(theirs(mark=FOREIGN), attributes={"title": "CFO"}, recorded=recorded(objectGUID=GUID, origin="Adopted"))
    assert set(edits_of(done(again))) == {"title"}


def test_another_resources_account_is_a_conflict() -> None:
    made = plan(theirs(mark=str(OwnerMark(STRANGER))), domain=rules(adoptionPolicy="Always"), **SAME_EMAIL)
    assert refused(made)[0] is Reason.CONFLICT


# --- not to be touched ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (ours(admin_count=1), Reason.PROTECTED),
        (ours("own"), Reason.PROTECTED),
        (ours("guarded"), Reason.PROTECTED),
        (ours(sid="S-1-5-21-1-2-3-500"), Reason.PROTECTED),
        (ours(dn=OUTSIDE), Reason.OUT_OF_SCOPE),
        (ours(dn=OUTSIDE, admin_count=1), Reason.PROTECTED),
        (entry(admin_count=1), Reason.PROTECTED),
        (entry(dn=OUTSIDE), Reason.OUT_OF_SCOPE),
    ],
)
def test_never_written(there: Entry, reason: Reason) -> None:
    domain = rules(adoptionPolicy="Always", deletionPolicy="Delete")
    wanted = wish(domain, attributes={"title": "CFO"}, suspended=True, password=secret())
    surroundings = around(there, protected={"guarded": "a member of Domain Admins"})
    assert refused(plan_user(wanted, domain, surroundings))[0] is reason
    if there.mark:
        assert refused(plan_user_removal(wanted, DeletionPolicy.DELETE, domain, surroundings))[0] is reason


# --- ours: attributes -----------------------------------------------------------------------------------------------------------------------


def test_nothing_differs() -> None:
    there = ours(attributes={"mail": "j@example.com", "title": "CFO", "department": "Finance"})
    made = plan(there, attributes={"mail": "j@example.com", "sn": ""})
    assert done(made) == ()
    assert made.drift == ()


def test_one_modify_with_what_differs() -> None:
    there = ours(attributes={"mail": "j@example.com", "title": "CFO", "department": "Finance", "sn": "Doe"})
    change = modification(done(plan(there, attributes={"mail": "j@example.com", "title": "CEO", "givenName": "Jane", "sn": ""})))
    assert set(change.edits) == {Edit("title", "CFO", "CEO"), Edit("givenName", None, "Jane"), Edit("sn", "Doe", None)}
    assert change.verbs == (Verb.CLEAR_ATTRIBUTE,)
    assert change.password is PasswordSource.NONE


def test_case_matters_in_values() -> None:
    assert set(edits_of(done(plan(ours(attributes={"sn": "doe"}), attributes={"sn": "Doe"})))) == {"sn"}


@pytest.mark.parametrize(
    ("agreed", "drift"),
    [
        ({"lastName": "Doe", "title": "CFO"}, {"sn", "title"}),  # the directory moved
        ({"lastName": "Miller", "title": "CEO"}, set()),  # the spec moved
        ({"title": "CFO"}, {"title"}),
        ({}, set()),
    ],
)
def test_drift_is_told_from_changes(agreed: dict[str, str], drift: set[str]) -> None:
    made = plan(ours(attributes={"sn": "Smith", "title": "x"}), attributes={"sn": "Doe", "title": "CFO"}, agreed=agreed)
    assert set(edits_of(done(made))) == {"sn", "title"}
    assert {edit.attribute for edit in made.drift} == drift


def test_a_cleared_value_that_came_back_is_drift() -> None:
    made = plan(ours(attributes={"title": "x"}), attributes={"title": ""}, agreed={"title": ""})
    assert [edit.attribute for edit in made.drift] == ["title"]


def test_a_mark_without_the_origin_or_with_an_old_digest_is_mended() -> None:
    there = ours(digest=digest_of("Correct-Horse-1", "0b"))
    edit = edits_of(done(plan(there, password=secret())))["adminDescription"]
    assert (edit.old, edit.exact) == (there.mark, True)
    assert OwnerMark.parse(edit.new or "") == OwnerMark(OWNER, Origin.CREATED, digest_of("Correct-Horse-1"))


def test_the_mark_and_the_password_travel_together() -> None:
    change = modification(done(plan(ours(digest=digest_of("old")), password=secret())))
    assert change.password is PasswordSource.SECRET
    assert OwnerMark.parse(edits_of([change])["adminDescription"].new or "") == OwnerMark(
        OWNER, Origin.CREATED, digest_of("Correct-Horse-1")
    )


def test_a_new_password_must_be_changed_where_the_domain_says_so() -> None:
    domain = rules(password={"mustChangeAtNextLogon": True})
    assert edits_of(done(plan(ours(), domain=domain, password=secret())))["pwdLastSet"].new == "0"
    assert "pwdLastSet" not in edits_of(done(plan(ours(), password=secret())))
    pushed = ours(digest=digest_of("Correct-Horse-1"))
    assert done(plan(pushed, domain=domain, password=secret())) == ()


# --- ours: suspension -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [0, DONT_EXPIRE_PASSWORD, 0x20, 0x40000])
@pytest.mark.parametrize(
    ("suspended", "disabled", "changes"),
    [
        (True, False, True),
        (True, True, False),
        (False, True, True),
        (False, False, False),
        (None, True, False),
        (None, False, False),
    ],
)
def test_only_the_one_bit(suspended: bool | None, disabled: bool, changes: bool, extra: int) -> None:
    before = NORMAL_ACCOUNT | extra | (ACCOUNTDISABLE if disabled else 0)
    made = done(plan(ours(user_account_control=before), suspended=suspended))
    if not changes:
        assert made == ()
        return
    change = modification(made)
    assert change.edits == (Edit("userAccountControl", str(before), str(before ^ ACCOUNTDISABLE), exact=True),)
    assert change.verbs == ((Verb.SUSPEND,) if suspended else ())


@pytest.mark.parametrize(("agreed", "drift"), [({"suspended": "true"}, 1), ({"suspended": "false"}, 0), ({}, 0)])
def test_an_account_that_was_enabled_in_the_directory_is_drift(agreed: dict[str, str], drift: int) -> None:
    assert len(plan(ours(), suspended=True, agreed=agreed).drift) == drift


@pytest.mark.parametrize(
    ("unlock", "agreed", "locked", "cleared"),
    [
        ("1", {}, True, True),
        ("2", {"unlockRequestedAt": "1"}, True, True),
        ("1", {"unlockRequestedAt": "1"}, True, False),
        ("1", {}, False, False),
        ("", {}, True, False),
    ],
)
def test_a_lockout_is_cleared_once(unlock: str, agreed: dict[str, str], locked: bool, cleared: bool) -> None:
    made = plan(ours(computed_control=LOCKOUT if locked else 0), unlock=unlock, agreed=agreed)
    assert edits_of(done(made)) == ({"lockoutTime": Edit("lockoutTime", None, "0")} if cleared else {})


# --- ours: names and places -----------------------------------------------------------------------------------------------------------------

AGREED = {"username": "jdoe"}


def test_a_renamed_resource_renames_everything_that_was_created() -> None:
    move, modify = done(plan(ours(), username="jsmith", agreed=AGREED))
    assert move == Move(GUID, DN.parse(f"CN=jdoe,{ROOT}"), DN.parse(f"CN=jsmith,{ROOT}"))
    assert isinstance(modify, Modify)
    assert set(modify.edits) == {
        Edit("sAMAccountName", "jdoe", "jsmith"),
        Edit("userPrincipalName", "jdoe@corp.example.com", "jsmith@corp.example.com"),
    }


def test_a_cn_that_was_changed_in_the_directory_stays() -> None:
    there = ours(dn=f"CN=Doe\\, Jane,{ROOT}")
    assert set(edits_of(done(plan(there, username="jsmith", agreed=AGREED)))) == {"sAMAccountName", "userPrincipalName"}
    assert not any(isinstance(change, Move) for change in done(plan(there, username="jsmith", agreed=AGREED)))


def test_an_adopted_account_keeps_its_cn() -> None:
    (change,) = done(plan(ours(origin=Origin.ADOPTED), username="jsmith", agreed=AGREED))
    assert set(edits_of([change])) == {"sAMAccountName", "userPrincipalName"}


def test_an_adopted_accounts_upn_follows_only_where_it_was_derived() -> None:
    there = ours(origin=Origin.ADOPTED, upn="jane@old.example")
    assert set(edits_of(done(plan(there, username="jsmith", agreed=AGREED)))) == {"sAMAccountName"}
    assert set(edits_of(done(plan(replace(there, upn=""), username="jsmith", agreed=AGREED)))) == {"sAMAccountName"}


def test_a_username_that_was_changed_in_the_directory_is_drift() -> None:
    there = ours(sam="changed", dn=f"CN=jdoe,{ROOT}", upn="jdoe@corp.example.com")
    made = plan(there, agreed=AGREED, recorded=recorded(objectGUID=GUID))
    assert modification(done(made)).edits == (Edit("sAMAccountName", "changed", "jdoe"),)
    assert len(made.drift) == 1


def test_a_dn_that_was_changed_in_the_directory_is_followed() -> None:
    there = ours(dn=f"CN=Somebody Else,OU=Sales,{ROOT}")
    assert done(plan(there, agreed=AGREED | {"container": ROOT}, container=DN.parse(ROOT))) == ()


def test_only_the_case_of_a_username_changes() -> None:
    made = done(plan(ours(), username="JDoe", agreed=AGREED))
    assert [change.new_dn.name for change in made if isinstance(change, Move)] == ["JDoe"]
    assert edits_of(made)["sAMAccountName"].new == "JDoe"
    there = ours(sam="JDoe", dn=f"CN=JDoe,{ROOT}", upn="JDoe@corp.example.com")
    assert done(plan(there, username="JDoe", agreed=AGREED)) == ()


SALES = DN.parse(f"OU=Sales,{ROOT}")


@pytest.mark.parametrize("origin", [Origin.CREATED, Origin.ADOPTED])
@pytest.mark.parametrize(
    ("agreed", "moves"),
    [
        (AGREED | {"container": ROOT}, True),
        (AGREED, True),  # there was no container in the spec, now there is
        (AGREED | {"container": str(SALES)}, False),  # not edited: the directory's own place is followed
        ({}, False),  # never agreed: adopted just now, or the status was lost
    ],
)
def test_moved_when_the_container_is_edited(agreed: dict[str, str], moves: bool, origin: Origin) -> None:
    made = done(plan(ours(origin=origin), container=SALES, agreed=agreed))
    assert made == ((Move(GUID, DN.parse(f"CN=jdoe,{ROOT}"), DN.parse(f"CN=jdoe,{SALES}")),) if moves else ())


def test_not_moved_when_it_is_there_already() -> None:
    assert done(plan(ours(dn=f"CN=jdoe,{SALES}"), container=SALES, agreed=AGREED | {"container": ROOT})) == ()


def test_renamed_and_moved_in_one() -> None:
    made = done(plan(ours(), username="jsmith", container=SALES, agreed=AGREED | {"container": ROOT}))
    assert [change.new_dn for change in made if isinstance(change, Move)] == [DN.parse(f"CN=jsmith,{SALES}")]


@pytest.mark.parametrize(
    "rival", [entry(OTHER, "jsmith", upn="x@y"), entry(OTHER, "other", upn="jsmith@corp.example.com"), ours(OTHER, "jsmith", upn="x@y")]
)
def test_a_rename_to_a_name_that_is_taken(rival: Entry) -> None:
    made = plan(ours(), rival, username="jsmith", agreed=AGREED, recorded=recorded(objectGUID=GUID))
    reason, said = refused(made)
    assert (reason, "is taken by" in said) == (Reason.CONFLICT, True)


def test_a_upn_that_is_taken_is_a_conflict_also_without_a_rename() -> None:
    there, rival = ours(upn="changed@corp.example.com"), entry(OTHER, "other", upn="jdoe@corp.example.com")
    assert refused(plan(there, rival))[0] is Reason.CONFLICT


def test_names_that_are_not_written_may_be_anybodys() -> None:
    """By UPN the sAMAccountName is only derived for what is created: an account that has another one keeps it."""
    domain = rules(userFieldMapping={"username": "userPrincipalName"}, adoptionPolicy="Always")
    there, namesake = entry(sam="info1", upn="info@a.example"), entry(OTHER, "info", upn="info@b.example")
    assert set(edits_of(done(plan(there, namesake, domain=domain, username="info@a.example")))) == {"adminDescription"}


def test_by_upn_the_username_is_the_upn() -> None:
    domain = rules(userFieldMapping={"username": "userPrincipalName"})
    made = done(plan(ours(), domain=domain, username="jsmith@corp.example.com", agreed={"username": "jdoe@corp.example.com"}))
    assert edits_of(made) == {"userPrincipalName": Edit("userPrincipalName", "jdoe@corp.example.com", "jsmith@corp.example.com")}
    assert [change.new_dn.name for change in made if isinstance(change, Move)] == ["jsmith"]


# --- what both sides agree on ---------------------------------------------------------------------------------------------------------------


def test_agreed_values() -> None:
    wanted = wish(RULES, attributes={"mail": "j@x", "title": ""}, suspended=False, container=SALES, unlock="1")
    assert agreed_values(wanted, RULES) == {
        "username": "jdoe",
        "email": "j@x",
        "title": "",
        "suspended": "false",
        "container": str(SALES),
        "unlockRequestedAt": "1",
    }
    assert agreed_values(wish(RULES, password=secret()), RULES) == {"username": "jdoe"}


# --- going ----------------------------------------------------------------------------------------------------------------------------------

RETAIN, DISABLE, DELETE = DeletionPolicy


def removal(there: Entry, policy: DeletionPolicy, **wanted: Any) -> UserPlan:
    """As sync/ asks for it: nothing is looked for by name."""
    bare = replace(wish(RULES, **wanted), names=AccountNames("", "", ""), username="")
    return plan_user_removal(bare, policy, RULES, around(there))


def test_deleted() -> None:
    there = ours()
    (change,) = done(removal(there, DELETE))
    assert change == Delete(GUID, there.dn)
    assert isinstance(change, Delete)
    assert change.verbs == (Verb.DELETE,)


def test_disabled_keeps_the_mark() -> None:
    there = ours(user_account_control=NORMAL_ACCOUNT | DONT_EXPIRE_PASSWORD)
    change = modification(done(removal(there, DISABLE)))
    assert change.edits == (Edit("userAccountControl", "66048", "66050", exact=True),)
    assert change.verbs == (Verb.DISABLE,)
    assert done(removal(ours(user_account_control=NORMAL_ACCOUNT | ACCOUNTDISABLE), DISABLE)) == ()


def test_retained_clears_the_mark_and_nothing_else() -> None:
    change = modification(done(removal(ours(), RETAIN)))
    assert change.edits == (Edit("adminDescription", ours().mark, None, exact=True),)
    assert change.verbs == ()


def test_retained_leaves_a_foreign_value() -> None:
    assert done(removal(entry(mark=FOREIGN), RETAIN, recorded=recorded(objectGUID=GUID))) == ()


@pytest.mark.parametrize("policy", [RETAIN, DISABLE, DELETE])
@pytest.mark.parametrize(
    "there",
    [
        entry(),  # a stranger's
        entry(mark=str(OwnerMark(STRANGER))),
        entry(mark=FOREIGN),
    ],
)
def test_what_is_not_ours_is_released_untouched(there: Entry, policy: DeletionPolicy) -> None:
    for wanted in (wish(RULES), wish(rules(adoptionPolicy="Always"), **SAME_EMAIL)):
        made = plan_user_removal(wanted, policy, RULES, around(there))
        assert made.changes == ()


@pytest.mark.parametrize("policy", [RETAIN, DISABLE, DELETE])
def test_a_forged_status_removes_nothing(policy: DeletionPolicy) -> None:
    made = removal(entry(), policy, recorded=recorded(objectGUID=GUID, origin="Created"))
    assert done(made) == ()
    assert made.found is not None
    assert made.found.entry is None


def test_a_renamed_account_is_found_by_its_mark_when_it_goes() -> None:
    assert done(removal(ours(sam="renamed", dn=f"CN=x,{SALES}"), DELETE))


def test_an_ambiguous_mark_removes_nothing() -> None:
    made = plan_user_removal(wish(RULES), DELETE, RULES, Surroundings(around(ours(), ours(OTHER, "copy")).lookup, {}, "own"))
    assert refused(made)[0] is Reason.CONFLICT


def test_a_group_of_the_name_is_no_user() -> None:
    group = entry(kind=EntryKind.GROUP, pwd_last_set=0)
    assert refused(plan(group, domain=rules(adoptionPolicy="Always")))[0] is Reason.CONFLICT


# --- words ----------------------------------------------------------------------------------------------------------------------------------


def test_changes_in_words_hold_no_password() -> None:
    assert str(added(plan(password=secret()))) == f"create user CN=jdoe,{ROOT}"
    made = done(plan(ours(attributes={"title": "CFO"}), password=secret(), attributes={"title": "CEO", "sn": ""}))
    assert "set the password; title: CFO → CEO" in str(made[0])
    assert "Correct-Horse-1" not in str(made)
    assert str(Edit("sn", None, "Doe")) == "sn: (none) → Doe"
    assert str(Edit("sn", "Doe", None)) == "sn: Doe → (none)"
    assert str(Delete(GUID, SALES)) == f"delete {SALES}"


def test_a_password_that_somebody_changed_is_enforced_in_one_modify() -> None:
    domain = rules(password={"onDirectoryChange": "Enforce"})
    digest = digest_of("Correct-Horse-1")
    before = recorded(password={"state": "Synced", "digest": str(digest), "lastSetInDirectory": "2020-01-01T00:00:00.000000Z"})
    change = modification(done(plan(ours(digest=digest, pwd_last_set=TICKS), domain=domain, password=secret(), recorded=before)))
    assert change == Modify(GUID, DN.parse(f"CN=jdoe,{ROOT}"), (), PasswordSource.SECRET)

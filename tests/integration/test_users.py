"""The life of a user: from a manifest to an account and back, seen with ldapsearch, the API server and a bind as the user.

All tests share one operator, and most share one ADDomain as well and differ in the users' names.
"""

from __future__ import annotations

from typing import Any

import pytest

from lab.api import ApiError
from tests.integration.support import (
    Operator,
    Site,
    account,
    ad_domain,
    ask_again,
    condition,
    control,
    entry,
    eventually,
    reasons,
    synced_user,
    unique,
)

MARK = "adminDescription"
PASSWORD = "Correct-Horse-7"
DISABLED = 2
NORMAL, NO_EXPIRY = 512, 65536


@pytest.fixture(scope="module", autouse=True)
def operator(shared_operator: Operator) -> Operator:
    return shared_operator


@pytest.fixture(scope="module")
def home(home: Site) -> Site:
    home.connect(extraAttributes=["department", "title"])
    return home


# --- create ---


def test_an_account_is_created_with_a_random_password(home: Site) -> None:
    name = unique("u")
    home.user(name)
    user = home.await_reason(name)
    there = account(home, name)
    assert there["dn"] == [f"CN={name},{home.container}"]
    assert there["userAccountControl"] == [str(NORMAL)]
    assert there["userPrincipalName"] == [f"{name}@{home.dc.domain}"]
    assert f"{home.namespace}/{name}" in there[MARK][0]
    assert int(there["pwdLastSet"][0]) > 0
    assert "adsync.dev/directory" in user["metadata"]["finalizers"]
    status, told = user["status"], entry(user)
    assert (status["account"], status["password"]) == ("Enabled", "Generated")
    assert told["distinguishedName"] == there["dn"][0]
    assert told["objectGUID"] == there["objectGUID"][0]
    assert (told["username"], told["origin"], told["ready"], told["reason"]) == (name, "Created", True, "Synced")
    assert told["suspension"]["account"] == "Enabled"
    assert told["lastSynced"]["username"] == name
    assert status["lastSyncTime"] == told["lastSyncTime"]
    assert condition(user, "AccountSuspended")["status"] == "False"
    assert eventually(lambda: "Created" in reasons(home, name))


def test_an_account_is_created_with_the_secret_s_password(home: Site) -> None:
    name = unique("u")
    home.password(name, PASSWORD)
    home.user(name, passwordSecretRef={"name": name})
    user = home.await_reason(name)
    assert user["status"]["password"] == "Synced"
    assert condition(user, "PasswordSynced")["status"] == "True"
    assert home.dc.bind_as(name, PASSWORD)


def test_an_account_is_created_suspended(home: Site) -> None:
    name = unique("u")
    home.password(name, PASSWORD)
    home.user(name, suspended=True, passwordSecretRef={"name": name})
    user = home.await_reason(name)
    assert control(home, name) == NORMAL | DISABLED
    assert home.dc.bind_error(name, PASSWORD) == "533"
    assert user["status"]["account"] == "Disabled"
    assert condition(user, "AccountSuspended")["status"] == "True"
    assert entry(user)["suspension"] | {"lastTransitionTime": ""} == {
        "requested": True, "account": "Disabled", "lockedOut": False, "lastTransitionTime": ""
    }  # fmt: skip


def test_an_account_is_created_in_the_container_of_its_binding(home: Site) -> None:
    name = unique("u")
    unit = home.dc.add_container(unique("ou"), groups=False, parent=home.container)
    home.user(name, domains=[{"name": "corp", "container": unit}])
    assert entry(home.await_reason(name))["distinguishedName"] == f"CN={name},{unit}"
    assert account(home, name)["dn"] == [f"CN={name},{unit}"]


def test_names_with_signs_of_dns_and_filters(home: Site) -> None:
    name = f"O'Neil #(x)\\ {unique()[:4]}".replace("\\", "&")
    home.user(name, name="o-neil", displayName='Ö"Neil, <x> (y) \\ *', lastName=" O'Neil ")
    home.await_reason("o-neil")
    found = home.dc.search(
        f"(userPrincipalName={name.replace(' ', '_').replace('(', chr(92) + '28').replace(')', chr(92) + '29')}@*)", ["*"]
    )
    assert [each["sAMAccountName"] for each in found] == [[name]]
    assert found[0]["displayName"] == ['Ö"Neil, <x> (y) \\ *']


def test_a_username_may_be_the_user_principal_name(site: Site) -> None:
    name = unique("u")
    site.connect(userFieldMapping={"username": "userPrincipalName"}, userPrincipalNameSuffix="people.example.com")
    site.user(f"{name}.of-a-department", name="long")
    site.await_reason("long")
    (there,) = site.dc.search(f"(userPrincipalName={name}.of-a-department@people.example.com)", ["*"])
    assert there["dn"] == [f"CN={name}.of-a-department,{site.container}"]
    assert there["sAMAccountName"] == [f"{name}.of-a-department"[:20]]
    site.edit("long", {"username": name})
    site.await_reason("long")
    (after,) = site.dc.search(f"(userPrincipalName={name}@people.example.com)", ["*"])
    assert after["objectGUID"] == there["objectGUID"]


# --- attributes ---


def test_attributes_are_set_cleared_and_left_alone(home: Site) -> None:
    name = unique("u")
    home.user(
        name, email=f"{name}@example.com", firstName="Jane", lastName="Doe", displayName="Jane Doe", attributes={"department": "Finance"}
    )
    home.await_reason(name)
    there = account(home, name)
    assert [there[each][0] for each in ("mail", "givenName", "sn", "displayName", "department")] == [
        f"{name}@example.com", "Jane", "Doe", "Jane Doe", "Finance"
    ]  # fmt: skip

    home.dc.replace(there["dn"][0], {"title": "Boss"})  # listed in extraAttributes, and not managed by this user
    home.edit(name, {"firstName": "Janet", "lastName": "", "displayName": None, "attributes": {"department": ""}})
    home.await_reason(name)
    there = account(home, name)
    assert there["givenName"] == ["Janet"]
    assert "sn" not in there
    assert "department" not in there
    assert there["displayName"] == ["Jane Doe"]  # no longer managed, and so neither written nor cleared
    home.dc.replace(there["dn"][0], {"displayName": "J. D."})
    ask_again(home, name)
    there = account(home, name)
    assert there["displayName"] == ["J. D."]
    assert there["title"] == ["Boss"]


def test_an_attribute_that_the_domain_does_not_list_is_refused(home: Site) -> None:
    name = unique("u")
    home.user(name, attributes={"company": "Example"})
    user = home.await_reason(name, "InvalidSpec")
    message = condition(user, "Ready")["message"]
    assert "'company'" in message
    assert "department, title" in message
    assert condition(user, "Stalled")["status"] == "True"
    assert home.dc.find(name) is None
    home.edit(name, {"attributes": {"company": None, "title": "Boss"}})
    home.await_reason(name)
    assert account(home, name)["title"] == ["Boss"]


def test_one_modify_carries_what_differs(home: Site) -> None:
    name = unique("u")
    home.user(name, firstName="A", lastName="B")
    home.await_reason(name)
    before = home.dc.highest_usn()
    home.edit(name, {"firstName": "C", "lastName": "D", "email": f"{name}@example.com", "suspended": True})
    home.await_reason(name)
    assert home.dc.highest_usn() == before + 1


def test_a_look_that_finds_nothing_writes_nothing(home: Site) -> None:
    name = unique("u")
    home.user(name, firstName="A")
    first = home.await_reason(name)
    usn = account(home, name)["uSNChanged"]
    second = ask_again(home, name)
    assert account(home, name)["uSNChanged"] == usn
    for user in (first, second):
        user["status"].pop("lastHandledReconcileAt", None)
    assert first["status"] == second["status"]


# --- adoption ---


@pytest.mark.parametrize("email", ["missing in AD", "missing in the spec", "different"])
def test_an_account_with_another_email_is_not_adopted(home: Site, email: str) -> None:
    name = unique("u")
    there = {"missing in AD": {}, "missing in the spec": {"mail": "a@example.com"}, "different": {"mail": "a@example.com"}}[email]
    home.dc.add_user(name, PASSWORD, container=home.container, **there)
    before = account(home, name)
    home.user(name, firstName="Jane", **({} if email == "missing in the spec" else {"email": "b@example.com"}))
    user = home.await_reason(name, "AdoptionRefused")
    assert "MatchEmail" in condition(user, "Ready")["message"]
    assert account(home, name) == before
    assert "objectGUID" not in entry(user)
    assert eventually(lambda: "AdoptionRefused" in reasons(home, name))


def test_an_account_with_the_same_email_is_adopted_and_keeps_its_password(home: Site) -> None:
    name = unique("u")
    dn = home.dc.add_user(name, PASSWORD, container=home.container, mail=f"{name}@Example.COM", description="ours since 2009")
    before = account(home, name)
    home.user(name, email=f"{name}@example.com", firstName="Jane")
    user = home.await_reason(name)
    there = account(home, name)
    assert there["pwdLastSet"] == before["pwdLastSet"]
    assert home.dc.bind_as(name, PASSWORD)
    assert (there["givenName"], there["description"], there["dn"]) == (["Jane"], ["ours since 2009"], [dn])
    assert f"{home.namespace}/{name}" in there[MARK][0]
    assert entry(user)["origin"] == "Adopted"
    assert user["status"]["password"] == "Pending"
    assert condition(user, "Ready")["status"] == "True"
    assert eventually(lambda: "Adopted" in reasons(home, name))


def test_the_domain_s_policy_decides_about_adoption(site: Site) -> None:
    name = unique("u")
    site.connect(adoptionPolicy="Never")
    site.dc.add_user(name, PASSWORD, container=site.container, mail=f"{name}@example.com")
    before = account(site, name)
    site.user(name, email=f"{name}@example.com")
    assert "Never" in condition(site.await_reason(name, "AdoptionRefused"), "Ready")["message"]
    assert account(site, name) == before
    site.edit("corp", {"adoptionPolicy": "Always"}, "ADDomain")
    site.edit(name, {"email": "new@example.com"})
    site.await_reason(name)
    there = account(site, name)
    assert there["mail"] == ["new@example.com"]
    assert there["objectGUID"] == before["objectGUID"]
    assert site.dc.bind_as(name, PASSWORD)


def test_scope_and_admins_groups_names_are_not_taken(home: Site) -> None:
    group = home.container.partition(",")[0].removeprefix("OU=")  # the container's own group
    before = account(home, group)
    home.user(group)
    home.await_reason(group, "Conflict")
    assert account(home, group) == before


def test_a_foreign_value_in_the_ownership_attribute_stays(home: Site) -> None:
    name = unique("u")
    home.dc.add_user(name, PASSWORD, container=home.container, mail=f"{name}@example.com", adminDescription="User_not ours")
    home.user(name, email=f"{name}@example.com", firstName="Jane")
    user = home.await_reason(name)
    assert account(home, name)[MARK] == ["User_not ours"]
    assert account(home, name)["givenName"] == ["Jane"]
    assert "ownership attribute" in entry(user)["message"]
    home.edit(name, {"firstName": "Janet"})
    home.await_reason(name)
    there = account(home, name)
    assert (there["givenName"], there[MARK]) == (["Janet"], ["User_not ours"])
    home.api.delete("SyncedUser", home.namespace, name)
    home.await_gone(name)
    there = account(home, name)
    assert (there["userAccountControl"], there[MARK]) == ([str(NORMAL | DISABLED)], ["User_not ours"])


def test_a_forged_status_is_not_believed(home: Site) -> None:
    victim, name = unique("v"), unique("u")
    home.dc.add_user(victim, PASSWORD, container=home.container)
    before = account(home, victim)
    home.user(name, firstName="Jane")
    user = home.await_reason(name)
    own = account(home, name)
    home.api.delete("SyncedUser", home.namespace, name)
    home.await_gone(name)
    home.api.create(synced_user(home.namespace, name, domain="absent", firstName="Mallory"))
    forged = {**entry(user), "objectGUID": before["objectGUID"][0], "distinguishedName": before["dn"][0], "username": victim}
    home.api.patch("SyncedUser", home.namespace, name, {"status": {"domains": [forged]}}, "status")
    home.edit(name, {"domains": [{"name": "corp"}]})
    user = home.await_reason(name)
    assert entry(user)["objectGUID"] == own["objectGUID"][0]
    assert account(home, name)["givenName"] == ["Mallory"]
    home.edit(name, {"deletionPolicy": "Delete"})
    home.await_reason(name)
    home.api.patch("SyncedUser", home.namespace, name, {"status": {"domains": [forged]}}, "status")
    home.api.delete("SyncedUser", home.namespace, name)
    home.await_gone(name)
    assert home.dc.find(name) is None
    assert account(home, victim) == before


# --- suspend and resume ---


def test_suspending_touches_that_bit_only(home: Site) -> None:
    name = unique("u")
    home.password(name, PASSWORD)
    home.user(name, passwordSecretRef={"name": name})
    home.await_reason(name)
    home.dc.replace(account(home, name)["dn"][0], {"userAccountControl": str(NORMAL | NO_EXPIRY)})
    home.edit(name, {"suspended": True})
    user = home.await_reason(name)
    assert control(home, name) == NORMAL | NO_EXPIRY | DISABLED
    assert home.dc.bind_error(name, PASSWORD) == "533"
    assert user["status"]["account"] == "Disabled"
    home.edit(name, {"suspended": False})
    user = home.await_reason(name)
    assert control(home, name) == NORMAL | NO_EXPIRY
    assert home.dc.bind_as(name, PASSWORD)
    assert user["status"]["account"] == "Enabled"
    assert eventually(lambda: {"Suspended", "Resumed"} <= reasons(home, name))


def test_what_is_not_said_about_suspension_is_not_managed(home: Site) -> None:
    name = unique("u")
    home.user(name)
    user = home.await_reason(name)
    dn = account(home, name)["dn"][0]
    home.dc.replace(dn, {"userAccountControl": str(NORMAL | DISABLED)})
    assert eventually(lambda: home.get(name)["status"]["account"] == "Disabled")
    user = home.get(name)
    assert "requested" not in entry(user)["suspension"]
    assert control(home, name) == NORMAL | DISABLED
    home.edit(name, {"suspended": False})
    home.await_reason(name)
    assert control(home, name) == NORMAL


# --- names and places ---


def test_a_changed_username_renames_the_account(home: Site) -> None:
    old, new = unique("u"), unique("u")
    home.user(old)
    home.await_reason(old)
    guid = account(home, old)["objectGUID"]
    home.edit(old, {"username": new})
    user = home.await_reason(old)
    there = account(home, new)
    assert there["objectGUID"] == guid
    assert there["dn"] == [f"CN={new},{home.container}"]
    assert there["userPrincipalName"] == [f"{new}@{home.dc.domain}"]
    assert home.dc.find(old) is None
    assert (entry(user)["username"], entry(user)["distinguishedName"]) == (new, there["dn"][0])


def test_renaming_to_a_name_that_is_taken_is_a_conflict(home: Site) -> None:
    name, taken = unique("u"), unique("u")
    home.dc.add_user(taken, container=home.container)
    home.user(name)
    home.await_reason(name)
    before = account(home, name)
    home.edit(name, {"username": taken})
    assert taken in condition(home.await_reason(name, "Conflict"), "Ready")["message"]
    assert account(home, name) == before
    home.dc.delete(f"CN={taken},{home.container}")
    ask_again(home, "corp", "ADDomain")
    home.await_reason(name)
    assert account(home, taken)["objectGUID"] == before["objectGUID"]


def test_an_adopted_account_keeps_its_cn_when_it_is_renamed(home: Site) -> None:
    name, new = unique("u"), unique("u")
    home.dc.add_user(name, PASSWORD, container=home.container, mail=f"{name}@example.com")
    home.dc.rename(f"CN={name},{home.container}", f"CN=Doe\\, Jane {name}")
    home.user(name, email=f"{name}@example.com")
    home.await_reason(name)
    home.edit(name, {"username": new})
    home.await_reason(name)
    assert account(home, new)["cn"] == [f"Doe, Jane {name}"]


def test_editing_the_container_moves_the_account(home: Site) -> None:
    name = unique("u")
    units = [home.dc.add_container(unique("ou"), groups=False, parent=home.container) for _ in range(2)]
    home.user(name, domains=[{"name": "corp", "container": units[0]}])
    home.await_reason(name)
    guid = account(home, name)["objectGUID"]
    home.edit(name, {"domains": [{"name": "corp", "container": units[1]}]})
    user = home.await_reason(name)
    there = account(home, name)
    assert (there["dn"], there["objectGUID"]) == ([f"CN={name},{units[1]}"], guid)
    assert entry(user)["distinguishedName"] == there["dn"][0]


def test_what_is_renamed_and_moved_inside_the_container_is_followed(home: Site) -> None:
    name = unique("u")
    unit = home.dc.add_container(unique("ou"), groups=False, parent=home.container)
    home.user(name)
    home.await_reason(name)
    home.dc.rename(f"CN={name},{home.container}", f"CN=Jane {name}", unit)
    moved = f"CN=Jane {name},{unit}"
    user = eventually(lambda: found if entry(found := home.get(name))["distinguishedName"] == moved else None)
    assert user is not None
    assert condition(user, "Ready")["reason"] == "Synced"
    usn = account(home, name)["uSNChanged"]
    ask_again(home, name)
    there = account(home, name)
    assert (there["dn"], there["uSNChanged"]) == ([moved], usn)
    renamed = unit.replace("OU=", "OU=x", 1)
    home.dc.rename(unit, renamed.partition(",")[0])
    home.edit(name, {"firstName": "Jane"})
    user = home.await_reason(name)
    assert account(home, name)["givenName"] == ["Jane"]
    assert entry(user)["distinguishedName"] == f"CN=Jane {name},{renamed}"


def test_an_account_outside_the_container_is_not_written(home: Site) -> None:
    name = unique("u")
    home.user(name, firstName="A")
    home.await_reason(name)
    outside = home.dc.add_container(unique("ou"), groups=False)
    try:
        home.dc.rename(f"CN={name},{home.container}", f"CN={name}", outside)
        user = home.await_reason(name, "OutOfScope")
        assert outside in condition(user, "Ready")["message"]
        usn = account(home, name)["uSNChanged"]
        home.edit(name, {"firstName": "B", "suspended": True})
        home.await_reason(name, "OutOfScope")
        assert account(home, name)["uSNChanged"] == usn
        home.dc.rename(f"CN={name},{outside}", f"CN={name}", home.container)
        home.await_reason(name)
        there = account(home, name)
        assert (there["givenName"], there["userAccountControl"]) == (["B"], [str(NORMAL | DISABLED)])
        home.dc.rename(f"CN={name},{home.container}", f"CN={name}", outside)
        home.await_reason(name, "OutOfScope")
        usn = account(home, name)["uSNChanged"]
        home.api.delete("SyncedUser", home.namespace, name)  # what may no longer be written is let go of at once, with a warning
        home.await_gone(name)
        assert account(home, name)["uSNChanged"] == usn
        assert eventually(lambda: any(each["type"] == "Warning" and each["reason"] == "OutOfScope" for each in home.events(name)))
    finally:
        home.dc.delete(outside, recursive=True)


def test_a_unit_that_was_moved_out_takes_its_accounts_out_of_scope(home: Site) -> None:
    name, elsewhere = unique("u"), home.dc.container
    unit = home.dc.add_container(unique("ou"), groups=False, parent=home.container)
    home.user(name, domains=[{"name": "corp", "container": unit}])
    home.await_reason(name)
    usn = account(home, name)["uSNChanged"]
    rdn = unit.partition(",")[0]
    home.dc.rename(unit, rdn, elsewhere)  # the account itself does not change by that
    try:
        home.edit(name, {"firstName": "Jane"})
        home.await_reason(name, "OutOfScope")
        assert account(home, name)["uSNChanged"] == usn
    finally:
        home.dc.delete(f"{rdn},{elsewhere}", recursive=True)


# --- drift ---


def test_drift_is_reverted_with_an_event(home: Site) -> None:
    name = unique("u")
    home.user(name, firstName="Jane", email=f"{name}@example.com", suspended=False)
    home.await_reason(name)
    dn = account(home, name)["dn"][0]
    home.dc.replace(dn, {"givenName": "Eve", "mail": None, "userAccountControl": str(NORMAL | DISABLED | NO_EXPIRY), "title": "Boss"})

    def reverted() -> bool:
        there = account(home, name)
        return there["givenName"] == ["Jane"] and there["mail"] == [f"{name}@example.com"]

    eventually(reverted)
    eventually(lambda: control(home, name) == NORMAL | NO_EXPIRY)
    assert account(home, name)["title"] == ["Boss"]
    told = eventually(lambda: next((each["message"] for each in home.events(name) if each["reason"] == "DriftReverted"), ""))
    assert "Eve" in told


def test_two_writers_do_not_fight_by_the_second(home: Site) -> None:
    name = unique("u")
    home.user(name, firstName="Jane")
    home.await_reason(name)
    dn = account(home, name)["dn"][0]
    for _ in range(5):
        home.dc.replace(dn, {"givenName": "Eve"})
        eventually(lambda: account(home, name)["givenName"] == ["Jane"])
    home.dc.replace(dn, {"givenName": "Eve"})
    user = home.await_reason(name, "Contested")
    assert "givenName" in condition(user, "Ready")["message"]
    assert condition(user, "Reconciling")["status"] == "True"
    usn = account(home, name)["uSNChanged"]
    ask_again(home, name)
    assert account(home, name)["uSNChanged"] == usn
    home.dc.replace(dn, {"givenName": "Jane"})  # the other one gives in
    home.await_reason(name)


def test_an_account_deleted_in_the_directory_is_made_again(home: Site) -> None:
    name = unique("u")
    home.user(name)
    first = home.await_reason(name)
    home.dc.delete(f"CN={name},{home.container}")
    ask_again(home, "corp", "ADDomain")  # tombstones are hidden from the service account, and the light sweep comes once a minute
    eventually(lambda: entry(home.get(name))["objectGUID"] != entry(first)["objectGUID"])
    user = home.await_reason(name)
    assert entry(user)["objectGUID"] == account(home, name)["objectGUID"][0]


# --- going ---


@pytest.mark.parametrize("policy", ["Disable", "Retain", "Delete"])
def test_deleting_a_user_does_what_its_policy_says(home: Site, policy: str) -> None:
    name = unique("u")
    home.user(name, deletionPolicy=policy)
    home.await_reason(name)
    mark = account(home, name)[MARK]
    home.api.delete("SyncedUser", home.namespace, name)
    home.await_gone(name)
    there = home.dc.find(name, ["*"])
    if policy == "Delete":
        assert there is None
        return
    assert there is not None
    if policy == "Disable":
        assert there["userAccountControl"] == [str(NORMAL | DISABLED)]
        assert there[MARK] == mark
    else:
        assert there["userAccountControl"] == [str(NORMAL)]
        assert MARK not in there


def test_a_user_that_comes_back_finds_its_account_again(home: Site) -> None:
    name = unique("u")
    home.user(name)
    home.await_reason(name)
    guid = account(home, name)["objectGUID"]
    home.api.delete("SyncedUser", home.namespace, name)
    home.await_gone(name)
    home.user(name, suspended=False)
    user = home.await_reason(name)
    assert account(home, name)["objectGUID"] == guid
    assert control(home, name) == NORMAL
    assert entry(user)["origin"] == "Created"


def test_unbinding_a_domain_applies_the_policy_there(home: Site) -> None:
    name = unique("u")
    home.user(name)
    home.await_reason(name)
    home.edit(name, {"domains": []})
    eventually(lambda: not home.get(name)["status"].get("domains"))
    assert control(home, name) == NORMAL | DISABLED
    user = home.await_reason(name)
    assert "bound to no domain" in condition(user, "Ready")["message"]


def test_a_user_that_was_never_written_is_let_go_of_at_once(home: Site) -> None:
    name = unique("u")
    home.dc.add_user(name, PASSWORD, container=home.container)
    before = account(home, name)
    home.user(name, deletionPolicy="Delete")
    home.await_reason(name, "AdoptionRefused")
    home.api.delete("SyncedUser", home.namespace, name)
    home.await_gone(name)
    assert account(home, name) == before


# --- privileged accounts ---


def test_the_domain_s_own_accounts_are_never_written(home: Site) -> None:
    service = home.dc.recipe.service_account
    names = ["Administrator", "krbtgt", "Guest", service]
    before = {name: account(home, name) for name in names}
    for name in names:
        home.dc.replace(before[name]["dn"][0], {"mail": f"{name}@example.com"})
        before[name] = account(home, name)
        home.user(name, name=name.lower(), email=f"{name}@example.com", firstName="Eve", suspended=True)
    for name in names:
        user = home.await_reason(name.lower(), "Protected")
        assert condition(user, "Stalled")["status"] == "True"
        assert "never written" in condition(user, "Ready")["message"]
    for name in names:
        home.api.delete("SyncedUser", home.namespace, name.lower())
        home.await_gone(name.lower())
    for name in names:
        after = account(home, name)
        for moving in ("logonCount", "lastLogon", "lastLogonTimestamp"):
            after.pop(moving, None)
            before[name].pop(moving, None)
        assert after == before[name]


@pytest.mark.parametrize("how", ["adminCount", "nested member of Domain Admins", "primary group"])
def test_a_privileged_account_is_never_written(home: Site, how: str) -> None:
    name, group = unique("u"), unique("g")
    dn = home.dc.add_user(name, PASSWORD, container=home.container, mail=f"{name}@example.com")
    admins = f"CN=Domain Admins,CN=Users,{home.dc.base}"
    if how == "adminCount":
        home.dc.replace(dn, {"adminCount": "1"})
    elif how == "primary group":
        home.dc.members(admins, add=[dn])
        home.dc.replace(dn, {"primaryGroupID": "512"})
    else:
        inner = home.dc.add_group(f"{group}i", container=home.container, members=[dn])
        outer = home.dc.add_group(group, container=home.container, members=[inner])
        home.dc.members(admins, add=[outer])
    before = account(home, name)
    try:
        home.user(name, email=f"{name}@example.com", firstName="Eve", suspended=True, deletionPolicy="Delete")
        user = home.await_reason(name, "Protected")
        assert "privileged" in condition(user, "Ready")["message"]
        assert account(home, name) == before
        home.api.delete("SyncedUser", home.namespace, name)
        home.await_gone(name)
        assert account(home, name) == before
    finally:
        home.dc.delete(dn)


def test_an_account_that_becomes_privileged_is_left_alone_from_then_on(home: Site) -> None:
    name, group = unique("u"), unique("g")
    home.user(name, firstName="Jane", deletionPolicy="Delete")
    home.await_reason(name)
    dn = account(home, name)["dn"][0]
    inner = home.dc.add_group(group, container=home.container, members=[dn])
    home.dc.members(f"CN=Domain Admins,CN=Users,{home.dc.base}", add=[inner])
    before = account(home, name)
    try:
        home.edit(name, {"firstName": "Eve", "suspended": True})  # the account itself has not moved: only a look at this moment can tell
        home.await_reason(name, "Protected")
        assert account(home, name) == before
        home.api.delete("SyncedUser", home.namespace, name)
        home.await_gone(name)
        assert account(home, name) == before
    finally:
        home.dc.delete(inner)


# --- claims and bad input ---


def test_the_older_of_two_claims_wins_and_the_younger_gets_it_after(home: Site) -> None:
    name = unique("u")
    home.user(name, name=f"{name}-old", firstName="Old", deletionPolicy="Retain")
    home.await_reason(f"{name}-old")
    home.user(name, name=f"{name}-new", firstName="New", email=f"{name}@example.com")
    user = home.await_reason(f"{name}-new", "Conflict")
    assert f"{name}-old" in condition(user, "Ready")["message"]
    assert account(home, name)["givenName"] == ["Old"]
    home.dc.replace(account(home, name)["dn"][0], {"mail": f"{name}@example.com"})
    home.api.delete("SyncedUser", home.namespace, f"{name}-old")
    home.await_gone(f"{name}-old")
    home.await_reason(f"{name}-new")
    assert account(home, name)["givenName"] == ["New"]


def test_an_account_that_another_cluster_has_marked_is_a_conflict(site: Site) -> None:
    name = unique("u")
    site.connect(clusterName="blue")
    site.user(name)
    site.await_reason(name)
    before = account(site, name)
    assert "blue" in before[MARK][0]
    site.api.create(ad_domain(site.dc, site.namespace, site.container, name="green", clusterName="green", adoptionPolicy="Always"))
    site.user(name, name=f"{name}-green", domain="green", firstName="Green")
    user = site.await_reason(f"{name}-green", "Conflict")
    assert "blue" in condition(user, "Ready")["message"]
    assert account(site, name) == before


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"username": "a-name-of-21-charac-s"}, "at most 20"),
        ({"domains": [{"name": "corp", "container": "OU=Elsewhere,DC=corp,DC=example,DC=com"}]}, "not below"),
        ({"domains": [{"name": "corp", "container": "People"}]}, "container"),
    ],
)
def test_bad_input_has_a_reason_and_holds_up_nobody(home: Site, spec: dict[str, Any], said: str) -> None:
    name, other = unique("u"), unique("u")
    home.api.create(
        synced_user(home.namespace, name, **spec) if "username" not in spec else synced_user(home.namespace, spec["username"], name=name)
    )
    home.user(other)
    user = home.await_reason(name, "InvalidSpec")
    assert said in condition(user, "Ready")["message"]
    home.await_reason(other)
    assert home.dc.find(name) is None
    assert eventually(lambda: "InvalidSpec" in reasons(home, name))
    home.edit(name, {"username": name, "domains": [{"name": "corp"}]})
    home.await_reason(name)


@pytest.mark.parametrize("username", ["a*b", "a/b", "a.", "", "a\nb"])
def test_the_api_server_refuses_a_username_that_no_directory_takes(home: Site, username: str) -> None:
    with pytest.raises(ApiError) as caught:
        home.user(username, name=unique("u"))
    assert caught.value.status == 422

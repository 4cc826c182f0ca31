"""The life of a group: from a manifest to a group in the directory and back. Its members are in `test_group_members.py`."""

from __future__ import annotations

import pytest

from tests.integration.rosters import UNLIMITED, group, members, membership, names, set_members, synced
from tests.integration.support import (
    Operator,
    Site,
    account,
    ad_domain,
    ask_again,
    condition,
    entry,
    eventually,
    new_namespace,
    reasons,
    synced_group,
    unique,
)

MARK = "adminDescription"
GLOBAL, DOMAIN_LOCAL, UNIVERSAL = -2147483646, -2147483644, -2147483640


@pytest.fixture(scope="module", autouse=True)
def operator(shared_operator: Operator) -> Operator:
    return shared_operator


@pytest.fixture(scope="module")
def home(home: Site) -> Site:
    home.connect(safety=UNLIMITED, allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"team": home.namespace}}})
    return home


def refused(site: Site, name: str, reason: str) -> str:
    """Wait for this reason of Ready, and return the message."""
    return str(condition(site.await_reason(name, reason, "SyncedGroup"), "Ready")["message"])


def delete(site: Site, name: str) -> None:
    site.api.delete("SyncedGroup", site.namespace, name)
    site.await_gone(name, "SyncedGroup")


# --- create ---


def test_a_group_is_created(home: Site) -> None:
    name = unique("g")
    group(home, name, description="Who pays", email=f"{name}@example.com")
    made = synced(home, name)
    there = account(home, name)
    assert there["dn"] == [f"CN={name},{home.container}"]
    assert there["groupType"] == [str(GLOBAL)]
    assert (there["description"], there["mail"]) == (["Who pays"], [f"{name}@example.com"])
    assert there[MARK][0].startswith("adsync1:g:")
    assert f"{home.namespace}/{name}" in there[MARK][0]
    assert "member" not in there
    assert "adsync.dev/directory" in made["metadata"]["finalizers"]
    told = entry(made)
    assert (told["distinguishedName"], told["objectGUID"]) == (there["dn"][0], there["objectGUID"][0])
    assert (told["origin"], told["ready"], told["reason"]) == ("Created", True, "Synced")
    assert told["lastSynced"] == {"name": name, "description": "Who pays", "email": f"{name}@example.com"}
    assert "membership" not in told
    assert condition(made, "MembershipSynced")["status"] == "Unknown"
    assert eventually(lambda: "Created" in reasons(home, name))


@pytest.mark.parametrize(("scope", "kind"), [("Global", GLOBAL), ("Universal", UNIVERSAL), ("DomainLocal", DOMAIN_LOCAL)])
def test_a_group_is_created_with_its_scope_which_stays(home: Site, scope: str, kind: int) -> None:
    name = unique("g")
    group(home, name, groupScope=scope)
    synced(home, name)
    assert account(home, name)["groupType"] == [str(kind)]
    home.edit(name, {"groupScope": "Universal" if scope != "Universal" else "Global", "description": "x"}, "SyncedGroup")
    synced(home, name)
    assert account(home, name)["groupType"] == [str(kind)]


def test_a_group_is_created_in_the_container_of_its_binding(home: Site) -> None:
    name = unique("g")
    unit = home.dc.add_container(unique("ou"), groups=False, parent=home.container)
    group(home, name, domains=[{"name": "corp", "container": unit}])
    assert entry(synced(home, name))["distinguishedName"] == f"CN={name},{unit}"
    assert account(home, name)["dn"] == [f"CN={name},{unit}"]


@pytest.mark.parametrize(
    ("name", "said"), [("a" * 65, "64"), ("OU", "not below"), ("taken", "taken")], ids=["too long", "another container", "taken by a user"]
)
def test_what_cannot_be_created_says_why(home: Site, name: str, said: str) -> None:
    resource = unique("g")
    if name == "taken":
        home.dc.add_user(resource, container=home.container)
        group(home, resource)
        assert said in refused(home, resource, "Conflict")
        assert account(home, resource)["objectClass"][-1] == "user"
    elif name == "OU":
        group(home, resource, domains=[{"name": "corp", "container": f"CN=Users,{home.dc.base}"}])
        assert said in refused(home, resource, "InvalidSpec")
        assert home.dc.find(resource) is None
    else:
        home.api.create(synced_group(home.namespace, name, name=resource))
        assert said in refused(home, resource, "InvalidSpec")
        home.edit(resource, {"name": resource}, "SyncedGroup")
        synced(home, resource)


# --- attributes and drift ---


def test_attributes_are_set_cleared_and_left_alone(home: Site) -> None:
    name = unique("g")
    group(home, name, description="first", email=f"{name}@example.com")
    synced(home, name)
    home.edit(name, {"description": "second", "email": ""}, "SyncedGroup")
    synced(home, name)
    there = account(home, name)
    assert there["description"] == ["second"]
    assert "mail" not in there
    home.edit(name, {"description": None}, "SyncedGroup")
    synced(home, name)
    home.dc.replace(there["dn"][0], {"description": "by hand", "mail": f"{name}@example.org"})
    eventually(lambda: "mail" not in account(home, name))
    assert account(home, name)["description"] == ["by hand"]


def test_drift_is_reverted_with_an_event(home: Site) -> None:
    name = unique("g")
    group(home, name, description="ours")
    synced(home, name)
    home.dc.replace(account(home, name)["dn"][0], {"description": "theirs", "sAMAccountName": f"{name}x"})
    eventually(lambda: account(home, name)["description"] == ["ours"])
    assert home.dc.find(f"{name}x") is None
    told = eventually(lambda: next((each["message"] for each in home.events(name) if each["reason"] == "DriftReverted"), ""))
    assert "theirs" in told


def test_a_look_that_finds_nothing_to_do_writes_nothing(home: Site) -> None:
    name = unique("g")
    group(home, name, [], description="ours")
    made = synced(home, name)
    before = account(home, name)
    ask_again(home, "corp", "ADDomain")
    looked = ask_again(home, name, "SyncedGroup")
    assert looked["status"] | {"lastHandledReconcileAt": ""} == made["status"] | {"lastHandledReconcileAt": ""}
    assert account(home, name) == before


# --- adopt ---


def test_a_group_is_adopted_by_name_and_stays_as_it_is(home: Site) -> None:
    """MatchEmail, the default, is about people: a group needs only the name."""
    name, stranger = unique("g"), unique("u")
    person = home.dc.add_user(stranger, container=home.container)
    unit = home.dc.add_container(unique("ou"), groups=False, parent=home.container)
    dn = f"CN=The {name},{unit}"
    home.dc.rename(home.dc.add_group(name, container=unit, members=[person]), f"CN=The {name}")
    home.dc.replace(dn, {"description": "by hand", "groupType": str(UNIVERSAL)})
    group(home, name, email=f"{name}@example.com")
    made = synced(home, name)
    there = account(home, name)
    assert there["dn"] == [dn]
    assert (there["description"], there["groupType"]) == (["by hand"], [str(UNIVERSAL)])
    assert there["mail"] == [f"{name}@example.com"]
    assert there["member"] == [person]
    assert f"{home.namespace}/{name}" in there[MARK][0]
    assert entry(made)["origin"] == "Adopted"
    assert eventually(lambda: "Adopted" in reasons(home, name))
    home.edit(name, {"name": f"{name}n"}, "SyncedGroup")
    synced(home, name)
    assert account(home, f"{name}n")["dn"] == [dn], "adoption never renames the object itself, and a later rename neither"


def test_adoption_never_means_never(site: Site) -> None:
    site.connect(adoptionPolicy="Never")
    name = unique("g")
    site.dc.add_group(name, container=site.container)
    before = account(site, name)
    group(site, name, [], description="ours", deletionPolicy="Delete")
    assert "Never" in refused(site, name, "AdoptionRefused")
    delete(site, name)
    assert account(site, name) == before


def test_another_namespace_adopts_only_where_it_may(home: Site) -> None:
    name, new = unique("g"), unique("g")
    home.dc.add_group(name, container=home.container)
    before = account(home, name)
    with new_namespace(home.api) as elsewhere:
        domains = [{"name": "corp", "namespace": home.namespace}]
        far = Site(home.api, home.control_plane, home.dc, elsewhere, home.container)
        home.api.create(synced_group(elsewhere, name, domains=domains))
        refused(far, name, "NamespaceNotAllowed")
        home.api.patch("Namespace", "", elsewhere, {"metadata": {"labels": {"team": home.namespace}}})
        assert "mayAdopt" in refused(far, name, "AdoptionRefused")
        home.api.create(synced_group(elsewhere, new, domains=domains))
        synced(far, new)
        assert account(home, name) == before
        delete(far, name)
        delete(far, new)


def test_a_foreign_value_in_the_ownership_attribute_is_kept(home: Site) -> None:
    name = unique("g")
    dn = home.dc.add_group(name, container=home.container)
    home.dc.replace(dn, {MARK: "Group_of somebody else"})
    group(home, name, description="ours")
    made = synced(home, name)
    assert account(home, name)[MARK] == ["Group_of somebody else"]
    assert account(home, name)["description"] == ["ours"]
    assert entry(made)["objectGUID"] == account(home, name)["objectGUID"][0]
    home.edit(name, {"name": f"{name}n"}, "SyncedGroup")
    synced(home, name)
    assert account(home, f"{name}n")["objectGUID"] == [entry(made)["objectGUID"]]


@pytest.mark.parametrize("by", ["name", "DN"])
def test_the_scope_and_admins_groups_are_never_adopted(site: Site, by: str) -> None:
    scope = site.container.partition(",")[0].removeprefix("OU=")
    admins = f"{scope}-admins"
    site.connect(
        scopeGroup=scope if by == "name" else f"cn={scope}, {site.container}",
        adminsGroup=admins if by == "name" else f"CN={admins},{site.container}",
        adoptionPolicy="Always",
    )
    before = {name: account(site, name) for name in (scope, admins)}
    for name, field in ((scope, "scopeGroup"), (admins, "adminsGroup")):
        group(site, name, [], description="ours", membershipPolicy="Exact", deletionPolicy="Delete")
        assert field in refused(site, name, "AdoptionRefused")
        delete(site, name)
    assert {name: account(site, name) for name in (scope, admins)} == before


def test_the_older_of_two_claims_wins_and_the_younger_gets_it_after(home: Site) -> None:
    name = unique("g")
    group(home, name, description="old", deletionPolicy="Retain")
    synced(home, name)
    home.api.create(synced_group(home.namespace, name, name=f"{name}-2", description="new"))
    assert name in refused(home, f"{name}-2", "Conflict")
    assert account(home, name)["description"] == ["old"]
    delete(home, name)
    synced(home, f"{name}-2")
    assert account(home, name)["description"] == ["new"]


def test_a_group_that_another_cluster_has_marked_is_a_conflict(site: Site) -> None:
    name = unique("g")
    site.connect(clusterName="blue")
    group(site, name, [])
    synced(site, name)
    before = account(site, name)
    site.api.create(ad_domain(site.dc, site.namespace, site.container, name="green", clusterName="green", adoptionPolicy="Always"))
    site.api.create(synced_group(site.namespace, name, name=f"{name}-green", domain="green", description="green"))
    assert "blue" in refused(site, f"{name}-green", "Conflict")
    assert account(site, name) == before


# --- rename and move ---


def test_a_rename_takes_the_cn_along_and_keeps_the_group(home: Site) -> None:
    name = unique("g")
    group(home, name)
    guid = entry(synced(home, name))["objectGUID"]
    home.edit(name, {"name": f"{name}-new"}, "SyncedGroup")
    made = synced(home, name)
    there = account(home, f"{name}-new")
    assert there["dn"] == [f"CN={name}-new,{home.container}"]
    assert there["objectGUID"] == [guid] == [entry(made)["objectGUID"]]
    assert entry(made)["distinguishedName"] == there["dn"][0]


def test_a_rename_to_a_taken_name_changes_nothing(home: Site) -> None:
    name, other = unique("g"), unique("g")
    home.dc.add_group(other, container=home.container)
    group(home, name)
    synced(home, name)
    before = account(home, name)
    home.edit(name, {"name": other}, "SyncedGroup")
    assert other in refused(home, name, "Conflict")
    assert account(home, name) == before


def test_a_group_moves_when_its_container_is_edited_and_is_followed_when_others_move_it(home: Site) -> None:
    name = unique("g")
    one, two = (home.dc.add_container(unique("ou"), groups=False, parent=home.container) for _ in range(2))
    group(home, name, domains=[{"name": "corp", "container": one}])
    synced(home, name)
    home.edit(name, {"domains": [{"name": "corp", "container": two}]}, "SyncedGroup")
    synced(home, name)
    assert account(home, name)["dn"] == [f"CN={name},{two}"]
    home.dc.rename(f"CN={name},{two}", f"CN=Other {name}", one)
    there = f"CN=Other {name},{one}"
    eventually(lambda: entry(home.get(name, "SyncedGroup"))["distinguishedName"] == there)
    home.edit(name, {"description": "still ours"}, "SyncedGroup")
    synced(home, name)
    assert account(home, name)["dn"] == [there]
    assert account(home, name)["description"] == ["still ours"]


def test_a_group_that_leaves_the_root_container_is_not_written(home: Site) -> None:
    name = unique("g")
    group(home, name, [], deletionPolicy="Delete")
    synced(home, name)
    outside = home.dc.container
    home.dc.rename(f"CN={name},{home.container}", f"CN={name}", outside)
    try:
        refused(home, name, "OutOfScope")
        before = account(home, name)
        home.edit(name, {"description": "x"}, "SyncedGroup")
        refused(home, name, "OutOfScope")
        delete(home, name)
        assert account(home, name) == before
    finally:
        home.dc.delete(f"CN={name},{outside}")


# --- going ---


@pytest.mark.parametrize("policy", ["Disable", "Retain", "Delete"])
@pytest.mark.parametrize("how", ["deleted", "unbound"])
def test_letting_go_of_a_group_does_what_its_policy_says(home: Site, policy: str, how: str) -> None:
    name, user = unique("g"), unique("u")
    home.user(user)
    home.await_reason(user)
    group(home, name, [user], deletionPolicy=policy)
    synced(home, name)
    assert names(home, name) == {user}
    if how == "deleted":
        delete(home, name)
    else:
        home.edit(name, {"domains": []}, "SyncedGroup")
        eventually(lambda: not home.get(name, "SyncedGroup")["status"].get("domains"))
    there = home.dc.find(name, ["*"])
    if policy == "Delete":
        assert there is None
    else:
        assert there is not None
        assert there["member"] == [f"CN={user},{home.container}"]
        assert MARK not in there, "a group can't be disabled: it is let go of"


def test_a_group_deleted_in_the_directory_is_made_again_with_its_members(home: Site) -> None:
    name, user = unique("g"), unique("u")
    home.user(user)
    group(home, name, [user])
    first = synced(home, name)
    eventually(lambda: names(home, name) == {user})
    home.dc.delete(f"CN={name},{home.container}")
    ask_again(home, "corp", "ADDomain")  # tombstones are hidden from the service account, and the light sweep comes once a minute
    eventually(lambda: entry(home.get(name, "SyncedGroup"))["objectGUID"] != entry(first)["objectGUID"])
    eventually(lambda: names(home, name) == {user})
    assert membership(eventually(lambda: synced(home, name)))["applied"] == 1


# --- protected groups ---


@pytest.mark.parametrize("protected", ["Domain Admins", "Administrators", "Domain Users"])
def test_the_domain_s_own_groups_are_never_written(home: Site, protected: str) -> None:
    resource, user = unique("g"), unique("u")
    home.user(user)
    home.await_reason(user)
    before = account(home, protected)
    home.api.create(
        synced_group(
            home.namespace, protected, name=resource, description="ours", members=[{"name": user}], membershipPolicy="Exact",
            deletionPolicy="Delete",
        )
    )  # fmt: skip
    refused(home, resource, "Protected")
    delete(home, resource)
    assert account(home, protected) == before


@pytest.mark.parametrize("how", ["nested in Domain Admins", "adminCount"])
def test_a_privileged_group_is_never_written(home: Site, how: str) -> None:
    name, outer, user = unique("g"), unique("g"), unique("u")
    home.user(user)
    home.await_reason(user)
    dn = home.dc.add_group(name, container=home.container)
    nest = home.dc.add_group(outer, container=home.container, members=[dn])
    if how == "adminCount":
        home.dc.replace(dn, {"adminCount": "1"})
    else:
        home.dc.members(f"CN=Domain Admins,CN=Users,{home.dc.base}", add=[nest])
    before = account(home, name)
    try:
        group(home, name, [user], description="ours", deletionPolicy="Delete")
        assert "privileged" in refused(home, name, "Protected")
        delete(home, name)
        assert account(home, name) == before
    finally:
        home.dc.delete(nest, dn)


def test_a_group_that_becomes_privileged_is_left_alone_from_then_on(home: Site) -> None:
    """What has to be asked at the moment of writing: the group itself does not change by being put into another."""
    name, outer, users = unique("g"), unique("g"), [unique("u") for _ in range(2)]
    for user in users:
        home.user(user)
    group(home, name, users[:1], deletionPolicy="Delete")
    synced(home, name)
    eventually(lambda: names(home, name) == {users[0]})
    nest = home.dc.add_group(outer, container=home.container, members=[f"CN={name},{home.container}"])
    home.dc.members(f"CN=Domain Admins,CN=Users,{home.dc.base}", add=[nest])
    before = account(home, name)
    try:
        set_members(home, name, users[1:])
        refused(home, name, "Protected")
        home.edit(name, {"description": "x"}, "SyncedGroup")
        refused(home, name, "Protected")
        assert account(home, name) == before
        assert members(home, name) == {f"CN={users[0]},{home.container}"}
        delete(home, name)
        assert account(home, name) == before
    finally:
        home.dc.delete(nest, f"CN={name},{home.container}")

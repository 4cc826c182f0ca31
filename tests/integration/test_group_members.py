"""Who is in a group: from both sides, under each policy, and whatever happens to the members meanwhile. Seen with ldapsearch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from lab.api import Manifest
from tests.integration.rosters import UNLIMITED, group, groups_of, members, membership, names, set_members, synced, when
from tests.integration.support import (
    Operator,
    Site,
    account,
    ask_again,
    condition,
    entry,
    eventually,
    reasons,
    unique,
)

MARK = "adminDescription"
PASSWORD = "Correct-Horse-7"


@pytest.fixture(scope="module", autouse=True)
def operator(shared_operator: Operator) -> Operator:
    return shared_operator


@pytest.fixture(scope="module")
def home(home: Site) -> Site:
    home.connect(safety=UNLIMITED, bind={"groupSelector": {"matchLabels": {"bind": "corp"}}})
    return home


def users(site: Site, count: int, **spec: Any) -> list[str]:
    """Create so many users, and wait for their accounts."""
    made = [unique("u") for _ in range(count)]
    for name in made:
        site.user(name, **spec)
    for name in made:
        site.await_reason(name)
    return made


def label(site: Site, name: str, labels: dict[str, str | None], kind: str = "SyncedUser") -> None:
    site.api.patch(kind, site.namespace, name, {"metadata": {"labels": labels}})


def look(site: Site, name: str) -> Manifest:
    """The group's resource after one more look at it."""
    return ask_again(site, name, "SyncedGroup")


def await_names(site: Site, name: str, wanted: set[str], timeout: float = 15.0) -> None:
    eventually(lambda: names(site, name) == wanted, timeout, what=f"{name} holds {sorted(wanted)[:5]}")


def dn(site: Site, name: str) -> str:
    return f"CN={name},{site.container}"


# --- who is wanted ---


def test_members_and_selector_together(home: Site) -> None:
    listed, selected, both, other = users(home, 4)
    team = unique("t")
    for name in (selected, both):
        label(home, name, {"team": team})
    name = unique("g")
    group(home, name, [listed, both], memberSelector={"matchLabels": {"team": team}})
    await_names(home, name, {listed, selected, both})
    made = when(home, name, lambda each: condition(each, "MembershipSynced")["status"] == "True")
    assert membership(made) == {"desired": 3, "applied": 3, "foreign": 0}
    assert (made["status"]["memberCount"], made["status"]["pendingCount"]) == (3, 0)
    assert eventually(lambda: "MembersChanged" in reasons(home, name))
    label(home, other, {"team": team})
    await_names(home, name, {listed, selected, both, other})
    label(home, selected, {"team": None})
    await_names(home, name, {listed, both, other})
    set_members(home, name, [listed])
    await_names(home, name, {listed, both, other})
    label(home, both, {"team": "another"})
    await_names(home, name, {listed, other})
    for user, wanted in ((listed, [name]), (selected, []), (both, []), (other, [name])):
        eventually(lambda user=user, wanted=wanted: groups_of(home.get(user)) == wanted)  # type: ignore[misc]
    assert home.get(other)["status"]["groupCount"] == 1


def test_neither_members_nor_selector_leaves_the_members_alone(home: Site) -> None:
    (user,) = users(home, 1)
    name = unique("g")
    group(home, name, [user])
    await_names(home, name, {user})
    home.edit(name, {"members": None}, "SyncedGroup")
    synced(home, name)
    made = look(home, name)
    assert "membership" not in entry(made)
    assert made["status"]["memberCount"] == 0
    home.dc.members(dn(home, name), delete=[dn(home, user)])
    look(home, name)
    assert names(home, name) == set()


def test_an_empty_list_says_that_there_are_none(home: Site) -> None:
    one, two = users(home, 2)
    name = unique("g")
    group(home, name, [one, two])
    await_names(home, name, {one, two})
    set_members(home, name, [])
    await_names(home, name, set())
    made = synced(home, name)
    assert condition(made, "MembershipSynced")["status"] == "True"


# --- the policies ---


@pytest.mark.parametrize("policy", ["Managed", "Exact", "Additive"])
def test_who_is_taken_out_under_each_policy(home: Site, policy: str) -> None:
    """Foreign, protected and nested members, one of ours that is not wanted, one whose resource is gone, and wanted ones that have to wait."""
    wanted, ours, gone = users(home, 3)
    admins = f"CN=Domain Admins,CN=Users,{home.dc.base}"
    foreign, admin, inner, name, absent = (unique(kind) for kind in ("f", "a", "i", "g", "n"))
    for each in (foreign, admin):
        home.dc.add_user(each, container=home.container)
    home.dc.members(admins, add=[dn(home, admin)])
    home.dc.add_group(inner, container=home.container)
    home.api.delete("SyncedUser", home.namespace, gone)
    home.await_gone(gone)
    everyone = [ours, gone, foreign, admin, inner]
    home.dc.add_group(name, container=home.container, members=[dn(home, each) for each in everyone])
    group(home, name, [wanted, absent], membershipPolicy=policy)
    try:
        stay = {"Managed": {foreign, admin, inner}, "Exact": {admin}, "Additive": set(everyone)}[policy]
        await_names(home, name, {wanted} | stay)
        made = when(home, name, lambda each: membership(each)["applied"] == 1)
        told = membership(made)
        assert (told["desired"], told["applied"], told["foreign"]) == (2, 1, len(stay))
        assert [each["user"] for each in told["pending"]] == [absent]
        assert told.get("nestedGroups", []) == ([inner] if inner in stay else [])
        assert condition(made, "Ready")["reason"] == "Synced"
        assert condition(made, "MembershipSynced")["status"] == "False"
        assert names(home, name) == {wanted} | stay
    finally:
        home.dc.delete(dn(home, admin))


def test_a_policy_that_is_changed_is_applied(home: Site) -> None:
    (wanted,) = users(home, 1)
    foreign, name = unique("f"), unique("g")
    home.dc.add_user(foreign, container=home.container)
    group(home, name, [wanted])
    await_names(home, name, {wanted})
    home.dc.members(dn(home, name), add=[dn(home, foreign)])
    eventually(lambda: membership(home.get(name, "SyncedGroup"))["foreign"] == 1)
    assert names(home, name) == {wanted, foreign}
    home.edit(name, {"membershipPolicy": "Exact"}, "SyncedGroup")
    await_names(home, name, {wanted})


def test_too_many_removals_are_held_and_additions_go_on(site: Site) -> None:
    site.connect(safety={"minRemovals": 2, "maxRemovals": "10%"})
    made = users(site, 6)
    name = unique("g")
    group(site, name, made[:5])
    await_names(site, name, set(made[:5]))
    set_members(site, name, made[5:])
    held = site.await_reason(name, "SafetyLimit", "SyncedGroup")
    assert names(site, name) == set(made)
    assert (membership(held)["desired"], membership(held)["applied"]) == (1, 1)
    domain = when(site, "corp", lambda each: each["status"].get("plannedChanges"), "ADDomain")
    planned = domain["status"]["plannedChanges"]
    assert planned["count"] == 1
    assert condition(domain, "WithinSafetyLimit")["status"] == "False"
    annotations = {"adsync.dev/approve": planned["digest"]}
    site.api.patch("ADDomain", site.namespace, "corp", {"metadata": {"annotations": annotations}})
    await_names(site, name, set(made[5:]))
    synced(site, name)


def test_observe_tells_what_it_would_do(site: Site) -> None:
    site.connect(safety=UNLIMITED)
    one, two = users(site, 2)
    name = unique("g")
    group(site, name, [one])
    await_names(site, name, {one})
    site.api.patch("ADDomain", site.namespace, "corp", {"spec": {"mode": "Observe"}})
    eventually(lambda: condition(site.get("corp", "ADDomain"), "Ready")["reason"] == "Observing")
    before = account(site, name)
    set_members(site, name, [two])
    made = site.await_reason(name, "Observing", "SyncedGroup")
    planned = " ".join(entry(made)["plannedChanges"])
    assert f"+{two}" in planned
    assert f"−{one}" in planned
    assert account(site, name) == before
    site.api.patch("ADDomain", site.namespace, "corp", {"spec": {"mode": "Apply"}})
    await_names(site, name, {two})


# --- pending ---


def test_why_members_are_pending_and_how_they_join(home: Site) -> None:
    """Unknown, not bound, refused, waiting for a Secret, privileged, or outside: the rest of the group is in step meanwhile."""
    (ready,) = users(home, 1)
    unknown, unbound, refused, waiting, privileged, outside = (unique("u") for _ in range(6))
    home.user(unbound, domains=[])
    home.dc.add_user(refused, container=home.container)  # MatchEmail, and there is no email
    home.user(refused)
    home.user(waiting, passwordSecretRef={"name": waiting})
    home.user(privileged)
    home.user(outside)
    for each, reason in ((refused, "AdoptionRefused"), (waiting, "PasswordPending"), (privileged, "Synced"), (outside, "Synced")):
        home.await_reason(each, reason)
    home.dc.replace(dn(home, privileged), {"adminCount": "1"})
    home.dc.rename(dn(home, outside), f"CN={outside}", home.dc.container)
    home.await_reason(outside, "OutOfScope")
    name = unique("g")
    everyone = [ready, unknown, unbound, refused, waiting, privileged, outside]
    group(home, name, everyone)
    try:
        await_names(home, name, {ready})
        made = when(home, name, lambda each: len(membership(each)["pending"]) == 6)
        why = {each["user"]: each["reason"] for each in membership(made)["pending"]}
        assert why.keys() == set(everyone) - {ready}
        assert "no SyncedUser" in why[unknown]
        assert "not bound" in why[unbound]
        assert "AdoptionRefused" in why[refused]
        assert "PasswordPending" in why[waiting]
        assert "privileged" in why[privileged]
        assert "not below" in why[outside]
        assert condition(made, "Ready")["status"] == "True"
        assert (made["status"]["memberCount"], made["status"]["pendingCount"]) == (1, 6)
        assert names(home, name) == {ready}

        home.user(unknown)
        home.edit(unbound, {"domains": [{"name": "corp"}]})
        home.edit(refused, {"email": f"{refused}@example.com"})
        home.dc.replace(dn(home, refused), {"mail": f"{refused}@example.com"})
        home.password(waiting, PASSWORD)
        home.dc.replace(dn(home, privileged), {"adminCount": None})
        home.dc.rename(f"CN={outside},{home.dc.container}", f"CN={outside}", home.container)
        await_names(home, name, set(everyone))
        done = when(home, name, lambda each: each["status"]["pendingCount"] == 0)
        assert condition(done, "MembershipSynced")["status"] == "True"
        assert "pending" not in membership(done)
    finally:
        for left in home.dc.search(f"(cn={outside})", ["cn"], base=home.dc.container, scope="one"):
            home.dc.delete(left["dn"][0])


def test_a_member_that_becomes_privileged_stays_and_is_told(home: Site) -> None:
    one, two = users(home, 2)
    name = unique("g")
    group(home, name, [one, two], membershipPolicy="Exact")
    await_names(home, name, {one, two})
    home.dc.replace(dn(home, one), {"adminCount": "1"})
    eventually(lambda: [each["user"] for each in membership(home.get(name, "SyncedGroup")).get("pending", [])] == [one])
    set_members(home, name, [two])
    synced(home, name)
    look(home, name)
    assert names(home, name) == {one, two}, "an administrator is not taken out of anything"


# --- groups in groups, and primary groups ---


def test_nested_groups_are_told_and_left(home: Site) -> None:
    (user,) = users(home, 1)
    inner, name = unique("i"), unique("g")
    home.dc.add_group(inner, container=home.container)
    group(home, name, [user])
    await_names(home, name, {user})
    home.dc.members(dn(home, name), add=[dn(home, inner)])
    eventually(lambda: membership(home.get(name, "SyncedGroup")).get("nestedGroups") == [inner])
    assert names(home, name) == {user, inner}
    home.dc.members(dn(home, name), delete=[dn(home, inner)])
    eventually(lambda: "nestedGroups" not in membership(home.get(name, "SyncedGroup")))


def test_who_has_the_group_as_primary_group_is_in_it(home: Site) -> None:
    """AD keeps primary members in neither `member` nor `memberOf`."""
    one, two = users(home, 2)
    name = unique("g")
    group(home, name, [one, two])
    await_names(home, name, {one, two})
    rid = account(home, name)["objectSid"][0].rpartition("-")[2]
    home.dc.replace(dn(home, one), {"primaryGroupID": rid})
    try:
        assert names(home, name) == {two}, "the directory takes a primary member out of the list"
        usn = account(home, name)["uSNChanged"]
        # The directory has put the account into its former primary group, as an ordinary member.
        eventually(lambda: groups_of(home.get(one)) == ["Domain Users", name])
        made = look(home, name)
        assert membership(made) == {"desired": 2, "applied": 2, "foreign": 0}
        assert account(home, name)["uSNChanged"] == usn
        set_members(home, name, [two])
        synced(home, name)
        assert names(home, name) == {two}
        assert account(home, name)["uSNChanged"] == usn
    finally:
        home.dc.replace(dn(home, one), {"primaryGroupID": "513"})  # else the group can't be deleted


# --- what a user's status says ---


def test_a_user_s_groups_are_those_of_the_directory(home: Site) -> None:
    """Whoever put it there, and wherever the group is."""
    (user,) = users(home, 1)
    ours, by_hand, outside = unique("g"), unique("h"), unique("o")
    group(home, ours, [user])
    await_names(home, ours, {user})
    home.dc.add_group(by_hand, container=home.container)
    home.dc.add_group(outside, container=f"CN=Users,{home.dc.base}")
    try:
        for each, container in ((by_hand, home.container), (outside, f"CN=Users,{home.dc.base}")):
            home.dc.members(f"CN={each},{container}", add=[dn(home, user)])
        eventually(lambda: groups_of(home.get(user)) == sorted([ours, by_hand, outside]))
        assert home.get(user)["status"]["groupCount"] == 3
        home.dc.replace(dn(home, by_hand), {"sAMAccountName": f"{by_hand}x"})
        eventually(lambda: groups_of(home.get(user)) == sorted([ours, f"{by_hand}x", outside]))
        home.dc.members(f"CN={outside},CN=Users,{home.dc.base}", delete=[dn(home, user)])
        eventually(lambda: groups_of(home.get(user)) == sorted([ours, f"{by_hand}x"]))
        home.dc.delete(dn(home, by_hand))
        ask_again(home, "corp", "ADDomain")
        eventually(lambda: groups_of(home.get(user)) == [ours])
    finally:
        home.dc.delete(f"CN={outside},CN=Users,{home.dc.base}")


# --- drift ---


def test_what_others_change_in_the_members_is_set_right_at_once(home: Site, record_property: Callable[[str, object], None]) -> None:
    one, two, unwanted = users(home, 3)
    foreign, name = unique("f"), unique("g")
    home.dc.add_user(foreign, container=home.container)
    group(home, name, [one, two], membershipPolicy="Exact")
    await_names(home, name, {one, two})
    synced(home, name)
    took = []
    for change in ({"delete": [one]}, {"add": [unwanted]}, {"add": [foreign]}, {"delete": [one, two], "add": [unwanted, foreign]}):
        home.dc.members(dn(home, name), **{how: [dn(home, each) for each in who] for how, who in change.items()})
        began = time.monotonic()
        await_names(home, name, {one, two}, 5)
        took.append(time.monotonic() - began)
    record_property("seconds", took)
    print("membership drift set right within", [round(each, 2) for each in took])
    assert sorted(took)[1] < 1.0


def test_two_who_fight_about_members_do_not_fight_by_the_second(home: Site) -> None:
    """One who is taken out and a stranger who is put in, again and again, are left alone for a while; the others are not."""
    one, two, three = users(home, 3)
    foreign, name = unique("f"), unique("g")
    home.dc.add_user(foreign, container=home.container)
    group(home, name, [one, two], membershipPolicy="Exact")
    await_names(home, name, {one, two})
    synced(home, name)

    def fight() -> None:
        home.dc.members(dn(home, name), delete=[dn(home, one)], add=[dn(home, foreign)])

    for _ in range(5):
        fight()
        await_names(home, name, {one, two})
    fight()
    told = condition(home.await_reason(name, "Contested", kind="SyncedGroup"), "Ready")["message"]
    assert f"taking out {one} and putting in {foreign};" in told
    usn = account(home, name)["uSNChanged"]
    assert condition(look(home, name), "Reconciling")["status"] == "True"
    assert account(home, name)["uSNChanged"] == usn
    set_members(home, name, [one, three])
    home.edit(name, {"description": "ours"}, "SyncedGroup")
    await_names(home, name, {three, foreign})
    eventually(lambda: account(home, name).get("description") == ["ours"])
    assert condition(look(home, name), "Ready")["reason"] == "Contested"
    home.dc.members(dn(home, name), add=[dn(home, one)], delete=[dn(home, foreign)])  # the other one gives in
    synced(home, name)


# --- what happens to members ---


def test_a_member_that_is_renamed_or_moved_stays_without_a_write(home: Site) -> None:
    one, two = users(home, 2)
    name = unique("g")
    unit = home.dc.add_container(unique("ou"), groups=False, parent=home.container)
    group(home, name, [one, two], membershipPolicy="Exact")
    await_names(home, name, {one, two})
    synced(home, name)
    usn = account(home, name)["uSNChanged"]
    home.edit(one, {"username": f"{one}n"})
    home.await_reason(one)
    home.dc.rename(dn(home, two), f"CN=Moved {two}", unit)
    eventually(lambda: entry(home.get(two))["distinguishedName"] == f"CN=Moved {two},{unit}")
    made = look(home, name)
    assert members(home, name) == {f"CN={one}n,{home.container}", f"CN=Moved {two},{unit}"}
    assert membership(made) == {"desired": 2, "applied": 2, "foreign": 0}
    assert account(home, name)["uSNChanged"] == usn
    set_members(home, name, [two])
    eventually(lambda: members(home, name) == {f"CN=Moved {two},{unit}"})


def test_a_member_deleted_in_the_directory_comes_back_into_its_groups(home: Site) -> None:
    one, two = users(home, 2)
    name = unique("g")
    group(home, name, [one, two])
    await_names(home, name, {one, two})
    home.dc.delete(dn(home, one))
    assert names(home, name) == {two}
    ask_again(home, "corp", "ADDomain")
    await_names(home, name, {one, two})
    eventually(lambda: groups_of(home.get(one)) == [name])


@pytest.mark.parametrize("policy", ["Disable", "Delete"])
@pytest.mark.parametrize("still", ["listed", "selected"])
def test_a_deleted_user_leaves_its_groups(home: Site, policy: str, still: str) -> None:
    one, two = users(home, 2, deletionPolicy=policy)
    name, team = unique("g"), unique("t")
    for each in (one, two):
        label(home, each, {"team": team})
    group(
        home,
        name,
        [one, two] if still == "listed" else None,
        **({} if still == "listed" else {"memberSelector": {"matchLabels": {"team": team}}}),
    )
    await_names(home, name, {one, two})
    home.api.delete("SyncedUser", home.namespace, one)
    home.await_gone(one)
    await_names(home, name, {two})
    assert (home.dc.find(one) is None) == (policy == "Delete")
    expected = [one] if still == "listed" else []
    eventually(lambda: [each["user"] for each in membership(home.get(name, "SyncedGroup")).get("pending", [])] == expected)


def test_an_unbound_user_leaves_its_groups(home: Site) -> None:
    one, two = users(home, 2)
    name = unique("g")
    group(home, name, [one, two])
    await_names(home, name, {one, two})
    home.edit(one, {"domains": []})
    await_names(home, name, {two})
    eventually(lambda: "not bound" in membership(home.get(name, "SyncedGroup"))["pending"][0]["reason"])
    home.edit(one, {"domains": [{"name": "corp"}]})
    await_names(home, name, {one, two})


# --- bound from the domain's side ---


def test_a_domain_binds_groups_by_label_and_lets_them_go(home: Site) -> None:
    (user,) = users(home, 1)
    name = unique("g")
    group(home, name, [user], domains=[], deletionPolicy="Delete")
    made = synced(home, name)
    assert "bound to no domain" in condition(made, "Ready")["message"]
    assert home.dc.find(name) is None
    label(home, name, {"bind": "corp"}, "SyncedGroup")
    await_names(home, name, {user})
    label(home, name, {"bind": "nobody"}, "SyncedGroup")
    eventually(lambda: home.dc.find(name) is None)
    eventually(lambda: not home.get(name, "SyncedGroup")["status"].get("domains"))


def test_a_domain_that_takes_its_selectors_back_lets_go(site: Site) -> None:
    user, name = unique("u"), unique("g")
    site.connect(
        bind={"userSelector": {"matchLabels": {"site": "a"}}, "groupSelector": {"matchLabels": {"site": "a"}}}, deletionPolicy="Retain"
    )
    for kind, made in (("SyncedUser", site.user(user, domains=[])), ("SyncedGroup", group(site, name, [user], domains=[]))):
        label(site, made["metadata"]["name"], {"site": "a"}, kind)
    await_names(site, name, {user})
    eventually(lambda: groups_of(site.get(user)) == [name])
    site.api.patch("ADDomain", site.namespace, "corp", {"spec": {"bind": None}})
    eventually(lambda: not site.get(user)["status"].get("domains"))
    eventually(lambda: not site.get(name, "SyncedGroup")["status"].get("domains"))
    assert MARK not in account(site, user)
    assert MARK not in account(site, name)
    assert account(site, user)["userAccountControl"] == ["512"]

"""Direction Bidirectional: a change on either side arrives on the other, field by field, with no fight and no loss."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.integration.support import Operator, Site, account, ask_again, control, entry, eventually, reasons, synced_group, synced_user
from tests.integration.test_import import FINALIZER, Corner

DISABLED = 2
MARK = "adminDescription"


@pytest.fixture
def corner(site: Site, operator: Operator) -> Corner:
    assert operator.running
    return Corner(site, "Bidirectional", safety={"maxRemovals": "100%", "maxSuspensions": "100%"})


def value(corner: Corner, label: str, attribute: str) -> str | None:
    found = account(corner.site, corner.called(label)).get(attribute)
    return found[0] if found else None


def listed(corner: Corner, dn: str) -> set[str]:
    """Labels of a group's direct members in the directory."""
    found = corner.site.dc.search(attributes=["member"], base=dn, scope="base")[0].get("member", [])
    return {each.partition(",")[0].removeprefix(f"CN={corner.name}") for each in found}


def quiet(corner: Corner) -> None:
    """Nothing is written on either side any more."""

    def now() -> tuple[Any, ...]:
        kinds = {**corner.users(), **{f"group {name}": each for name, each in corner.groups().items()}}
        return corner.usn(), {name: each["metadata"]["resourceVersion"] for name, each in kinds.items()}

    def still() -> bool:
        before = now()
        time.sleep(1.0)  # what is looked for is that nothing happens
        return now() == before

    eventually(still, 30)


def test_each_side_s_changes_arrive_on_the_other(corner: Corner) -> None:
    dn = corner.user("u", corner.scope, mail="u@example.com", givenName="Una", sn="Old")
    usn = corner.usn()
    corner.connect()
    user = corner.await_user("u")
    assert user["metadata"]["finalizers"] == [FINALIZER]
    assert corner.usn() == usn, "an import writes nothing to the directory"
    corner.site.edit(corner.called("u"), {"firstName": "Ulla", "email": ""})
    eventually(lambda: value(corner, "u", "givenName") == "Ulla" and value(corner, "u", "mail") is None)
    mark = value(corner, "u", MARK)
    assert mark is not None
    assert mark.endswith(";o=i")
    corner.site.dc.replace(dn, {"sn": "New", "userAccountControl": "544"})
    eventually(lambda: corner.users()["u"]["spec"]["lastName"] == "New" and corner.users()["u"]["spec"]["suspended"] is False)
    corner.await_user("u")
    corner.site.edit(corner.called("u"), {"suspended": True})
    eventually(lambda: control(corner.site, corner.called("u")) & DISABLED)
    corner.await_user("u")
    quiet(corner)
    assert "Conflict" not in reasons(corner.site, corner.called("u"))


def test_a_rename_goes_both_ways(corner: Corner) -> None:
    dn = corner.user("u", corner.scope)
    corner.connect()
    corner.await_user("u")
    corner.site.dc.replace(dn, {"sAMAccountName": corner.called("v")})
    eventually(lambda: corner.users()["u"]["spec"]["username"] == corner.called("v"))
    corner.await_user("u")
    corner.site.edit(corner.called("u"), {"username": corner.called("w")})
    eventually(lambda: corner.site.dc.find(corner.called("w")))
    corner.await_user("u")
    quiet(corner)


@pytest.mark.parametrize(("authority", "winner"), [("Kubernetes", "here"), ("ActiveDirectory", "there")])
def test_both_changed_and_the_authority_decides(corner: Corner, operator: Operator, authority: str, winner: str) -> None:
    corner.spec["authority"] = authority
    dn = corner.user("u", corner.scope, givenName="Una", sn="Same")
    corner.connect()
    corner.await_user("u")
    operator.kill()
    corner.site.edit(corner.called("u"), {"firstName": "here", "lastName": "here only"})
    corner.site.dc.replace(dn, {"givenName": "there", "displayName": "there only"})
    operator.start()
    eventually(lambda: corner.users()["u"]["spec"].get("displayName") == "there only")
    eventually(lambda: value(corner, "u", "sn") == "here only" and value(corner, "u", "givenName") == winner)
    assert eventually(lambda: corner.await_user("u")["spec"]["firstName"] == winner)
    told = eventually(
        lambda: next((each["message"] for each in corner.site.events(corner.called("u")) if each["reason"] == "Conflict"), "")
    )
    assert "'here'" in told
    assert "'there'" in told
    assert f"{authority} wins" in told
    quiet(corner)


def test_what_comes_from_kubernetes_joins_the_scope(corner: Corner) -> None:
    corner.connect()
    namespace = corner.site.namespace
    corner.site.api.create(synced_user(namespace, corner.called("k"), email="k@example.com"))
    corner.site.api.create(synced_group(namespace, corner.called("g"), members=[{"name": corner.called("k")}]))
    user = corner.await_user("k")
    assert entry(user)["origin"] == "Created"
    corner.site.await_reason(corner.called("g"), kind="SyncedGroup")
    eventually(lambda: listed(corner, corner.scope) == {"k", "g"})
    eventually(lambda: entry(corner.users()["k"])["membership"]["inScope"] is True)
    corner.site.dc.members(
        corner.scope, delete=[f"CN={corner.called('k')},{corner.site.container}", f"CN={corner.called('g')},{corner.site.container}"]
    )
    corner.await_user("k", "OutOfScope")
    quiet(corner)
    assert listed(corner, corner.scope) == set()
    assert set(corner.users()) == {"k"}


def test_what_was_imported_before_may_be_deleted_for_good(corner: Corner) -> None:
    """Under Import nothing holds a resource; under Bidirectional its deletion has to be served, also of one that was made before."""
    corner.direction = "Import"
    corner.group("g", [corner.user("u", corner.scope)], corner.scope)
    corner.connect()
    assert corner.await_user("u")["metadata"].get("finalizers", []) == []
    corner.await_members("g", "u")
    corner.site.edit("corp", {"direction": "Bidirectional"}, "ADDomain")
    eventually(lambda: all(each["metadata"].get("finalizers") == [FINALIZER] for each in (corner.users()["u"], corner.groups()["g"])))
    for kind, name in (("SyncedUser", "u"), ("SyncedGroup", "g")):
        corner.site.api.delete(kind, corner.site.namespace, corner.called(name))
        corner.site.await_gone(corner.called(name), kind)
    quiet(corner)
    assert (corner.users(), corner.groups(), listed(corner, corner.scope)) == ({}, {}, set())


@pytest.mark.parametrize("policy", ["Retain", "Disable", "Delete"])
def test_a_person_deletes_an_import(corner: Corner, policy: str) -> None:
    """The deletion policy is served, and the account leaves the scope, directly and through groups: it does not come back."""
    corner.spec["deletionPolicy"] = policy
    dn = corner.user("u", corner.scope)
    corner.site.dc.replace(dn, {"userAccountControl": "544"})
    group = corner.group("g", [dn, corner.user("v")], corner.scope)
    corner.connect()
    corner.await_user("u")
    corner.await_members("g", "u", "v")
    corner.site.await_reason(corner.called("g"), kind="SyncedGroup")
    corner.site.api.delete("SyncedUser", corner.site.namespace, corner.called("u"))
    corner.site.await_gone(corner.called("u"))
    corner.await_members("g", "v")
    quiet(corner)
    assert set(corner.users()) == {"v"}
    assert listed(corner, corner.scope) == {"g"}
    assert listed(corner, group) == {"v"}
    if policy == "Delete":
        assert corner.site.dc.find(corner.called("u")) is None
    else:
        assert bool(control(corner.site, corner.called("u")) & DISABLED) is (policy == "Disable")


def test_a_resource_that_was_kept_is_deleted_without_touching_the_directory(corner: Corner) -> None:
    corner.spec |= {"deletionPolicy": "Delete", "import": {"onScopeRemoval": "Retain"}}
    dn = corner.user("u", corner.scope)
    corner.connect()
    corner.await_user("u")
    corner.site.dc.members(corner.scope, delete=[dn])
    corner.await_user("u", "OutOfScope")
    usn = corner.usn()
    corner.site.api.delete("SyncedUser", corner.site.namespace, corner.called("u"))
    corner.site.await_gone(corner.called("u"))
    assert corner.usn() == usn


def test_what_was_deleted_in_the_directory_is_not_created_again(corner: Corner) -> None:
    corner.connect()
    corner.site.api.create(synced_user(corner.site.namespace, corner.called("k")))
    corner.await_user("k")
    eventually(lambda: entry(corner.users()["k"])["membership"]["inScope"] is True)
    corner.site.dc.delete(f"CN={corner.called('k')},{corner.site.container}")
    ask_again(corner.site, "corp", "ADDomain")
    corner.await_user("k", "OutOfScope")
    assert corner.site.dc.find(corner.called("k")) is None


def test_a_resource_written_by_hand_takes_a_marked_account_over(corner: Corner) -> None:
    """The imported twin has written its mark already; it gives way, and the directory keeps the account as it is."""
    corner.spec["deletionPolicy"] = "Delete"
    corner.user("u", corner.scope, mail="u@example.com", givenName="Una")
    corner.connect()
    corner.await_user("u")
    corner.site.edit(corner.called("u"), {"firstName": "Ulla"})
    eventually(lambda: value(corner, "u", MARK))
    corner.await_user("u")
    corner.site.api.create(synced_user(corner.site.namespace, corner.called("u"), name="by-hand", email="u@example.com"))
    corner.site.await_gone(corner.called("u"))
    assert entry(corner.site.await_reason("by-hand"))["origin"] == "Adopted"
    eventually(lambda: "/by-hand;" in str(value(corner, "u", MARK)))
    assert value(corner, "u", "givenName") == "Ulla"
    quiet(corner)


def test_leaving_the_scope_never_touches_the_directory(corner: Corner) -> None:
    corner.spec["deletionPolicy"] = "Delete"
    dn = corner.user("u", corner.scope, givenName="Una")
    corner.connect()
    corner.await_user("u")
    corner.site.edit(corner.called("u"), {"firstName": "Ulla"})
    eventually(lambda: value(corner, "u", "givenName") == "Ulla")
    corner.await_user("u")
    corner.site.dc.members(corner.scope, delete=[dn])
    usn = corner.usn()
    corner.site.await_gone(corner.called("u"))
    quiet(corner)
    assert corner.usn() == usn
    # And it may come again: the mark of the resource that was is no hindrance.
    corner.site.dc.members(corner.scope, add=[dn])
    corner.await_user("u")


def test_members_go_both_ways(corner: Corner) -> None:
    dns = {label: corner.user(label, corner.scope) for label in ("a", "b", "c", "d")}
    inner = corner.group("inner", [dns["d"]])
    group = corner.group("g", [dns["a"], dns["b"], inner], corner.scope)
    corner.connect()
    corner.await_members("g", "a", "b", "d")
    corner.site.await_reason(corner.called("g"), kind="SyncedGroup")
    corner.site.edit(corner.called("g"), {"members": [{"name": corner.called(label)} for label in ("b", "c", "d")]}, "SyncedGroup")
    eventually(lambda: listed(corner, group) == {"b", "c", "inner"})
    corner.site.await_reason(corner.called("g"), kind="SyncedGroup")
    corner.site.dc.members(group, add=[dns["a"]], delete=[dns["b"]])
    corner.await_members("g", "a", "c", "d")
    corner.site.await_reason(corner.called("g"), kind="SyncedGroup")
    corner.site.edit(corner.called("g"), {"members": [{"name": corner.called(label)} for label in ("a", "c")]}, "SyncedGroup")
    eventually(lambda: "SetBack" in reasons(corner.site, corner.called("g")))
    corner.await_members("g", "a", "c", "d")
    quiet(corner)
    assert listed(corner, group) == {"a", "c", "inner"}


def test_members_across_a_restart(corner: Corner, operator: Operator) -> None:
    """The digest of what was agreed on tells which side has moved."""
    dns = {label: corner.user(label, corner.scope) for label in ("a", "b", "c")}
    one, two = corner.group("g1", [dns["a"], dns["b"]], corner.scope), corner.group("g2", [dns["a"], dns["b"]], corner.scope)
    corner.connect()
    for label in ("g1", "g2"):
        corner.await_members(label, "a", "b")
        corner.site.await_reason(corner.called(label), kind="SyncedGroup")
    operator.kill()
    corner.site.edit(corner.called("g1"), {"members": [{"name": corner.called("c")}]}, "SyncedGroup")
    corner.site.dc.members(two, add=[dns["c"]], delete=[dns["a"]])
    operator.start()
    corner.await_members("g2", "b", "c")
    eventually(lambda: listed(corner, one) == {"c"})
    corner.await_members("g1", "c")
    quiet(corner)


def test_members_from_git_stay_git_s(corner: Corner) -> None:
    """Beside what people add in the directory: who is taken out of the manifest goes on both sides."""
    site = corner.site
    dns = {label: corner.user(label, corner.scope) for label in ("a", "b", "c")}
    corner.connect()
    for label in dns:
        corner.await_user(label)

    def apply(*labels: str) -> None:
        manifest = synced_group(site.namespace, corner.called("g"), members=[{"name": corner.called(label)} for label in labels])
        arguments = ("--server-side", "--field-manager=argocd-controller", "--force-conflicts", "-f", "-")
        site.control_plane.kubectl("apply", *arguments, stdin=json.dumps(manifest))

    apply("a", "b")
    site.await_reason(corner.called("g"), kind="SyncedGroup")
    group = f"CN={corner.called('g')},{site.container}"
    site.dc.members(group, add=[dns["c"]])
    corner.await_members("g", "a", "b", "c")
    apply("a")
    corner.await_members("g", "a", "c")
    eventually(lambda: listed(corner, group) == {"a", "c"})
    quiet(corner)


def test_what_is_made_again_under_the_same_name_is_another(corner: Corner) -> None:
    """What was agreed on with an object that is deleted says nothing of the next one: it is adopted when it comes into scope."""
    site = corner.site
    corner.user("a", corner.scope)
    corner.connect()
    site.api.create(synced_user(site.namespace, corner.called("k"), email="k@example.com", firstName="Karl"))
    site.api.create(synced_group(site.namespace, corner.called("g"), description="ours", members=[{"name": corner.called("a")}]))
    corner.await_user("k")
    site.await_reason(corner.called("g"), kind="SyncedGroup")
    eventually(lambda: listed(corner, corner.scope) == {"a", "k", "g"})
    group = f"CN={corner.called('g')},{site.container}"
    site.dc.delete(f"CN={corner.called('k')},{site.container}", group)
    ask_again(site, "corp", "ADDomain")
    corner.await_user("k", "OutOfScope")
    site.await_reason(corner.called("g"), "OutOfScope", kind="SyncedGroup")
    corner.user("k", corner.scope, mail="k@example.com", givenName="Another")
    corner.group("g", [], corner.scope)
    assert corner.await_user("k")["spec"]["firstName"] == "Karl"
    assert value(corner, "k", "givenName") == "Karl"
    site.await_reason(corner.called("g"), kind="SyncedGroup")
    assert site.get(corner.called("g"), "SyncedGroup")["spec"]["description"] == "ours"
    assert (corner.members("g"), listed(corner, group)) == ({"a"}, {"a"})


def test_a_copy_of_an_imported_resource_takes_nothing_with_it(corner: Corner) -> None:
    site = corner.site
    dn = corner.user("u", corner.scope, givenName="Una")
    site.dc.replace(dn, {"userAccountControl": "544"})
    corner.connect()
    original = corner.await_user("u")
    metadata = {"name": "copy", "namespace": site.namespace, "labels": original["metadata"]["labels"]}
    copy = {**{name: original[name] for name in ("apiVersion", "kind", "spec")}, "metadata": metadata}
    site.api.create(copy)
    site.await_reason("copy", "Conflict")
    site.api.delete("SyncedUser", site.namespace, "copy")
    site.await_gone("copy")
    quiet(corner)
    assert corner.await_user("u")["metadata"]["uid"] == original["metadata"]["uid"]
    assert listed(corner, corner.scope) == {"u"}
    assert not control(site, corner.called("u")) & DISABLED
    site.api.create(copy)
    site.await_reason("copy", "Conflict")
    site.api.delete("SyncedUser", site.namespace, corner.called("u"))
    for name in (corner.called("u"), "copy"):
        site.await_gone(name)
    assert listed(corner, corner.scope) == set()
    assert control(site, corner.called("u")) & DISABLED


def test_who_stands_for_one_account_takes_over_no_other(corner: Corner) -> None:
    """A resource written by hand that is given the name of an imported account is told so, and the imported one stays."""
    for label in ("u", "w"):
        corner.user(label, corner.scope, mail=f"{label}@example.com")
    corner.site.api.create(synced_user(corner.site.namespace, corner.called("w"), name="hand", email="w@example.com"))
    corner.connect()
    corner.site.await_reason("hand")
    corner.await_user("u")
    corner.site.edit("hand", {"username": corner.called("u"), "email": "u@example.com"})
    corner.site.await_reason("hand", "Conflict")
    quiet(corner)
    assert set(corner.users()) == {"hand", "u"}
    assert value(corner, "w", "mail") == "w@example.com"


def test_an_imported_group_that_lists_nobody_any_more_empties_none(corner: Corner) -> None:
    group = corner.group("g", [corner.user("a")], corner.scope)
    corner.connect()
    corner.await_members("g", "a")
    corner.site.await_reason(corner.called("g"), kind="SyncedGroup")
    corner.site.edit(corner.called("g"), {"members": None}, "SyncedGroup")
    corner.await_members("g", "a")
    quiet(corner)
    assert listed(corner, group) == {"a"}
    corner.site.edit(corner.called("g"), {"members": []}, "SyncedGroup")
    eventually(lambda: listed(corner, group) == set())

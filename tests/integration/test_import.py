"""Direction Import: what is in scope of the directory appears as resources, follows it, and is never written back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from lab.api import Manifest
from tests.integration.support import Operator, Site, ask_again, condition, entry, eventually, ready_reason, reasons, synced_user, unique

FINALIZER = "adsync.dev/directory"


class Corner:
    """A site with a scope group `<name>` and an admins group `<name>-admins`, and short ways to what is in it."""

    def __init__(self, site: Site, direction: str, **spec: Any) -> None:
        self.site = site
        self.name = site.container.partition(",")[0].removeprefix("OU=")
        self.scope = f"CN={self.name},{site.container}"
        self.admins = f"CN={self.name}-admins,{site.container}"
        self.direction = direction
        self.spec = spec

    def connect(self) -> None:
        self.site.connect(scopeGroup=self.name, adminsGroup=f"{self.name}-admins", direction=self.direction, **self.spec)

    def user(self, label: str, *groups: str, **attributes: str) -> str:
        """Create an account called after this container, in these groups (DNs); its DN."""
        dn = self.site.dc.add_user(self.called(label), container=self.site.container, **attributes)
        for group in groups:
            self.site.dc.members(group, add=[dn])
        return dn

    def group(self, label: str, members: Iterable[str] = (), *groups: str) -> str:
        dn = self.site.dc.add_group(self.called(label), container=self.site.container, members=members)
        for group in groups:
            self.site.dc.members(group, add=[dn])
        return dn

    def called(self, label: str) -> str:
        return f"{self.name}{label}"

    def users(self) -> dict[str, Manifest]:
        """By label."""
        return self._listed("SyncedUser")

    def groups(self) -> dict[str, Manifest]:
        return self._listed("SyncedGroup")

    def _listed(self, kind: str) -> dict[str, Manifest]:
        return {each["metadata"]["name"].removeprefix(self.name): each for each in self.site.api.list(kind, self.site.namespace)}

    def members(self, label: str) -> set[str]:
        """Labels of the members that a SyncedGroup lists."""
        spec = self.site.get(self.called(label), "SyncedGroup")["spec"]
        return {each["name"].removeprefix(self.name) for each in spec.get("members", ())}

    def await_members(self, label: str, *members: str) -> None:
        eventually(lambda: self.members(label) == set(members), what=f"{label} has {members}")

    def await_user(self, label: str, reason: str = "Synced") -> Manifest:
        return self.site.await_reason(self.called(label), reason)

    def usn(self) -> int:
        return self.site.dc.highest_usn()


@pytest.fixture
def corner(site: Site, operator: Operator) -> Corner:
    assert operator.running
    return Corner(site, "Import")


def test_the_example_of_nested_groups_with_a_cycle(corner: Corner) -> None:
    """Group1 ⊃ User1, User2, Group2; Group2 ⊃ User3, User4, and Group1 again. Nothing is written to the directory."""
    one, two, three, four = (corner.user(f"u{number}", mail=f"u{number}@example.com", givenName="Una") for number in range(1, 5))
    inner = corner.group("g2", [three, four])
    outer = corner.group("g1", [one, two, inner])
    corner.site.dc.members(inner, add=[outer])
    corner.site.dc.members(corner.scope, add=[outer])
    corner.site.dc.members(corner.admins, add=[one])
    stranger = corner.user("u5")
    usn = corner.usn()
    corner.connect()
    corner.await_members("g2", "u1", "u2", "u3", "u4")
    corner.await_members("g1", "u1", "u2", "u3", "u4")
    for label in ("u1", "u2", "u3", "u4"):
        user = corner.await_user(label)
        assert user["metadata"]["labels"]["adsync.dev/imported"] == "true"
        assert user["metadata"]["labels"]["adsync.dev/object-guid"] == entry(user)["objectGUID"]
        assert user["metadata"].get("finalizers", []) == []
        assert user["spec"] == {
            "username": corner.called(label), "email": f"{label}@example.com", "firstName": "Una", "suspended": True,
            "domains": [{"name": "corp", "namespace": ""}],
        }  # fmt: skip
        told = entry(user)
        assert told["origin"] == "Imported"
        assert told["password"]["state"] == "Unknown"
        assert told["membership"]["inScope"] is True
        assert told["membership"]["admin"] is (label == "u1")
        assert user["metadata"]["labels"].get("adsync.dev/admin") == ("true" if label == "u1" else None)
    assert set(corner.users()) == {"u1", "u2", "u3", "u4"}
    assert set(corner.groups()) == {"g1", "g2"}
    corner.site.await_reason(corner.called("g1"), kind="SyncedGroup")
    assert corner.usn() == usn
    eventually(lambda: "scopeGroup" in corner.site.get("corp", "ADDomain")["status"])
    domain = corner.site.get("corp", "ADDomain")
    assert domain["status"]["scopeGroup"] == {"distinguishedName": corner.scope, "members": 6, "elsewhere": 0}
    assert condition(domain, "ScopeFound")["status"] == "True"
    # The cycle is cut, and a group's own members are what is left.
    corner.site.dc.members(inner, delete=[outer])
    corner.await_members("g2", "u3", "u4")
    corner.await_members("g1", "u1", "u2", "u3", "u4")
    assert stranger


def test_changes_come_and_edits_are_set_back(corner: Corner) -> None:
    dn = corner.user("u", corner.scope, mail="u@example.com", givenName="Una")
    corner.connect()
    corner.await_user("u")
    corner.site.dc.replace(dn, {"givenName": "Ulla", "sn": "Berg"})
    eventually(lambda: corner.users()["u"]["spec"].get("firstName") == "Ulla" and corner.users()["u"]["spec"].get("lastName") == "Berg")
    usn = corner.usn()
    corner.site.edit(corner.called("u"), {"email": "other@example.com", "suspended": False})
    eventually(lambda: corner.users()["u"]["spec"]["email"] == "u@example.com" and corner.users()["u"]["spec"]["suspended"] is True)
    eventually(lambda: "SetBack" in reasons(corner.site, corner.called("u")))
    corner.site.dc.modify(f"dn: {dn}\nchangetype: modify\ndelete: mail\n-\n")
    eventually(lambda: corner.users()["u"]["spec"]["email"] == "")
    corner.await_user("u")
    assert corner.usn() == usn + 1


def test_a_renamed_account_keeps_its_resource(corner: Corner) -> None:
    dn = corner.user("u", corner.scope)
    corner.connect()
    before = corner.await_user("u")
    corner.site.dc.replace(dn, {"sAMAccountName": corner.called("v")})
    corner.site.dc.rename(dn, f"CN={corner.called('w')}")
    eventually(lambda: corner.users()["u"]["spec"]["username"] == corner.called("v"))
    after = corner.await_user("u")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    eventually(lambda: entry(corner.users()["u"])["distinguishedName"] == f"CN={corner.called('w')},{corner.site.container}")


def test_who_leaves_goes_and_why_is_told(corner: Corner) -> None:
    """Out of the scope group, out of the container, deleted: each is told apart. A user in two groups of which one leaves stays."""
    corner.spec = {"safety": {"maxRemovals": "100%"}}
    left, deleted, both = corner.user("left", corner.scope), corner.user("deleted", corner.scope), corner.user("both")
    one, two = corner.group("g1", [both], corner.scope), corner.group("g2", [both], corner.scope)
    moved = corner.user("moved", corner.scope)
    corner.connect()
    for label in ("left", "deleted", "both", "moved"):
        corner.await_user(label)
    corner.site.dc.members(corner.scope, delete=[left, one])
    corner.site.dc.delete(deleted)
    corner.site.dc.rename(moved, f"CN={corner.called('moved')}", corner.site.dc.container)
    for label in ("left", "moved"):
        corner.site.await_gone(corner.called(label))
    ask_again(corner.site, "corp", "ADDomain")  # where tombstones can't be read, a deletion is seen within a minute
    corner.site.await_gone(corner.called("deleted"))
    corner.site.await_gone(corner.called("g1"), "SyncedGroup")
    corner.site.dc.delete(f"CN={corner.called('moved')},{corner.site.dc.container}")
    told = {
        label: [each["message"] for each in corner.site.events(corner.called(label)) if each["reason"] == "LeftScope"]
        for label in ("left", "deleted", "moved")
    }
    assert "has left the scope group" in told["left"][0]
    assert "was deleted" in told["deleted"][0]
    assert "was moved out" in told["moved"][0]
    assert set(corner.users()) == {"both"}
    corner.await_members("g2", "both")
    assert two is not None


@pytest.mark.parametrize("policy", ["Suspend", "Retain"])
def test_who_leaves_may_be_suspended_or_kept(corner: Corner, policy: str) -> None:
    corner.spec = {"import": {"onScopeRemoval": policy, "labels": {"team": "blue"}}}
    dn = corner.user("u")
    corner.site.dc.replace(dn, {"userAccountControl": "544"})
    corner.site.dc.members(corner.scope, add=[dn])
    corner.connect()
    user = corner.await_user("u")
    assert user["metadata"]["labels"]["team"] == "blue"
    assert user["spec"]["suspended"] is False
    corner.site.dc.members(corner.scope, delete=[dn])
    user = corner.await_user("u", "OutOfScope")
    assert user["spec"]["suspended"] is (policy == "Suspend")
    corner.site.dc.members(corner.scope, add=[dn])
    eventually(lambda: corner.await_user("u")["spec"]["suspended"] is False)


def test_a_mass_of_departures_is_held(corner: Corner) -> None:
    dns = [corner.user(f"u{number}", corner.scope) for number in range(8)]
    corner.connect()
    eventually(lambda: len(corner.users()) == 8)
    for number in range(8):
        corner.await_user(f"u{number}")
    corner.site.dc.members(corner.scope, delete=dns)
    eventually(lambda: len(corner.users()) == 3)
    eventually(lambda: corner.site.get("corp", "ADDomain")["status"]["plannedChanges"]["count"] == 3)
    domain = corner.site.get("corp", "ADDomain")
    planned = domain["status"]["plannedChanges"]
    assert condition(domain, "WithinSafetyLimit")["status"] == "False"
    assert "delete the imported resource" in planned["sample"][0]
    corner.site.api.patch(
        "ADDomain", corner.site.namespace, "corp", {"metadata": {"annotations": {"adsync.dev/approve": planned["digest"]}}}
    )
    eventually(lambda: corner.users() == {})


def test_a_scope_group_that_is_gone_removes_nobody(corner: Corner) -> None:
    dn = corner.user("u", corner.scope)
    corner.connect()
    corner.await_user("u")
    corner.site.dc.rename(corner.scope, f"CN={corner.name}", corner.site.dc.container)
    eventually(lambda: condition(corner.site.get("corp", "ADDomain"), "ScopeFound")["status"] == "False")
    corner.site.dc.members(f"CN={corner.name},{corner.site.dc.container}", delete=[dn])
    corner.site.dc.rename(f"CN={corner.name},{corner.site.dc.container}", f"CN={corner.name}", corner.site.container)
    corner.site.await_gone(corner.called("u"))


def test_who_was_looked_at_without_a_scope_group_goes_by_the_next_one(corner: Corner) -> None:
    """It was deleted, and made again empty: nobody is in scope of it."""
    corner.user("u", corner.scope)
    corner.connect()
    corner.await_user("u")
    corner.site.dc.delete(corner.scope)
    ask_again(corner.site, "corp", "ADDomain")
    eventually(lambda: condition(corner.site.get("corp", "ADDomain"), "ScopeFound")["status"] == "False")
    corner.site.dc.add_group(corner.name, container=corner.site.container)
    corner.site.await_gone(corner.called("u"))


def test_a_resource_written_by_hand_takes_over(corner: Corner) -> None:
    corner.user("u", corner.scope, mail="u@example.com", givenName="Una")
    corner.connect()
    corner.await_user("u")
    usn = corner.usn()
    corner.site.api.create(synced_user(corner.site.namespace, corner.called("u"), name="by-hand", email="U@example.com"))
    corner.site.await_gone(corner.called("u"))
    user = corner.site.await_reason("by-hand")
    assert entry(user)["origin"] == "Adopted"
    assert "firstName" not in user["spec"]
    assert set(corner.users()) == {"by-hand"}
    assert corner.usn() == usn


def test_a_deleted_import_comes_back(corner: Corner) -> None:
    corner.user("u", corner.scope)
    corner.connect()
    before = corner.await_user("u")
    usn = corner.usn()
    corner.site.api.delete("SyncedUser", corner.site.namespace, corner.called("u"))
    eventually(lambda: corner.users()["u"]["metadata"]["uid"] != before["metadata"]["uid"])
    corner.await_user("u")
    assert corner.usn() == usn


def test_nested_members_and_edited_groups_are_set_back(corner: Corner) -> None:
    one, two = corner.user("u1"), corner.user("u2")
    inner = corner.group("g2", [two])
    corner.group("g1", [one, inner], corner.scope)
    corner.connect()
    corner.await_members("g1", "u1", "u2")
    corner.site.await_reason(corner.called("g1"), kind="SyncedGroup")
    corner.site.edit(corner.called("g1"), {"members": [{"name": corner.called("u1")}]}, "SyncedGroup")
    corner.await_members("g1", "u1", "u2")
    eventually(
        lambda: any(
            "through" in each["message"] and corner.called("g2") in each["message"] for each in corner.site.events(corner.called("g1"))
        )
    )
    corner.site.edit(corner.called("g1"), {"members": [{"name": corner.called(label)} for label in ("u1", "u2", "u3")]}, "SyncedGroup")
    corner.await_members("g1", "u1", "u2")


def test_names_that_collide_or_are_no_names(corner: Corner) -> None:
    corner.user(" A_b", corner.scope)
    corner.user(" a b", corner.scope)
    corner.connect()
    eventually(lambda: len(corner.users()) == 2)
    names = sorted(corner.users())
    assert names[0] == "-a-b"
    assert names[1].startswith("-a-b-")


def test_a_scope_group_has_to_be_named(corner: Corner) -> None:
    corner.site.connect(direction="Import")
    domain = corner.site.await_reason("corp", "InvalidSpec", kind="ADDomain")
    assert "spec.scopeGroup" in condition(domain, "Ready")["message"]


def test_observe_imports_and_removes_nothing(corner: Corner) -> None:
    corner.spec["mode"] = "Observe"
    corner.user("u", corner.scope)
    corner.connect()
    eventually(lambda: corner.site.get("corp", "ADDomain")["status"]["scopeGroup"]["members"] == 1)
    ask_again(corner.site, "corp", "ADDomain")
    assert corner.users() == {}


def test_a_restart_in_step_writes_nothing(corner: Corner, operator: Operator) -> None:
    users = [corner.user(f"u{number}", mail=f"u{number}@example.com") for number in range(6)]
    corner.group("g1", [*users[:3], corner.group("g2", users[3:])], corner.scope)
    corner.connect()
    corner.await_members("g1", *(f"u{number}" for number in range(6)))
    for number in range(6):
        corner.await_user(f"u{number}")
    corner.site.await_reason(corner.called("g1"), kind="SyncedGroup")
    corner.site.await_reason(corner.called("g2"), kind="SyncedGroup")
    versions = {name: each["metadata"]["resourceVersion"] for name, each in {**corner.users(), **corner.groups()}.items()}
    usn = corner.usn()
    operator.kill()
    operator.start()
    ask_again(corner.site, "corp", "ADDomain")
    eventually(lambda: operator.metric("adsync_sync_seconds_count", kind="SyncedUser") >= 6)
    assert {name: each["metadata"]["resourceVersion"] for name, each in {**corner.users(), **corner.groups()}.items()} == versions, (
        json.dumps(corner.users())
    )
    assert corner.usn() == usn
    assert unique()


def test_labels_follow_the_domain(corner: Corner) -> None:
    """Changed ones are set on what is there, removed ones taken away; what others have put on stays, across a restart too."""
    corner.spec = {"import": {"labels": {"team": "blue", "from": "corp"}}}
    corner.group("g", [corner.user("u", corner.scope)], corner.scope)
    corner.connect()
    corner.await_user("u")
    corner.await_members("g", "u")
    site = corner.site
    for kind, name in (("SyncedUser", "u"), ("SyncedGroup", "g")):
        site.api.patch(kind, site.namespace, corner.called(name), {"metadata": {"labels": {"theirs": "1"}}})

    def labels() -> list[dict[str, str]]:
        found = [each["metadata"]["labels"] for each in (corner.users()["u"], corner.groups()["g"])]
        return [{name: value for name, value in each.items() if not name.startswith("adsync.dev/")} for each in found]

    assert labels() == [{"team": "blue", "from": "corp", "theirs": "1"}] * 2
    site.edit("corp", {"import": {"labels": {"team": "red", "from": None, "tier": "1"}}}, "ADDomain")
    eventually(lambda: labels() == [{"team": "red", "tier": "1", "theirs": "1"}] * 2)
    site.edit("corp", {"import": {"labels": None}}, "ADDomain")
    eventually(lambda: labels() == [{"theirs": "1"}] * 2)
    assert corner.users()["u"]["metadata"].get("annotations", {}) == {}


def test_an_edit_that_comes_again_and_again_is_not_fought(corner: Corner) -> None:
    """A tool that applies its manifest whenever it differs: after a few rounds it is told of, and left alone for a while."""
    corner.group("g", [corner.user("u", corner.scope, givenName="Una")], corner.scope)
    corner.connect()
    corner.await_user("u")
    corner.await_members("g", "u")
    corner.site.await_reason(corner.called("g"), kind="SyncedGroup")

    def insist(kind: str, label: str, field: str, value: object) -> bool:
        resource = corner.site.get(corner.called(label), kind)
        if resource["spec"].get(field) != value:
            corner.site.edit(corner.called(label), {field: value}, kind)
        return "spec." + field in condition(resource, "Ready")["message"] and ready_reason(resource) == "Contested"

    eventually(lambda: insist("SyncedUser", "u", "firstName", "Git"))
    eventually(lambda: insist("SyncedGroup", "g", "members", []))
    versions = {name: each["metadata"]["generation"] for name, each in {**corner.users(), **corner.groups()}.items()}
    corner.site.dc.replace(f"CN={corner.called('u')},{corner.site.container}", {"sn": "Berg"})  # the others are followed all the same
    eventually(lambda: corner.users()["u"]["spec"].get("lastName") == "Berg")
    corner.await_user("u", "Contested")
    assert corner.users()["u"]["spec"]["firstName"] == "Git"
    assert corner.groups()["g"]["metadata"]["generation"] == versions["g"]


def test_a_quota_that_is_used_up_is_told_of_until_it_is_raised(corner: Corner) -> None:
    """Nothing keeps the lab's quotas but the API server: what is used and allowed is set by hand."""
    site, counted = corner.site, "count/syncedusers.adsync.dev"
    site.control_plane.kubectl("create", "quota", "few", "-n", site.namespace, f"--hard={counted}=1")

    def allow(number: int, used: int) -> None:
        status = {"status": {"hard": {counted: str(number)}, "used": {counted: str(used)}}}
        arguments = ("--subresource=status", "--type=merge", "-p", json.dumps(status))
        site.control_plane.kubectl("patch", "resourcequota", "few", "-n", site.namespace, *arguments)

    allow(1, 0)
    corner.group("g", [corner.user("u"), corner.user("v")], corner.scope)
    corner.connect()
    domain = site.await_reason("corp", "Progressing", kind="ADDomain")
    said = eventually(lambda: condition(site.get("corp", "ADDomain"), "Ready")["message"].partition("not everybody in scope ")[2])
    assert "exceeded quota" in said, domain
    allow(10, 1)
    corner.await_members("g", "u", "v")
    site.await_reason("corp", kind="ADDomain")

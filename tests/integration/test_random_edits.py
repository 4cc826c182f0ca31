"""Random edits on both sides at once, with the operator killed and the domain controller restarted between: both sides end equal, every end
value is one that the merge rules explain, and after that nothing is written any more.

The oracle is `Ledger`: of each field it knows what both sides last agreed on and who wrote what since. Edits come in rounds, and after each
round both sides must come to rest; what the rules allow then depends on whether the operator was there (`Ledger.allowed`).
"""

from __future__ import annotations

import contextlib
import os
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from lab.api import ApiError, Manifest
from lab.ldaptools import Found, LdapError, ldif_members, ldif_replace
from tests.integration.crowd import FULL, scaled
from tests.integration.support import Operator, Site, account, ask_again, eventually, ready_reason, synced_group, synced_user
from tests.integration.test_both_ways import quiet
from tests.integration.test_import import Corner

EDITS = scaled(60, 500)
ROUND = scaled(20, 25)
SEEDS = [int(seed) for seed in os.environ.get("ADSYNC_TEST_SEEDS", "1,2,3" if FULL else "1").split(",")]
USERS, GROUPS = scaled(8, 16), 3
K8S, AD = "Kubernetes", "ActiveDirectory"
ATTRIBUTES = {"username": "sAMAccountName", "firstName": "givenName", "lastName": "sn", "displayName": "displayName", "email": "mail",
              "title": "title"}  # fmt: skip
ENABLED, DISABLED = "544", "546"  # no password is needed, so that a person may enable it

Pair = tuple[str, str]
"""What a value belongs to: (objectGUID of a user or group, field), or (group, "member " + user)."""


@dataclass
class Ledger:
    """What both sides agreed on of each field, and who wrote what since."""

    authority: str
    inner: dict[str, str] = field(default_factory=dict)  # group → the one that is nested in it
    base: dict[Pair, str] = field(default_factory=dict)
    edits: defaultdict[Pair, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    ever: defaultdict[Pair, set[str]] = field(default_factory=lambda: defaultdict(set))
    loose: set[str] = field(default_factory=set)  # objects that came or went meanwhile: any value that was ever there will do
    asleep: bool = False  # whether the operator was away for the whole round
    restarted: bool = False  # whether it was away, or killed, at some time in it

    def wrote(self, of: Pair, side: str, value: str) -> None:
        self.edits[of].append((side, value))
        self.ever[of].add(value)

    def allowed(self, of: Pair) -> set[str]:
        """The values that the rules explain. `of` has a base."""
        base, edits = self.base[of], self.edits.get(of, [])
        is_member = of[1].startswith("member ")
        if of[0] in self.loose or (is_member and of[1].removeprefix("member ") in self.loose):
            # One who was away is disabled where a person has deleted the resource.
            return {"in", "out"} if is_member else self.ever[of] | {base} | ({"true"} if of[1] == "suspended" else set())
        if is_member:
            return self._member(of, base)
        if not edits:
            return {base}
        last = dict(edits)
        here, there = last.get(K8S, base), last.get(AD, base)
        merged = there if here == base else here if there == base or here == there or self.authority == K8S else there
        if self.asleep:
            return {merged}
        # What was written later may have met a side that agreed on the earlier value; if not, the authority's wins.
        found = {merged, edits[-1][1], last.get(self.authority, edits[-1][1])}
        values = [base, *(value for _, value in edits)]
        if len(last) == 2 and values.count(here) + values.count(there) > 2:
            found |= {here, there}  # a value that came back looks as if it had never changed
        return found

    def _member(self, of: Pair, base: str) -> set[str]:
        group, edits = of[0], self.edits.get(of, [])
        last = dict(edits)
        here, there = last.get(K8S, base), last.get(AD, base)
        if (inner := self.inner.get(group)) and (self.base.get((inner, of[1])) == "in" or (inner, of[1]) in self.edits):
            return {base, here, there}  # who comes or goes through the inner group as well is not told by this group alone
        if not self.restarted:
            return {edits[-1][1] if edits else base} if len(last) < 2 else {here, there}
        # Members are kept as a digest across a restart: where both sides of the group have moved, the authority's set is taken whole.
        moved = {side for name, side in self._moves(group)} | {side for name, side in self._moves(inner or "")}
        if any(self.base.get((group, f"member {user}")) == "in" for user in self.loose):
            moved |= {AD}
        if len(moved) == 2:
            return {here if self.authority == K8S else there} if self.asleep and not inner and not self.loose else {base, here, there}
        return {here if moved == {K8S} else there}

    def _moves(self, group: str) -> set[tuple[str, str]]:
        return {(of[1], side) for of, edits in self.edits.items() if of[0] == group and of[1].startswith("member ") for side, _ in edits}

    def settled(self, values: dict[Pair, str]) -> None:
        """Both sides have come to these values: the next round begins from here."""
        wrong = {
            of: (value, self.allowed(of), self.base.get(of), self.edits.get(of))
            for of, value in values.items()
            if of in self.base and value not in self.allowed(of)
        }
        assert not wrong, f"(value, allowed, base, edits): {wrong}"
        self.base = dict(values)
        for of, value in values.items():
            self.ever[of].add(value)
        self.edits.clear()
        self.loose.clear()
        self.asleep = self.restarted = False


@dataclass
class Sides:
    """Both sides as they are at one moment. Objects go by objectGUID."""

    accounts: dict[str, Found]
    groups: dict[str, Found]
    scope: set[str]
    users: dict[str, list[Manifest]]  # objectGUID → the resources that stand for it
    sgroups: dict[str, list[Manifest]]
    name_of: dict[str, str]  # resource name of a SyncedUser → objectGUID


class World:
    """One container and one namespace, with whoever edits them."""

    def __init__(self, corner: Corner, operator: Operator, seed: int) -> None:
        self.corner, self.site, self.operator = corner, corner.site, operator
        self.chance = random.Random(seed)
        self.ledger = Ledger(K8S if seed % 2 else AD)
        self.number = 0
        self.story: list[str] = []

    def fresh(self, stem: str) -> str:
        self.number += 1
        return f"{stem}{self.number}"

    # --- looking ---

    def look(self) -> Sides:
        attributes = [*ATTRIBUTES.values(), "objectClass", "userAccountControl", "description", "member", "objectGUID"]
        found = self.site.dc.search("(|(objectClass=user)(objectClass=group))", attributes, base=self.site.container)
        by_dn = {each["dn"][0].casefold(): each for each in found}
        special = {self.corner.scope.casefold(), self.corner.admins.casefold()}
        accounts = {each["objectGUID"][0]: each for each in found if "user" in each["objectClass"]}
        groups = {
            each["objectGUID"][0]: each for each in found if "group" in each["objectClass"] and each["dn"][0].casefold() not in special
        }
        top = by_dn[self.corner.scope.casefold()]
        scope: set[str] = set()
        waiting = [top]
        while waiting:
            for dn in waiting.pop().get("member", []):
                member = by_dn.get(dn.casefold())
                if member is not None and (guid := member["objectGUID"][0]) not in scope:
                    scope.add(guid)
                    waiting.append(member)
        users, names = self._resources("SyncedUser")
        sgroups, _ = self._resources("SyncedGroup")
        return Sides(accounts, groups, scope, users, sgroups, names)

    def _resources(self, kind: str) -> tuple[dict[str, list[Manifest]], dict[str, str]]:
        by_guid: dict[str, list[Manifest]] = {}
        names: dict[str, str] = {}
        for each in self.site.api.list(kind, self.site.namespace):
            if (guid := guid_of(each)) and "deletionTimestamp" not in each["metadata"]:
                by_guid.setdefault(guid, []).append(each)
                names[each["metadata"]["name"]] = guid
        return by_guid, names

    def below(self, sides: Sides, group: Found) -> tuple[set[str], set[str]]:
        """Direct users, and all users below a group."""
        by_dn = {each["dn"][0].casefold(): guid for guid, each in (sides.accounts | sides.groups).items()}
        direct: set[str] = set()
        everybody: set[str] = set()
        seen: set[str] = set()
        waiting = [group]
        while waiting:
            current = waiting.pop()
            for dn in current.get("member", []):
                guid = by_dn.get(dn.casefold())
                if guid in sides.accounts:
                    everybody.add(guid)
                    direct |= {guid} if current is group else set()
                elif guid is not None and guid not in seen:
                    seen.add(guid)
                    waiting.append(sides.groups[guid])
        return direct, everybody

    def differences(self, sides: Sides) -> tuple[list[str], dict[Pair, str]]:
        """Where the two sides differ, and the values of those fields where they agree."""
        wrong: list[str] = []
        values: dict[Pair, str] = {}
        for guid in sorted(sides.scope & sides.accounts.keys()):
            held = sides.users.get(guid, [])
            if len(held) != 1:
                wrong.append(f"{sides.accounts[guid]['dn'][0]} has {len(held)} resources")
                continue
            if ready_reason(held[0]) != "Synced":
                wrong.append(f"{held[0]['metadata']['name']}: {held[0].get('status', {}).get('conditions')}")
            here, there = in_spec(held[0]), in_directory(sides.accounts[guid])
            for name, value in here.items():
                if value != there[name]:
                    wrong.append(f"{held[0]['metadata']['name']}.{name}: {value!r} here, {there[name]!r} there")
                values[guid, name] = value
        for guid in sorted(sides.scope & sides.groups.keys()):
            held = sides.sgroups.get(guid, [])
            if len(held) != 1:
                wrong.append(f"{sides.groups[guid]['dn'][0]} has {len(held)} resources")
                continue
            spec, (direct, everybody) = held[0]["spec"], self.below(sides, sides.groups[guid])
            if ready_reason(held[0]) != "Synced":
                wrong.append(f"{held[0]['metadata']['name']}: {held[0].get('status', {}).get('conditions')}")
            if (text := spec.get("description") or "") != (said := one(sides.groups[guid], "description")):
                wrong.append(f"{spec['name']}.description: {text!r} here, {said!r} there")
            values[guid, "description"] = said
            listed = {sides.name_of[each["name"]] for each in spec.get("members", ()) if each["name"] in sides.name_of}
            listed &= sides.scope  # others are pending: they have left, and nobody has taken them off the list
            if listed != everybody:
                wrong.append(f"{spec['name']}: members here only {listed - everybody}, there only {everybody - listed}")
            nested = everybody - direct
            values |= {(guid, f"member {user}"): "in" if user in direct else "out" for user in sides.accounts if user not in nested}
        wrong += [
            f"{held[0]['metadata']['name']} stands for nobody in scope"
            for found in (sides.users, sides.sgroups)
            for guid, held in found.items()
            if guid not in sides.scope and is_imported(held[0])
        ]
        return wrong, values

    def settle(self) -> None:
        """Both sides come to rest, equal, and as the rules say."""

        def equal() -> dict[Pair, str]:
            wrong, values = self.differences(self.look())
            assert not wrong, "\n".join(wrong)
            return values

        ask_again(self.site, "corp", "ADDomain")
        self.ledger.settled(eventually(equal, 60, interval=0.2))

    # --- editing ---

    def edit(self) -> None:
        sides = self.look()
        kinds: list[tuple[Callable[[Sides], str], int]] = [
            (self.field_here, 20), (self.field_there, 20), (self.suspension_here, 4), (self.suspension_there, 4),
            (self.rename_here, 3), (self.rename_there, 3), (self.member_here, 12), (self.member_there, 12),
            (self.description, 4), (self.arrive, 3), (self.create_here, 2), (self.leave, 3), (self.come_back, 3),
            (self.delete_there, 1), (self.delete_here, 1),
        ]  # fmt: skip
        kind = self.chance.choices([each for each, _ in kinds], [weight for _, weight in kinds])[0]
        told = kind(sides)
        self.story.append(f"{kind.__name__}: {told}")

    def _someone(self, sides: Sides) -> str:
        """A user in scope, those with a resource of theirs first."""
        known = sorted((sides.scope & sides.users.keys()) & sides.accounts.keys())
        return self.chance.choice(known)

    def _patch(self, kind: str, resource: Manifest, spec: dict[str, Any]) -> bool:
        """As a person with kubectl edit: only on the version that was read."""
        meta = resource["metadata"]
        change = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "spec": spec}
        try:
            self.site.api.patch(kind, self.site.namespace, meta["name"], change)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return False
        return True

    def _here(self, guid: str, name: str, value: str, spec: dict[str, Any]) -> str:
        """An edit of a user's resource, made anew where somebody else was faster."""

        def edit() -> bool:
            held = self._resources("SyncedUser")[0].get(guid)
            if not held:
                return True
            done = self._patch("SyncedUser", held[0], spec)
            if done:
                self.ledger.wrote((guid, name), K8S, value)
            return done

        eventually(edit, interval=0)
        return f"{guid} {name}={value!r}"

    def _there(self, guid: str, ldif: Callable[[str], str]) -> bool:
        """A change of an object in the directory, wherever it is now."""
        for _ in range(20):
            with contextlib.suppress(LdapError):
                (found,) = self.site.dc.search(attributes=["dn"], base=f"<GUID={guid}>", scope="base")
                self.site.dc.modify(ldif(found["dn"][0]))
                return True
        return False

    def field_here(self, sides: Sides) -> str:
        guid, name = self._someone(sides), self.chance.choice([each for each in ATTRIBUTES if each != "username"])
        value = "" if self.chance.random() < 0.15 else self.fresh("k")
        return self._here(guid, name, value, {"attributes": {name: value}} if name == "title" else {name: value})

    def field_there(self, sides: Sides) -> str:
        guid, name = self._someone(sides), self.chance.choice([each for each in ATTRIBUTES if each != "username"])
        value = "" if self.chance.random() < 0.15 else self.fresh("d")
        if self._there(guid, lambda dn: ldif_replace(dn, {ATTRIBUTES[name]: value or None})):
            self.ledger.wrote((guid, name), AD, value)
        return f"{guid} {name}={value!r}"

    def suspension_here(self, sides: Sides) -> str:
        guid, value = self._someone(sides), self.chance.random() < 0.5
        return self._here(guid, "suspended", str(value).lower(), {"suspended": value})

    def suspension_there(self, sides: Sides) -> str:
        guid, value = self._someone(sides), self.chance.random() < 0.5
        if self._there(guid, lambda dn: ldif_replace(dn, {"userAccountControl": DISABLED if value else ENABLED})):
            self.ledger.wrote((guid, "suspended"), AD, str(value).lower())
        return f"{guid} {value}"

    def rename_here(self, sides: Sides) -> str:
        guid, name = self._someone(sides), self.fresh(f"{self.corner.name}k")
        return self._here(guid, "username", name, {"username": name})

    def rename_there(self, sides: Sides) -> str:
        guid, name = self._someone(sides), self.fresh(f"{self.corner.name}d")
        if self._there(guid, lambda dn: ldif_replace(dn, {"sAMAccountName": name})):
            self.ledger.wrote((guid, "username"), AD, name)
        return f"{guid} {name}"

    def member_here(self, sides: Sides) -> str:
        group = self.chance.choice(sorted(sides.scope & sides.sgroups.keys() & sides.groups.keys()))
        user = self._someone(sides)
        told: list[str] = []

        def edit() -> bool:
            now = self.look()
            held, resources = now.sgroups.get(group), now.users.get(user)
            if not held or not resources or user not in now.scope:
                return True
            name = resources[0]["metadata"]["name"]
            listed = held[0]["spec"].get("members", [])
            there = any(each["name"] == name for each in listed)
            direct, everybody = self.below(now, now.groups[group])
            if there and user in everybody - direct:
                return True  # comes from an inner group, and would be set back
            members = [each for each in listed if each["name"] != name] if there else [*listed, {"name": name}]
            if not self._patch("SyncedGroup", held[0], {"members": members}):
                return False
            self.ledger.wrote((group, f"member {user}"), K8S, "out" if there else "in")
            told.append(f"{'-' if there else '+'}{name}")
            return True

        eventually(edit, interval=0)
        return f"{group} {told}"

    def member_there(self, sides: Sides) -> str:
        group = self.chance.choice(sorted(sides.scope & sides.groups.keys()))
        user = self._someone(sides)
        there = sides.accounts[user]["dn"][0] in sides.groups[group].get("member", [])
        direct, everybody = self.below(sides, sides.groups[group])
        if user in everybody - direct:
            return "nested"
        value = f"<GUID={user}>"
        change = (lambda dn: ldif_members(dn, delete=[value])) if there else (lambda dn: ldif_members(dn, add=[value]))
        if self._there(group, change):
            self.ledger.wrote((group, f"member {user}"), AD, "out" if there else "in")
        if there and not self._in_scope(user):
            self.ledger.loose.add(user)
        return f"{group} {'-' if there else '+'}{user}"

    def _in_scope(self, guid: str) -> bool:
        return guid in self.look().scope

    def description(self, sides: Sides) -> str:
        group, value = self.chance.choice(sorted(sides.scope & sides.sgroups.keys() & sides.groups.keys())), self.fresh("g")
        if self.chance.random() < 0.5:
            if self._there(group, lambda dn: ldif_replace(dn, {"description": value})):
                self.ledger.wrote((group, "description"), AD, value)
        else:

            def edit() -> bool:
                held = self._resources("SyncedGroup")[0][group]
                done = self._patch("SyncedGroup", held[0], {"description": value})
                if done:
                    self.ledger.wrote((group, "description"), K8S, value)
                return done

            eventually(edit, interval=0)
        return f"{group} {value}"

    # --- coming and going ---

    def arrive(self, _sides: Sides) -> str:
        name = self.fresh(f"{self.corner.name}a")
        dn = self.site.dc.add_user(name, container=self.site.container, givenName="new", userAccountControl=ENABLED)
        self.site.dc.members(self.corner.scope, add=[dn])
        return name

    def create_here(self, _sides: Sides) -> str:
        """Written by hand: it names all but displayName, which stays nobody's business."""
        name = self.fresh(f"{self.corner.name}h")
        given: dict[str, Any] = {
            "firstName": "new",
            "lastName": "",
            "email": f"{name}@example.com",
            "attributes": {"title": "new"},
            "suspended": False,
        }
        self.site.api.create(synced_user(self.site.namespace, name, **given))
        return name

    def leave(self, sides: Sides) -> str:
        """Out of every group in scope, or of the scope group alone, or out of the container."""
        guid = self._someone(sides)
        self.ledger.loose.add(guid)
        self.site.dc.modify(ldif_members(self.corner.scope, delete=[f"<GUID={guid}>"])) if self._direct(guid) else None
        if self.chance.random() < 0.6:
            for group, entry in sides.groups.items():
                if sides.accounts[guid]["dn"][0] in entry.get("member", []):
                    self._there(group, lambda dn: ldif_members(dn, delete=[f"<GUID={guid}>"]))
        return guid

    def _direct(self, guid: str) -> bool:
        (top,) = self.site.dc.search(attributes=["member"], base=self.corner.scope, scope="base")
        (found,) = self.site.dc.search(attributes=["dn"], base=f"<GUID={guid}>", scope="base")
        return found["dn"][0] in top.get("member", [])

    def come_back(self, sides: Sides) -> str:
        away = sorted(sides.accounts.keys() - sides.scope)
        if not away:
            return "nobody"
        guid = self.chance.choice(away)
        self.ledger.loose.add(guid)
        with contextlib.suppress(LdapError):  # a new account may be on its way into the scope anyway: then it is there already
            self.site.dc.members(self.corner.scope, add=[f"<GUID={guid}>"])
        return guid

    def delete_there(self, sides: Sides) -> str:
        guid = self._someone(sides)
        self.ledger.loose.add(guid)
        for _ in range(20):
            with contextlib.suppress(LdapError):
                (found,) = self.site.dc.search(attributes=["dn"], base=f"<GUID={guid}>", scope="base")
                self.site.dc.delete(found["dn"][0])
                return guid
        raise AssertionError(f"{guid} can't be deleted")

    def delete_here(self, sides: Sides) -> str:
        guid = self._someone(sides)
        self.ledger.loose.add(guid)
        for each in sides.users[guid]:
            with contextlib.suppress(ApiError):
                self.site.api.delete("SyncedUser", self.site.namespace, each["metadata"]["name"])
        return guid


def one(found: Found, attribute: str) -> str:
    return found.get(attribute, [""])[0]


def guid_of(resource: Manifest) -> str:
    label = (resource["metadata"].get("labels") or {}).get("adsync.dev/object-guid")
    return label or next((each.get("objectGUID", "") for each in resource.get("status", {}).get("domains", ())), "")


def is_imported(resource: Manifest) -> bool:
    return (resource["metadata"].get("labels") or {}).get("adsync.dev/imported") == "true"


def in_spec(resource: Manifest) -> dict[str, str]:
    """The fields that a resource manages; an imported one manages all."""
    spec = resource["spec"]
    said = {name: spec.get(name) for name in ATTRIBUTES if name != "title"}
    said |= {"title": spec.get("attributes", {}).get("title"), "suspended": spec.get("suspended")}
    said = {name: str(value).lower() if isinstance(value, bool) else value for name, value in said.items()}
    return {name: value or "" for name, value in said.items() if value is not None or is_imported(resource)}


def in_directory(found: Found) -> dict[str, str]:
    disabled = int(found["userAccountControl"][0]) & 2
    return {**{name: one(found, attribute) for name, attribute in ATTRIBUTES.items()}, "suspended": "true" if disabled else "false"}


@pytest.mark.parametrize("seed", SEEDS)
def test_random_edits_on_both_sides(site: Site, operator: Operator, seed: int) -> None:
    everything = {"maxRemovals": "100%", "minRemovals": 100000, "maxSuspensions": "100%"}
    corner = Corner(site, "Bidirectional", authority=K8S if seed % 2 else AD, safety=everything, extraAttributes=["title"])
    world = World(corner, operator, seed)
    dns = [corner.user(f"u{number}", givenName="start", userAccountControl=ENABLED) for number in range(USERS)]
    site.dc.members(corner.scope, add=dns)
    inner = corner.group("g1", dns[3:5], corner.scope)
    corner.group("g0", [*dns[:3], inner], corner.scope)
    guids = [account(site, corner.called(name))["objectGUID"][0] for name in ("g0", "g1")]
    world.ledger.inner = {guids[0]: guids[1]}
    corner.connect()
    site.api.create(synced_group(site.namespace, corner.called("g2"), description="start", members=[{"name": corner.called("u0")}]))
    world.settle()
    try:
        for number, begin in enumerate(range(0, EDITS, ROUND)):
            # Turn by turn: with the operator there; without it; with the domain controller away for a moment; killed in the middle.
            how = ("there", "away", "restart", "killed")[number % (3 if EDITS < 80 else 4)]
            world.story.append(f"--- round {number}: the operator is {how}")
            world.ledger.asleep = how == "away"
            world.ledger.restarted = how in ("away", "killed")
            if how == "away":
                operator.kill()
            for step in range(min(ROUND, EDITS - begin)):
                if step == ROUND // 2 and how == "restart":
                    site.dc.restart()
                if step == ROUND // 2 and how == "killed":
                    operator.kill()
                    operator.start(await_ready=False)
                world.edit()
            if how == "away":
                operator.start()
            world.settle()
        quiet(corner)
        world.settle()
    except BaseException:
        print("\n".join(world.story))
        raise

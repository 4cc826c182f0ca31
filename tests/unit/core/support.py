"""Short ways to write down what the planner looks at, and a directory that does with a plan's changes what AD would do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from adsync.core.changes import Add, Change, Delete, Edit, Modify, Move, PasswordSource
from adsync.core.dn import DN
from adsync.core.entries import LOCKOUT, NORMAL_ACCOUNT, Entry, EntryKind
from adsync.core.owner import OwnerMark, PasswordDigest, owner_id
from adsync.core.passwords import DigestKeys, PasswordWish
from adsync.core.rules import DomainRules
from adsync.core.users import Surroundings, UserWish
from adsync.resources import ADDomainSpec, parse_spec
from adsync.resources.synceduser import Origin, UserDomainStatus
from tests.specs import DOMAIN

ROOT = "OU=People,DC=corp,DC=example,DC=com"
OWNER = owner_id("prod-1", "user", "team-a", "jdoe")
STRANGER = owner_id("prod-2", "user", "team-b", "other")
GUID = "00000000-0000-0000-0000-000000000001"
KEYS = DigestKeys("aa", {"aa": b"a" * 32, "0b": b"b" * 32})
TICKS = 133_000_000_000_000_000  # a FILETIME in 2022

PLAIN = ("mail", "givenName", "sn", "displayName", "department", "title")


def rules(**changes: Any) -> DomainRules:
    """The rules of a domain whose spec has these (JSON) fields."""
    spec = {**DOMAIN, "rootUserContainer": ROOT, "clusterName": "prod-1", "extraAttributes": ["department", "title"], **changes}
    return DomainRules.resolve(parse_spec(ADDomainSpec, spec), "uid-of-kube-system")


def entry(guid: str = GUID, sam: str = "jdoe", **changes: Any) -> Entry:
    """An enabled account of an ordinary person, in the root container."""
    dn = changes.pop("dn", f"CN={sam},{ROOT}")
    given: dict[str, Any] = {
        "guid": guid,
        "dn": DN.parse(dn),
        "kind": EntryKind.USER,
        "sam": sam,
        "sid": "S-1-5-21-1-2-3-1105",
        "usn_changed": 1,
        "cn": DN.parse(dn).name,
        "upn": f"{sam}@corp.example.com",
        "user_account_control": NORMAL_ACCOUNT,
        "pwd_last_set": TICKS,
        "primary_group": 513,
    }
    return Entry(**(given | changes))


def ours(
    guid: str = GUID, sam: str = "jdoe", *, origin: Origin = Origin.CREATED, digest: PasswordDigest | None = None, **changes: Any
) -> Entry:
    """An account with the owner mark of `wish`'s resource."""
    return entry(guid, sam, mark=str(OwnerMark(OWNER, origin, digest)), **changes)


def secret(value: str = "Correct-Horse-1", version: str = "7", *, keys: DigestKeys = KEYS, owner: str = OWNER) -> PasswordWish:
    """What a Secret with this value asks for."""
    return PasswordWish(True, "", version, keys.current_id, keys.bound(owner, keys.of_value(value.encode())))


def digest_of(value: str, key: str = "aa", *, owner: str = OWNER) -> PasswordDigest:
    return PasswordDigest(key, KEYS.bound(owner, KEYS.of_value(value.encode()))[key])


def wish(domain: DomainRules, username: str = "jdoe", **changes: Any) -> UserWish:
    """A user of the domain that asks for nothing but an account."""
    given: dict[str, Any] = {
        "owner": OWNER,
        "names": domain.names(username),
        "username": username,
        "attributes": {},
        "email": "",
        "suspended": None,
        "container": None,
        "password": PasswordWish(),
        "recorded": UserDomainStatus(name="corp"),
        "agreed": {},
    }
    return UserWish(**(given | changes))


def recorded(**changes: Any) -> UserDomainStatus:
    """A status entry, from JSON fields."""
    return UserDomainStatus.model_validate({"name": "corp", **changes})


class Directory:
    """Implements `core.identity.Lookup`, and applies changes as AD does (MS-ADTS 3.1.1.5), refusing what it refuses."""

    def __init__(self, *entries: Entry, mark_attribute: str = "adminDescription") -> None:
        self.entries = {each.guid: each for each in entries}
        self.mark_attribute = mark_attribute
        self.passwords: dict[str, PasswordSource] = {}
        self.clock = TICKS
        self.operations = 0

    def by_guid(self, guid: str) -> Entry | None:
        return self.entries.get(guid)

    def by_owner(self, owner: str) -> Sequence[Entry]:
        return [each for each in self.entries.values() if (mark := OwnerMark.parse(each.mark)) and mark.owner == owner]

    def by_sam(self, sam: str) -> Entry | None:
        return self._first(each for each in self.entries.values() if each.sam.casefold() == sam.casefold())

    def by_upn(self, upn: str) -> Entry | None:
        return self._first(each for each in self.entries.values() if upn and each.upn.casefold() == upn.casefold())

    def by_dn(self, dn: DN) -> Entry | None:
        return self._first(each for each in self.entries.values() if each.dn == dn)

    @staticmethod
    def _first(found: Iterable[Entry]) -> Entry | None:
        return next(iter(found), None)

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self.operations += 1
            self.clock += 10_000_000
            if isinstance(change, Add):
                self._add(change)
            elif isinstance(change, Modify):
                self._modify(self.entries[change.guid], change)
            elif isinstance(change, Move):
                assert self.by_dn(change.new_dn) in (None, self.entries[change.guid])
                self._put(replace(self.entries[change.guid], dn=change.new_dn, cn=change.new_dn.name))
            elif isinstance(change, Delete):
                del self.entries[change.guid]
            else:
                raise AssertionError(change)

    def _put(self, new: Entry) -> None:
        rivals = [each for each in self.entries.values() if each.guid != new.guid]
        assert new.sam.casefold() not in {each.sam.casefold() for each in rivals}
        assert not new.upn or new.upn.casefold() not in {each.upn.casefold() for each in rivals}
        self.entries[new.guid] = replace(new, usn_changed=new.usn_changed + 1)

    def _add(self, add: Add) -> None:
        assert self.by_dn(add.dn) is None
        assert "" not in add.attributes.values(), "AD refuses an empty value"
        guid = f"00000000-0000-0000-0000-{len(self.entries) + 100:012}"
        new = Entry(guid, add.dn, EntryKind(add.object_class), "", "S-1-5-21-1-2-3-1200", 0, cn=add.dn.name, pwd_last_set=self.clock)
        self._put(self._with(new, {name: (None, value) for name, value in add.attributes.items()}))
        self.passwords[guid] = add.password

    def _modify(self, old: Entry, modify: Modify) -> None:
        assert len({edit.attribute for edit in modify.edits}) == len(modify.edits), "one attribute twice"
        for edit in modify.edits:
            if edit.exact:
                assert edit.old == self._value(old, edit.attribute), f"ValueMismatch: {edit}"
        new = old
        if modify.password is not PasswordSource.NONE:
            self.passwords[old.guid] = modify.password
            new = replace(new, pwd_last_set=self.clock)
        self._put(self._with(new, {edit.attribute: (edit.old, edit.new) for edit in modify.edits}))

    def _value(self, each: Entry, attribute: str) -> str | None:
        if attribute == self.mark_attribute:
            return each.mark or None
        if attribute == "userAccountControl":
            return str(each.user_account_control)
        return each.attributes.get(attribute)

    def _with(self, each: Entry, values: Mapping[str, tuple[str | None, str | None]]) -> Entry:
        plain = dict(each.attributes)
        update: dict[str, Any] = {}
        for name, (_, value) in values.items():
            if name == "sAMAccountName":
                update["sam"] = value
            elif name == "userPrincipalName":
                update["upn"] = value or ""
            elif name == "userAccountControl":
                update["user_account_control"] = int(value or 0)
            elif name == self.mark_attribute:
                update["mark"] = value or ""
            elif name == "pwdLastSet":
                assert value == "0"
                update["pwd_last_set"] = 0
            elif name == "lockoutTime":
                assert value == "0"
                update["computed_control"] = each.computed_control & ~LOCKOUT
            else:
                assert name in PLAIN, f"no attribute that a plan may write: {name}"
                if value is None:
                    plain.pop(name, None)
                else:
                    plain[name] = value
        return replace(each, attributes=plain, **update)


def around(*entries: Entry, protected: dict[str, str] | None = None, own_guid: str = "own") -> Surroundings:
    return Surroundings(Directory(*entries), protected or {}, own_guid)


def modification(changes: Sequence[Change]) -> Modify:
    """The one Modify that a plan consists of."""
    (change,) = changes
    assert isinstance(change, Modify)
    return change


def edits_of(changes: Sequence[Change]) -> dict[str, Edit]:
    return {edit.attribute: edit for change in changes if isinstance(change, Modify) for edit in change.edits}

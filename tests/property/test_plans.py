"""Plans settle: applied to a directory that behaves as AD does, the next plan finds nothing to do, whatever there was and whatever is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adsync.core.changes import Add, Delete, Modify, Move, PasswordSource, Verb
from adsync.core.dn import DN
from adsync.core.entries import ACCOUNTDISABLE, DONT_EXPIRE_PASSWORD, LOCKOUT, NORMAL_ACCOUNT, Entry
from adsync.core.identity import Verdict
from adsync.core.names import container_dn
from adsync.core.owner import OwnerMark
from adsync.core.passwords import PasswordWish
from adsync.core.report import UserFacts, user_entry
from adsync.core.rules import DomainRules
from adsync.core.users import Surroundings, UserPlan, UserWish, agreed_values, plan_user, plan_user_removal
from adsync.errors import InvalidSpec
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import Origin, UserDomainStatus
from tests.unit.core.support import GUID, OWNER, PLAIN, ROOT, STRANGER, TICKS, Directory, digest_of, entry, rules, secret, wish

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OTHER = "00000000-0000-0000-0000-000000000002"
ROOT_DN = DN.parse(ROOT)
CONTAINERS = [ROOT_DN, DN.parse(f"OU=Sales,{ROOT}"), DN.parse(f"OU=a\\,b,OU=Sales,{ROOT}")]
OUTSIDE = DN.parse("CN=Users,DC=corp,DC=example,DC=com")

usernames = st.sampled_from(["jdoe", "JDoe", "j smith", "x" * 20, "o'neil"])
values = st.sampled_from(["", "a", "A", "Finance", "O'Neil, Ann <x>"])
wanted_attributes = st.dictionaries(st.sampled_from(PLAIN), values, max_size=4)
flags = st.sampled_from([None, True, False])
passwords = st.sampled_from(
    [PasswordWish(), PasswordWish(named=True, missing="no Secret"), secret("Correct-Horse-1"), secret("Battery-Staple-2")]
)
domains = st.builds(
    lambda adoption, reaction, must: rules(
        adoptionPolicy=adoption, password={"onDirectoryChange": reaction, "mustChangeAtNextLogon": must and reaction == "Report"}
    ),
    st.sampled_from(["Never", "MatchEmail", "Always"]),
    st.sampled_from(["Report", "Enforce"]),
    st.booleans(),
)
wishes: st.SearchStrategy[Mapping[str, Any]] = st.fixed_dictionaries(
    {
        "username": usernames,
        "attributes": wanted_attributes,
        "suspended": flags,
        "container": st.sampled_from([None, *CONTAINERS]),
        "password": passwords,
        "unlock": st.sampled_from(["", "1", "2"]),
    }
)
digests = st.sampled_from([None, digest_of("Correct-Horse-1"), digest_of("Battery-Staple-2", "0b")])
marks = st.one_of(
    st.builds(lambda origin, digest: str(OwnerMark(OWNER, origin, digest)), st.sampled_from([Origin.CREATED, Origin.ADOPTED]), digests),
    st.sampled_from(["", "seen by the help desk", str(OwnerMark(STRANGER, Origin.CREATED))]),
)
accounts = st.builds(
    lambda sam, cn, parent, upn, mark, attributes, control, locked, mail: entry(
        GUID,
        sam,
        dn=str(parent.child("CN", cn)),
        upn=upn,
        mark=mark,
        attributes={name: value for name, value in (attributes | mail).items() if value},
        user_account_control=NORMAL_ACCOUNT | control,
        computed_control=LOCKOUT if locked else 0,
    ),
    usernames,
    st.sampled_from(["jdoe", "Doe, Jane", "x" * 20]),
    st.sampled_from([*CONTAINERS, OUTSIDE]),
    st.sampled_from(["", "jdoe@corp.example.com", "jane@old.example"]),
    marks,
    wanted_attributes,
    st.sampled_from([0, ACCOUNTDISABLE, DONT_EXPIRE_PASSWORD, ACCOUNTDISABLE | DONT_EXPIRE_PASSWORD]),
    st.booleans(),
    st.sampled_from([{}, {"mail": "a"}]),
)
namesakes = st.sampled_from(
    [
        None,
        entry(OTHER, "jsmith", upn="JDOE@corp.example.com"),
        entry(OTHER, "j smith", upn="z@z"),
        entry(OTHER, "JDOE", mark="", upn="z@z"),
    ]
)


def look(domain: DomainRules, directory: Directory, wanted: UserWish) -> tuple[UserPlan, UserDomainStatus]:
    """One look as sync/ makes it: plan and apply until nothing is left to do; then the status entry."""
    around = Surroundings(directory, {}, "own")
    wrote, pushed = False, None
    for _ in range(3):
        plan = plan_user(replace(wanted, just_pushed=pushed), domain, around)
        if not plan.changes:
            equal = plan.verdict is None
            facts = UserFacts(
                plan.verdict or Verdict(Reason.SYNCED, ""),
                plan.found,
                plan.password,
                wanted.password,
                wanted.suspended,
                agreed_values(wanted, domain) if equal else None,
                wrote=wrote,
                pushed=pushed is not None,
            )
            return plan, user_entry(wanted.recorded, facts, NOW)
        directory.apply(plan.changes)
        wrote = True
        if any(isinstance(change, (Add, Modify)) and change.password is PasswordSource.SECRET for change in plan.changes):
            assert pushed is None, "the same password twice"
            pushed = wanted.password.digest
    raise AssertionError("still not settled")


def asked(domain: DomainRules, given: Mapping[str, Any], recorded: UserDomainStatus) -> UserWish:
    agreed = recorded.last_synced or {}
    return wish(domain, **{**given, "email": given["attributes"].get("mail", ""), "recorded": recorded, "agreed": agreed})


def build(account: Entry | None, namesake: Entry | None) -> Directory:
    entries = [each for each in (account, namesake) if each is not None]
    assume(len({each.sam.casefold() for each in entries}) == len(entries))
    assume(len({each.upn.casefold() for each in entries if each.upn}) == len([each for each in entries if each.upn]))
    return Directory(*entries)


@settings(max_examples=80)
@given(domains, st.none() | accounts, namesakes, st.lists(wishes, min_size=1, max_size=3))
def test_every_wish_settles_and_stays_settled(
    domain: DomainRules, account: Entry | None, namesake: Entry | None, asks: list[Mapping[str, Any]]
) -> None:
    directory = build(account, namesake)
    status = UserDomainStatus(name="corp")
    for given_wish in asks:
        plan, status = look(domain, directory, asked(domain, given_wish, status))
        operations = directory.operations
        again, told = look(domain, directory, asked(domain, given_wish, status))
        assert directory.operations == operations, "a second look writes"
        assert told == status, "a second look says something else"
        assert (again.changes, again.verdict, again.password) == ((), plan.verdict, plan.password)
        status = UserDomainStatus.model_validate(status.to_json())  # as it comes back from the API server


@settings(max_examples=80)
@given(domains, st.none() | accounts, namesakes, wishes)
def test_what_is_settled_is_as_wanted(
    domain: DomainRules, account: Entry | None, namesake: Entry | None, given_wish: Mapping[str, Any]
) -> None:
    directory = build(account, namesake)
    wanted = asked(domain, given_wish, UserDomainStatus(name="corp"))
    plan, status = look(domain, directory, wanted)
    if plan.verdict is not None:
        assert status.object_guid is None or OwnerMark.parse(directory.entries[status.object_guid].mark)
        return
    assert plan.found is not None
    there = plan.found.entry
    assert there is not None
    assert there.sam == wanted.username
    assert {name: there.attributes.get(name, "") for name in wanted.attributes} == wanted.attributes
    assert wanted.suspended in (None, there.disabled)
    assert there.dn.is_below(ROOT_DN)


@settings(max_examples=80)
@given(domains, accounts, namesakes, wishes)
def test_nothing_else_is_touched(domain: DomainRules, account: Entry, namesake: Entry | None, given_wish: Mapping[str, Any]) -> None:
    directory = build(account, namesake)
    wanted = asked(domain, given_wish, UserDomainStatus(name="corp"))
    plan, _ = look(domain, directory, wanted)
    found = plan.found.entry if plan.found else None
    if found is not None and found.guid == OTHER:
        return  # it was the namesake's username that was asked for
    if namesake is not None:
        assert directory.entries[OTHER] == namesake
    after = directory.entries[GUID]
    assert after.user_account_control & ~ACCOUNTDISABLE == account.user_account_control & ~ACCOUNTDISABLE
    assert after.dn.parent == account.dn.parent, "moved although both sides never agreed on another place"
    unmanaged = {name: value for name, value in account.attributes.items() if name not in wanted.attributes}
    assert {name: value for name, value in after.attributes.items() if name not in wanted.attributes} == unmanaged
    if wanted.suspended is None:
        assert after.disabled == account.disabled
    if OwnerMark.parse(account.mark) is None and account.mark:
        assert after.mark == account.mark, "a foreign ownership value was overwritten"
    mark = OwnerMark.parse(account.mark)
    if not account.dn.is_below(ROOT_DN) or (mark is not None and mark.owner != OWNER):
        assert after == account
    if directory.passwords.get(GUID) is not None:
        assert directory.passwords[GUID] is not PasswordSource.RANDOM, "a random password for an account that was there"


@settings(max_examples=80)
@given(domains, accounts, wishes, wanted_attributes, flags)
def test_drift_is_undone_and_told(
    domain: DomainRules, account: Entry, given_wish: Mapping[str, Any], drifted: dict[str, str], disabled: bool | None
) -> None:
    directory = build(account, None)
    plan, status = look(domain, directory, asked(domain, given_wish, UserDomainStatus(name="corp")))
    if plan.verdict is not None or plan.found is None or plan.found.entry is None:
        return
    settled = directory.entries[plan.found.entry.guid]
    moved = replace(settled, attributes={name: value for name, value in {**settled.attributes, **drifted}.items() if value})
    if disabled is not None:
        moved = replace(moved, user_account_control=moved.user_account_control & ~ACCOUNTDISABLE | (ACCOUNTDISABLE if disabled else 0))
    directory.entries[settled.guid] = moved
    wanted = asked(domain, given_wish, status)
    undone = plan_user(wanted, domain, Surroundings(directory, {}, "own"))
    assert set(undone.drift) == {edit for change in undone.changes if isinstance(change, Modify) for edit in change.edits}
    directory.apply(undone.changes)
    for name in wanted.attributes:
        assert directory.entries[settled.guid].attributes.get(name) == settled.attributes.get(name)


@given(accounts, namesakes, wishes, st.sampled_from(DeletionPolicy), st.booleans())
def test_removals_settle_and_touch_only_what_is_ours(
    account: Entry, namesake: Entry | None, given_wish: Mapping[str, Any], policy: DeletionPolicy, recorded: bool
) -> None:
    directory = build(account, namesake)
    domain = rules()
    status = UserDomainStatus.model_validate({"name": "corp", "objectGUID": GUID if recorded else None})
    wanted = asked(domain, {**given_wish}, status)
    around = Surroundings(directory, {}, "own")
    plan = plan_user_removal(wanted, policy, domain, around)
    for change in plan.changes:
        assert isinstance(change, (Modify, Delete))
        assert change.guid == GUID
        mark = OwnerMark.parse(account.mark)
        assert (mark is not None and mark.owner == OWNER) or (recorded and account.mark and mark is None)
        if isinstance(change, Delete):
            assert policy is DeletionPolicy.DELETE
        elif policy is DeletionPolicy.DISABLE:
            assert change.verbs == (Verb.DISABLE,)
    directory.apply(plan.changes)
    assert plan_user_removal(wanted, policy, domain, around).changes == ()


@given(st.text(max_size=30), st.sampled_from(["sAMAccountName", "userPrincipalName"]), st.sampled_from([None, *CONTAINERS]))
def test_no_username_reaches_outside_of_its_container(username: str, field: str, container: DN | None) -> None:
    domain = rules(userFieldMapping={"username": field})
    try:
        wanted = wish(domain, username, container=container)
    except InvalidSpec:
        return
    (add,) = plan_user(wanted, domain, Surroundings(Directory(), {}, "own")).changes
    assert isinstance(add, Add)
    assert add.dn.parent == (container or ROOT_DN)
    assert DN.parse(str(add.dn)) == add.dn
    assert len(DN.parse(str(add.dn)).rdns) == len((container or ROOT_DN).rdns) + 1
    assert len(add.dn.name) <= 64
    assert len(add.attributes["sAMAccountName"]) <= 20


@given(st.text(max_size=60) | st.builds(lambda text: f"{text},{ROOT}", st.text('ab=,+\\"#;<> \x00', max_size=12)))
def test_no_container_reaches_outside_of_the_root(text: str) -> None:
    try:
        container = container_dn(text, ROOT_DN, "spec")
    except InvalidSpec:
        return
    assert container == ROOT_DN or container.is_below(ROOT_DN)
    again = DN.parse(str(container))
    assert again.rdns[-len(ROOT_DN.rdns) :] == container.rdns[-len(ROOT_DN.rdns) :]
    assert DN(again.rdns[-len(ROOT_DN.rdns) :]) == ROOT_DN


def test_moves_are_among_what_is_tried() -> None:
    """A check of the checks: an edited container and username do move and rename."""
    domain, directory = rules(), Directory()
    first: dict[str, Any] = {
        "username": "jdoe",
        "attributes": {},
        "suspended": None,
        "container": None,
        "password": PasswordWish(),
        "unlock": "",
    }
    _, status = look(domain, directory, asked(domain, first, UserDomainStatus(name="corp")))
    second = first | {"username": "j smith", "container": CONTAINERS[1]}
    plan = plan_user(asked(domain, second, status), domain, Surroundings(directory, {}, "own"))
    assert any(isinstance(change, Move) for change in plan.changes)
    look(domain, directory, asked(domain, second, status))
    assert {str(each.dn) for each in directory.entries.values()} == {f"CN=j smith,OU=Sales,{ROOT}"}
    assert directory.clock > TICKS

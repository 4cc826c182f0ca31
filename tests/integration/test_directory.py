"""The directory layer against a real domain controller, signed in as the delegated service account; looked at from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from adsync.core.changes import Add, Delete, Edit, Modify, ModifyMembers, Move, PasswordSource
from adsync.core.dn import DN
from adsync.core.entries import Entry, EntryKind
from adsync.core.policy import UNKNOWN
from adsync.directory import Directory, Notification, Target
from adsync.errors import (
    AlreadyExists,
    CertificateRejected,
    CredentialsRejected,
    DirectoryError,
    DirectoryUnavailable,
    InsufficientRights,
    InvalidSpec,
    NoSuchObject,
    PasswordRefused,
    ValueMismatch,
)
from lab.certificates import Flavour
from lab.processes import Processes
from lab.provision import Recipe
from lab.proxy import Front
from lab.samba import DomainController
from tests.integration.support import unique
from tests.unit.directory.support import name_server

PASSWORD = "Correct-Horse-7"


def target_of(dc: DomainController) -> Target:
    return Target(
        domain_name=dc.domain,
        username=dc.service.name,
        password=SecretStr(dc.service.password),
        servers=(dc.url,),
        ca_pem=dc.ca_file.read_bytes(),
        attributes=("mail", "givenName", "department"),
    )


@pytest.fixture
def target(dc: DomainController) -> Target:
    return target_of(dc)


@pytest.fixture
async def directory(target: Target) -> AsyncIterator[Directory]:
    made = await Directory.connect(target)
    yield made
    await made.close()


@pytest.fixture
def front(dc: DomainController) -> Iterator[Front]:
    with Front(*dc.endpoint) as made:
        yield made


async def find(directory: Directory, name: str) -> Entry:
    (found,) = await directory.find(sams=[name])
    return found


async def create(directory: Directory, container: str, name: str, **attributes: str) -> Entry:
    await directory.apply(Add(DN.parse(container).child("CN", name), "user", {"sAMAccountName": name, **attributes}))
    return await find(directory, name)


# Connecting


async def test_what_the_server_says_of_itself(directory: Directory, dc: DomainController) -> None:
    info = directory.info
    assert (info.ds_service_name, info.invocation_id) == dc.dsa()
    assert info.base == DN.parse(dc.base)
    assert info.url == dc.url
    assert info.highest_committed_usn <= dc.highest_usn()
    service = dc.find(dc.recipe.service_account, ["objectGUID", "objectSid"])
    assert service is not None
    assert (info.account_guid, info.account_sid) == (service["objectGUID"][0], service["objectSid"][0])
    assert info.account_dn == DN.parse(dc.recipe.service_dn)
    assert info.account_sid.startswith(info.domain_sid + "-")
    assert f"{info.domain_sid}-513" in info.account_groups
    assert "1.2.840.113556.1.4.319" in info.supported_controls
    assert info.certificate_not_after is not None
    assert not directory.reads_tombstones


async def test_every_form_of_user_name(dc: DomainController, target: Target) -> None:
    for name in (dc.recipe.service_account, f"{dc.recipe.netbios}\\{dc.recipe.service_account}", dc.recipe.service_dn):
        directory = await Directory.connect(replace(target, username=name))
        assert directory.info.account_dn == DN.parse(dc.recipe.service_dn)
        await directory.close()


async def test_a_wrong_password_is_tried_once_on_one_server(dc: DomainController, target: Target, container: str, front: Front) -> None:
    name = unique("u")
    dn = dc.add_user(name, PASSWORD, container=container)
    wrong = replace(target, username=name, password=SecretStr("Hunter-22"), servers=(front.url,) * 3)
    with pytest.raises(CredentialsRejected) as caught:
        await Directory.connect(wrong)
    assert caught.value.sub_code == "52e"
    assert "Hunter" not in str(caught.value)
    assert front.accepted == 1
    dc.replace(dn, {"userAccountControl": "514"})
    with pytest.raises(CredentialsRejected, match="disabled"):
        await Directory.connect(replace(target, username=name, password=SecretStr(PASSWORD)))


async def test_the_next_server_is_taken_and_each_is_named_when_none_works(target: Target) -> None:
    directory = await Directory.connect(replace(target, servers=("ldaps://127.0.0.1:1", *target.servers)))
    assert directory.info.url == target.servers[0]
    await directory.close()
    with pytest.raises(DirectoryUnavailable, match=r"127\.0\.0\.1:1 .*127\.0\.0\.1:2 "):
        await Directory.connect(replace(target, servers=("ldaps://127.0.0.1:1", "ldaps://127.0.0.1:2")))


async def test_the_name_in_the_certificate(dc: DomainController, target: Target) -> None:
    directory = await Directory.connect(replace(target, server_name=dc.host))
    await directory.close()
    with pytest.raises(CertificateRejected, match=rf"{dc.host}.*not for other\.invalid"):
        await Directory.connect(replace(target, server_name="other.invalid"))
    with pytest.raises(CertificateRejected, match="unknown CA"):
        await Directory.connect(replace(target, ca_pem=None, servers=("ldaps://127.0.0.1:1", *target.servers)))
    with pytest.raises(InvalidSpec, match="exactly one server"):
        await Directory.connect(replace(target, server_name=dc.host, servers=target.servers * 2))


async def test_a_server_of_another_domain_is_not_taken_for_ours(target: Target) -> None:
    with pytest.raises(InvalidSpec, match="serves DC=corp,DC=example,DC=com, not DC=other,DC=example,DC=com"):
        await Directory.connect(replace(target, domain_name="other.example.com"))


async def test_servers_from_dns(dc: DomainController, target: Target) -> None:
    async with name_server() as (zone, nameserver):
        zone.table = {
            (f"_ldap._tcp.dc._msdcs.{dc.domain}.", "SRV"): [f"10 0 389 {dc.host}.", f"0 0 389 gone.{dc.domain}."],
            (f"{dc.host}.", "A"): [dc.address],
        }
        directory = await Directory.connect(replace(target, servers=(), nameservers=(nameserver,)))
        assert directory.info.url == f"ldaps://{dc.host}"
        await directory.close()
        zone.table = {}
        with pytest.raises(DirectoryUnavailable, match=rf"_msdcs\.{dc.domain}"):
            await Directory.connect(replace(target, servers=(), nameservers=(nameserver,)))


# Reading


async def test_sweep_find_and_read_agree(directory: Directory, dc: DomainController, container: str) -> None:
    name = unique("u")
    dc.add_user(name, PASSWORD, container=container, mail="a@example.com", adminDescription="adsync1:u:c:n/x;o=c")
    group = dc.find(container.partition(",")[0].removeprefix("OU="), ["objectGUID"])
    assert group is not None
    swept = {entry.sam: entry async for page in directory.sweep(DN.parse(container)) for entry in page}
    assert len(swept) == 3
    entry = swept[name]
    assert (entry.kind, entry.attributes, entry.disabled) == (EntryKind.USER, {"mail": "a@example.com"}, False)
    assert entry.pwd_last_set > 0
    assert entry.password_expires > entry.pwd_last_set
    assert entry.cn == name
    guids = await directory.guids(DN.parse(container))
    assert guids == {one.guid: one.usn_changed for one in swept.values()}
    assert await directory.read(entry.guid) == entry
    assert await find(directory, name) == entry
    assert await directory.find(guids=[entry.guid], upns=["nobody@x"], sams=["nobody"]) == [entry]
    assert entry in await directory.find(marks=["adsync1:u:c:n/x"])
    assert await directory.find(sams=["*"]) == []
    assert (await directory.read(group["objectGUID"][0])) in swept.values()
    assert await directory.read("00000000-0000-0000-0000-000000000001") is None
    assert await directory.exists(DN.parse(container))
    assert not await directory.exists(DN.parse(f"OU=no,{container}"))


async def test_computers_and_containers_are_no_accounts(directory: Directory, dc: DomainController, container: str) -> None:
    found = dc.search(f"(distinguishedName={container})", ["objectGUID"])[0]["objectGUID"][0]
    assert await directory.read(found) is None
    controller = dc.search("(objectClass=computer)", ["objectGUID", "sAMAccountName"])[0]
    assert await directory.read(controller["objectGUID"][0]) is None
    assert await directory.find(sams=controller["sAMAccountName"]) == []


async def test_pages_of_two_are_a_whole_sweep(target: Target, dc: DomainController, container: str) -> None:
    dc.users(9, prefix=unique("p"), container=container)
    directory = await Directory.connect(replace(target, page_size=2))
    pages = [page async for page in directory.sweep(DN.parse(container))]
    assert [len(page) for page in pages] == [2, 2, 2, 2, 2, 1]
    assert len(await directory.guids(DN.parse(container))) == 11
    await directory.close()


async def test_changes_since_a_mark(directory: Directory, dc: DomainController, container: str) -> None:
    name, other = unique("u"), unique("u")
    dn = dc.add_user(name, container=container)
    before = await directory.changes_since(0, DN.parse(container))
    assert (await find(directory, name)).guid in before.usns
    assert (await directory.changes_since(before.high_usn, DN.parse(container))).usns == {}
    dc.replace(dn, {"department": "Sales"})
    dc.add_user(other, container=container)
    changes = await directory.changes_since(before.high_usn)
    for each in (name, other):
        entry = await find(directory, each)
        assert changes.usns[entry.guid] == entry.usn_changed
    assert changes.high_usn >= max(changes.usns.values())
    assert changes.deleted == []


async def test_deletions_are_told_where_they_may_be_read(processes: Processes) -> None:
    dc = DomainController(processes, "tombstones")
    dc.create(Recipe(read_deleted=True))
    dc.start()
    try:
        directory = await Directory.connect(target_of(dc))
        name = unique("u")
        dn = dc.add_user(name, container=dc.container)
        entry = await find(directory, name)
        mark = await directory.refresh_info()
        dc.delete(dn)
        changes = await directory.changes_since(mark)
        assert changes.deleted == [entry.guid]
        assert directory.reads_tombstones
        assert await directory.read(entry.guid) is None
        await directory.close()
        again = await Directory.connect(target_of(dc))
        assert again.reads_tombstones
        await again.close()
    finally:
        dc.remove()


async def test_wake_ups(directory: Directory, dc: DomainController, container: str) -> None:
    got: asyncio.Queue[Notification] = asyncio.Queue()
    first = asyncio.Event()

    async def listen() -> None:
        async for notification in directory.notifications():
            got.put_nowait(notification)
            first.set()

    listening = asyncio.ensure_future(listen())
    name = unique("u")
    dn = dc.add_user(name, container=container)
    async with asyncio.timeout(10):
        while not first.is_set():  # until the listener's own connection is there
            dc.replace(dn, {"department": unique()})
            await asyncio.wait([asyncio.ensure_future(first.wait())], timeout=0.2)
    guid = (await find(directory, name)).guid
    while not got.empty():
        got.get_nowait()
    dc.replace(dn, {"department": unique()})
    async with asyncio.timeout(5):
        assert (await got.get()).guid == guid
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_password_policies(processes: Processes) -> None:
    dc = DomainController(processes, "policy")
    dc.create(
        policy={"min-pwd-length": "12", "complexity": "off", "history-length": "3", "max-pwd-age": "0", "account-lockout-threshold": "5"}
    )
    dc.start()
    try:
        name = unique("u")
        dc.add_user(name, container=dc.container)
        dc.samba_tool("domain", "passwordsettings", "pso", "create", "strict", "1", "--min-pwd-length=20", "--complexity=on")
        dc.samba_tool("domain", "passwordsettings", "pso", "apply", "strict", name)
        directory = await Directory.connect(target_of(dc))
        policy = await directory.read_policy()
        assert (policy.min_length, policy.complexity, policy.history_length) == (12, False, 3)
        assert (policy.min_age, policy.max_age, policy.lockout_threshold, policy.lockout_window) == (86400, 0, 5, 1800)
        assert await directory.policy_for((await find(directory, name)).guid) in (None, UNKNOWN)  # not readable for a delegated account
        await directory.close()
        admin = await Directory.connect(replace(target_of(dc), username=dc.admin.name, password=SecretStr(dc.admin.password)))
        strict = await admin.policy_for((await find(admin, name)).guid)
        assert strict is not None
        assert (strict.min_length, strict.complexity) == (20, True)
        await admin.close()
    finally:
        dc.remove()


async def test_members_are_read_whole_with_their_guids(directory: Directory, dc: DomainController, container: str) -> None:
    dns = dc.users(30, prefix=unique("m"), container=container)
    name = unique("g")
    dc.add_group(name, container=container, members=dns)
    group = await find(directory, name)
    members = await directory.read_members(group.guid)
    assert members is not None
    assert {DN.parse(member.dn) for member in members} == {DN.parse(dn) for dn in dns}
    assert {member.guid for member in members} == (await directory.guids(DN.parse(container))).keys() & {member.guid for member in members}
    groups = await directory.memberships(members[0].guid)
    assert groups is not None
    assert [link.guid for link in groups] == [group.guid]
    assert await directory.read_members("00000000-0000-0000-0000-000000000001") is None


# Writing


async def test_a_user_from_add_to_delete(directory: Directory, dc: DomainController, container: str) -> None:
    name = unique("u")
    dn = DN.parse(container).child("CN", name)
    attributes = {"sAMAccountName": name, "adminDescription": "mark", "userAccountControl": "512", "mail": "a@example.com"}
    await directory.apply(Add(dn, "user", attributes, PasswordSource.SECRET), SecretStr(PASSWORD))
    assert dc.bind_as(name, PASSWORD)
    made = await find(directory, name)
    assert made.mark == "mark"
    with pytest.raises(AlreadyExists):
        await directory.apply(Add(dn, "user", attributes))
    with pytest.raises(AlreadyExists):
        await directory.apply(Add(dn.parent.child("CN", f"{name}x"), "user", {"sAMAccountName": name}))

    edits = (
        Edit("mail", "a@example.com", "b@example.com", exact=True),
        Edit("adminDescription", "mark", "mark2"),
        Edit("givenName", None, ""),
    )
    await directory.apply(Modify(made.guid, made.dn, edits, PasswordSource.SECRET), SecretStr("Other-Horse-8"))
    assert dc.bind_as(name, "Other-Horse-8")
    read = await directory.read(made.guid)
    assert read is not None
    assert (read.mark, read.attributes) == ("mark2", {"mail": "b@example.com"})
    with pytest.raises(ValueMismatch, match="mail"):
        await directory.apply(Modify(made.guid, made.dn, (Edit("mail", "a@example.com", "c@example.com", exact=True),)))
    with pytest.raises(ValueMismatch, match="mail"):
        await directory.apply(Modify(made.guid, made.dn, (Edit("mail", None, "c@example.com", exact=True),)))

    await directory.apply(Modify(made.guid, made.dn, (Edit("userAccountControl", "512", "514", exact=True),)))
    assert dc.bind_error(name, "Other-Horse-8") == "533"

    dc.add_container("inner", groups=False, parent=container)
    moved = DN.parse(container).child("OU", "inner").child("CN", 'Doe, "J" #1')
    await directory.apply(Move(made.guid, made.dn, moved))
    await directory.apply(Move(made.guid, moved, moved.parent.child("CN", "plain")))
    read = await directory.read(made.guid)
    assert read is not None
    assert read.dn == moved.parent.child("CN", "plain")

    await directory.apply(Delete(made.guid, made.dn))
    assert dc.find(name) is None
    with pytest.raises(NoSuchObject):
        await directory.apply(Delete(made.guid, made.dn))
    with pytest.raises(NoSuchObject):
        await directory.apply(Modify(made.guid, made.dn, (Edit("mail", None, "x"),)))


async def test_a_weak_password_refuses_the_whole_operation(directory: Directory, dc: DomainController, container: str) -> None:
    name = unique("u")
    dn = DN.parse(container).child("CN", name)
    add = Add(dn, "user", {"sAMAccountName": name, "userAccountControl": "512"}, PasswordSource.SECRET)
    with pytest.raises(PasswordRefused) as caught:
        await directory.apply(add, SecretStr("weak"))
    assert "weak" not in str(caught.value)
    assert dc.find(name) is None
    made = await create(directory, container, name, adminDescription="old")
    with pytest.raises(PasswordRefused):
        await directory.apply(Modify(made.guid, dn, (Edit("adminDescription", "old", "new"),), PasswordSource.SECRET), SecretStr("weak"))
    read = await directory.read(made.guid)
    assert read is not None
    assert read.mark == "old"


async def test_a_taken_user_principal_name(directory: Directory, container: str) -> None:
    one, two = unique("u"), unique("u")
    await create(directory, container, one, userPrincipalName=f"{one}@corp.example.com")
    with pytest.raises(AlreadyExists):
        await create(directory, container, two, userPrincipalName=f"{one}@corp.example.com")


async def test_what_was_not_delegated(directory: Directory, dc: DomainController) -> None:
    with pytest.raises(InsufficientRights, match="delegate"):
        await directory.apply(Add(DN.parse(dc.base).child("CN", "x"), "user", {"sAMAccountName": unique()}))
    admin = await find(directory, "Administrator")
    with pytest.raises(InsufficientRights):
        await directory.apply(Modify(admin.guid, admin.dn, (Edit("mail", None, "x"),)))
    with pytest.raises(InsufficientRights):
        await directory.apply(Delete(admin.guid, admin.dn))


async def test_members_change_repeatably(directory: Directory, dc: DomainController, container: str) -> None:
    prefix, name = unique("m"), unique("g")
    dns = dc.users(4, prefix=prefix, container=container)
    guids = [(await find(directory, f"{prefix}{number:04d}")).guid for number in range(4)]
    await directory.apply(Add(DN.parse(container).child("CN", name), "group", {"sAMAccountName": name}))
    group = await find(directory, name)
    change = ModifyMembers(group.guid, group.dn, add=tuple(guids[:3]))
    for _ in range(2):
        await directory.apply(change)
    mixed = ModifyMembers(group.guid, group.dn, add=(guids[0], guids[3]), remove=(guids[1],))
    for _ in range(2):
        await directory.apply(mixed)
    found = dc.find(name, ["member"])
    assert found is not None
    assert set(found["member"]) == {dns[0], dns[2], dns[3]}


async def test_many_writes_in_flight(directory: Directory, dc: DomainController, container: str) -> None:
    prefix = unique("w")
    parent = DN.parse(container)
    adds = [Add(parent.child("CN", f"{prefix}{number}"), "user", {"sAMAccountName": f"{prefix}{number}"}) for number in range(60)]
    await asyncio.gather(*map(directory.apply, adds))
    assert len(dc.search(f"(sAMAccountName={prefix}*)", ["cn"], base=container)) == 60


# Privileged accounts


async def test_who_is_privileged(directory: Directory, dc: DomainController, container: str) -> None:
    names = [unique("v") for _ in range(5)]
    nested, direct, by_primary, once, plain = names
    dns = [dc.add_user(name, PASSWORD, container=container) for name in names]
    outer, inner = unique("g"), unique("g")
    dc.add_group(inner, container=container, members=[dns[0]])
    dc.add_group(outer, container=container, members=[f"CN={inner},{container}"])
    dc.add_group(unique("g"), container=container, members=[dns[4]])
    dc.members(f"CN=Backup Operators,CN=Builtin,{dc.base}", add=[f"CN={outer},{container}"])
    dc.members(f"CN=Domain Admins,CN=Users,{dc.base}", add=[dns[1], dns[2]])
    dc.replace(dns[2], {"primaryGroupID": "512"})
    dc.replace(dns[3], {"adminCount": "1"})
    try:
        guids = {name: (await find(directory, name)).guid for name in (*names, inner, outer, "krbtgt", "Domain Admins", "Guest")}
        protected = await directory.protected_guids()
        assert {guids[name] for name in (nested, direct, by_primary, inner, outer, "Domain Admins")} <= protected
        assert guids[plain] not in protected
        says = {
            nested: "Backup Operators",
            direct: "Domain Admins",
            by_primary: "Domain Admins",
            once: "adminCount",
            inner: "Backup Operators",
        }
        for name, text in {**says, "krbtgt": "built-in", "Guest": "built-in", "Domain Admins": "built-in"}.items():
            reason = await directory.is_protected(guids[name])
            assert reason is not None, name
            assert text in reason
        assert "service account" in str(await directory.is_protected(directory.info.account_guid))
        entry, reason = await directory.read_for_write(guids[plain])
        assert entry is not None
        assert (entry.sam, reason) == (plain, None)
        dc.members(f"CN={inner},{container}", add=[dns[4]])  # asked of the server, not remembered
        assert "Backup Operators" in str(await directory.is_protected(guids[plain]))
    finally:
        dc.members(f"CN=Backup Operators,CN=Builtin,{dc.base}", delete=[f"CN={outer},{container}"])
        dc.replace(dns[2], {"primaryGroupID": "513"})
        dc.members(f"CN=Domain Admins,CN=Users,{dc.base}", delete=[dns[1], dns[2]])


async def test_the_rights_of_the_service_account(directory: Directory, dc: DomainController, target: Target, container: str) -> None:
    dc.add_user(unique("u"), container=container)
    names = ("sAMAccountName", "userAccountControl", "mail", "homeDirectory", "adminDescription")
    rights = await directory.read_rights(DN.parse(container), names, ("member", "adminDescription"))
    assert rights.missing == [f"write homeDirectory of users below {DN.parse(container)}"]
    assert rights.excess == []
    elsewhere = await directory.read_rights(DN.parse(f"CN=Users,{dc.base}"), names, ())
    assert {f"create {kind} in CN=Users,{dc.base}" for kind in ("users", "groups")} <= set(elsewhere.missing)
    with pytest.raises(NoSuchObject, match="no container"):
        await directory.read_rights(DN.parse(f"OU=no,{container}"))
    admin = await Directory.connect(replace(target, username=dc.admin.name, password=SecretStr(dc.admin.password)))
    excess = (await admin.read_rights(DN.parse(container))).excess
    assert "is a member of Domain Admins" in excess
    assert f"create users in {dc.base}" in excess
    assert f"change the permissions of {DN.parse(container)}" in excess
    await admin.close()


async def test_traces_of_entra_connect(directory: Directory, dc: DomainController, container: str) -> None:
    assert await directory.detect_entra() == []
    dn = dc.add_user("MSOL_0123456789ab", container=container)
    dc.replace(dn, {"mS-DS-ConsistencyGuid": b"0123456789abcdef"})
    traces = await directory.detect_entra()
    assert traces[0] == "account MSOL_0123456789ab"
    assert "mS-DS-ConsistencyGuid" in traces[1]


async def test_cursors_of_unknown_domain_controllers(directory: Directory) -> None:
    assert await directory.replication_cursor("00000000-0000-0000-0000-000000000001") is None


# A network that fails


async def broken(front: Front, target: Target, harm: Callable[[], None]) -> float:
    """How long a sweep goes on after the harm, before it fails as it should."""
    directory = await Directory.connect(replace(target, servers=(front.url,), page_size=2, stall_timeout=1.0))
    try:
        pages = directory.sweep()
        await anext(pages)
        harm()
        began = time.monotonic()
        with pytest.raises(DirectoryUnavailable):
            async for _ in pages:
                pass
        assert directory.closed.is_set()
        assert directory.reason
        return time.monotonic() - began
    finally:
        await directory.close()


async def test_a_cut_in_a_sweep(front: Front, target: Target) -> None:
    assert await broken(front, target, front.cut) < 1


async def test_a_reset_in_the_middle_of_a_page(front: Front, target: Target) -> None:
    assert await broken(front, target, lambda: front.reset_after(300)) < 5


async def test_a_stall_is_found_in_seconds_and_the_server_is_back_after_it(front: Front, target: Target) -> None:
    directory = await Directory.connect(replace(target, servers=(front.url,), stall_timeout=1.0))
    front.stall()
    with pytest.raises(DirectoryUnavailable, match="said nothing"):
        await directory.refresh_info()
    await directory.close()
    with pytest.raises(DirectoryUnavailable, match="did not answer within"):
        await Directory.connect(replace(target, servers=(front.url,), connect_timeout=0.5))
    front.resume()
    await (await Directory.connect(replace(target, servers=(front.url,)))).close()


async def test_a_cut_ends_the_wake_ups(front: Front, target: Target) -> None:
    directory = await Directory.connect(replace(target, servers=(front.url,)))
    connected = front.accepted
    stream = directory.notifications()
    waiting = asyncio.ensure_future(anext(stream))
    async with asyncio.timeout(5):
        while front.accepted == connected:
            await asyncio.wait([waiting], timeout=0.02)
    front.cut()
    with pytest.raises(DirectoryUnavailable):
        await waiting
    await directory.close()


async def test_a_certificate_that_expired(dc: DomainController, target: Target) -> None:
    dc.use_certificate(Flavour.EXPIRED)
    dc.restart()
    try:
        with pytest.raises(CertificateRejected, match="expired"):
            await Directory.connect(target)
    finally:
        dc.use_certificate(Flavour.GOOD)
        dc.restart()


# What we escape, the server reads back unchanged

LETTERS = st.characters(exclude_categories=["Cs", "Cn", "Co"], exclude_characters="\x00")
VALUES = st.text(LETTERS, min_size=1, max_size=40).filter(lambda value: value.strip() == value)


async def outcome(work: Awaitable[None]) -> DirectoryError | None:
    try:
        await work
    except DirectoryError as error:
        return error
    return None


@given(cn=VALUES, department=st.text(st.one_of(st.sampled_from('*()\\/#,+"<>;= ä'), LETTERS), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_names_and_values_are_read_back(directory: Directory, container: str, cn: str, department: str) -> None:
    name, dn = unique("h"), DN.parse(container).child("CN", cn)
    refusal = await outcome(directory.apply(Add(dn, "user", {"sAMAccountName": name, "department": department})))
    if refusal is not None:  # a name or value that AD does not take is refused whole
        assert refusal.code in (19, 21, 34, 53, 64), str(refusal)
        assert await directory.find(sams=[name]) == []
        return
    made = await find(directory, name)
    try:
        assert made.dn == dn
        assert made.dn.is_below(DN.parse(container))
        assert made.cn == cn
        assert made.attributes["department"] == department
        assert await directory.exists(dn)
    finally:
        await directory.apply(Delete(made.guid, made.dn))

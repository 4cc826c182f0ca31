"""The strict proxy has the manners that Windows documents, as ldapsearch sees them; our client reads everything through it, or says that
it did not. The limits are small here, so that few objects exceed them; ADSYNC_TEST_SCALE=full takes those of Windows, and 5,000 members."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from pydantic import SecretStr

from adsync.core.changes import Add, ModifyMembers
from adsync.core.dn import DN
from adsync.directory import Directory, Target, wire
from adsync.directory.connection import LdapConnection
from adsync.errors import DirectoryError, DirectoryUnavailable, IncompleteRead
from lab.ldaptools import LdapError, LdapTools
from lab.manners import Limits
from lab.messages import NOTIFICATION, Kind
from lab.samba import DomainController
from lab.strict import Fault, Operation, Strict
from tests.integration.crowd import FULL, scaled
from tests.integration.support import eventually, new_container, unique

MEMBERS = scaled(120, 5000)
LIMITS = Limits() if FULL else Limits(values=50, page=40)
IDLE = 2.0


@pytest.fixture(scope="module")
def crowd(dc: DomainController) -> Iterator[str]:
    """The DN of a container with as many users, and a group `<the container's name>` that they are all in."""
    with new_container(dc) as container:
        dns = dc.users(MEMBERS, prefix=unique("m"), container=container)
        for start in range(0, MEMBERS, 1000):
            dc.members(big(container), add=dns[start : start + 1000])
        yield container


def big(container: str) -> str:
    return f"CN={container.partition(',')[0].removeprefix('OU=')},{container}"


@pytest.fixture
def strict(dc: DomainController) -> Iterator[Strict]:
    with Strict.before(dc, LIMITS) as made:
        yield made


@pytest.fixture
def tools(dc: DomainController, strict: Strict) -> LdapTools:
    return LdapTools(strict.url, dc.ca_file)


@pytest.fixture
def target(dc: DomainController, strict: Strict) -> Target:
    return Target(
        domain_name=dc.domain,
        username=dc.service.name,
        password=SecretStr(dc.service.password),
        servers=(strict.url,),
        ca_pem=dc.ca_file.read_bytes(),
    )


@pytest.fixture
async def directory(target: Target) -> AsyncIterator[Directory]:
    made = await Directory.connect(target)
    yield made
    await made.close()


async def guid_of(directory: Directory, container: str) -> str:
    (found,) = await directory.find(sams=[big(container).partition(",")[0].removeprefix("CN=")])
    return found.guid


def tls_line(dc: DomainController, strict: Strict) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(dc.ca_file))
    return context.wrap_socket(socket.create_connection(("127.0.0.1", strict.port), 10), server_hostname=dc.host)


# Ranges: MS-ADTS 3.1.1.3.1.3.3


def test_ranges_as_windows_gives_them(dc: DomainController, tools: LdapTools, crowd: str) -> None:
    def ask(attribute: str) -> dict[str, int]:
        (found,) = tools.search(dc.admin, "(objectClass=group)", [attribute], big(crowd), "base")
        return {name: len(values) for name, values in found.items() if name.startswith("member")}

    top, rest = LIMITS.values, MEMBERS % LIMITS.values
    assert ask("member") == {f"member;range=0-{top - 1}": top}
    assert ask("member;range=0-*") == {f"member;range=0-{top - 1}": top}
    assert ask(f"member;range=5-{top * 2}") == {f"member;range=5-{top + 4}": top}
    assert ask("member;range=5-14") == {"member;range=5-14": 10}
    assert ask(f"member;range={MEMBERS - rest}-*") == {f"member;range={MEMBERS - rest}-*": rest}
    assert ask(f"member;range={MEMBERS - rest}-{MEMBERS + 9}") == {f"member;range={MEMBERS - rest}-*": rest}
    (whole,) = dc.search("(objectClass=group)", ["member"], base=big(crowd), scope="base")
    assert len(whole["member"]) == MEMBERS  # which is what Samba says by itself


async def test_all_members_are_read(dc: DomainController, directory: Directory, strict: Strict, crowd: str) -> None:
    guid = await guid_of(directory, crowd)
    strict.clear()
    links = await directory.read_members(guid)
    assert links is not None
    (whole,) = dc.search("(objectClass=group)", ["member"], base=big(crowd), scope="base")
    assert sorted(link.dn.lower() for link in links) == sorted(member.lower() for member in whole["member"])
    assert strict.operations == {"search": -(-MEMBERS // LIMITS.values)}


# Pages: MaxPageSize, MS-ADTS 3.1.1.3.4.6


def test_without_pages_there_is_one_page_and_an_error(dc: DomainController, tools: LdapTools, strict: Strict, crowd: str) -> None:
    with pytest.raises(LdapError) as caught:
        tools.run("ldapsearch", "-LLL", "-b", crowd, "(objectClass=user)", "cn", login=dc.admin)
    assert caught.value.code == 4
    assert strict.entries == LIMITS.page


def test_a_larger_page_is_capped(dc: DomainController, tools: LdapTools, strict: Strict, crowd: str) -> None:
    output = tools.run("ldapsearch", "-LLL", "-E", "pr=4000/noprompt", "-b", crowd, "(objectClass=user)", "cn", login=dc.admin)
    assert output.count("dn: ") == MEMBERS
    pages = -(-MEMBERS // LIMITS.page)
    assert strict.operations["search"] in (pages, pages + 1)  # Samba ends with an empty page where the last one is full


async def test_a_sweep_is_complete(target: Target, crowd: str) -> None:
    directory = await Directory.connect(replace(target, page_size=5000))
    pages = [page async for page in directory.sweep(DN.parse(crowd))]
    assert sum(map(len, pages)) == MEMBERS + 2  # and the container's two groups
    assert max(map(len, pages)) == LIMITS.page
    assert len(await directory.guids(DN.parse(crowd))) == MEMBERS + 2
    await directory.close()


# Notifications: MS-ADTS 3.1.1.3.4.1.9


def test_a_notification_of_another_subtree_is_refused(dc: DomainController, tools: LdapTools) -> None:
    for arguments in (["-b", dc.container, "(objectClass=*)"], ["-b", dc.base, "(objectClass=user)"]):
        with pytest.raises(LdapError) as caught:
            tools.run("ldapsearch", "-LLL", "-E", f"!{NOTIFICATION}", *arguments, "cn", login=dc.admin)
        assert caught.value.code == 53


async def test_five_notifications_on_a_connection(dc: DomainController, target: Target, strict: Strict) -> None:
    context = ssl.create_default_context(cafile=str(dc.ca_file))
    connection = await LdapConnection.open("127.0.0.1", strict.port, context=context, server_hostname=dc.host, timeout=10)
    await connection.bind_simple(target.username, target.password)
    refused: list[DirectoryError] = []

    async def listen() -> None:
        try:
            control = wire.control(NOTIFICATION)
            async with aclosing(connection.listen(dc.base, wire.SUBTREE, "(objectClass=*)", ["cn"], controls=[control])) as stream:
                async for _ in stream:
                    pass
        except DirectoryError as error:
            refused.append(error)

    listening = [asyncio.ensure_future(listen()) for _ in range(6)]
    await asyncio.wait(listening, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert len(refused) == 1
    assert "11" in str(refused[0])
    for task in listening:
        task.cancel()
    await asyncio.gather(*listening, return_exceptions=True)
    await connection.close()


async def test_our_notifications_are_not_refused(dc: DomainController, directory: Directory, crowd: str) -> None:
    async with aclosing(directory.notifications()) as stream:
        first = asyncio.ensure_future(anext(stream))
        async with asyncio.timeout(10):
            while not first.done():  # until the listener's own connection is there
                dc.replace(big(crowd), {"description": unique()})
                await asyncio.wait([first], timeout=0.3)
        assert (await first).guid == await guid_of(directory, crowd)


# Connections that are idle, requests that are too long: MS-ADTS 3.1.1.3.4.6


def test_an_idle_connection_is_told_and_closed(dc: DomainController, strict: Strict) -> None:
    strict.limits = replace(LIMITS, idle=IDLE)
    began = time.monotonic()
    with tls_line(dc, strict) as line:
        notice = b"".join(iter(lambda: line.recv(4096), b""))
    assert IDLE <= time.monotonic() - began < IDLE + 3
    number, kind, answer = wire.decode(notice)
    assert (number, kind) == (0, wire.Kind.EXTENDED)
    assert isinstance(answer, wire.Answer)
    assert answer.code == 52


async def test_our_connection_does_not_lie_idle(target: Target, strict: Strict) -> None:
    strict.limits = replace(LIMITS, idle=IDLE)
    directory = await Directory.connect(replace(target, keepalive=IDLE / 4))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2 * IDLE):
            await directory.closed.wait()
    await directory.refresh_info()
    await directory.close()


def test_a_request_that_is_too_long_ends_the_connection(dc: DomainController, strict: Strict) -> None:
    strict.limits = replace(LIMITS, request=20_000)
    with tls_line(dc, strict) as line:
        line.sendall(b"\x30\x83\x01\x00\x00")
        assert line.recv(10) == b""


# Counting


def test_operations_are_counted(dc: DomainController, tools: LdapTools, strict: Strict, container: str) -> None:
    user = dc.add_user(unique("u"), container=container)
    for words in (f"add: member\nmember: {user}\n-\nreplace: description\ndescription: x", "delete: member"):
        tools.modify(dc.admin, f"dn: {big(container)}\nchangetype: modify\n{words}\n")
    tools.delete(dc.admin, user)
    eventually(lambda: strict.operations["unbind"] == 3)
    assert strict.operations == {"bind": 3, "modify": 2, "delete": 1, "unbind": 3}
    assert [each for each in strict.journal if each.name in ("modify", "delete")] == [
        Operation("modify", big(container), 2), Operation("modify", big(container), 0), Operation("delete", user)
    ]  # fmt: skip
    strict.clear()
    assert (strict.operations, list(strict.journal)) == ({}, [])


# Faults


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.SEARCH, number=2),
        Fault(Kind.SEARCH, number=2, kept=0.5),
        Fault(Kind.ENTRY, containing=b";range="),
        Fault(Kind.ENTRY, containing=b";range=", number=2, kept=0.3),
        Fault(Kind.ENTRY, containing=b";range=", number=3, kept=1),
        Fault(Kind.SEARCH_DONE, number=2),
        Fault(Kind.SEARCH_DONE, number=3, kept=0.9),
        Fault(Kind.SEARCH_DONE, number=2, code=51),
        Fault(Kind.ENTRY, number=2, code=3),
    ],
    ids=repr,
)
async def test_members_that_were_not_read_are_not_taken_for_absent(directory: Directory, strict: Strict, crowd: str, fault: Fault) -> None:
    guid = await guid_of(directory, crowd)
    strict.arm(fault)
    with pytest.raises((DirectoryUnavailable, IncompleteRead)):
        await directory.read_members(guid)
    assert (strict.fired, strict.armed) == (1, 0)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.ENTRY, number=LIMITS.page + 7),
        Fault(Kind.ENTRY, number=MEMBERS, kept=0.5),
        Fault(Kind.SEARCH_DONE, number=2),
        Fault(Kind.SEARCH, number=3),
        Fault(Kind.SEARCH_DONE, number=2, code=4),
    ],
    ids=repr,
)
async def test_a_sweep_that_was_cut_does_not_end_normally(directory: Directory, strict: Strict, crowd: str, fault: Fault) -> None:
    strict.arm(fault)
    with pytest.raises((DirectoryUnavailable, IncompleteRead)):
        [page async for page in directory.sweep(DN.parse(crowd))]
    assert strict.fired == 1


async def test_a_write_that_was_never_sent(dc: DomainController, directory: Directory, strict: Strict, container: str) -> None:
    name = unique("u")
    strict.arm(Fault(Kind.ADD))
    with pytest.raises(DirectoryUnavailable):
        await directory.apply(Add(DN.parse(container).child("CN", name), "user", {"sAMAccountName": name}))
    assert strict.fired == 1
    assert dc.find(name) is None


async def test_a_write_that_happened_and_whose_answer_is_lost(dc: DomainController, target: Target, strict: Strict, container: str) -> None:
    name = unique("u")
    dn = DN.parse(container).child("CN", name)
    strict.arm(Fault(Kind.ADD_ANSWER), Fault(Kind.MODIFY_ANSWER, kept=0.5))
    directory = await Directory.connect(target)
    with pytest.raises(DirectoryUnavailable):
        await directory.apply(Add(dn, "user", {"sAMAccountName": name}))
    assert dc.find(name) is not None
    directory = await Directory.connect(target)
    (found,) = await directory.find(sams=[name])
    with pytest.raises(DirectoryUnavailable):
        await directory.apply(ModifyMembers(await guid_of(directory, container), DN.parse(big(container)), add=(found.guid,)))
    assert dc.search(f"(member={dn})")
    assert strict.fired == 2
    assert found.dn == dn


async def test_a_reset_in_the_middle_of_the_bytes(directory: Directory, strict: Strict, crowd: str) -> None:
    strict.reset_after(3000)
    with pytest.raises(DirectoryUnavailable):
        [page async for page in directory.sweep(DN.parse(crowd))]


def test_a_client_that_speaks_no_ldap(dc: DomainController, strict: Strict) -> None:
    with tls_line(dc, strict) as line:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert line.recv(10) == b""

"""Server URLs, the order of SRV records, and discovery against a DNS server of the tests' own."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator

import dns.rdata
import pytest
from dns.rdtypes.IN.SRV import SRV

from adsync.directory import servers
from adsync.directory.servers import Server
from adsync.errors import DirectoryUnavailable, InvalidSpec
from tests.unit.directory.support import Zone, name_server


@pytest.mark.parametrize(
    ("url", "server", "shown"),
    [
        ("ldaps://dc1.corp.example.com", Server("dc1.corp.example.com", 636), "ldaps://dc1.corp.example.com"),
        ("LDAPS://DC1.corp:3269/", Server("dc1.corp", 3269), "ldaps://dc1.corp:3269"),
        ("ldaps://dc1.corp.", Server("dc1.corp", 636), "ldaps://dc1.corp"),
        ("ldaps://[2001:db8::1]:1636", Server("2001:db8::1", 1636), "ldaps://[2001:db8::1]:1636"),
        ("ldaps://[::1]", Server("::1", 636), "ldaps://[::1]"),
        ("ldaps://10.0.0.1", Server("10.0.0.1", 636), "ldaps://10.0.0.1"),
    ],
)
def test_a_url(url: str, server: Server, shown: str) -> None:
    assert servers.parse(url) == server
    assert server.url == shown


@pytest.mark.parametrize(
    "url",
    [
        "ldap://dc1", "dc1", "", "ldaps://", "ldaps:///x", "ldaps://dc1/DC=corp", "ldaps://dc1?x", "ldaps://dc1#x", "ldaps://u:p@dc1",
        "ldaps://a..b", "ldaps://.a", f"ldaps://{'a' * 64}.example.com",
        "ldaps://dc1:0", "ldaps://dc1:99999", "ldaps://dc1:x", "ldaps://[::1", "ldaps://dc 1", "https://dc1", "ldaps://dc1\n",
    ],
)  # fmt: skip
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.servers"):
        servers.parse(url)


def record(priority: int, weight: int, name: str) -> SRV:
    made = dns.rdata.from_text("IN", "SRV", f"{priority} {weight} 389 {name}")
    assert isinstance(made, SRV)
    return made


def test_lower_priorities_come_first_and_weights_count_within_one() -> None:
    records = [record(10, 0, "late."), record(0, 0, "never."), record(0, 90, "often."), record(0, 10, "seldom.")]
    first: Counter[str] = Counter()
    choose = random.Random(7)
    for _ in range(2000):
        names = [one.target.to_text() for one in servers.order(records, choose)]
        assert sorted(names) == ["late.", "never.", "often.", "seldom."]
        assert names[-1] == "late."
        first[names[0]] += 1
    assert 1650 < first["often."] < 1900
    assert 120 < first["seldom."] < 300
    assert first["never."] < 60


SRV_NAME = "_ldap._tcp.dc._msdcs.corp.test."


@pytest.fixture
async def zone() -> AsyncIterator[tuple[Zone, str]]:
    async with name_server() as served:
        yield served


async def test_discovery(zone: tuple[Zone, str]) -> None:
    table, nameserver = zone
    table.table = {(SRV_NAME, "SRV"): ["10 0 389 dc2.corp.test.", "0 0 389 dc1.corp.test.", "20 0 1636 dc3.corp.test."]}
    assert await servers.discover("corp.test", [nameserver]) == [
        Server("dc1.corp.test", 636), Server("dc2.corp.test", 636), Server("dc3.corp.test", 1636),
    ]  # fmt: skip


async def test_discovery_without_records_says_what_was_asked(zone: tuple[Zone, str]) -> None:
    _, nameserver = zone
    with pytest.raises(DirectoryUnavailable, match=r"_ldap\._tcp\.dc\._msdcs\.corp\.test.*no such record.*spec\.servers"):
        await servers.discover("corp.test", [nameserver])


async def test_a_domain_that_says_it_has_no_such_service(zone: tuple[Zone, str]) -> None:
    table, nameserver = zone
    table.table = {(SRV_NAME, "SRV"): ["0 0 0 ."]}
    with pytest.raises(DirectoryUnavailable, match="no domain controller"):
        await servers.discover("corp.test", [nameserver])


async def test_a_silent_name_server(zone: tuple[Zone, str]) -> None:
    table, nameserver = zone
    table.silent = True
    with pytest.raises(DirectoryUnavailable, match="LifetimeTimeout"):
        await servers.discover("corp.test", [nameserver], lifetime=0.3)
    with pytest.raises(DirectoryUnavailable, match="can't be resolved"):
        await servers.addresses(Server("dc1.corp.test"), [nameserver], lifetime=0.3)


async def test_a_host_is_resolved_by_the_same_name_servers(zone: tuple[Zone, str]) -> None:
    table, nameserver = zone
    table.table = {("dc1.corp.test.", "A"): ["127.0.0.5"], ("dc6.corp.test.", "AAAA"): ["::1"]}
    assert await servers.addresses(Server("dc1.corp.test"), [nameserver]) == ["127.0.0.5"]
    assert await servers.addresses(Server("dc6.corp.test"), [nameserver]) == ["::1"]
    assert await servers.addresses(Server("dc1.corp.test"), []) == ["dc1.corp.test"]
    assert await servers.addresses(Server("127.0.0.9"), [nameserver]) == ["127.0.0.9"]
    with pytest.raises(DirectoryUnavailable, match="can't be resolved"):
        await servers.addresses(Server("dc9.corp.test"), [nameserver])


@pytest.mark.parametrize("text", ["", "dns.example.com", "10.0.0.1:", "10.0.0.1:x", "10.0.0:53"])
def test_a_name_server_is_an_address(text: str) -> None:
    with pytest.raises(InvalidSpec, match="not a name server"):
        servers.resolver([text])


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1:5353", "::1", "[::1]:5353"])
def test_forms_of_name_servers(text: str) -> None:
    assert len(servers.resolver([text]).nameservers) == 1

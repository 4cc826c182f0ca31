"""Domain controllers found by DNS, as `adsync run --resolver` asks a small name server of this test's own (RFC 2782, MS-ADTS 6.3.2.3)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from lab.processes import free_ports
from lab.proxy import Front
from tests.integration.support import Operator, Site, condition, eventually, unique


class NameServer:
    """Answers over UDP from `records`: (name, type) → values as in a zone file. What is not in it does not exist."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.silent = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                data, client = self._socket.recvfrom(4096)
                if not self.silent:
                    self._socket.sendto(self._answer(data), client)

    def _answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if values := self.records.get((name, kind)):
            response.answer.append(dns.rrset.from_text(question.name, 5, "IN", kind, *values))
        elif not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


@pytest.fixture
def names(site: Site) -> Iterator[NameServer]:
    """A name server that knows the address of the domain controller, but not yet that it is one."""
    server = NameServer()
    server.records[site.dc.host, "A"] = [site.dc.address]
    yield server
    server.close()


@pytest.fixture
def operator(operators: Callable[..., Operator], site: Site, names: NameServer) -> Operator:
    made = operators(site.namespace, options=("--resolver", names.address))
    made.start()
    return made


def located(site: Site) -> tuple[str, str]:
    """The name and type of the record that says where the domain's controllers are."""
    return f"_ldap._tcp.dc._msdcs.{site.dc.domain}", "SRV"


@pytest.mark.usefixtures("operator")
def test_the_domain_controller_is_found_by_dns(site: Site, names: NameServer) -> None:
    name = unique("u")
    site.connect(servers=[])
    domain = site.await_reason("corp", "DomainUnavailable", "ADDomain")
    said = condition(domain, "Ready")["message"]
    assert located(site)[0] in said
    assert "spec.servers" in said
    names.records[located(site)] = [f"0 100 389 {site.dc.host}."]
    site.user(name)
    domain = site.await_reason("corp", "Synced", "ADDomain", 30)
    assert domain["status"]["domainController"]["url"] == f"ldaps://{site.dc.host}"  # and its certificate was checked for that name
    site.await_reason(name)
    assert site.dc.find(name) is not None
    assert located(site) in names.asked


@pytest.mark.usefixtures("operator")
def test_records_are_tried_by_priority(site: Site, names: NameServer) -> None:
    (closed,) = free_ports(1)
    with Front(*site.dc.endpoint) as front:
        for host in ("dead.corp.example.com", "localhost"):
            names.records[host, "A"] = ["127.0.0.1"]
        names.records[located(site)] = [
            f"20 0 389 {site.dc.host}.", f"5 0 {closed} dead.corp.example.com.", f"10 0 {front.port} localhost."
        ]  # fmt: skip
        site.connect(servers=[])
        domain = site.await_reason("corp", "Synced", "ADDomain")
        assert domain["status"]["domainController"]["url"] == f"ldaps://localhost:{front.port}"
        name = unique("u")
        front.cut()
        site.user(name)
        site.await_reason(name, timeout=30)
        url = f"ldaps://{site.dc.host}"
        eventually(lambda: site.get("corp", "ADDomain")["status"]["domainController"]["url"] == url)


@pytest.mark.usefixtures("operator")
def test_a_silent_name_server_is_no_empty_answer(site: Site, names: NameServer) -> None:
    name = unique("u")
    names.records[located(site)] = [f"0 100 389 {site.dc.host}."]
    names.silent = True
    site.connect(servers=[])
    site.user(name)
    said = condition(site.await_reason("corp", "DomainUnavailable", "ADDomain"), "Ready")["message"]
    assert "there is no such record" not in said
    names.silent = False
    site.await_reason(name, timeout=30)

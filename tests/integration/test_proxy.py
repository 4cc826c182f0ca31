"""The proxy of the fault tests: each fault is what it says, with a real client on one side and a real server on the other."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from lab.ldaptools import LdapError, LdapTools
from lab.proxy import Front
from lab.samba import DomainController


@pytest.fixture
def front(dc: DomainController) -> Iterator[Front]:
    with Front(*dc.endpoint) as front:
        yield front


class Line(NamedTuple):
    """A connection through a front, held at both ends."""

    front: Front
    client: socket.socket
    far: socket.socket


@pytest.fixture
def line() -> Iterator[Line]:
    with socket.create_server(("127.0.0.1", 0)) as server, Front(*server.getsockname()) as front:
        client = socket.create_connection(("127.0.0.1", front.port), 5)
        far, _ = server.accept()
        with client, far:
            yield Line(front, client, far)


def test_passes_on_and_refuses(front: Front, dc: DomainController) -> None:
    tools = LdapTools(front.url, dc.ca_file)
    assert tools.bind(dc.service) == ""
    front.cut()
    with pytest.raises(LdapError):
        tools.bind(dc.service)
    front.open()
    assert tools.bind(dc.service) == ""
    assert front.accepted == 2


def test_stalls_and_goes_on(line: Line) -> None:
    line.front.stall()
    line.far.sendall(b"late")
    line.client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        line.client.recv(10)
    line.client.settimeout(5)
    line.front.resume()
    assert line.client.recv(10) == b"late"
    assert line.front.connections == 1


def test_resets_in_the_middle(line: Line) -> None:
    line.front.reset_after(600)
    line.far.sendall(b"x" * 1000)
    got: list[bytes] = []
    with pytest.raises(ConnectionResetError):
        got.extend(iter(lambda: line.client.recv(1000), b""))
    assert sum(map(len, got)) <= 600

"""The connection against a TLS server whose answers the tests write: order, cuts, stalls, nonsense, and callers that go away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from adsync.directory import tls, wire
from adsync.directory.connection import LdapConnection
from adsync.directory.wire import Kind
from adsync.errors import CertificateRejected, CredentialsRejected, DirectoryError, DirectoryUnavailable, InvalidSpec
from tests.unit.directory.support import Listener, Script, Session, entry, listening, message, result, tlv

Serve = Callable[[Script], AbstractAsyncContextManager[Listener]]

SEARCH, ADD, ABANDON, UNBIND = 0x63, 0x68, 0x50, 0x42


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    return lambda script: listening(tmp_path, script)


async def idle(session: Session) -> None:
    """Read on and never answer."""
    while True:
        await session.request()


async def look(connection: LdapConnection) -> str:
    """Any operation; the name of the one entry."""
    entries, _ = await connection.search("", wire.BASE, "(objectClass=*)", ["cn"])
    return entries[0][0]


async def listen(connection: LdapConnection, names: list[str]) -> None:
    async for name, _ in connection.listen("DC=x", wire.SUBTREE, "(objectClass=*)", ["cn"], controls=[]):
        names.append(name)


def after(count: int, then: Callable[[Session], Awaitable[None]]) -> Script:
    async def script(session: Session) -> None:
        for _ in range(count):
            await session.request()
        await then(session)

    return script


async def test_answers_find_their_operations_in_any_order(serve: Serve) -> None:
    async def backwards(session: Session) -> None:
        got = [await session.request() for _ in range(20)]
        for one in reversed(got):
            session.send(entry(one.message_id, f"CN={one.message_id}", {"cn": [b"x"]}), result(one.message_id, Kind.DONE))
        await idle(session)

    async with serve(backwards) as listener:
        connection = await listener.connect()
        names = await asyncio.gather(*(look(connection) for _ in range(20)))
        assert names == [f"CN={number}" for number in range(1, 21)]
        assert connection.operations == {"search": 20}
        await connection.close()


async def test_an_answer_in_crumbs(serve: Serve) -> None:
    async def crumbs(session: Session) -> None:
        one = await session.request()
        for octet in entry(one.message_id, "CN=x", {"cn": [b"y" * 300]}) + result(one.message_id, Kind.DONE):
            session.send(bytes((octet,)))
            await session.writer.drain()
            await asyncio.sleep(0)
        await idle(session)

    async with serve(crumbs) as listener:
        connection = await listener.connect()
        assert await look(connection) == "CN=x"
        await connection.close()


async def test_no_more_are_in_flight_than_allowed(serve: Serve) -> None:
    most = 0

    async def script(session: Session) -> None:
        nonlocal most
        waiting = []
        while True:
            waiting.append(await session.request())
            most = max(most, len(waiting))
            if len(waiting) == 3:
                for one in waiting:
                    session.send(entry(one.message_id, "CN=x", {}), result(one.message_id, Kind.DONE))
                waiting.clear()

    async with serve(script) as listener:
        connection = await listener.connect(in_flight=3)
        await asyncio.gather(*(look(connection) for _ in range(30)))
        assert most == 3
        await connection.close()


async def cut(session: Session) -> None:
    session.writer.transport.abort()


async def close(session: Session) -> None:
    session.writer.close()


async def nonsense(session: Session) -> None:
    session.send(b"HTTP/1.1 400 Bad Request\r\n")
    await idle(session)


async def broken(session: Session) -> None:
    session.send(tlv(0x30, tlv(0x02, b"\x01"), b"\x64\x7f"))
    await idle(session)


async def notice(session: Session) -> None:
    session.send(message(0, tlv(Kind.EXTENDED, tlv(0x0A, b"\x34"), tlv(0x04), tlv(0x04, b"idle for too long"))))
    await idle(session)


@pytest.mark.parametrize(
    ("ending", "says"),
    [(cut, ""), (close, "closed the connection"), (nonsense, "not LDAP"), (broken, "not LDAP"), (notice, "idle for too long")],
)
async def test_an_end_fails_everything_outstanding_and_is_told(serve: Serve, ending: Script, says: str) -> None:
    async with serve(after(5, ending)) as listener:
        connection = await listener.connect(peer="ldaps://dc1.test")
        outcomes = await asyncio.gather(*(look(connection) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(outcome, DirectoryUnavailable) for outcome in outcomes)
        assert len({id(outcome) for outcome in outcomes}) == 5
        assert connection.closed.is_set()
        assert says in connection.reason
        with pytest.raises(DirectoryUnavailable, match="ldaps://dc1"):
            await look(connection)
        await connection.close()


async def test_a_server_that_stalls_is_found_while_it_owes_an_answer(serve: Serve) -> None:
    async with serve(idle) as listener:
        connection = await listener.connect(stall_timeout=0.2)
        began = time.monotonic()
        with pytest.raises(DirectoryUnavailable, match="said nothing"):
            await look(connection)
        assert time.monotonic() - began < 2
        await connection.close()


async def test_a_slow_answer_is_waited_for_as_long_as_the_server_says_something(serve: Serve) -> None:
    async def slow(session: Session) -> None:
        one = await session.request()
        for number in range(8):
            session.send(entry(one.message_id, f"CN={number}", {}))
            await asyncio.sleep(0.1)
        session.send(result(one.message_id, Kind.DONE))
        await idle(session)

    async with serve(slow) as listener:
        connection = await listener.connect(stall_timeout=0.4)
        entries, answer = await connection.search("", wire.SUBTREE, "(objectClass=*)", ["cn"])
        assert (len(entries), answer.code) == (8, 0)
        await connection.close()


async def test_one_operation_that_is_never_answered_ends_the_connection(serve: Serve) -> None:
    async def skips_the_first(session: Session) -> None:
        await session.request()
        while True:
            one = await session.request()
            session.send(entry(one.message_id, "CN=x", {}), result(one.message_id, Kind.DONE))

    async with serve(skips_the_first) as listener:
        connection = await listener.connect(operation_timeout=0.5, stall_timeout=0.4)
        lost = asyncio.ensure_future(look(connection))
        while not lost.done():
            await asyncio.wait([lost], timeout=0.05)
            if not lost.done():
                await look(connection)
        with pytest.raises(DirectoryUnavailable, match=r"not answered within 0\.5 s"):
            await lost
        await connection.close()


async def test_an_idle_connection_gives_a_sign_of_life_and_finds_a_dead_server(serve: Serve) -> None:
    alive = asyncio.Event()

    async def dies(session: Session) -> None:
        for _ in range(2):
            one = await session.request()
            session.send(entry(one.message_id, "", {}), result(one.message_id, Kind.DONE))
        alive.set()
        await idle(session)

    async with serve(dies) as listener:
        connection = await listener.connect(keepalive=0.1, stall_timeout=0.3)
        async with asyncio.timeout(5):
            await alive.wait()
            assert not connection.closed.is_set()
            await connection.closed.wait()
        assert "said nothing" in connection.reason
        await connection.close()


async def test_who_goes_away_calls_the_search_off_and_harms_no_other(serve: Serve) -> None:
    async def script(session: Session) -> None:
        while True:
            one = await session.request()
            if one.tag == SEARCH and len(session.seen) > 1:
                session.send(entry(session.seen[0].message_id, "CN=late", {}), result(session.seen[0].message_id, Kind.DONE))
                session.send(entry(one.message_id, "CN=x", {}), result(one.message_id, Kind.DONE))

    async with serve(script) as listener:
        connection = await listener.connect()
        gone = asyncio.ensure_future(look(connection))
        await asyncio.sleep(0.05)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert await look(connection) == "CN=x"
        assert [one.tag for one in listener.sessions[0].seen] == [SEARCH, ABANDON, SEARCH]
        await connection.close()


async def test_a_cancelled_write_is_not_called_off(serve: Serve) -> None:
    async def script(session: Session) -> None:
        while True:
            one = await session.request()
            if one.tag == SEARCH:
                session.send(entry(one.message_id, "CN=x", {}), result(one.message_id, Kind.DONE))

    async with serve(script) as listener:
        connection = await listener.connect()
        gone = asyncio.ensure_future(connection.add("CN=x", {"cn": ["x"]}))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await look(connection)
        assert [one.tag for one in listener.sessions[0].seen] == [ADD, SEARCH]
        await connection.close()


async def test_a_refused_bind_is_one_attempt(serve: Serve) -> None:
    async def script(session: Session) -> None:
        while True:
            one = await session.request()
            session.send(result(one.message_id, Kind.BIND, 49, "80090308: LdapErr: DSID-0C0903A9, comment: x, data 775, v1db1"))

    async with serve(script) as listener:
        connection = await listener.connect()
        with pytest.raises(CredentialsRejected) as caught:
            await connection.bind_simple("svc@corp", SecretStr("Hunter-22"))
        assert caught.value.sub_code == "775"
        assert "Hunter" not in str(caught.value)
        assert len(listener.sessions[0].seen) == 1
        await connection.close()


@pytest.mark.parametrize(("name", "password"), [("svc", ""), ("", "x")])
async def test_an_empty_password_is_never_sent(serve: Serve, name: str, password: str) -> None:
    async with serve(idle) as listener:
        connection = await listener.connect()
        with pytest.raises(CredentialsRejected, match="empty"):
            await connection.bind_simple(name, SecretStr(password))
        assert not [one for session in listener.sessions for one in session.seen]
        await connection.close()


async def test_what_can_not_be_encoded_harms_nobody_and_shows_nothing(serve: Serve) -> None:
    async def script(session: Session) -> None:
        while True:
            one = await session.request()
            session.send(entry(one.message_id, "CN=x", {}), result(one.message_id, Kind.DONE))

    async with serve(script) as listener:
        connection = await listener.connect()
        with pytest.raises(DirectoryError) as caught:
            await connection.add("CN=x\udcff", {"cn": ["Hunter-22\udcff"]})
        assert "Hunter" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert await look(connection) == "CN=x"
        await connection.close()


async def test_the_observer_hears_of_every_operation(serve: Serve) -> None:
    async def script(session: Session) -> None:
        for kind in (Kind.ADD, Kind.DELETE):
            one = await session.request()
            session.send(result(one.message_id, kind, 0 if kind is Kind.ADD else 32))
        await session.request()

    heard: list[tuple[str, int]] = []
    async with serve(script) as listener:
        connection = await listener.connect(observer=lambda name, seconds, code: heard.append((name, code)) if seconds >= 0 else None)
        await connection.add("CN=x", {"cn": ["x"]})
        await connection.delete("CN=x")
        with pytest.raises(DirectoryUnavailable):
            await connection.modify("CN=x", {"mail": [("MODIFY_REPLACE", [])]})
        await connection.close()
    assert heard == [("add", 0), ("delete", 32), ("modify", -1)]


async def test_an_endless_search_gives_entries_as_they_come_and_raises_at_its_end(serve: Serve) -> None:
    async def script(session: Session) -> None:
        one = await session.request()
        for number in range(3):
            session.send(entry(one.message_id, f"CN={number}", {}))
            await asyncio.sleep(0.02)
        session.send(result(one.message_id, Kind.DONE, 53, "enough"))
        await idle(session)

    async with serve(script) as listener:
        connection = await listener.connect(stall_timeout=0.3)
        names: list[str] = []
        with pytest.raises(DirectoryError, match="enough"):
            await listen(connection, names)
        assert names == ["CN=0", "CN=1", "CN=2"]
        await connection.close()


async def test_an_endless_search_is_no_debt_but_a_cut_ends_it(serve: Serve) -> None:
    async def script(session: Session) -> None:
        one = await session.request()
        await asyncio.sleep(0.6)
        session.send(entry(one.message_id, "CN=x", {}))
        await session.writer.drain()
        await asyncio.sleep(0.05)
        session.writer.transport.abort()

    async with serve(script) as listener:
        connection = await listener.connect(stall_timeout=0.2)
        names: list[str] = []
        with pytest.raises(DirectoryUnavailable):
            await listen(connection, names)
        assert names == ["CN=x"]
        await connection.close()


async def test_closing_says_goodbye_and_fails_what_is_outstanding(serve: Serve) -> None:
    async with serve(idle) as listener:
        connection = await listener.connect()
        waiting = asyncio.ensure_future(look(connection))
        await asyncio.sleep(0.05)
        await connection.close()
        await connection.close()
        with pytest.raises(DirectoryUnavailable, match="closed"):
            await waiting
        async with asyncio.timeout(5):
            await listener.sessions[0].gone.wait()
        assert [one.tag for one in listener.sessions[0].seen] == [SEARCH, UNBIND]


async def test_a_long_answer_leaves_others_their_turn(serve: Serve) -> None:
    values = {f"attribute{number}": [b"some value"] for number in range(12)}

    answer = b"".join((*(entry(1, f"CN={number}", values) for number in range(10_000)), result(1, Kind.DONE)))

    async def script(session: Session) -> None:
        assert (await session.request()).message_id == 1
        session.send(answer)
        await idle(session)

    longest = 0.0

    async def pulse() -> None:
        nonlocal longest
        while True:
            before = time.process_time()  # of our own, as the machine may be busy with other things
            await asyncio.sleep(0)
            longest = max(longest, time.process_time() - before)

    async with serve(script) as listener:
        connection = await listener.connect()
        beat = asyncio.ensure_future(pulse())
        entries, _ = await connection.search("", wire.SUBTREE, "(objectClass=*)", ["cn"])
        beat.cancel()
        assert len(entries) == 10_000
        assert longest < 0.25
        await connection.close()


# TLS


async def test_the_certificate_is_verified_and_its_end_is_known(tmp_path: Path) -> None:
    async with listening(tmp_path, idle) as listener:
        connection = await listener.connect()
        assert connection.not_after is not None
        assert timedelta(days=800) < connection.not_after - datetime.now(UTC) < timedelta(days=826)
        await connection.close()


async def test_a_wrong_name_is_told_with_the_right_ones(tmp_path: Path) -> None:
    async with listening(tmp_path, idle, names=("dc7.test", "corp.test")) as listener:
        with pytest.raises(CertificateRejected, match=r"is for dc7\.test, corp\.test, 127\.0\.0\.9, not for dc1\.test.*serverName"):
            await listener.connect()
        assert not [one for session in listener.sessions for one in session.seen]


async def test_a_wrong_address(tmp_path: Path) -> None:
    async with listening(tmp_path, idle) as listener:
        context = tls.context(listener.ca)
        with pytest.raises(CertificateRejected, match=r"not for 127\.0\.0\.1"):
            await LdapConnection.open("127.0.0.1", listener.port, context=context, server_hostname="127.0.0.1", timeout=5)


async def test_an_expired_certificate(tmp_path: Path) -> None:
    async with listening(tmp_path, idle, expired=True) as listener:
        with pytest.raises(CertificateRejected, match="expired"):
            await listener.connect()


@pytest.mark.parametrize("other", [True, False])
async def test_an_unknown_ca(tmp_path: Path, other: bool) -> None:
    async with listening(tmp_path / "a", idle) as listener, listening(tmp_path / "b", idle) as stranger:
        context = tls.context(stranger.ca if other else None)
        with pytest.raises(CertificateRejected, match=r"unknown CA.*spec\.tls"):
            await LdapConnection.open("127.0.0.1", listener.port, context=context, server_hostname="dc1.test", timeout=5)


@pytest.mark.parametrize("pem", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\xfe"])
def test_a_ca_that_is_none(pem: bytes) -> None:
    with pytest.raises(InvalidSpec, match="PEM"):
        tls.context(pem)


async def test_a_server_without_tls_is_unavailable_and_gets_no_password() -> None:
    got = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read(4096))
        writer.write(b"0\x0c\x02\x01\x01a\x07\n\x01\x00\x04\x00\x04\x00")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(DirectoryUnavailable):
        await LdapConnection.open("127.0.0.1", port, context=tls.context(None), server_hostname="dc1.test", timeout=5)
    assert got[0] == 0x16  # a TLS handshake record, nothing else
    server.close()


async def test_a_server_that_accepts_and_says_nothing() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        await reader.read(4096)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(DirectoryUnavailable, match=r"within 0\.3 s"):
        await LdapConnection.open("127.0.0.1", port, context=tls.context(None), server_hostname="dc1.test", timeout=0.3)
    server.close()


async def test_nobody_listens_and_nobody_of_that_name() -> None:
    with pytest.raises(DirectoryUnavailable, match="can't be reached"):
        await LdapConnection.open("127.0.0.1", 1, context=tls.context(None), server_hostname="x", timeout=5)
    with pytest.raises(DirectoryUnavailable, match="can't be resolved"):
        await LdapConnection.open("nowhere.invalid", 636, context=tls.context(None), server_hostname="x", timeout=5)


async def test_without_the_lease_no_write_is_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs out at the last moment: while the bytes of the write are being made. Reading goes on."""
    got: list[int] = []

    async def script(session: Session) -> None:
        while True:
            one = await session.request()
            got.append(one.tag)
            session.send(entry(one.message_id, "CN=x", {}), result(one.message_id, Kind.DONE))

    leading = True
    encode = wire.encode

    def slowly(*args: Any) -> bytes:
        nonlocal leading
        leading = False
        return encode(*args)

    async with serve(script) as listener:
        connection = await listener.connect()
        connection.may_write = lambda: leading
        monkeypatch.setattr(wire, "encode", slowly)
        changes = {"title": [("MODIFY_REPLACE", ["x"])]}
        for write in (connection.add("CN=x", {}), connection.modify("CN=x", changes), connection.delete("CN=x")):
            leading = True
            with pytest.raises(DirectoryUnavailable, match="lease has run out"):
                await write
        with pytest.raises(DirectoryUnavailable):
            await connection.modify_dn("CN=x", "CN=y", None)
        assert await look(connection) == "CN=x"
        assert got == [SEARCH]
        await connection.close()

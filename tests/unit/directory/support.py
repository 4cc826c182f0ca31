"""Stands in for servers: BER by hand, a TLS listener whose answers the test writes, a connection whose searches are scripted, a name server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from adsync.directory import tls, wire
from adsync.directory.connection import LdapConnection
from adsync.directory.wire import Answer, RawEntry
from lab.certificates import Authority

SUCCESS = Answer(0)


def tlv(tag: int, *parts: bytes) -> bytes:
    """One BER element of definite length."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(max(1, (value.bit_length() + 8) // 8), "big"))


def message(message_id: int, operation: bytes, controls: Mapping[str, bytes] | None = None) -> bytes:
    extra = b"".join(tlv(0x30, tlv(0x04, oid.encode()), tlv(0x04, value)) for oid, value in (controls or {}).items())
    return tlv(0x30, integer(message_id), operation, tlv(0xA0, extra) if controls else b"")


def entry(message_id: int, dn: str, attributes: Mapping[str, Sequence[bytes]]) -> bytes:
    listed = (
        tlv(0x30, tlv(0x04, name.encode()), tlv(0x31, *(tlv(0x04, value) for value in values))) for name, values in attributes.items()
    )
    return message(message_id, tlv(wire.Kind.ENTRY, tlv(0x04, dn.encode()), tlv(0x30, *listed)))


def result(message_id: int, kind: wire.Kind, code: int = 0, diagnostic: str = "", controls: Mapping[str, bytes] | None = None) -> bytes:
    return message(message_id, tlv(kind, tlv(0x0A, bytes((code,))), tlv(0x04), tlv(0x04, diagnostic.encode())), controls)


def paged(cookie: bytes = b"") -> dict[str, bytes]:
    return {wire.PAGED_RESULTS: tlv(0x30, integer(0), tlv(0x04, cookie))}


@dataclass
class Request:
    """What the client sent: the message id, the operation's tag, and the whole message."""

    message_id: int
    tag: int
    data: bytes


@dataclass
class Session:
    """One client of the listener."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: list[Request] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(self) -> Request:
        data = await self.reader.readexactly(2)
        if data[1] > 0x7F:
            data += await self.reader.readexactly(data[1] & 0x7F)
        data += await self.reader.readexactly(wire.frame(data, 0) - len(data))
        at = data.index(0x02, 1)  # the message id follows the outer header at once
        end = at + 2 + data[at + 1]
        made = Request(int.from_bytes(data[at + 2 : end], "big"), data[end], data)
        self.seen.append(made)
        return made

    def send(self, *messages: bytes) -> None:
        self.writer.write(b"".join(messages))


Script = Callable[[Session], Awaitable[None]]


@dataclass
class Listener:
    """A TLS server on a port of its own. `script` answers each client."""

    authority: Authority
    port: int = 0
    sessions: list[Session] = field(default_factory=list)

    @property
    def ca(self) -> bytes:
        return self.authority.ca_file.read_bytes()

    async def connect(self, **options: Any) -> LdapConnection:
        context = tls.context(self.ca)
        return await LdapConnection.open("127.0.0.1", self.port, context=context, server_hostname="dc1.test", timeout=5, **options)


@asynccontextmanager
async def listening(
    directory: Path, script: Script, *, names: Sequence[str] = ("dc1.test",), expired: bool = False
) -> AsyncIterator[Listener]:
    authority = Authority(directory)
    authority.issue(directory / "server.pem", directory / "server.key", list(names), ["127.0.0.9"], expired=expired)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    made = Listener(authority)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        session = Session(reader, writer)
        made.sessions.append(session)
        try:
            await script(session)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            session.gone.set()
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Scripted:
    """Takes the place of a connection: each search gets the next answer, each modify the next code."""

    searches: list[tuple[list[RawEntry], Answer]] = field(default_factory=list)
    modifies: list[Answer] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    peer: str = "test"

    async def search(
        self, base: str, scope: int, search_filter: str, attributes: Sequence[str], **options: Any
    ) -> tuple[list[RawEntry], Answer]:
        self.asked.append({"base": base, "scope": scope, "filter": search_filter, "attributes": list(attributes), **options})
        return self.searches.pop(0)

    async def modify(self, dn: str, changes: Any, *, controls: Sequence[Any] = ()) -> Answer:
        self.asked.append({"dn": dn, "changes": changes, "controls": list(controls)})
        return self.modifies.pop(0)

    @property
    def connection(self) -> LdapConnection:
        return cast("LdapConnection", self)


class Zone(asyncio.DatagramProtocol):
    """Answers from a table of (name, type) → texts; anything else does not exist."""

    def __init__(self, table: dict[tuple[str, str], list[str]], silent: bool = False) -> None:
        self.table, self.silent = table, silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.silent:
            return
        query = dns.message.from_wire(data)
        asked = query.question[0]
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA | dns.flags.RA
        name, kind = asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype)
        if texts := self.table.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *texts))
        elif not any(known == name for known, _ in self.table):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[tuple[Zone, str]]:
    """A DNS server on a port of its own: its zone, empty at first, and `address:port`."""
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Zone({}), local_addr=("127.0.0.1", 0))
    try:
        yield protocol, f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()

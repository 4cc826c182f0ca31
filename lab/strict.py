"""An LDAPS proxy in front of Samba that has a Windows domain controller's manners (lab/manners.py), counts, and fails where it is told to.

It ends the client's TLS with the domain controller's own certificate and opens a TLS connection of its own to the server. What needs no
change is passed on byte for byte. Tests use `Strict` in their own process; `python -m lab.strict` runs one in front of a lab's domain.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import ssl
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab import messages
from lab.lab import DEFAULT, Lab
from lab.manners import Limits, Manners, naming_contexts
from lab.messages import Envelope, Kind, NotLdapError
from lab.processes import LabError
from lab.proxy import CHUNK, Front
from lab.samba import DomainController

UNAVAILABLE = 52
_REQUESTS = {
    Kind.BIND: "bind", Kind.UNBIND: "unbind", Kind.SEARCH: "search", Kind.ADD: "add", Kind.MODIFY: "modify", Kind.MODIFY_DN: "modifyDN",
    Kind.DELETE: "delete", Kind.COMPARE: "compare", Kind.ABANDON: "abandon", Kind.EXTENDED: "extended",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """Cut the connection at the `number`-th message of this kind, counted from 1 over all connections since the fault was armed.

    `kept` is how much of that message still goes through: 0 nothing, 0.5 half its bytes, 1 all. So `Fault(Kind.ADD)` is a write that was
    never sent, and `Fault(Kind.ADD_ANSWER)` one that happened and whose answer is lost. `containing`: only messages with these bytes
    (`b";range="`). `asked`: only requests with these bytes, and answers to such searches. With a `code`, an entry or the end of a search
    is not cut: the search ends there with this result code.
    """

    kind: Kind
    number: int = 1
    kept: float = 0.0
    containing: bytes = b""
    asked: bytes = b""
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A request as it went by: "search", "modify" …, the DN that it is about, and of a modify how many values it carries."""

    name: str
    dn: str
    values: int = 0


class _CutError(Exception):
    """This connection is to be cut now."""


class _Line:
    """A connection of a client and the one to the server that belongs to it."""

    def __init__(self, manners: Manners, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.manners = manners
        self.client = client
        self.server = server
        self.active = time.monotonic()
        self.asked: dict[int, bytes] = {}
        """The searches under way, as they came."""


class Strict(Front):
    """A `Front` with Windows's manners: all faults of a Front work here too. `operations` counts requests by type, `journal` lists them,
    `entries` counts what searches gave; `clear` begins anew."""

    def __init__(self, host: str, port: int = 636, *, base: str, certificate: Path, key: Path, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.operations: Counter[str] = Counter()
        self.journal: deque[Operation] = deque(maxlen=100_000)
        self.entries = 0
        self.fired = 0
        """How many faults have happened so far."""
        self._contexts = naming_contexts(base)
        self._faults: deque[Fault] = deque()
        self._seen = 0
        self._certificate, self._key, self._issued = certificate, key, 0
        self._tls = self._server_tls()
        # The server is the lab's own, on this machine, and its certificate may be wrong on purpose.
        self._client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client_tls.check_hostname = False
        self._client_tls.verify_mode = ssl.CERT_NONE
        super().__init__(host, port)

    @classmethod
    def before(cls, dc: DomainController, limits: Limits | None = None) -> Strict:
        """In front of a domain controller of the lab, with its certificate."""
        tls = dc.directory / "tls"
        return cls(dc.address, base=dc.base, certificate=tls / "server.pem", key=tls / "server.key", limits=limits)

    # Faults and counts

    def arm(self, *faults: Fault) -> None:
        """Let these faults happen, one after the other: each is counted from when the one before it has happened."""
        self._call(lambda: self._faults.extend(faults))

    def __enter__(self) -> Self:
        return self

    def disarm(self) -> None:
        """Forget the faults that have not happened yet."""
        self._call(self._disarm)

    def _disarm(self) -> None:
        self._faults.clear()
        self._seen = 0

    @property
    def armed(self) -> int:
        """How many faults have not happened yet."""
        return len(self._faults)

    def clear(self) -> None:
        """Begin to count anew."""

        def clear() -> None:
            self.operations.clear()
            self.journal.clear()
            self.entries = 0

        self._call(clear)

    # In the thread of the loop

    def _server_tls(self) -> ssl.SSLContext:
        """With the certificate as it is now; a client that comes after it has been replaced gets the new one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issued = self._certificate.stat().st_mtime_ns
        context.load_cert_chain(self._certificate, self._key)
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        with contextlib.suppress(FileNotFoundError):  # of a domain controller that has been removed: its old one will do
            if self._certificate.stat().st_mtime_ns != self._issued:
                self._tls = self._server_tls()
        assert self._tls is not None
        connection.context = self._tls

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.target, ssl=self._client_tls)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter
    ) -> None:
        line = _Line(Manners(self.limits, self._contexts), writer, far_writer)
        work = [asyncio.create_task(task) for task in (self._requests(line, reader), self._answers(line, far_reader), self._idle(line))]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            ended = await asyncio.gather(*work, return_exceptions=True)
        if any(isinstance(each, _CutError | OSError | NotLdapError) for each in ended):
            return
        for each in ended:
            if isinstance(each, Exception):
                logging.getLogger(__name__).error("the proxy failed", exc_info=each)
        for stream in (writer, far_writer):
            stream.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.gather(writer.wait_closed(), far_writer.wait_closed())

    async def _requests(self, line: _Line, reader: asyncio.StreamReader) -> None:
        async for batch in _messages(reader, line.manners.limits.request):
            await self._gate.wait()
            if self._delay:
                await asyncio.sleep(self._delay)
            line.active = time.monotonic()
            for message in batch:
                seen = messages.envelope(message)
                self._count(message, seen)
                if seen.kind is Kind.SEARCH:
                    line.asked[seen.number] = message
                fault = self._due(seen.kind, message, message)
                if fault is not None:
                    await self._cut(line.server, message, fault)
                verdict = line.manners.request(message)
                if verdict.forward is not None:
                    line.server.write(verdict.forward)
                if verdict.answer is not None:
                    line.client.write(verdict.answer)
            await asyncio.gather(line.server.drain(), line.client.drain())

    async def _answers(self, line: _Line, reader: asyncio.StreamReader) -> None:
        async for batch in _messages(reader, 0):
            await self._gate.wait()
            if self._delay:
                await asyncio.sleep(self._delay)
            out: list[bytes] = []
            for message in batch:
                given = line.manners.answer(message)
                if not given:
                    continue
                seen = messages.envelope(given)
                if seen.kind is Kind.ENTRY:
                    self.entries += 1
                if not line.manners.notifies(seen.number):
                    line.active = time.monotonic()
                fault = self._due(seen.kind, given, line.asked.get(seen.number, b""))
                if seen.kind is Kind.SEARCH_DONE:
                    line.asked.pop(seen.number, None)
                if fault is not None and fault.code is not None:
                    line.manners.end(seen)
                    given = messages.search_done(seen.number, fault.code)
                elif fault is not None:
                    line.client.writelines(out)
                    await self._cut(line.client, given, fault)
                out.append(given)
            data, last = self._clip(b"".join(out))
            line.client.write(data)
            await line.client.drain()
            if last:
                self._reset()
                raise _CutError

    async def _idle(self, line: _Line) -> None:
        """MaxConnIdleTime: a connection over which nothing was asked and nothing answered. Notifications are no answers."""
        while (left := line.active + line.manners.limits.idle - time.monotonic()) > 0:  # noqa: ASYNC110 - it waits for a time to pass
            await asyncio.sleep(left)
        line.client.write(messages.disconnection(UNAVAILABLE, "the connection was idle for too long"))
        await line.client.drain()

    def _count(self, message: bytes, seen: Envelope) -> None:
        name = _REQUESTS.get(seen.kind)
        if name is not None:
            values = messages.modified_values(message, seen) if seen.kind is Kind.MODIFY else 0
            self.operations[name] += 1
            self.journal.append(Operation(name, messages.subject(message, seen), values))

    def _due(self, kind: Kind, message: bytes, asked: bytes) -> Fault | None:
        """The fault that happens at this message, if one does."""
        if not self._faults:
            return None
        fault = self._faults[0]
        if kind is not fault.kind or fault.containing not in message or fault.asked not in asked:
            return None
        self._seen += 1
        if self._seen < fault.number:
            return None
        self._faults.popleft()
        self._seen = 0
        self.fired += 1
        return fault

    async def _cut(self, writer: asyncio.StreamWriter, message: bytes, fault: Fault) -> None:
        writer.write(message[: round(len(message) * fault.kept)])
        await writer.drain()
        raise _CutError


async def _messages(reader: asyncio.StreamReader, limit: int) -> AsyncGenerator[list[bytes], None]:
    """Whole messages, as many together as have come. Raises _CutError where one is longer than `limit` bytes, if that is not 0."""
    buffer = bytearray()
    while data := await reader.read(CHUNK):
        buffer += data
        found: list[bytes] = []
        at = 0
        while (end := messages.frame(buffer, at)) and end <= len(buffer):
            if 0 < limit < end - at:
                break
            found.append(bytes(buffer[at:end]))
            at = end
        del buffer[:at]
        if found:
            yield found
        if 0 < limit < messages.frame(buffer, 0):
            raise _CutError


def main(arguments: list[str] | None = None, *, wait: Callable[[], object] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m lab.strict", description="An LDAPS proxy with Windows's manners in front of a lab's domain")
    parser.add_argument("--name", default=DEFAULT, help="the lab's name")
    parser.add_argument("--domain", default="", help="the domain controller's name in the lab; default: the first one")
    parser.add_argument("--idle", type=float, default=900.0, help="seconds after which an idle connection is cut")
    chosen = parser.parse_args(arguments)
    try:
        dc = Lab(chosen.name).domain(chosen.domain)
        with Strict.before(dc, Limits(idle=chosen.idle)) as strict:
            print(f"{strict.url} stands before {dc.url}; its CA is {dc.ca_file}. Ctrl-C ends it.", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                (wait or _forever)()
            print(", ".join(f"{name}: {count}" for name, count in sorted(strict.operations.items())) or "nothing was asked")
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _forever() -> None:
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())

"""One LDAPS connection with many operations in flight, told apart by their message ids (RFC 4511 section 4.1.1.1).

The connection either works or is over: a cut, a timeout, a server that stops talking, or bytes that make no sense fail every outstanding
operation with DirectoryUnavailable, set `closed`, and nothing is sent any more. Whether to connect again is for others to decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from aiohappyeyeballs import start_connection
from pydantic import SecretStr

from adsync.directory import answers, tls, wire
from adsync.directory.model import Observer
from adsync.directory.wire import Answer, RawEntry
from adsync.errors import CredentialsRejected, DirectoryError, DirectoryUnavailable

_Build: TypeAlias = Callable[[], wire.Operation]
_CHUNK = 256 * 1024
_WRITES = frozenset({"add", "modify", "modifyDN", "delete"})
_WAKE_UPS = 1000
"""Entries of an endless search that wait for their reader; more are dropped, as one wake-up is as good as many."""


@dataclass(slots=True, eq=False)
class _Pending:
    """An operation on its way. `patience` is how long the server may say nothing while it works on this one; None: for ever."""

    name: str
    answer: asyncio.Future[Answer]
    started: float
    deadline: float
    patience: float | None
    entries: list[RawEntry] = field(default_factory=list)
    stream: asyncio.Queue[RawEntry | None] | None = None


class LdapConnection:
    """Made by `open`. Every method may raise DirectoryUnavailable; answers other than success come back as answers, not as errors.

    `may_write` is asked when a write is about to be sent; without its consent it is not, and DirectoryUnavailable says so."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        peer: str,
        *,
        in_flight: int = 32,
        operation_timeout: float = 120.0,
        stall_timeout: float = 10.0,
        keepalive: float = 60.0,
        observer: Observer | None = None,
    ) -> None:
        self.peer = peer
        self.closed = asyncio.Event()
        self.may_write: Callable[[], bool] = lambda: True
        self.operations: Counter[str] = Counter()
        self.not_after = tls.not_after(writer.get_extra_info("ssl_object"))
        self._reader, self._writer = reader, writer
        self._operation_timeout, self._stall_timeout, self._keepalive = operation_timeout, stall_timeout, keepalive
        self._observer = observer
        self._slots = asyncio.Semaphore(in_flight)
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0
        self._heard = self._sent = self._loop.time()
        self._reason = ""
        self._probe: asyncio.Task[None] | None = None
        self._receiver = self._loop.create_task(self._receive(), name=f"ldap {peer}")
        self._watch = self._loop.call_later(self._tick, self._look)

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        *,
        context: ssl.SSLContext,
        server_hostname: str,
        timeout: float,  # noqa: ASYNC109 - one limit for TCP and TLS together, with its own message
        peer: str = "",
        **options: Any,
    ) -> LdapConnection:
        """Connect and verify the server. `host` is a name or an address, `server_hostname` what its certificate must be for."""
        peer = peer or f"{host}:{port}"
        try:
            async with asyncio.timeout(timeout):
                addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
                connected = await start_connection(addresses, happy_eyeballs_delay=0.25)
                reader, writer = await asyncio.open_connection(sock=connected, ssl=context, server_hostname=server_hostname, limit=_CHUNK)
        except TimeoutError:
            raise DirectoryUnavailable(f"{peer} did not answer within {timeout:g} s: check the address and the firewall") from None
        except ssl.SSLError as error:
            raise await tls.rejection(error, host, port, context, server_hostname, peer, timeout) from None
        except socket.gaierror:
            raise DirectoryUnavailable(f"{peer} can't be resolved: check the host name and the DNS") from None
        except OSError as error:
            raise DirectoryUnavailable(
                f"{peer} can't be reached: {error.strerror or str(error) or 'it closed the connection at once'}"
            ) from None
        except ValueError as error:  # of a name that the resolver or TLS can't take
            raise DirectoryUnavailable(f"{peer} can't be reached under such a name: {error}") from None
        _tune(writer.get_extra_info("socket"))
        return cls(reader, writer, peer, **options)

    @property
    def _tick(self) -> float:
        return min(self._stall_timeout / 4, self._keepalive / 2, 1.0)

    async def bind_simple(self, name: str, password: SecretStr) -> None:
        """Sign in; raises CredentialsRejected. One attempt, never repeated here: repeated ones lock the account out."""
        value = password.get_secret_value().encode("utf-8", "surrogatepass")
        if not value or not name:  # a bind without a password succeeds, as nobody (RFC 4513 section 5.1.2)
            raise CredentialsRejected("the credentials Secret holds an empty user name or password: fill it in")
        answer = await self._request("bind", partial(wire.bind_request, name, value))
        if answer.code != answers.SUCCESS:
            raise answers.refused_bind(answer, name)

    async def search(
        self,
        base: str,
        scope: int,
        search_filter: str,
        attributes: Sequence[str],
        *,
        controls: Iterable[Any] = (),
        size_limit: int = 0,
        patience: float = 0.0,
    ) -> tuple[list[RawEntry], Answer]:
        """One search, its entries gathered: ask for pages where there can be many. References to other servers are dropped.
        `patience` is for searches over which a server may well say nothing for longer than usual, in seconds."""
        pending = self._new("search", patience=max(patience, self._stall_timeout))
        build = partial(wire.search_request, base, scope, search_filter, attributes, size_limit)
        answer = await self._exchange(pending, build, controls)
        return pending.entries, answer

    async def listen(
        self, base: str, scope: int, search_filter: str, attributes: Sequence[str], *, controls: Iterable[Any]
    ) -> AsyncGenerator[RawEntry, None]:
        """A search without an end, entry by entry. Raises when it does end: DirectoryUnavailable on a cut, else what the server says."""
        pending = self._new("listen", patience=None)
        pending.stream = asyncio.Queue(_WAKE_UPS)
        message_id = self._send(pending, partial(wire.search_request, base, scope, search_filter, attributes), controls)
        try:
            while not pending.answer.done() or not pending.stream.empty():
                entry = await pending.stream.get()
                if entry is not None:
                    yield entry
            raise answers.refused(await pending.answer, "report changes as they happen")
        finally:
            self._forget(message_id, pending)

    async def add(self, dn: str, attributes: Mapping[str, Sequence[str | bytes]]) -> Answer:
        return await self._request("add", partial(wire.add_request, dn, attributes))

    async def modify(
        self, dn: str, changes: Mapping[str, Sequence[tuple[str, Sequence[str | bytes]]]], *, controls: Iterable[Any] = ()
    ) -> Answer:
        return await self._request("modify", partial(wire.modify_request, dn, changes), controls)

    async def modify_dn(self, dn: str, new_rdn: str, new_superior: str | None) -> Answer:
        return await self._request("modifyDN", partial(wire.modify_dn_request, dn, new_rdn, new_superior))

    async def delete(self, dn: str) -> Answer:
        return await self._request("delete", partial(wire.delete_request, dn))

    async def close(self) -> None:
        """Say goodbye and be gone; outstanding operations fail."""
        if not self.closed.is_set():
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write(wire.encode(self._next_id(), wire.unbind_request()))
            self._end("the connection was closed", abort=False)
        await asyncio.wait([self._receiver])
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()
        self._writer.transport.abort()

    async def _request(self, name: str, build: _Build, controls: Iterable[Any] = ()) -> Answer:
        return await self._exchange(self._new(name, patience=self._stall_timeout), build, controls)

    def _new(self, name: str, *, patience: float | None) -> _Pending:
        now = self._loop.time()
        deadline = now + max(self._operation_timeout, patience or 0) if patience is not None else float("inf")
        return _Pending(name, self._loop.create_future(), now, deadline, patience)

    async def _exchange(self, pending: _Pending, build: _Build, controls: Iterable[Any]) -> Answer:
        async with self._slots:
            now = self._loop.time()
            pending.deadline += now - pending.started
            pending.started = now
            message_id = self._send(pending, build, controls)
            try:
                with contextlib.suppress(OSError):  # the receiver notices too, and knows the reason
                    await self._writer.drain()
                return await pending.answer
            finally:
                self._forget(message_id, pending)

    def _send(self, pending: _Pending, build: _Build, controls: Iterable[Any]) -> int:
        if self.closed.is_set():
            raise DirectoryUnavailable(self._reason)
        message_id = self._next_id()
        try:
            data = wire.encode(message_id, build(), controls)
        except Exception:  # noqa: BLE001 - of many kinds, and their texts show the values, which may be secret
            raise DirectoryError(f"a value can't be sent to the directory ({pending.name}): it is not valid text") from None
        # Asked now that the bytes are made: of a process that is stopped for a while, every line from here to the sending is a risk.
        if pending.name in _WRITES and not self.may_write():
            raise DirectoryUnavailable("the lease has run out: another replica may be at work")
        self._writer.write(data)
        if not any(other.patience is not None for other in self._pending.values()):
            self._heard = self._loop.time()  # only now does the server owe an answer
        self._pending[message_id] = pending
        self._sent = self._loop.time()
        self.operations[pending.name] += 1
        return message_id

    def _next_id(self) -> int:
        self._last_id = self._last_id % 0x7FFFFFFF + 1
        return self._last_id

    def _forget(self, message_id: int, pending: _Pending) -> None:
        """Drop an operation whose caller is gone before its answer came (cancelled): a search is called off, a write takes its course."""
        if self._pending.pop(message_id, None) is None:
            return
        pending.answer.cancel()
        if pending.name in ("search", "listen") and not self.closed.is_set():
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.write(wire.encode(self._next_id(), wire.abandon_request(message_id)))

    async def _receive(self) -> None:
        buffer, at = bytearray(), 0
        try:
            while chunk := await self._reader.read(_CHUNK):
                self._heard = self._loop.time()
                buffer += chunk
                while (end := wire.frame(buffer, at)) and end <= len(buffer):
                    message_id, _, content = wire.decode(bytes(buffer[at:end]))
                    self._take(message_id, content)
                    at = end
                del buffer[:at]
                at = 0
                await asyncio.sleep(0)  # a long answer must not keep others from their turn: read() does not wait while there is more
            self._end("the server closed the connection")
        except (OSError, ssl.SSLError) as error:
            self._end(f"the connection was cut: {getattr(error, 'strerror', None) or type(error).__name__}")
        except wire.ProtocolError as error:
            self._end(f"the server sent what is not LDAP: {error}")

    def _take(self, message_id: int, content: RawEntry | Answer | None) -> None:
        if message_id == 0:  # notice of disconnection, RFC 4511 section 4.4.1
            told = content.diagnostic if isinstance(content, Answer) else ""
            self._end(f"the server ended the connection {told}".rstrip())
            return
        pending = self._pending.get(message_id)
        if pending is None or content is None:
            return
        if isinstance(content, tuple):
            if pending.stream is None:
                pending.entries.append(content)
            elif not pending.stream.full():
                pending.stream.put_nowait(content)
            return
        del self._pending[message_id]
        self._observe(pending, content.code)
        self._settle(pending, content)

    def _settle(self, pending: _Pending, outcome: Answer | DirectoryError) -> None:
        if pending.answer.done():
            return
        if isinstance(outcome, Answer):
            pending.answer.set_result(outcome)
        else:
            pending.answer.set_exception(outcome)
        if pending.stream is not None:
            if pending.stream.full():
                pending.stream.get_nowait()
            pending.stream.put_nowait(None)

    def _observe(self, pending: _Pending, code: int) -> None:
        if self._observer is not None and pending.name != "listen":
            self._observer(pending.name, self._loop.time() - pending.started, code)

    def _look(self) -> None:
        """Now and then: has the server gone silent, has an operation taken too long, is it time for a sign of life?"""
        now = self._loop.time()
        owed = [pending for pending in self._pending.values() if pending.patience is not None]
        silence = now - self._heard
        if owed and silence > max(pending.patience or 0 for pending in owed):
            self._end(f"the server has said nothing for {silence:.0f} s")
        elif any(now > pending.deadline for pending in owed):
            self._end(f"an operation was not answered within {self._operation_timeout:g} s")
        else:
            if not owed and now - self._sent > self._keepalive:
                self._probe = self._loop.create_task(self._sign_of_life())
            self._watch = self._loop.call_later(self._tick, self._look)

    async def _sign_of_life(self) -> None:
        with contextlib.suppress(DirectoryError):
            await self.search("", wire.BASE, "(objectClass=*)", ["highestCommittedUSN"])

    def _end(self, reason: str, *, abort: bool = True) -> None:
        if self.closed.is_set():
            return
        self._reason = f"{self.peer}: {reason}"
        self.closed.set()
        self._watch.cancel()
        pending, self._pending = self._pending, {}
        for one in pending.values():
            self._observe(one, -1)
            self._settle(one, DirectoryUnavailable(self._reason))
            if one.answer.done() and not one.answer.cancelled():
                one.answer.exception()  # whoever waits gets it; where nobody does, nothing is to be logged
        if abort:
            self._writer.transport.abort()
        else:
            self._writer.close()
        if asyncio.current_task() is not self._receiver:
            self._receiver.cancel()

    @property
    def reason(self) -> str:
        """Why the connection is over, or ""."""
        return self._reason


def _tune(raw: socket.socket | None) -> None:
    """Small requests at once, and a peer that is gone from the network noticed by the kernel."""
    if raw is None:
        return
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

"""A TCP proxy to put between the operator and a server, and the ways in which a network fails.

It runs in a thread of its own, so that it serves both plain and asynchronous tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

CHUNK = 65536


class Front:
    """Listens on a port of 127.0.0.1 and passes everything on to `host`:`port`.

    Every method takes effect before it returns. Use it as a context manager, or call `close()`.
    """

    _tls: ssl.SSLContext | None = None
    """For a proxy that ends the TLS of its clients."""

    def __init__(self, host: str, port: int = 636) -> None:
        self.target = (host, port)
        self.accepted = 0
        """How many connections have been made through it so far."""
        self._delay = 0.0
        self._reset_after: int | None = None
        self._gate = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="front", daemon=True)
        self._thread.start()
        self._gate.set()
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        """For an ADDomain's `servers`: the lab's certificates name 127.0.0.1 as well."""
        return f"ldaps://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open through it now."""
        return int(self._call(lambda: len(self._writers) // 2))

    # Faults

    def open(self) -> None:
        """Accept connections (again), on the same port, and pass everything on without hindrance."""
        self.resume()
        self._run(self._listen())

    def refuse(self) -> None:
        """Accept no more connections; those that are open go on."""
        self._run(self._unlisten())

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self.refuse()
        self.reset()

    def reset(self) -> None:
        """Reset (RST) all connections; new ones are accepted as before."""
        self._call(self._reset)

    def stall(self) -> None:
        """Keep the connections, accept new ones, and pass nothing on, in either direction."""
        self._call(self._gate.clear)

    def resume(self) -> None:
        """End `stall`, `delay` and `reset_after`."""
        self._delay = 0.0
        self._reset_after = None
        self._call(self._gate.set)

    def delay(self, seconds: float) -> None:
        """Hold back each piece of data, in each direction, for so long."""
        self._delay = seconds

    def reset_after(self, count: int) -> None:
        """Reset all connections once so many more bytes have gone from server to client; the last piece is cut to fit. Once."""
        self._reset_after = count

    def close(self) -> None:
        """End it for good."""
        if self._loop.is_closed():
            return
        self.cut()
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Front:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # In the thread of the loop

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _call(self, function: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _finish(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reset(self) -> None:
        for writer in list(self._writers):
            with contextlib.suppress(OSError, AttributeError):  # the latter is what Python 3.11's TLS raises where it has been closed
                sock = writer.get_extra_info("socket")
                if sock is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _abort(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            try:
                far_reader, far_writer = await self._connect()
            except OSError:
                _abort(writer)
                return
            pair = {writer, far_writer}
            self._writers |= pair
            try:
                await self._pass(reader, writer, far_reader, far_writer)
            finally:
                self._writers -= pair
                for each in pair:
                    _abort(each)
        finally:
            self._tasks.discard(task)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.target)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_reader: asyncio.StreamReader, far_writer: asyncio.StreamWriter
    ) -> None:
        """Pass everything on between a client and the server, until one of them ends."""
        await asyncio.gather(self._pump(reader, far_writer, from_server=False), self._pump(far_reader, writer, from_server=True))

    def _clip(self, data: bytes) -> tuple[bytes, bool]:
        """What of the server's data may pass, and whether all connections are to be reset after it."""
        if self._reset_after is None:
            return data, False
        data = data[: self._reset_after]
        self._reset_after -= len(data)
        last = self._reset_after == 0
        if last:
            self._reset_after = None
        return data, last

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._gate.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                data, last = self._clip(data) if from_server else (data, False)
                writer.write(data)
                await writer.drain()
                if last:
                    self._reset()
        # One side has ended: so does the other. LDAP knows no half-closed connections.
        writer.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(AttributeError):  # from Python 3.11's TLS, where it has been closed already
        writer.transport.abort()

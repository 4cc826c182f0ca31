"""Liveness and readiness, and the small HTTP server that tells of them and of the metrics.

Liveness is the loops' heartbeat and nothing else. A directory that is down must not fail it: a restart would trouble the other domains.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from adsync.settings import split_address

Route = Callable[[], Awaitable[tuple[int, str, bytes]]]
"""Answers a GET with status, content type and body."""


@dataclass
class Beat:
    """One loop's sign of life. `max_age` is in seconds, and must exceed the loop's longest honest pause."""

    name: str
    max_age: float
    _clock: Callable[[], float] = field(repr=False, default=time.monotonic)
    _last: float = 0.0
    _close: Callable[[], object] = field(repr=False, default=lambda: None)

    def __post_init__(self) -> None:
        self.beat()

    def beat(self) -> None:
        self._last = self._clock()

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return self._clock() - self._last

    def close(self) -> None:
        """The loop has ended as it should."""
        self._close()


class Heartbeats:
    """All loops that must go on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[int, Beat] = {}

    def register(self, name: str, *, max_age: float) -> Beat:
        """`name` as a person knows the loop: "domain corp/main". Names need not be unique."""
        beat = Beat(name, max_age, self._clock)
        beat._close = lambda: self._beats.pop(id(beat), None)  # noqa: SLF001 - made here
        self._beats[id(beat)] = beat
        return beat

    def late(self) -> dict[str, str]:
        """The loops that stand still, each with how long."""
        return {beat.name: f"no progress for {beat.age:.0f} s" for beat in self._beats.values() if beat.age > beat.max_age}


def text(status: int, lines: Mapping[str, str] | str) -> tuple[int, str, bytes]:
    body = lines if isinstance(lines, str) else "".join(f"{name}: {value}\n" for name, value in lines.items())
    return status, "text/plain; charset=utf-8", body.encode()


class Server:
    """Serves GET requests, for each address by path. Those of the same address share a port."""

    def __init__(self, *routes: tuple[str, Mapping[str, Route]]) -> None:
        self._routes = routes
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Raises OSError where an address can't be listened at."""
        by_address: dict[tuple[str, int], web.Application] = {}
        for address, paths in self._routes:
            application = by_address.setdefault(split_address(address), web.Application())
            for path, route in paths.items():
                application.router.add_get(path, _handler(route))
        for (host, port), application in by_address.items():
            runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
            await runner.setup()
            self._runners.append(runner)
            await web.TCPSite(runner, host or None, port).start()

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()


def _handler(route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        status, content_type, body = await route()
        return web.Response(status=status, body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return answer

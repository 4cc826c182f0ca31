"""The process of `adsync run`: what is started, in which order, and how it ends.

Crash-only: whatever can't go on (watches ended, lease lost, an unforeseen error) ends the process with one log line and exit code 1, and
its next start finds everything in the API and in the directory. SIGTERM and SIGINT end it in order within ten seconds.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable
from typing import Any

import structlog
import uvloop

from adsync import logs
from adsync.cluster.client import Cluster
from adsync.cluster.lease import Lease
from adsync.cluster.namespaces import poll_namespaces
from adsync.errors import AdsyncError
from adsync.handlers import Watches
from adsync.health import Heartbeats, Server, text
from adsync.metrics import Metrics
from adsync.settings import Settings
from adsync.sync.operator import Operator
from adsync.version import VERSION

_log = structlog.get_logger("adsync")

# Nearly all that comes and goes (answers, events, statuses) is freed by counting references; looking for cycles among what is kept of ten
# thousand people took a sixth of the processor time of an import. So many objects more, and it is done: some MiB at most.
_COLLECTED_AFTER = 20_000
_GRACE_SECONDS = 6.0  # for the operator to finish what it has begun, out of ten for everything


def run_operator(settings: Settings) -> int:
    """Runs until a signal or the end; returns the exit code. Raises AdsyncError for what is wrong before anything has begun."""
    logs.configure(settings.log_level, settings.log_format)
    gc.set_threshold(_COLLECTED_AFTER, 20)
    return uvloop.run(_Process(settings).run())  # TLS in C rather than in Python: a sixth of the operator's processor time


class _Process:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._heartbeats = Heartbeats()
        self._stop = asyncio.Event()
        self._operator: Operator | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        cluster = await Cluster.connect(self._settings, observe=self._metrics.observe_request)
        server = Server(
            (self._settings.metrics_address, {"/metrics": self._metrics.exposition}),
            (self._settings.health_address, {"/healthz": self._healthz, "/readyz": self._readyz}),
        )
        try:
            try:
                await server.start()
            except OSError as error:
                raise AdsyncError(f"The health and metrics addresses can't be listened at: {error.strerror or error}.") from error
            _log.info("adsync begins", version=VERSION, api=cluster.rest.configuration.host, namespaces=self._settings.namespaces or "all")
            return await self._with_lease(cluster)
        finally:
            await server.stop()
            await cluster.close()

    async def _with_lease(self, cluster: Cluster) -> int:
        if not self._settings.leader_elect:
            self._metrics.leader.set(1)
            return await self._work(cluster, None)
        lease = Lease(cluster)
        cluster.rest.may_write = lease.valid
        self._metrics.leader.set_function(lease.valid)
        try:
            _log.info("standing by for the lease", identity=lease.identity)
            if not await self._unless_stopped(lease.acquire()):
                return 0
            _log.info("leading", identity=lease.identity)
            return await self._work(cluster, lease)
        finally:
            await lease.release()

    async def _work(self, cluster: Cluster, lease: Lease | None) -> int:
        """From the beginning of the work to its end; the exit code."""
        operator = self._operator = Operator(
            cluster, self._settings, self._metrics, self._heartbeats, may_write=lease.valid if lease is not None else lambda: True
        )
        work = asyncio.create_task(operator.run(self._stop), name="operator")
        settings = self._settings
        watches = Watches(
            operator,
            lambda fresh: cluster.credentials(fresh=fresh),
            settings.namespaces,
            secrets=not settings.secret_namespaces,  # else the operator watches them itself
        )
        stopping = asyncio.create_task(self._stop.wait(), name="signal")
        tasks: set[asyncio.Future[Any]] = {work, stopping}
        if settings.namespaces:
            tasks.add(asyncio.create_task(poll_namespaces(cluster, operator.object_event), name="namespaces"))
        running = tasks | {watches.stopped} | ({lease.lost} if lease is not None else set())
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set() and done <= {stopping, work}:
                _log.info("ending")
                await asyncio.wait([work], timeout=_GRACE_SECONDS)
            return self._verdict(running - {stopping})
        finally:
            for task in tasks:
                task.cancel()
            await watches.stop()
            await asyncio.wait(tasks, timeout=1.0)

    def _verdict(self, ended: set[asyncio.Future[Any]]) -> int:
        for future in ended:
            if future.done() and not future.cancelled() and (error := future.exception()) is not None:
                if isinstance(error, AdsyncError):
                    _log.critical(str(error))
                else:
                    _log.critical("adsync ends: an unforeseen error", exc_info=error)
                return 1
        if not self._stop.is_set():
            _log.critical("adsync ends: the work stopped by itself")
            return 1
        return 0

    async def _unless_stopped(self, awaitable: Awaitable[None]) -> bool:
        """Awaits; False where the signal to end came first."""
        waiting, stopping = asyncio.ensure_future(awaitable), asyncio.create_task(self._stop.wait())
        await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait([waiting])
            return False
        await waiting
        return True

    async def _healthz(self) -> tuple[int, str, bytes]:
        problems = self._heartbeats.late()
        if self._operator is not None:
            healthy, details = self._operator.healthy()
            if not healthy:
                problems |= details
        return text(503, problems) if problems else text(200, "ok\n")

    async def _readyz(self) -> tuple[int, str, bytes]:
        if self._operator is None:
            return text(200, "standing by\n") if self._settings.leader_elect else text(503, "starting\n")
        if not self._operator.ready():
            return text(503, "reading the resources\n")
        missing = "".join(f"missing right: {right}\n" for right in self._operator.missing_rights())
        return text(503, missing) if missing else text(200, "ok\n")

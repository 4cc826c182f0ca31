"""Leader election on a Lease, for several replicas of which one works.

The election is the client library's. It trusts its own renew deadline, so a process that was frozen and thawed would go on writing with a
lease that has passed to another. Therefore every write first asks `valid`, which goes by the lease's own expiry, counted from before the
request that renewed it, on a clock that also runs while the machine sleeps.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from typing import Any

import aiohttp
import structlog
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from adsync.cluster.client import Cluster
from adsync.errors import ClusterError

_log = structlog.get_logger(__name__)

NAME = "adsync-leader"
# Those of client-go's leader election: a dead leader is replaced within 15 seconds, and 10 seconds without the API server end a living one.
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 15.0, 10.0, 2.0
_REQUEST_SECONDS = 5.0
_SKEW_SECONDS = 1.0  # a write that has begun takes some time to arrive


def _clock() -> float:
    """Monotonic, and counting through the machine's sleep where the system has such a clock (Linux)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Lock(LeaseLock):  # type: ignore[misc] # the library is untyped
    """The library's lock, which knows how long it holds, and for which a server that is away is a failed try and not the end."""

    def __init__(self, namespace: str, identity: str, api_client: ApiClient, seconds: float) -> None:
        super().__init__(NAME, namespace, identity, api_client)
        self._seconds = seconds
        self.holds_until = 0.0

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                found, answer = await super().get(name, namespace)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return False, ApiException(status=0, reason=str(error) or type(error).__name__)
        return found, answer

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        return await self._hold(super().create(name, namespace, election_record))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        return await self._hold(super().update(name, namespace, updated_record))

    async def _hold(self, request: Any) -> bool:
        began = _clock()
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                held = bool(await request)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        if held:
            self.holds_until = began + self._seconds
        return held


class Lease:
    """This process's candidacy. `lost` is done when a lease that was held is gone for good: the process has to end then."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        # The host's name alone would be the same for a pod's container before and after a crash: it must wait its turn like any other.
        self.identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}_{secrets.token_hex(4)}"
        self._cluster = cluster
        self._api = ApiClient(cluster.rest.configuration)
        self._lock = _Lock(cluster.operator_namespace, self.identity, self._api, lease_seconds)
        self._acquired = asyncio.Event()
        self._election = LeaderElection(
            Config(self._lock, int(lease_seconds), renew_seconds, retry_seconds, onstarted_leading=self._started, onstopped_leading=None)
        )
        self._task: asyncio.Task[None] | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def valid(self) -> bool:
        """Whether a write may begin now."""
        return _clock() + _SKEW_SECONDS < self._lock.holds_until

    async def acquire(self) -> None:
        """Returns when this process is the leader; stands by until then. Raises ClusterError where Leases may not be used at all."""
        await self._probe()
        self._task = asyncio.create_task(self._elect(), name="leader election")
        acquired: asyncio.Future[Any] = asyncio.ensure_future(self._acquired.wait())
        try:
            await asyncio.wait((acquired, self.lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            acquired.cancel()
        if self.lost.done():
            await self.lost

    async def release(self) -> None:
        """Stops the candidacy; a lease that is held is handed on, so that a standby takes over at its next look."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        held, self._lock.holds_until = self._lock.holds_until > _clock(), 0.0
        try:
            if held:
                await self._hand_on()
        except ClusterError as error:
            _log.info("the lease was not handed on and will run out", error=str(error))
        finally:
            await self._api.close()

    async def _hand_on(self) -> None:
        namespace = self._cluster.operator_namespace
        lease = await self._cluster.get("Lease", namespace, NAME)
        if lease is None or lease["spec"].get("holderIdentity") != self.identity:
            return
        # No holder at all: that of an empty name is refused by the API server, and waited for by the library.
        spec = {"holderIdentity": None, "acquireTime": None, "renewTime": None, "leaseDurationSeconds": 1}
        await self._cluster.patch("Lease", namespace, NAME, {"spec": spec}, resource_version=lease["metadata"]["resourceVersion"])

    async def _probe(self) -> None:
        """A right that is missing would otherwise look like standing by for ever."""
        await self._cluster.get("Lease", self._cluster.operator_namespace, NAME)

    async def _started(self) -> None:
        self._acquired.set()

    async def _elect(self) -> None:
        error: Exception | None = None
        try:
            await self._election.run()
        except Exception as problem:  # noqa: BLE001 - however the election ends, it is over
            error = problem
        self._lock.holds_until = 0.0
        reason = f": {error}" if error else ""
        message = f"The Lease {self._cluster.operator_namespace}/{NAME} was lost{reason}. Another replica may be at work: this one ends."
        if not self.lost.done():
            self.lost.set_exception(ClusterError(message))

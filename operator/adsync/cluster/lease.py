"""Leader election on a Lease, for several replicas of which one works.

The election is the client library's. It trusts its own renew deadline, so a process that was frozen and thawed would go on writing with a
lease that has passed to another. Therefore every write, to the directory and to the API server, asks `valid` when its bytes are ready and
nothing but the call to the kernel is left to do. That goes by the lease's own expiry, counted from before the request that renewed it, on a
clock that also runs while the process is stopped or the machine sleeps. (Neither AD nor a status knows fencing tokens: a freeze that falls
into the microseconds of that call itself can't be told from a slow network.)

The lock is our own. The library's (37.0.2) can't create a Lease (its `pretty=True` fails its own validation), writes local time as UTC, and
lets an API server that is away end the election. And a standby of the library's goes by the time of day, which somebody may set: ours does
not take a lease from another before that has run out by its own duration, on the clock above.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from adsync.cluster.client import Cluster
from adsync.cluster.rest import MERGE_PATCH
from adsync.errors import ClusterError

_log = structlog.get_logger(__name__)

NAME = "adsync-leader"
# A dead leader is replaced within 15 seconds: the lease, at most a look before and a look after it, and the start of the work. Eight seconds
# without the API server end a living one.
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 10.0, 8.0, 1.0
_REQUEST_SECONDS = 4.0
_SKEW_SECONDS = 1.0  # a write that has begun takes some time to arrive


def _clock() -> float:
    """Monotonic, and counting through the machine's sleep where the system has such a clock (Linux)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Lock(BaseLock):  # type: ignore[misc] # the library is untyped
    """The Lease as the election wants it. `holds_until` says how long it is certainly ours; `taken` is called when it was, and is another's."""

    def __init__(self, cluster: Cluster, identity: str, seconds: float, taken: Callable[[str], None]) -> None:
        super().__init__(NAME, cluster.operator_namespace, identity)
        self._cluster = cluster
        self._seconds = int(seconds)
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"
        self._what = f"Lease {self.namespace}/{NAME}"
        self._taken = taken
        self.holds_until = 0.0
        self.seen: dict[str, Any] = {}
        self._seen_at = 0.0  # since when it has been as it is

    async def read(self) -> None:
        """Raises ClusterError; a Lease that is not there has status 404."""
        now = await self._request("GET", f"{self._path}/{NAME}")
        if now["metadata"].get("resourceVersion") != self.seen.get("metadata", {}).get("resourceVersion"):
            self._seen_at = _clock()
        self.seen = now

    async def _request(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> dict[str, Any]:
        answer: dict[str, Any] = await self._cluster.rest.request(
            method, path, what=self._what, body=body, content_type=content_type, seconds=_REQUEST_SECONDS, retry=False, fenced=False
        )
        return answer

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:  # noqa: ARG002 - the library's signature
        try:
            await self.read()
        except ClusterError as error:
            refusal = ApiException(status=error.status, reason=str(error))
            refusal.body = json.dumps({"code": error.status})
            return False, refusal
        spec = self.seen.get("spec") or {}
        holder = spec.get("holderIdentity")
        if self.holds_until and holder != self.identity:
            self._taken(f"it is held by {holder}" if holder else "it was given up")
        if not holder:
            return True, None
        return True, LeaderElectionRecord(holder, str(spec.get("leaseDurationSeconds")), spec.get("acquireTime"), spec.get("renewTime"))

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:  # noqa: ARG002
        self.seen = {}
        metadata = {"name": NAME, "namespace": self.namespace, "labels": {"app.kubernetes.io/name": "adsync"}}
        return await self._hold("POST", self._path, {"metadata": metadata, "spec": self._spec()}, "application/json")

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:  # noqa: ARG002
        if not self._is_free():
            return False
        version = {"resourceVersion": self.seen["metadata"]["resourceVersion"]}
        return await self._hold("PATCH", f"{self._path}/{NAME}", {"metadata": version, "spec": self._spec()}, MERGE_PATCH)

    async def hand_on(self) -> None:
        """No holder at all: that of an empty name is refused by the API server. Raises ClusterError."""
        await self.read()
        if (self.seen.get("spec") or {}).get("holderIdentity") == self.identity:
            version = {"resourceVersion": self.seen["metadata"]["resourceVersion"]}
            spec = {"holderIdentity": None, "acquireTime": None, "renewTime": None, "leaseDurationSeconds": 1}
            await self._request("PATCH", f"{self._path}/{NAME}", {"metadata": version, "spec": spec}, MERGE_PATCH)

    def _is_free(self) -> bool:
        """Whether it is ours, nobody's, or was not renewed for as long as its holder said it would hold."""
        spec = self.seen.get("spec") or {}
        if spec.get("holderIdentity") in (None, "", self.identity):
            return True
        return _clock() > self._seen_at + float(spec.get("leaseDurationSeconds") or self._seconds)

    def _spec(self) -> dict[str, Any]:
        before, now = self.seen.get("spec") or {}, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        again = before.get("holderIdentity") == self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._seconds,
            "renewTime": now,
            "acquireTime": before.get("acquireTime") if again else now,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if again or not before else 1),
        }

    async def _hold(self, method: str, path: str, body: dict[str, Any], content_type: str) -> bool:
        began = _clock()
        try:
            self.seen = await self._request(method, path, body, content_type)
        except ClusterError as error:
            if error.status != 409:  # somebody else was first
                _log.warning("the lease was not renewed", error=str(error))
            return False
        self.holds_until = began + self._seconds
        return True


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
        self._lock = _Lock(cluster, self.identity, lease_seconds, self._lost)
        self._acquired = asyncio.Event()
        self._election = LeaderElection(
            Config(self._lock, int(lease_seconds), renew_seconds, retry_seconds, onstarted_leading=self._started, onstopped_leading=None)
        )
        self._task: asyncio.Task[None] | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def valid(self) -> bool:
        """Whether a write may begin now. To be asked at the last moment."""
        return _clock() + _SKEW_SECONDS < self._lock.holds_until

    async def acquire(self) -> None:
        """Returns when this process is the leader; stands by until then. Raises ClusterError where Leases may not be used at all."""
        try:
            await self._lock.read()
        except ClusterError as error:
            if error.status == 403:  # it would look like standing by for ever
                raise
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
        if self.lost.done():
            self.lost.exception()  # it has been told to whoever awaits it, or nobody does
        held, self._lock.holds_until = self._lock.holds_until > _clock(), 0.0
        if not held:
            return
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                await self._lock.hand_on()
        except (ClusterError, TimeoutError) as error:
            _log.info("the lease was not handed on and will run out", error=str(error))

    async def _started(self) -> None:
        self._acquired.set()

    async def _elect(self) -> None:
        error: Exception | None = None
        try:
            await self._election.run()
        except Exception as problem:  # noqa: BLE001 - however the election ends, it is over
            error = problem
        self._lost(repr(error) if error else "it was not renewed in time")

    def _lost(self, why: str) -> None:
        self._lock.holds_until = 0.0
        message = f"The Lease {self._lock.namespace}/{NAME} was lost: {why}. Another replica may be at work: this one ends."
        if not self.lost.done():
            self.lost.set_exception(ClusterError(message))

"""Who leads, and when a leader no longer believes in itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adsync.cluster import lease as module
from adsync.cluster.client import Cluster
from adsync.cluster.lease import NAME, Lease
from adsync.errors import ClusterError
from tests.unit.cluster.support import ApiServer, connect, serve, status, until

PATH = f"/apis/coordination.k8s.io/v1/namespaces/adsync-system/leases/{NAME}"


@pytest.fixture
def api() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def cluster(api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    server = await serve(api)
    cluster = await connect(tmp_path, server, monkeypatch)
    yield cluster
    await cluster.close()
    await server.close()


def candidate(cluster: Cluster, seconds: float = 15.0) -> Lease:
    return Lease(cluster, lease_seconds=seconds, renew_seconds=seconds * 0.8, retry_seconds=1.0)


async def test_the_first_one_leads_and_hands_on(api: ApiServer, cluster: Cluster) -> None:
    first, second = candidate(cluster), candidate(cluster)
    await first.acquire()
    assert first.valid()
    assert api.objects[PATH]["spec"]["holderIdentity"] == first.identity
    waiting = asyncio.create_task(second.acquire())
    await until(lambda: api.requests[-4:].count(("GET", PATH)) >= 2)  # it has looked
    assert not second.valid()
    await first.release()
    assert not first.valid()
    assert "holderIdentity" not in api.objects[PATH]["spec"]
    async with asyncio.timeout(5):  # at the next look, not after the fifteen seconds of the lease
        await waiting
    assert second.valid()
    assert api.objects[PATH]["spec"]["leaseTransitions"] == 1
    await second.release()


async def test_a_lease_is_valid_until_its_own_expiry(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = candidate(cluster)
    await lease.acquire()
    now = module._clock()
    for seconds, valid in ((13.0, True), (14.5, False), (100.0, False)):  # fifteen, less one for a write to arrive
        monkeypatch.setattr(module, "_clock", lambda later=now + seconds: later)
        assert lease.valid() is valid
    monkeypatch.undo()
    await lease.release()


async def test_a_leader_that_is_replaced_ends(api: ApiServer, cluster: Cluster) -> None:
    lease = candidate(cluster)
    await lease.acquire()
    api.put(PATH, {"spec": {"holderIdentity": "another", "leaseDurationSeconds": 3600, "renewTime": "x", "acquireTime": "x"}})
    async with asyncio.timeout(4):  # at its next look, not when it has tried for twelve seconds to renew
        with pytest.raises(ClusterError, match="was lost: it is held by another"):
            await lease.lost
    assert not lease.valid()
    await lease.release()
    assert api.objects[PATH]["spec"]["holderIdentity"] == "another"


async def test_a_standby_goes_by_no_clock_that_can_be_set(api: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day jumps, or the holder said that it would hold longer than we do: its lease is not taken before that is over."""
    api.put(PATH, {"spec": {"holderIdentity": "another", "leaseDurationSeconds": 30, "renewTime": "x", "acquireTime": "x"}})
    lease = candidate(cluster)
    began, day = module._clock(), time.time()
    monkeypatch.setattr(time, "time", lambda: day + len(api.requests) * 3600)
    waiting = asyncio.create_task(lease.acquire())
    await until(lambda: len(api.requests) > 4)
    assert not lease.valid()
    monkeypatch.setattr(module, "_clock", lambda: began + 29)
    looks = len(api.requests)
    await until(lambda: len(api.requests) > looks + 1)
    assert not waiting.done()
    monkeypatch.setattr(module, "_clock", lambda: began + 35)
    async with asyncio.timeout(5):
        await waiting
    await lease.release()


async def test_a_passing_fault_does_not_cost_the_lease(api: ApiServer, cluster: Cluster) -> None:
    lease = candidate(cluster, 5.0)
    await lease.acquire()
    before = api.objects[PATH]["spec"]["renewTime"]
    api.faults += [lambda _: status(503, "Busy"), lambda _: status(500, "Etcd")]
    await until(lambda: api.objects[PATH]["spec"]["renewTime"] != before)
    assert lease.valid()
    assert not lease.lost.done()
    await lease.release()


async def test_a_missing_right_is_said_and_does_not_look_like_standing_by(api: ApiServer, cluster: Cluster) -> None:
    api.faults.append(lambda _: status(403, "Forbidden", "leases is forbidden"))
    with pytest.raises(ClusterError, match=f"may not read Lease adsync-system/{NAME}"):
        await candidate(cluster).acquire()

"""Two replicas, one of which works: who takes over when, and that nobody but the leader writes.

Who wrote is told by the domain controller's own audit log (by the address that a change came from) and by the API server's (each replica has an
account of its own), not by anything that the replicas say of themselves.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.api import KubeApi
from lab.kube import ControlPlane
from lab.samba import DomainController
from tests.audit import Audited, Changes, audit_changes
from tests.integration.crowd import Crowd, scaled
from tests.integration.support import Operator, Site, eventually, new_container, new_namespace

ACCOUNTS = "adsync-system"  # the namespace whose accounts the API server's audit log is about
USERS = 60
READS = ("get", "list", "watch")


def moment(text: str) -> datetime:
    """A time as the Lease and both audit logs write it."""
    return datetime.fromisoformat(text.replace("+0000", "+00:00"))


def addresses(pid: int) -> set[str]:
    """The local ends of a process's TCP connections, as Samba writes them."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    found = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if f"socket:[{fields[9]}]" in inodes:
            host, _, port = fields[1].partition(":")
            found.add(f"ipv4:{'.'.join(str(octet) for octet in bytes.fromhex(host)[::-1])}:{int(port, 16)}")
    return found


@pytest.fixture
def by_address(manners: str) -> None:
    """For tests that tell the replicas apart by the addresses that writes come from."""
    if manners != "direct":
        pytest.skip("behind a proxy all writes come from the proxy's address: who made them can't be told")


class Replica:
    """One of the two, with a name that the API server knows it by."""

    def __init__(self, operator: Operator, account: str) -> None:
        self.operator = operator
        self.account = f"system:serviceaccount:{ACCOUNTS}:{account}"

    def leads(self) -> bool:
        return self.operator.metric("adsync_leader") == 1

    def await_leads(self, timeout: float = 30.0) -> None:
        eventually(self.leads, timeout, what=f"{self.account} leads")

    def start(self) -> None:
        self.operator.start(await_ready=False)
        self.operator.processes.wait_ready(self.operator.name, self.operator.alive)

    def send(self, number: signal.Signals) -> float:
        """Send a signal; returns when (time.monotonic())."""
        os.kill(self.operator.pid, number)
        return time.monotonic()


class Pair:
    """Both replicas, and a crowd of users for them to write."""

    def __init__(self, site: Site, audit: Audited, replicas: tuple[Replica, Replica]) -> None:
        self.site, self.audit, self.replicas = site, audit, replicas
        self.changes = Changes(site.dc, site.container)
        self.crowd = Crowd(site, USERS)

    def roles(self) -> tuple[Replica, Replica]:
        """(the leader, the other), once there is a leader; whoever is not running is started."""
        for each in self.replicas:
            if not each.operator.running:
                each.start()
        leading = eventually(lambda: [each for each in self.replicas if each.leads()], what="one leads")
        assert len(leading) == 1
        return leading[0], next(each for each in self.replicas if each is not leading[0])

    def edit(self, last_name: str) -> None:
        """Ask for a change of every user."""
        self.site.api.many(lambda name: self.site.edit(name, {"lastName": last_name}), self.crowd.names)

    def written(self, last_name: str) -> list[dict[str, Any]]:
        """The changes by which users got this name."""
        self.changes.new()
        return [each for each in self.changes.seen if f'"{last_name}"' in json.dumps(each["attributes"].get("sn", ""))]

    def await_written(self, last_name: str, count: int, timeout: float = 30.0) -> None:
        eventually(lambda: len(self.written(last_name)) >= count, timeout, interval=0.01, what=f"{count} users are called {last_name}")

    def lease_ends(self) -> datetime:
        """When the lease of whoever holds it runs out, if it is not renewed."""
        spec = self.site.api.get("Lease", self.site.namespace, "adsync-leader")["spec"]
        return moment(spec["renewTime"]) + timedelta(seconds=spec["leaseDurationSeconds"])

    def requests(self, replica: Replica, since: datetime) -> list[str]:
        """What a replica has asked the API server to change since then, but for the lease itself."""
        return [
            f"{each['verb']} {each['requestURI']} at {each['requestReceivedTimestamp']}"
            for each in self.audit.audit()
            if each["user"]["username"] == replica.account
            and each["verb"] not in READS
            and each["objectRef"]["resource"] != "leases"
            and moment(each["requestReceivedTimestamp"]) > since
        ]


@pytest.fixture(scope="module")
def pair(processes: Audited, control_plane: ControlPlane) -> Iterator[Pair]:
    api = KubeApi(control_plane)
    dc = DomainController(processes, "audited")
    dc.create()
    audit_changes(dc)
    dc.start()
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ACCOUNTS}})
    control_plane.apply({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "replicas"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": f"system:serviceaccounts:{ACCOUNTS}"}],
    })  # fmt: skip
    with new_namespace(api) as namespace, new_container(dc) as container:
        made = []
        for account in ("replica-a", "replica-b"):
            control_plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": ACCOUNTS}})
            config = json.loads(control_plane.kubeconfig.read_text())
            config["users"][0]["user"] = {"token": control_plane.kubectl("create", "token", account, "-n", ACCOUNTS).strip()}
            kubeconfig = processes.state / f"{account}.kubeconfig"
            kubeconfig.write_text(json.dumps(config))
            operator = Operator(processes, control_plane, [namespace], options=["--leader-elect"], log_level="info")
            operator.environment["KUBECONFIG"] = str(kubeconfig)
            made.append(Replica(operator, account))
        pair = Pair(Site(api, control_plane, dc, namespace, container), processes, (made[0], made[1]))
        try:
            pair.site.connect()
            pair.roles()
            pair.crowd.create(lastName="First")
            pair.crowd.await_reason()
            yield pair
        finally:
            for each in made:
                each.operator.kill()
            control_plane.kubectl("delete", "clusterrolebinding", "replicas")
    dc.remove()
    api.close()


@pytest.mark.usefixtures("by_address")
@pytest.mark.parametrize("number", range(scaled(2, 20)))
def test_a_leader_that_was_frozen_past_its_lease_begins_no_write(pair: Pair, number: int) -> None:
    """Frozen in the middle of its work, thawed while the other one works: it writes nothing more, and ends."""
    leader, other = pair.roles()
    before, after = f"Before{number}", f"After{number}"
    pair.edit(before)
    pair.await_written(before, random.Random(number).randint(1, USERS * 2 // 3))
    leader.send(signal.SIGSTOP)
    ends = pair.lease_ends()
    its_own = addresses(leader.operator.pid)
    left = USERS - len(pair.written(before))
    other.await_leads()
    assert datetime.now(UTC) > ends
    pair.await_written(before, USERS)
    pair.edit(after)
    pair.await_written(after, 1)
    thawed = leader.send(signal.SIGCONT)
    eventually(lambda: not leader.operator.running, 10, interval=0.01, what="the thawed one ends")
    print(f"{number}: frozen with {left} of {USERS} to be written, ended {time.monotonic() - thawed:.2f} s after it was thawed")
    pair.await_written(after, USERS)
    pair.crowd.await_reason()

    its_writes = [each for each in pair.changes.seen if each["remoteAddress"] in its_own]
    assert its_writes  # so it is told apart by its addresses
    others = addresses(other.operator.pid)
    late = [each for each in pair.changes.seen if moment(each["timestamp"]) > ends and each["remoteAddress"] not in others]
    assert late == []
    assert pair.requests(leader, ends) == []
    assert pair.requests(other, ends)
    assert len(pair.written(before)) == len(pair.written(after)) == USERS  # nobody's name was set twice
    assert "was lost" in leader.operator.tail(5)
    assert other.operator.running


def test_a_dead_leader_is_replaced_within_fifteen_seconds(pair: Pair) -> None:
    leader, other = pair.roles()
    died = leader.send(signal.SIGKILL)
    pair.edit("Orphan")
    pair.await_written("Orphan", 1)
    took = time.monotonic() - died
    print(f"kill -9 to the other one's first write: {took:.1f} s")
    assert took < 15
    assert other.leads()
    pair.await_written("Orphan", USERS)


@pytest.mark.usefixtures("by_address")
def test_a_leader_that_is_told_to_end_hands_on_at_once(pair: Pair) -> None:
    leader, other = pair.roles()
    told = leader.send(signal.SIGTERM)
    pair.edit("Heir")
    other.await_leads()
    led = time.monotonic() - told
    eventually(lambda: [each for each in pair.written("Heir") if each["remoteAddress"] in addresses(other.operator.pid)], interval=0.01)
    print(f"SIGTERM: the other one leads after {led:.1f} s, writes after {time.monotonic() - told:.1f} s")
    assert led < 5
    assert "was lost" not in leader.operator.tail(5)
    pair.await_written("Heir", USERS)

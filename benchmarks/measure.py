"""What is measured. Each function gives plain numbers; how they are judged and shown is `report.py`'s."""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ldap3

from benchmarks.site import Lab, ReadyCount, Site, ldif, ready, wait
from lab.api import KubeApi
from lab.processes import LabError

Result = dict[str, Any]


def push(lab: Lab, users: int, rounds: int) -> Result:
    """Rounds in which the domain controller's process comes before all others, and one in which all share the processors alike."""
    done = [_push_round(lab, users, number) for number in range(rounds)]
    lab.processes.give_precedence(lab.dc.process, wanted=False)
    try:
        alike = _push_round(lab, users, rounds)
    finally:
        lab.processes.give_precedence(lab.dc.process)
    middle = sorted(done, key=lambda each: each["ratio"])[(len(done) - 1) // 2]
    reference = sum(middle["ldapadd"]) / 2
    spent = middle["processor_seconds"]
    return {
        "users": users, "rounds": done, "alike": alike, "ratio": middle["ratio"], "adsync_per_second": users / middle["adsync"],
        "ldapadd_per_second": users / reference,
        "domain_controller": spent["adsync"]["domain controller"] / spent["ldapadd"]["domain controller"],
    }  # fmt: skip


def _push_round(lab: Lab, users: int, number: int) -> Result:
    """New users with passwords to Ready, against ldapadd of the same entries before and after, on the same domain controller.

    The Secrets are there beforehand. The clock runs from the first request that creates a SyncedUser until the last one is Ready, which the
    operator says only after it has read the account back. ldapadd signs in as the operator does, with the delegated account, while no operator
    is running: it would follow ldapadd's changes, and so slow it down.
    """
    site = Site(lab, f"push{number}")
    names = [f"p{number}u{each:04d}" for each in range(users)]
    manifests = site.people(names)
    before, idle = _ldapadd(lab, users, f"a{number}")
    site.start()
    quiet(lab)
    earlier = operations_of(site)
    with ReadyCount(site) as counted, Processor(lab, site) as spent:
        began = time.perf_counter()
        lab.api.create_many(manifests)
        counted.wait(users)
        took = counted.reached - began
    operations = {name: count - earlier.get(name, 0) for name, count in operations_of(site).items()}
    site.operator.terminate()
    after, _ = _ldapadd(lab, users, f"b{number}")
    return {
        "ldapadd": [before, after], "adsync": took, "ratio": (before + after) / 2 / took, "ldap_operations": operations,
        "processor_seconds": {"ldapadd": idle, "adsync": spent.seconds},
    }  # fmt: skip


def _ldapadd(lab: Lab, users: int, name: str) -> tuple[float, dict[str, float]]:
    """Seconds, and the processor seconds of each program meanwhile."""
    container = lab.dc.add_container(name, groups=False)
    content = ldif(container, lab.dc.domain, [f"{name}x{each:04d}" for each in range(users)])
    with Processor(lab) as spent:
        began = time.perf_counter()
        lab.dc.tools.add(lab.dc.service, content)
        took = time.perf_counter() - began
    return took, spent.seconds


def operations_of(site: Site) -> dict[str, int]:
    """How many LDAP operations of each kind the operator has made."""
    found: Counter[str] = Counter()
    for line in site.operator.metrics().splitlines():
        if line.startswith("adsync_ldap_operation_duration_seconds_count{"):
            found[line.split('operation="', 1)[1].split('"', 1)[0]] += int(float(line.rpartition(" ")[2]))
    return dict(found)


def processor_seconds(pid: int) -> float:
    """What a process has spent since its start, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Processor:
    """Processor seconds that each program of the lab, and the measuring itself, spends within a block: where the time goes."""

    def __init__(self, lab: Lab, site: Site | None = None) -> None:
        names = {"samba-corp": "domain controller", "kube-apiserver": "API server", "etcd": "etcd"}
        recorded = lab.processes.recorded()
        self._pids = {told: recorded[name].pid for name, told in names.items()} | {"measuring": os.getpid()}
        if site is not None:
            self._pids["operator"] = site.operator.pid
        self.seconds: dict[str, float] = {}

    def _now(self) -> dict[str, float]:
        return {told: processor_seconds(pid) for told, pid in self._pids.items()}

    def __enter__(self) -> Processor:
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = {told: round(spent - self._before[told], 2) for told, spent in self._now().items()}


def restart(lab: Lab, users: int) -> Result:
    """The operator is started with everything in sync: how long until every user has been compared, and what that cost."""
    site = Site(lab, "restart")
    site.start()
    filled = site.fill(users, "r")
    quiet(lab)
    site.operator.terminate()
    usn, versions = lab.dc.highest_usn(), versions_of(lab.api, site)
    began, at = time.perf_counter(), datetime.now(UTC).replace(microsecond=0)
    site.operator.start()
    wait(lambda: site.operator.metric("adsync_sync_seconds_count", kind="SyncedUser") >= users, site.operator, "every user is compared")
    settled, busy = time.perf_counter() - began, processor_seconds(site.operator.pid)
    wait(lambda: _full_sync(lab.api, site) >= at, site.operator, "the ADDomain tells of the full comparison")
    quiet(lab)
    operations = operations_of(site)
    after = versions_of(lab.api, site)
    result = {
        "users": users, "filled_seconds": filled, "settled_seconds": settled, "ldap_operations": operations,
        "ldap_operations_total": sum(operations.values()), "memory_mib": site.operator.memory() / 2**20,
        "memory_peak_mib": site.operator.memory("VmHWM") / 2**20, "operator_processor_seconds": busy, "usn_moved": lab.dc.highest_usn() - usn,
        "users_rewritten": sum(after.get(name) != version for name, version in versions.items()),
    }  # fmt: skip
    site.operator.terminate()
    return result


def versions_of(api: KubeApi, site: Site, kind: str = "SyncedUser") -> dict[str, str]:
    return {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in api.list(kind, site.name)}


def _full_sync(api: KubeApi, site: Site) -> datetime:
    return datetime.fromisoformat(api.get("ADDomain", site.name, "corp")["status"]["lastFullSyncTime"])


def quiet(lab: Lab, seconds: float = 2.0) -> None:
    """Return when the directory has not been written for a while."""
    usn, since, deadline = lab.dc.highest_usn(), time.monotonic(), time.monotonic() + 60
    while time.monotonic() - since < seconds:
        if time.monotonic() > deadline:
            raise LabError("the directory does not come to rest")
        time.sleep(0.2)
        if (now := lab.dc.highest_usn()) != usn:
            usn, since = now, time.monotonic()


def latency(lab: Lab, users: int, samples: int) -> Result:
    """How long one change takes, each way, with `users` users present. Seen by reading the account over LDAP, again and again."""
    site = Site(lab, "latency")
    site.start()
    site.fill(users, "l")
    quiet(lab)
    out, back = [], []
    with connect(lab) as connection:
        for number in range(samples):
            name = f"l{number * 7 % users:04d}"
            dn = f"CN={name},{site.container}"

            def title(dn: str = dn) -> str:
                connection.search(dn, "(objectClass=*)", ldap3.BASE, attributes=["title"])
                return bytes((connection.response or [{}])[0]["raw_attributes"]["title"][0]).decode()

            wanted = f"Title {number}"
            began = time.perf_counter()
            lab.api.patch("SyncedUser", site.name, name, {"spec": {"attributes": {"title": wanted}}})
            out.append(_until(lambda: title() == wanted, began))  # noqa: B023 - called at once
            _settled(lab.api, site, name)
            connection.modify(dn, {"title": [(ldap3.MODIFY_REPLACE, ["by hand"])]})  # type: ignore[no-untyped-call]
            began = time.perf_counter()
            back.append(_until(lambda: title() == wanted, began))  # noqa: B023 - called at once
            _settled(lab.api, site, name)
    site.operator.terminate()
    return {"users": users, "samples": samples, "to_directory_ms": _summary(out), "correction_ms": _summary(back)}


def connect(lab: Lab) -> ldap3.Connection:
    tls = ldap3.Tls(validate=2, ca_certs_file=str(lab.dc.ca_file))
    server = ldap3.Server(lab.dc.address, 636, use_ssl=True, tls=tls, get_info=ldap3.NONE)
    login = lab.dc.admin
    return ldap3.Connection(server, login.name, login.password, check_names=False, auto_referrals=False, raise_exceptions=True)


def _until(seen: Callable[[], bool], began: float) -> float:
    """Milliseconds since `began`. A breath between two looks, as the domain controller answers one request at a time."""
    while not seen():
        if time.perf_counter() - began > 60:
            raise LabError("a change has not arrived within a minute")
        time.sleep(0.002)
    return (time.perf_counter() - began) * 1000


def _settled(api: KubeApi, site: Site, name: str) -> None:
    wait(lambda: ready(api.get("SyncedUser", site.name, name)), site.operator, f"{name} is Ready")


def _summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)) - 1)],
        "max": ordered[-1],
    }

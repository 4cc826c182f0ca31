"""Import of many users and memberships into an empty cluster, against a bare loop of the same creates and status patches."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import statistics
import time
from typing import Any

import aiohttp
import ldap3

from benchmarks.measure import Processor, Result, connect, operations_of, quiet, versions_of
from benchmarks.site import Lab, ReadyCount, Site, fields, ready, wait
from lab.api import GROUP, Manifest
from lab.processes import LabError
from lab.provision import group_ldif, user_ldif

_IN_FLIGHT = 32
_COMPARISONS = 5
_SAMPLES = 30
_BARE_MOST = 2000  # of the bare loop's rate this many tell enough


def imported(lab: Lab, users: int, groups: int, members: int) -> Result:
    """`users` accounts in `groups` groups of `members` each, all in the scope group. The clock runs from the creation of the ADDomain until
    every SyncedUser is Ready, and until every SyncedGroup is. Then, with all of them there: a full comparison, single changes on each side, and
    a restart."""
    site = Site(lab, "import", domain=False, direction="Bidirectional", scopeGroup="import-scope")
    _fill(lab, site, users, groups, members)
    site.operator.start()
    with ReadyCount(site) as counted, Processor(lab, site) as spent:
        began = time.perf_counter()
        site.put_domain()
        counted.wait(users)
        took = counted.reached - began
        wait(lambda: _groups_ready(lab, site) == groups, site.operator, "every group is Ready", interval=0.2)
        groups_took = time.perf_counter() - began
    asked = requests_of(site)
    resources = lab.api.list("SyncedUser", site.name)
    memberships = sum(len(each["spec"].get("members", ())) for each in lab.api.list("SyncedGroup", site.name))
    if memberships != groups * members:
        raise LabError(f"{memberships} memberships were imported instead of {groups * members}")
    quiet(lab)
    bare = asyncio.run(_bare(lab, resources[:_BARE_MOST]))
    compared = _compare(lab, site, users)
    told = {
        "memory_mib": site.operator.memory() / 2**20, "memory_peak_mib": site.operator.memory("VmHWM") / 2**20,
        "ldap_operations": operations_of(site),
    }  # fmt: skip
    latency = _latency(lab, site, users)
    restarted = _restart(lab, site, users)
    result = {
        "users": users, "groups": groups, "memberships": memberships, "seconds": took, "groups_seconds": groups_took,
        "per_second": users / took, "bare_per_second": bare, "ratio": users / took / bare, "processor_seconds": spent.seconds,
        "requests": asked, **told, **compared, **latency, **restarted,
    }  # fmt: skip
    site.operator.terminate()
    return result


def requests_of(site: Site) -> dict[str, int]:
    """How many requests of each sort the operator has made to the API server."""
    counts: dict[str, int] = {}
    for line in site.operator.metrics().splitlines():
        if line.startswith("adsync_api_request_duration_seconds_count{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            name = f"{labels['method']} {labels['resource']}"
            counts[name] = counts.get(name, 0) + int(float(line.rpartition(" ")[2]))
    return counts


def _fill(lab: Lab, site: Site, users: int, groups: int, members: int) -> None:
    """Accounts and groups, by one ldapadd. Each account is in groups · members / users of them."""
    names = [f"i{number:05d}" for number in range(users)]
    dns = [f"CN={name},{site.container}" for name in names]
    told = {"firstName": "givenName", "lastName": "sn", "displayName": "displayName", "email": "mail"}
    records = [
        user_ldif(dn, name, None, {told[field]: value for field, value in fields(name).items() if field in told})
        for dn, name in zip(dns, names, strict=True)
    ]
    for number in range(groups):
        first = number * members
        inside = [dns[(first + each) % users] for each in range(members)]
        records.append(group_ldif(f"CN=ig{number:03d},{site.container}", f"ig{number:03d}", inside))
    inside = [*dns, *(f"CN=ig{number:03d},{site.container}" for number in range(groups))]
    records.append(group_ldif(f"CN=import-scope,{site.container}", "import-scope", inside))
    lab.dc.tools.add(lab.dc.admin, "".join(records))


def _groups_ready(lab: Lab, site: Site) -> int:
    listed = lab.api.list("SyncedGroup", site.name)
    return sum(
        any(each["type"] == "Ready" and each["status"] == "True" for each in one.get("status", {}).get("conditions", ())) for one in listed
    )


async def _bare(lab: Lab, resources: list[Manifest]) -> float:
    """Users a second that a plain client creates and gives their status, in another namespace."""
    namespace = "import-bare"
    lab.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    url = f"{lab.control_plane.server}/{GROUP}/namespaces/{namespace}/syncedusers"
    context = ssl.create_default_context(cafile=str(lab.control_plane.ca_file))
    headers = {"Authorization": f"Bearer {lab.control_plane.token}"}
    connector = aiohttp.TCPConnector(limit=_IN_FLIGHT, ssl=context)
    todo = iter(resources)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def send(method: str, path: str, body: Any, kind: str) -> None:
            async with session.request(method, path, data=json.dumps(body), headers={"Content-Type": kind}) as answer:
                await answer.read()
                if answer.status >= 300:
                    raise LabError(f"the API server answers {answer.status}")

        async def work() -> None:
            for each in todo:
                meta = each["metadata"]
                body = {**each, "metadata": {"name": meta["name"], "namespace": namespace, "labels": meta["labels"]}}
                status = body.pop("status")
                await send("POST", url, body, "application/json")
                await send("PATCH", f"{url}/{meta['name']}/status", {"status": status}, "application/merge-patch+json")

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))
        return len(resources) / (time.perf_counter() - began)


def _latency(lab: Lab, site: Site, users: int) -> Result:
    """One change on each side: milliseconds until it is on the other."""
    out, back = [], []
    with connect(lab) as connection:
        for number in range(_SAMPLES):
            name = f"i{number * 37 % users:05d}"
            dn = f"CN={name},{site.container}"

            def title(dn: str = dn) -> str:
                connection.search(dn, "(objectClass=*)", ldap3.BASE, attributes=["title"])
                values = (connection.response or [{}])[0]["raw_attributes"]["title"]
                return bytes(values[0]).decode() if values else ""

            def told(name: str = name) -> str:
                return str(lab.api.get("SyncedUser", site.name, name)["spec"].get("attributes", {}).get("title", ""))

            def settled(name: str = name) -> bool:
                return ready(lab.api.get("SyncedUser", site.name, name))

            began = time.perf_counter()
            lab.api.patch("SyncedUser", site.name, name, {"spec": {"attributes": {"title": f"Here {number}"}}})
            wait(lambda: title() == f"Here {number}", site.operator, "a change is in the directory", interval=0.002)  # noqa: B023
            out.append((time.perf_counter() - began) * 1000)
            wait(settled, site.operator, f"{name} is Ready")
            began = time.perf_counter()
            connection.modify(dn, {"title": [(ldap3.MODIFY_REPLACE, [f"There {number}"])]})  # type: ignore[no-untyped-call]
            wait(lambda: told() == f"There {number}", site.operator, "a change is in the spec", interval=0.002)  # noqa: B023
            back.append((time.perf_counter() - began) * 1000)
            wait(settled, site.operator, f"{name} is Ready")
    return {"to_directory_ms": statistics.median(out), "to_resource_ms": statistics.median(back)}


def _restart(lab: Lab, site: Site, users: int) -> Result:
    """SIGKILL and a start, with everything in step: how long until all is compared, and whether anything was written."""
    quiet(lab)
    usn, versions = lab.dc.highest_usn(), versions_of(lab.api, site) | versions_of(lab.api, site, "SyncedGroup")
    site.operator.kill()
    began = time.perf_counter()
    site.operator.start()
    wait(lambda: site.operator.metric("adsync_sync_seconds_count", kind="SyncedUser") >= users, site.operator, "every user is compared")
    took = time.perf_counter() - began
    quiet(lab)
    after = versions_of(lab.api, site) | versions_of(lab.api, site, "SyncedGroup")
    return {
        "restart_seconds": took, "restart_usn_moved": lab.dc.highest_usn() - usn,
        "restart_rewritten": sum(after.get(name) != version for name, version in versions.items()),
    }  # fmt: skip


def _compare(lab: Lab, site: Site, users: int) -> Result:
    """Full comparisons in step: how long the median of them takes, and whether anything was written in all."""
    usn, versions = lab.dc.highest_usn(), versions_of(lab.api, site)
    took = [_compare_once(lab, site, users) for _ in range(_COMPARISONS)]
    after = versions_of(lab.api, site)
    return {
        "compared_seconds": statistics.median(took), "usn_moved": lab.dc.highest_usn() - usn,
        "rewritten": sum(after.get(name) != version for name, version in versions.items()),
    }  # fmt: skip


def _compare_once(lab: Lab, site: Site, users: int) -> float:
    looked = site.operator.metric("adsync_sync_seconds_count", kind="SyncedUser")
    began = time.perf_counter()
    lab.api.patch("ADDomain", site.name, "corp", {"metadata": {"annotations": {"adsync.dev/reconcile-requested-at": str(began)}}})
    wait(
        lambda: site.operator.metric("adsync_sync_seconds_count", kind="SyncedUser") >= looked + users,
        site.operator, "every user is compared", interval=0.1,
    )  # fmt: skip
    took = time.perf_counter() - began
    quiet(lab)
    return took

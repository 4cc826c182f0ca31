"""What many memberships cost: groups with all their members at once, against `ldapmodify` of the same on the same domain controller."""

from __future__ import annotations

import threading
import time
from typing import Any

from benchmarks.measure import Processor, Result, connect, operations_of, quiet, versions_of
from benchmarks.site import Lab, Site, fields, wait
from lab.api import Manifest
from lab.ldaptools import ldif_add, ldif_members
from lab.processes import LabError
from lab.provision import user_ldif

_GLOBAL_SECURITY = "-2147483646"


def memberships(lab: Lab, users: int, groups: int) -> Result:
    """`groups` new groups of the same `users` users, to the last write in the directory; then a restart with all that in sync.

    The users are there and Ready beforehand. The clock runs from the first request that creates a SyncedGroup. ldapmodify makes the same number
    of groups with as many members, which are accounts of their own so that both begin without memberships, before and after, as the delegated
    account, while no operator is running. It is given DNs, in operations as large as the operator's.
    """
    site = Site(lab, "groups")
    before, idle = _ldapmodify(lab, users, groups, "gma")
    names = [f"m{number:04d}" for number in range(users)]
    _accounts(lab, site, names)
    site.start()
    lab.api.create_many(site.people(names, passwords=False))
    wait(lambda: site.operator.metric("adsync_resources", kind="SyncedUser", state="synced") >= users, site.operator, "all users are Ready")
    _settle(lab, site)
    earlier = operations_of(site)
    manifests = [_group(site, f"bench-group-{number:03d}", names) for number in range(groups)]
    with Processor(lab, site) as spent, _LastWrite(lab) as last:
        began = time.perf_counter()
        lab.api.create_many(manifests)
        # Lists of groups so large would keep the API server busy with the measuring.
        wait(
            lambda: site.operator.metric("adsync_resources", kind="SyncedGroup", state="synced") >= groups,
            site.operator,
            "all groups are Ready",
            interval=0.25,  # each look costs the operator some milliseconds
        )
        wait(lambda: _members(lab, site) == users * groups, site.operator, "all groups say that they have all members", interval=0.5)
        told = time.perf_counter() - began
        quiet(lab)
    took = last.at - began
    wait(lambda: _told_users(lab, site, groups) == users, site.operator, "all users tell of all their groups", interval=0.5)
    told_users = time.perf_counter() - began
    operations = {name: count - earlier.get(name, 0) for name, count in operations_of(site).items()}
    _check(lab, site, users, groups)
    site.operator.terminate()
    after, _ = _ldapmodify(lab, users, groups, "gmb")
    reference = (before + after) / 2
    return {
        "users": users, "groups": groups, "adsync": took, "ldapmodify": [before, after], "ratio": reference / took, "groups_told": told,
        "users_told": told_users, "ldap_operations": operations, "processor_seconds": {"ldapmodify": idle, "adsync": spent.seconds},
        **_silent_restart(lab, site, users, groups),
    }  # fmt: skip


def _accounts(lab: Lab, site: Site, names: list[str]) -> None:
    """Accounts that the operator adopts, as they have the same email: that is quicker than creating them, and not what is measured."""
    dns = {name: f"CN={name},{site.container}" for name in names}
    lab.dc.tools.add(lab.dc.admin, "".join(user_ldif(dn, name, None, {"mail": fields(name)["email"]}) for name, dn in dns.items()))


def _settle(lab: Lab, site: Site) -> None:
    """Return when nothing of what was before is still going on: a thousand adoptions have as many events, which are posted by and by."""

    def waiting() -> tuple[float, float]:
        return site.operator.metric("adsync_status_pending"), site.operator.metric("adsync_events_posted_total")

    before = (-1.0, -1.0)
    while (now := waiting()) != before or now[0]:
        before = now
        time.sleep(1.0)
    quiet(lab)


def _ldapmodify(lab: Lab, users: int, groups: int, name: str) -> tuple[float, dict[str, float]]:
    """Seconds for groups and members, and the processor seconds of each program meanwhile; the accounts are made beforehand."""
    container = lab.dc.add_container(name, groups=False)
    members = lab.dc.users(users, prefix=name, container=container)
    records = []
    for number in range(groups):
        group = f"{name}-group-{number:03d}"
        dn = f"CN={group},{container}"
        attributes = {
            "objectClass": "group", "sAMAccountName": group, "groupType": _GLOBAL_SECURITY, "adminDescription": "bench " + "m" * 60,
        }  # fmt: skip
        records.append(ldif_add(dn, attributes))
        records += [ldif_members(dn, add=members[start : start + 1000]) for start in range(0, users, 1000)]
    with Processor(lab) as spent:
        began = time.perf_counter()
        lab.dc.tools.modify(lab.dc.service, "".join(records))
        took = time.perf_counter() - began
    return took, spent.seconds


def _group(site: Site, name: str, members: list[str]) -> Manifest:
    spec = {"name": name, "domains": [{"name": "corp"}], "members": [{"name": each} for each in members]}
    return {"apiVersion": "adsync.dev/v1alpha1", "kind": "SyncedGroup", "metadata": site.metadata(name), "spec": spec}


def _members(lab: Lab, site: Site) -> int:
    """How many memberships the groups' statuses tell of."""
    return sum((each.get("status") or {}).get("memberCount", 0) for each in lab.api.list("SyncedGroup", site.name))


def _told_users(lab: Lab, site: Site, groups: int) -> int:
    """How many users tell of so many groups."""
    return sum((each.get("status") or {}).get("groupCount") == groups for each in lab.api.list("SyncedUser", site.name))


def _check(lab: Lab, site: Site, users: int, groups: int) -> None:
    found = lab.dc.search("(objectClass=group)", ["member"], base=site.container)
    if sorted(len(each.get("member", ())) for each in found) != [users] * groups:
        raise LabError("the groups in the directory are not as they were asked for")


def _silent_restart(lab: Lab, site: Site, users: int, groups: int) -> dict[str, Any]:
    usn = lab.dc.highest_usn()
    before = [versions_of(lab.api, site, kind) for kind in ("SyncedUser", "SyncedGroup")]
    began = time.perf_counter()
    site.operator.start()
    for kind, count in (("SyncedUser", users), ("SyncedGroup", groups)):
        what = f"every {kind} is compared"
        wait(lambda kind=kind, count=count: site.operator.metric("adsync_sync_seconds_count", kind=kind) >= count, site.operator, what)  # type: ignore[misc]
    settled = time.perf_counter() - began
    quiet(lab)
    after = [versions_of(lab.api, site, kind) for kind in ("SyncedUser", "SyncedGroup")]
    result = {
        "restart_seconds": settled, "restart_operations": operations_of(site), "memory_peak_mib": site.operator.memory("VmHWM") / 2**20,
        "usn_moved": lab.dc.highest_usn() - usn,
        "rewritten": sum(now.get(name) != version for old, now in zip(before, after, strict=True) for name, version in old.items()),
    }  # fmt: skip
    site.operator.terminate()
    return result


class _LastWrite:
    """When the directory was last written within a block (`at`, by time.perf_counter): a look at highestCommittedUSN now and then."""

    def __init__(self, lab: Lab) -> None:
        self.at = 0.0
        self._lab = lab
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        known = 0
        with connect(self._lab) as connection:
            while not self._over.wait(0.05):
                connection.search("", "(objectClass=*)", "BASE", attributes=["highestCommittedUSN"])
                usn = int((connection.response or [{}])[0]["raw_attributes"]["highestCommittedUSN"][0])
                if usn != known:
                    known, self.at = usn, time.perf_counter()

    def __enter__(self) -> _LastWrite:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

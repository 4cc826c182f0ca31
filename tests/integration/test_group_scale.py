"""Groups at the size of a real site: what building and keeping them costs, and that a crash in the middle leaves nothing wrong."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

import pytest

from lab.api import Manifest
from lab.processes import Processes
from lab.samba import DomainController
from tests.integration.crowd import FULL, Crowd, operations, scaled
from tests.integration.rosters import UNLIMITED, group, groups_of, members, membership, names, set_members, when
from tests.integration.support import Operator, Site, eventually, synced_group, unique

STRANGERS = 1501  # one more than Windows tells of at once
SEED = int(os.environ.get("ADSYNC_TEST_SEED", "6"))


@pytest.fixture(scope="module")
def dc(processes: Processes) -> Iterator[DomainController]:
    """A domain controller of this module's own: it goes with its thousands of accounts, which would take half a minute to delete."""
    controller = DomainController(processes, "scale")
    controller.create()
    controller.start()
    yield controller
    controller.remove()


@pytest.fixture
def container(dc: DomainController) -> str:
    return dc.add_container(unique())


def member_operations(operator: Operator, before: dict[str, int]) -> dict[str, int]:
    """The LDAP operations since."""
    return {kind: count - before.get(kind, 0) for kind, count in operations(operator).items() if count != before.get(kind, 0)}


def await_calm(site: Site, operator: Operator) -> None:
    """Return when everything that is bound is in step and told, and the directory is not asked any more."""

    def calm() -> bool:
        before = operations(operator)
        time.sleep(1.0)
        return operator.metric("adsync_status_pending") == 0 and operations(operator) == before

    eventually(calm, 60, what="nothing is left to do")


def test_a_group_of_thousands_costs_little_to_keep(operator: Operator, site: Site, record_property: Callable[[str, object], None]) -> None:
    """Built by a thousand values an operation; then one who joins and one who leaves cost one small operation, and no reading of the rest.

    At full scale they are all ours; otherwise most of them strangers, who are in the group before us and need no resources.
    """
    count = scaled(100, 5000)
    crowd, name = Crowd(site, count + 1), unique("g")
    last = crowd.names[-1]
    site.dc.users(count + 1, prefix=last.removesuffix(f"{count:04d}"), container=site.container)  # adopting is quicker than creating
    strangers: set[str] = set()
    if not FULL:
        dns = site.dc.users(STRANGERS, prefix=unique("s"), container=site.container)
        strangers = {each.partition(",")[0].removeprefix("CN=") for each in dns}
        site.dc.add_group(name, container=site.container, members=dns)
    site.connect(safety=UNLIMITED, adoptionPolicy="Always")
    crowd.create()
    crowd.await_reason(timeout=900)
    await_calm(site, operator)
    before = operations(operator)
    began = time.monotonic()
    group(site, name, crowd.names[:-1])
    eventually(lambda: len(members(site, name)) == count + len(strangers), 120, interval=0.2)
    built = time.monotonic() - began
    when(site, name, lambda each: each["status"].get("memberCount") == count, timeout=60)
    made = member_operations(operator, before)
    # The first thousand come with a group that is made; one that is there is marked as ours.
    assert (made.get("add", 0), made["modify"]) == ((1, count // 1000 - 1) if FULL else (0, 2))
    assert names(site, name) == {*crowd.names[:-1], *strangers}
    assert membership(site.get(name, "SyncedGroup"))["foreign"] == len(strangers)
    eventually(lambda: all(groups_of(each) == [name] for key, each in crowd.resources().items() if key != last), 120, interval=0.2)
    await_calm(site, operator)

    before, usn = operations(operator), site.dc.highest_usn()
    began = time.monotonic()
    set_members(site, name, crowd.names[1:])
    eventually(lambda: site.dc.highest_usn() > usn, interval=0.02)
    changed = time.monotonic() - began
    eventually(lambda: names(site, name) == {*crowd.names[1:], *strangers})
    eventually(lambda: groups_of(site.get(last)) == [name] and not groups_of(site.get(crowd.names[0])))
    await_calm(site, operator)
    made = member_operations(operator, before)
    record_property("operations", made)
    print(f"{count} members and {len(strangers)} strangers: built in {built:.1f} s; one in, one out: {changed:.2f} s and {made}")
    assert made.pop("modify") == 1
    assert made.get("search", 0) < 10
    assert set(made) <= {"search", "abandon"}

    operator.kill()
    usn, versions = site.dc.highest_usn(), {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in _all(site)}
    operator.start()
    eventually(lambda: operator.metric("adsync_resources", kind="SyncedGroup", state="synced") == 1, 60)
    eventually(lambda: operator.metric("adsync_resources", kind="SyncedUser", state="synced") == count + 1, 60)
    await_calm(site, operator)
    assert site.dc.highest_usn() == usn
    assert {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in _all(site)} == versions


def _all(site: Site) -> list[Manifest]:
    return [*site.api.list("SyncedUser", site.namespace), *site.api.list("SyncedGroup", site.namespace)]


def test_killed_while_many_groups_converge(operator: Operator, site: Site) -> None:
    """Whatever the instant, each group ends with exactly its members, strangers included; and the next start finds nothing to do."""
    count, size, crowd = scaled(10, 50), scaled(60, 300), Crowd(site, scaled(120, 600))
    instants = random.Random(SEED)
    site.connect(safety=UNLIMITED)
    strangers = site.dc.users(5, prefix=unique("s"), container=site.container)
    wanted = {unique("g"): set(instants.sample(crowd.names, size)) for _ in range(count)}
    for name in wanted:
        site.dc.add_group(name, container=site.container, members=strangers)
    crowd.create()
    site.api.create_many(
        synced_group(site.namespace, name, members=[{"name": each} for each in sorted(chosen)]) for name, chosen in wanted.items()
    )
    for number in range(scaled(4, 8)):
        time.sleep(instants.uniform(0.2, scaled(2, 6)))
        if number == scaled(2, 4):
            wanted = {name: set(instants.sample(crowd.names, size)) for name in wanted}
            for name, chosen in wanted.items():
                set_members(site, name, sorted(chosen))
        operator.kill()
        operator.start()
    crowd.await_reason(timeout=scaled(60, 300))

    def exact() -> bool:
        for name, chosen in wanted.items():
            assert members(site, name) == {f"CN={each},{site.container}" for each in chosen} | set(strangers), name
            assert site.get(name, "SyncedGroup")["status"]["memberCount"] == size
        return True

    eventually(exact, scaled(60, 240), interval=0.5)
    groups = {each: sorted(name for name, chosen in wanted.items() if each in chosen) for each in crowd.names}
    eventually(lambda: {name: groups_of(each) for name, each in crowd.resources().items()} == groups, 60, interval=0.5)
    await_calm(site, operator)
    operator.kill()
    usn, versions = site.dc.highest_usn(), {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in _all(site)}
    operator.start()
    eventually(lambda: operator.metric("adsync_resources", kind="SyncedGroup", state="synced") == count, 60)
    await_calm(site, operator)
    assert site.dc.highest_usn() == usn
    assert {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in _all(site)} == versions

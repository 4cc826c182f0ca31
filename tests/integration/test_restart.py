"""Ends without warning: whatever the instant, the next start ends in the same state, and where nothing is to be done it does nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.integration.crowd import FULL, Crowd, await_looked_at, operations, scaled
from tests.integration.support import Operator, Site

RSS_LIMIT = 150 * 2**20
WRITES = ("add", "modify", "modifyDN", "delete")


def assert_silent_restart(operator: Operator, crowd: Crowd) -> dict[str, int]:
    """Kill the operator and start it: nobody and nothing is written. Returns the LDAP operations that it took."""
    operator.kill()
    usn, versions = crowd.site.dc.highest_usn(), crowd.versions()
    operator.start()
    await_looked_at(operator, len(crowd.names))
    assert crowd.site.dc.highest_usn() == usn
    assert crowd.versions() == versions
    made = operations(operator)
    assert {kind: made[kind] for kind in WRITES if made.get(kind)} == {}
    return made


def test_a_restart_in_step_is_silent(site: Site, operator: Operator, record_property: Callable[[str, object], None]) -> None:
    """One sweep, no search per user, no write to AD or to any user's resource, and little memory."""
    site.connect()
    crowd = Crowd(site, scaled(200, 2000))
    crowd.create(firstName="Ann", lastName="Lee", suspended=False)
    crowd.await_reason(timeout=scaled(60, 900))
    made = assert_silent_restart(operator, crowd)
    assert made["search"] < 60 + len(crowd.names) // 100
    peak = operator.memory("VmHWM")
    record_property("searches", made["search"])
    record_property("peak_mib", peak // 2**20)
    print(f"{len(crowd.names)} users: {made['search']} searches, {peak / 2**20:.0f} MiB")
    assert peak < RSS_LIMIT


@pytest.mark.parametrize("seed", [1, 2, 3] if FULL else [1])
def test_killed_at_random_instants_while_users_are_created(site: Site, operator: Operator, seed: int) -> None:
    """Exactly one account for each, and each with its password, as if nothing had been."""
    instants = random.Random(seed)
    site.connect()
    crowd = Crowd(site, scaled(60, 300), passwords=True)
    crowd.create()
    for _ in range(scaled(3, 8)):
        time.sleep(instants.uniform(0.0, scaled(1, 2)))
        operator.kill()
        assert set(crowd.accounts()) <= set(crowd.names)
        operator.start()
    crowd.await_reason(timeout=scaled(60, 300))
    crowd.assert_complete()
    assert_silent_restart(operator, crowd)


def test_killed_at_random_instants_while_passwords_change(site: Site, operator: Operator) -> None:
    """Every new value is set in the end, and set no more after that."""
    instants = random.Random(4)
    site.connect()
    crowd = Crowd(site, scaled(40, 200), passwords=True)
    crowd.create()
    crowd.await_reason()
    for number in range(scaled(2, 5)):
        crowd.change_passwords(f"Then{number}")
        time.sleep(instants.uniform(0.0, 0.8))
        operator.kill()
        operator.start()
    await_looked_at(operator, len(crowd.names))
    crowd.await_reason()
    crowd.assert_complete()
    assert_silent_restart(operator, crowd)


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_killed_at_random_instants_while_users_are_deleted(site: Site, operator: Operator, policy: str) -> None:
    """Every resource goes in the end, and every account ends as the deletion policy says."""
    instants = random.Random(5)
    site.connect(deletionPolicy=policy, safety={"maxRemovals": "100%", "minRemovals": 1000})
    crowd = Crowd(site, scaled(40, 200))
    crowd.create()
    crowd.await_reason()
    crowd.delete()
    for _ in range(2):
        time.sleep(instants.uniform(0.0, 0.5))
        operator.kill()
        operator.start()
    crowd.await_gone()
    accounts = crowd.accounts()
    if policy == "Delete":
        assert accounts == {}
    else:
        assert sorted(accounts) == crowd.names
        assert all("adminDescription" not in each and each["userAccountControl"] == ["512"] for each in accounts.values())

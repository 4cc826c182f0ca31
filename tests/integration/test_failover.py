"""Another domain controller takes over: what works on, and what must not be believed of it yet.

Two TCP fronts to one domain controller stand for two that are in step; a copy of it from an older back-up for one that is behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab.proxy import Front
from lab.samba import DomainController
from tests.integration.crowd import Crowd, scaled
from tests.integration.support import Operator, Site, condition, eventually, unique


@pytest.fixture
def two_fronts(dc: DomainController) -> Iterator[tuple[Front, Front]]:
    with Front(*dc.endpoint) as first, Front(*dc.endpoint) as second:
        yield first, second


def served_by(site: Site) -> str:
    return str(site.get("corp", "ADDomain")["status"]["domainController"]["url"])


def seconds_until(site: Site, name: str, timeout: float) -> float:
    began = time.monotonic()
    site.await_reason(name, timeout=timeout)
    return time.monotonic() - began


def test_one_that_is_cut_off_in_the_middle_of_the_work(site: Site, operator: Operator, two_fronts: tuple[Front, Front]) -> None:
    """Seconds later everything goes on at the other, nothing is lost or made twice; back it goes only when the other fails."""
    first, second = two_fronts
    site.connect(servers=[first.url, second.url])
    crowd = Crowd(site, scaled(60, 300), passwords=True)
    crowd.create()
    eventually(lambda: len(crowd.accounts()) > 5, what="the work has begun")
    first.cut()
    began = time.monotonic()
    crowd.await_reason(timeout=scaled(30, 120))
    print(f"all in step {time.monotonic() - began:.1f} s after the cut")
    crowd.assert_complete()
    eventually(lambda: served_by(site) == second.url, 5, what="the status names the second")
    first.open()
    second.cut()
    later = unique("late")
    site.user(later)
    seconds_until(site, later, 15)
    eventually(lambda: served_by(site) == first.url, 5, what="the status names the first")
    assert operator.metric("adsync_domain_failovers") == 0  # both are one domain controller, with one record of changes


def test_one_that_falls_silent(site: Site, operator: Operator, two_fronts: tuple[Front, Front]) -> None:
    """A connection that stays but answers nothing is given up within seconds, and so is a new one to the same server."""
    first, second = two_fronts
    site.connect(servers=[first.url, second.url])
    name, later = unique("u"), unique("late")
    site.user(name)
    site.await_reason(name)
    first.stall()
    site.user(later)
    waited = seconds_until(site, later, 25)
    print(f"works on {waited:.1f} s after the silence began")
    assert len(site.dc.search(f"(sAMAccountName={later})")) == 1
    assert operator.alive()
    assert served_by(site) == second.url


def test_a_copy_that_is_behind(site: Site, operator: Operator) -> None:
    """Accounts that are recorded, and that it does not have yet, are waited for; everything else goes on."""
    with Front(*site.dc.endpoint) as front:
        site.connect(servers=[front.url])
        old, recorded, gone = Crowd(site, 3, passwords=True), Crowd(site, 5, passwords=True), Crowd(site, 2)
        old.create()
        old.await_reason()
        backup = site.dc.backup()
        recorded.create()
        gone.create()
        recorded.await_reason()
        gone.await_reason()
        stale = site.dc.clone(unique("stale"), backup)
        try:
            stale.start()
            front.target = (stale.address, 636)
            front.reset()
            assert_nothing_made_twice(operator, site, stale, old, recorded, gone)
            new = unique("n")
            site.user(new)
            site.await_reason(new)
            assert stale.find(new) is not None
            front.target = (site.dc.address, 636)
            front.reset()
            # And the other way round: what was made on the copy is not here yet.
            site.await_reason(new, "Progressing")
            assert site.dc.find(new) is None
            recorded.await_reason()
            assert sorted(set(recorded.accounts()) & set(recorded.names)) == recorded.names
        finally:
            stale.remove()


def assert_nothing_made_twice(operator: Operator, site: Site, stale: DomainController, old: Crowd, recorded: Crowd, gone: Crowd) -> None:
    recorded.await_reason("Progressing")
    said = condition(recorded.resources()[recorded.names[0]], "Ready")["message"]
    assert "may not have caught up" in said
    old.await_reason()
    gone.delete()  # nor is an absence here a reason to let a resource go
    gone.await_reason("Progressing")
    operator.kill()  # nor is it, should the operator begin anew
    operator.start()
    eventually(lambda: operator.metric("adsync_resources", kind="SyncedUser", reason="Progressing") == 7, what="all have been looked at")
    old.change_passwords("Other")
    eventually(lambda: all(stale.bind_as(name, value) for name, value in old.passwords.items()), what="the passwords are set")
    for name in (*recorded.names, *gone.names):
        assert stale.find(name) is None
    assert set(gone.names) == set(gone.resources())

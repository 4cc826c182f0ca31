"""Parts of the world are away for a while: nothing is lost, nothing is removed, and everything is caught up with without a hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.api import KubeApi
from lab.proxy import Front
from lab.samba import DomainController
from tests.integration.crowd import FULL, Crowd, await_looked_at, full_only, operations, scaled
from tests.integration.support import Operator, Site, ad_domain, condition, credentials, eventually, new_namespace, synced_user, unique


@pytest.fixture
def front(dc: DomainController) -> Iterator[Front]:
    with Front(*dc.endpoint) as front:
        yield front


def reason_of(site: Site, name: str, kind: str = "SyncedUser") -> str:
    return str(condition(site.get(name, kind), "Ready")["reason"])


# --- the domain controller ---


def test_the_domain_controller_is_away_for_a_while(site: Site, front: Front, operator: Operator) -> None:
    """Who asks for something hears that it can't be done now, the others are not touched, and nobody restarts the operator."""
    site.connect(servers=[front.url], deletionPolicy="Delete")
    crowd = Crowd(site, 6, passwords=True)
    crowd.create(firstName="Before")
    crowd.await_reason()
    edited, repassworded, leaving, drifting, *quiet = crowd.names
    new = unique("new")
    versions = crowd.versions()

    front.cut()
    site.await_reason("corp", "DomainUnavailable", "ADDomain")
    site.edit(edited, {"firstName": "After"})
    site.password(repassworded, "Other-Horse-8")
    site.user(new)
    site.api.delete("SyncedUser", site.namespace, leaving)
    site.dc.replace(f"CN={drifting},{site.container}", {"givenName": "Elsewhere"})
    for name in (edited, new, leaving):
        site.await_reason(name, "DomainUnavailable")
    assert operator.alive()
    if FULL:
        with pytest.raises(AssertionError):  # it stays so: half a minute, in which nothing comes of it
            eventually(lambda: not operator.alive() or reason_of(site, "corp", "ADDomain") != "DomainUnavailable", 30, interval=1)
    assert {name: crowd.versions()[name] for name in quiet} == {name: versions[name] for name in quiet}
    assert site.dc.find(leaving) is not None
    assert site.dc.find(new) is None

    front.open()
    for name in (edited, new, drifting, repassworded):
        site.await_reason(name, timeout=40)
    site.await_gone(leaving)
    site.await_reason("corp", kind="ADDomain")
    eventually(lambda: site.dc.find(leaving) is None and site.dc.bind_as(repassworded, "Other-Horse-8"), what="the rest is done")
    assert names_in(site, edited, drifting) == ["After", "Before"]
    assert {name: crowd.versions()[name] for name in quiet} == {name: versions[name] for name in quiet}
    for name in quiet:
        assert site.dc.bind_as(name, crowd.passwords[name])


def names_in(site: Site, *users: str) -> list[str]:
    found = [site.dc.find(name, ["givenName"]) for name in users]
    return [each["givenName"][0] if each else "" for each in found]


@full_only
def test_the_domain_controller_restarts(site: Site, operator: Operator, dc: DomainController) -> None:
    """The program itself ends and comes back: as with a cut line, and not one write more than asked for."""
    site.connect()
    crowd = Crowd(site, 10)
    crowd.create()
    crowd.await_reason()
    versions = crowd.versions()
    dc.stop()
    site.await_reason("corp", "DomainUnavailable", "ADDomain")
    new = unique("new")
    site.user(new)
    site.await_reason(new, "DomainUnavailable")
    assert operator.alive()
    dc.start()
    site.await_reason(new, timeout=40)
    assert sorted(crowd.accounts()) == sorted([*crowd.names, new])
    assert crowd.versions() == versions


# --- half of a sweep ---


def await_more(front: Front, connections: int, what: str) -> None:
    eventually(lambda: front.accepted > connections, 20, what=what)


def test_a_line_that_is_cut_in_the_middle_of_a_sweep(site: Site, front: Front, operator: Operator) -> None:
    """What was not read is not taken for absent: nobody is created again, removed, or called in step without a look."""
    if FULL:
        site.dc.users(520, prefix=unique("other"), container=site.container)  # more than a page
    site.connect(servers=[front.url])
    crowd = Crowd(site, 20)
    crowd.create()
    crowd.await_reason()
    operator.kill()
    lost = unique("lost")
    site.dc.add_user(lost, container=site.container)
    site.user(lost)  # a stranger has this name: before the whole is read it must not be taken for free
    usn, versions = site.dc.highest_usn(), crowd.versions()
    for count in (5_000, 20_000, 40_000, 80_000, 150_000, 200_000, 250_000) if FULL else (12_000, 25_000):
        accepted = front.accepted
        front.reset_after(count)
        operator.start()
        await_more(front, accepted + 2, f"the line was cut after {count} bytes, and a new one made")
        await_looked_at(operator, len(crowd.names))
        site.await_reason(lost, "AdoptionRefused")
        assert site.dc.highest_usn() == usn
        assert crowd.versions() == versions
        assert not {"add", "modify", "delete"} & operations(operator).keys()
        operator.kill()


# --- the API server ---


@pytest.mark.parametrize("way", ["killed", pytest.param("ended", marks=full_only)])
def test_the_api_server_is_away_for_a_while(site: Site, operator: Operator, api: KubeApi, way: str) -> None:
    """The operator survives it, removes nothing, and follows both sides again."""
    site.connect(deletionPolicy="Delete")
    crowd = Crowd(site, scaled(10, 100), passwords=True)
    crowd.create(firstName="Ann")
    crowd.await_reason()
    pid = operator.pid
    drifting = crowd.names[0]
    site.control_plane.stop_apiserver(grace=0.0 if way == "killed" else 5.0)
    site.dc.replace(f"CN={drifting},{site.container}", {"givenName": "Elsewhere"})
    eventually(lambda: names_in(site, drifting) == ["Ann"], 15, what="drift is reverted meanwhile: nothing more is needed for it")
    assert operator.running
    assert operator.alive()
    site.control_plane.start_apiserver()
    api.close()
    new = unique("new")
    site.user(new)
    site.edit(crowd.names[1], {"lastName": "Lee"})
    site.api.delete("SyncedUser", site.namespace, crowd.names[2])
    site.await_reason(new, timeout=30)
    site.await_reason(crowd.names[1])
    site.await_gone(crowd.names[2])
    assert (operator.running, operator.pid) == (True, pid)
    assert sorted(crowd.accounts()) == sorted({*crowd.names, new} - {crowd.names[2]})
    for name in crowd.names[3:6]:
        assert site.dc.bind_as(name, crowd.passwords[name])


def test_the_api_server_goes_while_users_are_created(site: Site, operator: Operator, api: KubeApi) -> None:
    """Accounts whose status could not be written are found again, not made again."""
    site.connect()
    crowd = Crowd(site, scaled(60, 300), passwords=True)
    crowd.create()
    eventually(lambda: len(crowd.accounts()) > 5, what="the work has begun")
    site.control_plane.restart_apiserver()
    api.close()
    crowd.await_reason(timeout=scaled(40, 90))
    crowd.assert_complete()
    assert operator.running


# --- two of us ---


def test_two_clusters_that_name_the_same_accounts_do_not_fight(site: Site, api: KubeApi, operators: Callable[..., Operator]) -> None:
    """Who has the account keeps it, whatever the other's policies say, and the other says so without a write."""
    name = unique("u")
    with new_namespace(api) as elsewhere:
        spec: dict[str, Any] = {"adoptionPolicy": "Always", "deletionPolicy": "Retain"}
        site.connect(clusterName="east", **spec)
        site.user(name, firstName="East")
        api.create(credentials(site.dc, elsewhere))
        api.create(ad_domain(site.dc, elsewhere, site.container, clusterName="west", **spec))
        first, second = operators(site.namespace), operators(elsewhere)
        first.start()
        site.await_reason(name)
        api.create(synced_user(elsewhere, name, firstName="West"))
        second.start()
        other = Site(api, site.control_plane, site.dc, elsewhere, site.container)
        other.await_reason(name, "Conflict")
        assert "of cluster east" in condition(other.get(name), "Ready")["message"]
        usn = site.dc.highest_usn()
        for namespace in (site.namespace, elsewhere):
            asked = {"metadata": {"annotations": {"adsync.dev/reconcile-requested-at": "now"}}}
            api.patch("SyncedUser", namespace, name, asked)
        eventually(
            lambda: [each.get(name)["status"].get("lastHandledReconcileAt") for each in (site, other)] == ["now"] * 2, what="looked again"
        )
        assert site.dc.highest_usn() == usn
        api.delete("SyncedUser", elsewhere, name)
        other.await_gone(name)
        assert names_in(site, name) == ["East"]
        # Only when the first has let go of it may the other take it over.
        api.create(synced_user(elsewhere, name, firstName="West"))
        other.await_reason(name, "Conflict")
        api.delete("SyncedUser", site.namespace, name)
        site.await_gone(name)
        other.await_reason(name, timeout=20)
        assert names_in(site, name) == ["West"]

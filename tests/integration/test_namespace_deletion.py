"""`kubectl delete namespace`, with the domain, its Secrets and its users in it, comes to an end by itself, whatever else is wrong.

Secrets have no finalizer and go at once: what the operator then knows of the credentials is what it remembers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab.proxy import Front
from lab.samba import DomainController
from tests.integration.crowd import MARK, Crowd, full_only, scaled
from tests.integration.support import KINDS, Operator, Site, ad_domain, condition, credentials, eventually

DISABLED = "514"
PATIENCE = 30.0


pytestmark = pytest.mark.usefixtures("shared_operator")  # it serves all namespaces, as installed


@pytest.fixture
def front(dc: DomainController) -> Iterator[Front]:
    with Front(*dc.endpoint) as front:
        yield front


def in_step(site: Site, deletion_policy: str = "Disable", **spec: Any) -> Crowd:
    site.connect(deletionPolicy=deletion_policy, **spec)
    crowd = Crowd(site, scaled(8, 200), passwords=True)
    crowd.create()
    crowd.await_reason()
    return crowd


def delete_namespace(site: Site) -> None:
    site.api.delete("Namespace", "", site.namespace)


def await_end(site: Site, timeout: float = PATIENCE) -> None:
    """Our part of it is to let our resources go; the namespace controller looks again at growing intervals, and has its own time for that."""
    eventually(lambda: not any(site.api.list(kind, site.namespace) for kind in KINDS), timeout, interval=0.2, what="our resources are gone")

    def look() -> bool:
        left = site.api.find("Namespace", "", site.namespace)
        assert left is None, condition(left, "NamespaceContentRemaining")["message"]
        return True

    eventually(look, 60, interval=0.2, what="the namespace is gone")


def assert_disabled_and_ours(crowd: Crowd) -> None:
    accounts = crowd.accounts()
    assert sorted(accounts) == crowd.names
    assert {each["userAccountControl"][0] for each in accounts.values()} == {DISABLED}
    assert all(each[MARK][0].startswith("adsync1:u:") for each in accounts.values())


def test_everything_in_it_goes_as_the_deletion_policy_says(site: Site) -> None:
    crowd = in_step(site)
    delete_namespace(site)
    await_end(site)
    assert_disabled_and_ours(crowd)


@full_only
def test_the_safety_limit_does_not_hold_up_a_domain_that_goes_with_its_users(site: Site) -> None:
    crowd = in_step(site, "Delete", safety={"maxRemovals": "0%", "minRemovals": 0})
    delete_namespace(site)
    await_end(site)
    assert set(crowd.accounts()) <= set(crowd.names)


def test_a_restart_in_the_middle_does_not_strand_it(site: Site, shared_operator: Operator) -> None:
    """What is not known any more after the restart can't be done; it is released as it is."""
    crowd = in_step(site)
    delete_namespace(site)
    shared_operator.kill()
    shared_operator.start()
    await_end(site)
    assert sorted(crowd.accounts()) == crowd.names


@full_only
def test_with_the_operator_away_at_first(site: Site, shared_operator: Operator) -> None:
    crowd = in_step(site)
    shared_operator.kill()
    delete_namespace(site)
    eventually(lambda: not site.api.list("Secret", site.namespace), what="the Secrets are gone")
    shared_operator.start()
    await_end(site)
    assert sorted(crowd.accounts()) == crowd.names


def test_after_its_domain(site: Site) -> None:
    """A domain that is deleted first releases its users as they are; those stay, and say that their domain is gone."""
    crowd = in_step(site)
    site.api.delete("ADDomain", site.namespace, "corp")
    site.await_gone("corp", "ADDomain")
    accounts = crowd.accounts()
    assert {each["userAccountControl"][0] for each in accounts.values()} == {"512"}
    assert not any(MARK in each for each in accounts.values())
    crowd.await_reason("DomainNotFound")
    delete_namespace(site)
    await_end(site)
    assert sorted(crowd.accounts()) == crowd.names


@full_only
def test_after_its_users_began_to_go(site: Site) -> None:
    """Deletions that are under way when their domain begins to go are still served as their policy says."""
    crowd = in_step(site)
    crowd.delete()
    site.api.delete("ADDomain", site.namespace, "corp")
    crowd.await_gone()
    site.await_gone("corp", "ADDomain")
    assert_disabled_and_ours(crowd)


def test_with_the_domain_controller_away(site: Site, front: Front) -> None:
    """The credentials go with the namespace and never come back: what can't be done now is not waited for."""
    crowd = in_step(site, servers=[front.url])
    front.cut()
    delete_namespace(site)
    await_end(site)
    accounts = crowd.accounts()
    assert sorted(accounts) == crowd.names
    assert {each["userAccountControl"][0] for each in accounts.values()} == {"512"}


@full_only
def test_with_a_domain_controller_that_says_nothing(site: Site, front: Front) -> None:
    crowd = in_step(site, servers=[front.url])
    front.stall()
    delete_namespace(site)
    await_end(site, 45)
    assert sorted(crowd.accounts()) == crowd.names


def test_with_credentials_that_are_refused(site: Site) -> None:
    site.api.create(credentials(site.dc, site.namespace, password="Never-Right-7"))
    site.api.create(ad_domain(site.dc, site.namespace, site.container))
    site.await_reason("corp", "CredentialsRejected", "ADDomain")
    site.user(f"{site.namespace}x")
    site.await_reason(f"{site.namespace}x", "CredentialsRejected")
    delete_namespace(site)
    await_end(site)


def test_a_user_that_goes_while_the_domain_controller_is_away_waits_for_it(site: Site, front: Front) -> None:
    """Only the end of the credentials releases: a domain that is merely away keeps the resource, with the reason."""
    site.connect(servers=[front.url], deletionPolicy="Disable")
    crowd = Crowd(site, 3)
    crowd.create()
    crowd.await_reason()
    front.cut()
    crowd.delete()
    crowd.await_reason("DomainUnavailable")
    assert {each["userAccountControl"][0] for each in crowd.accounts().values()} == {"512"}
    front.open()
    crowd.await_gone()
    assert_disabled_and_ours(crowd)

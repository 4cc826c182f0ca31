"""A domain goes, its people stay: nothing is left behind that only a running operator could take away."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.support import Operator, Site, ad_domain, eventually, synced_group, unique

FINALIZER = "adsync.dev/directory"


def finalizers(site: Site, name: str, kind: str = "SyncedUser") -> list[str]:
    found: list[str] = site.get(name, kind)["metadata"].get("finalizers", [])
    return found


def test_users_and_groups_of_a_deleted_domain_can_go_without_an_operator(site: Site, operators: Callable[..., Operator]) -> None:
    operator = operators(site.namespace)
    operator.start()
    site.connect()
    user, group = unique("u"), unique("g")
    site.user(user)
    site.api.create(synced_group(site.namespace, group, members=[{"name": user}]))
    site.await_reason(user)
    site.await_reason(group, kind="SyncedGroup")
    assert finalizers(site, user) == finalizers(site, group, "SyncedGroup") == [FINALIZER]
    site.api.delete("ADDomain", site.namespace, "corp")
    site.await_gone("corp", "ADDomain")
    site.await_reason(user, "DomainNotFound")
    assert finalizers(site, user) == finalizers(site, group, "SyncedGroup") == []
    assert site.dc.find(user)
    # The domain comes again: the account is found, and held again before anything is written.
    site.api.create(ad_domain(site.dc, site.namespace, site.container, adoptionPolicy="Always"))
    site.edit(user, {"displayName": "Again"})
    site.await_reason(user)
    eventually(lambda: finalizers(site, user) == [FINALIZER])
    site.api.delete("ADDomain", site.namespace, "corp")
    site.await_gone("corp", "ADDomain")
    operator.kill()
    site.api.delete("SyncedUser", site.namespace, user)
    site.await_gone(user)


def test_a_user_of_two_domains_is_held_until_both_are_gone(site: Site, operators: Callable[..., Operator]) -> None:
    operators(site.namespace).start()
    site.connect()
    second = site.dc.add_container(unique())
    site.api.create(ad_domain(site.dc, site.namespace, second, name="second", clusterName="second"))
    name = unique("u")
    site.user(name, domains=[{"name": "corp"}])
    site.await_reason(name)
    site.edit(name, {"domains": [{"name": "corp"}, {"name": "second"}]})
    eventually(lambda: len(site.get(name).get("status", {}).get("domains", [])) == 2)
    site.api.delete("ADDomain", site.namespace, "second")
    site.await_gone("second", "ADDomain")
    assert finalizers(site, name) == [FINALIZER]
    site.dc.delete(second, recursive=True)

"""The lab itself: what the other tests rely on is there, and the service account may do what it must, and no more."""

from __future__ import annotations

import pytest

from lab.api import KubeApi
from lab.kube import ControlPlane
from lab.ldaptools import LdapError, ldif_members, ldif_replace
from lab.provision import user_ldif
from lab.samba import DomainController
from tests.integration.support import ad_domain, eventually, unique

PASSWORD = "Correct-Horse-7"


def test_the_api_server_serves_our_kinds(api: KubeApi, control_plane: ControlPlane, dc: DomainController, namespace: str) -> None:
    api.create(ad_domain(dc, namespace))
    assert control_plane.get("addom", "corp", "-n", namespace)["spec"]["domainName"] == dc.domain


def test_the_api_server_comes_back_with_its_data(api: KubeApi, control_plane: ControlPlane, namespace: str) -> None:
    control_plane.restart_apiserver()
    assert api.get("Namespace", "", namespace)["metadata"]["name"] == namespace


def test_the_service_account_creates_below_its_container(dc: DomainController, container: str) -> None:
    name = unique("u")
    dn = f"CN={name},{container}"
    dc.modify(user_ldif(dn, name, PASSWORD, {"adminDescription": "mark"}), as_admin=False)
    assert dc.bind_as(name, PASSWORD)
    assert dc.bind_error(name, "something else") == "52e"
    dc.modify(ldif_replace(dn, {"userAccountControl": "514", "mail": "a@example.com"}), as_admin=False)
    assert dc.bind_error(name, PASSWORD) == "533"
    dc.tools.delete(dc.service, dn)
    assert dc.find(name) is None


def test_the_service_account_may_do_no_more(dc: DomainController, container: str) -> None:
    name = unique("u")
    dn = dc.add_user(name, PASSWORD, container=container)
    for ldif in (
        user_ldif(f"CN={name}x,CN=Users,{dc.base}", f"{name}x", PASSWORD, {}),
        ldif_replace(f"CN=Administrator,CN=Users,{dc.base}", {"mail": "a@example.com"}),
        ldif_replace(dn, {"homeDirectory": "elsewhere"}),
        ldif_members(f"CN=Domain Admins,CN=Users,{dc.base}", [dn]),
    ):
        with pytest.raises(LdapError) as caught:
            dc.modify(ldif, as_admin=False)
        assert caught.value.code == 50


def test_a_clone_is_the_same_domain_under_another_invocation_id(dc: DomainController, container: str) -> None:
    name = unique("u")
    backup = dc.backup()
    dc.add_user(name, PASSWORD, container=container)
    stale = dc.clone("stale", backup)
    try:
        stale.start()
        assert stale.dsa()[0] == dc.dsa()[0]
        assert stale.dsa()[1] != dc.dsa()[1]
        assert stale.find(name) is None
        assert dc.find(name) is not None
    finally:
        stale.remove()


def test_nothing_written_nothing_moved(dc: DomainController) -> None:
    before = dc.highest_usn()
    dc.search("(objectClass=user)", ["cn"])
    assert dc.highest_usn() == before


def test_a_namespace_goes_by_itself(api: KubeApi) -> None:
    name = unique()
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    api.delete("Namespace", "", name)
    eventually(lambda: api.find("Namespace", "", name) is None, 30)

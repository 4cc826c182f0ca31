"""What can be wrong with a domain: each its own reason, with what to do about it, nobody else held up, and right again by itself once mended."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.api import ApiError, Manifest
from lab.certificates import Authority
from lab.processes import free_ports
from lab.proxy import Front
from lab.samba import DomainController
from tests.integration.support import (
    PATIENCE,
    Operator,
    Site,
    account,
    ad_domain,
    ask_again,
    condition,
    control,
    credentials,
    entry,
    eventually,
    new_namespace,
    reasons,
    secret,
    synced_user,
    unique,
)

PASSWORD = "Correct-Horse-7"
SOON = 10.0


@pytest.fixture(scope="module", autouse=True)
def operator(shared_operator: Operator) -> Operator:
    return shared_operator


@pytest.fixture(scope="module")
def home(home: Site) -> Site:
    """A domain with nothing wrong, whose users go on whatever happens to others."""
    home.connect(safety={"minRemovals": 1000})
    return home


def domain_is(site: Site, reason: str, name: str = "corp", timeout: float = PATIENCE) -> Manifest:
    return site.await_reason(name, reason, "ADDomain", timeout)


def message(resource: Manifest) -> str:
    return str(condition(resource, "Ready")["message"])


def others_go_on(home: Site) -> None:
    name = unique("u")
    home.user(name)
    home.await_reason(name)
    home.api.delete("SyncedUser", home.namespace, name)


def replace_secret(site: Site, **values: str) -> None:
    site.api.patch("Secret", site.namespace, "corp-ad", {"stringData": values})


# --- credentials ---


@pytest.fixture
def lockout(dc: DomainController) -> Iterator[None]:
    """Failed sign-ins are counted, and the third one locks an account. Without a threshold, the directory does not count."""
    dc.replace(dc.base, {"lockoutThreshold": "3"})
    yield
    dc.replace(dc.base, {"lockoutThreshold": "0"})
    dc.replace(dc.recipe.service_dn, {"lockoutTime": "0"})


def bad_binds(dc: DomainController) -> int:
    return int(account_of_service(dc)["badPwdCount"][0])


def account_of_service(dc: DomainController) -> dict[str, list[str]]:
    found = dc.find(dc.recipe.service_account, ["badPwdCount", "lockoutTime"])
    assert found is not None
    return found


@pytest.mark.usefixtures("lockout")
def test_refused_credentials_are_not_tried_again(home: Site, site: Site, operator: Operator) -> None:
    name, before = unique("u"), bad_binds(site.dc)
    with Front(*site.dc.endpoint) as front, new_namespace(site.api) as elsewhere:
        site.api.create(credentials(site.dc, site.namespace, password="not-this-one"))
        site.api.create(ad_domain(site.dc, site.namespace, site.container, servers=[front.url]))
        site.user(name)
        domain = domain_is(site, "CredentialsRejected")
        assert "correct the credentials Secret" in message(domain)
        assert condition(domain, "CredentialsValid")["status"] == "False"
        assert condition(domain, "Stalled")["status"] == "True"
        assert domain["status"]["refusedCredentials"]
        assert "correct the credentials Secret" in message(site.await_reason(name, "CredentialsRejected"))
        others_go_on(home)

        ask_again_without_answer(site, "corp", "ADDomain")
        site.user(unique("u"))
        site.edit("corp", {"resyncInterval": "10m"}, "ADDomain")
        domain_is(site, "CredentialsRejected")
        operator.restart()
        home.edit("corp", {"resyncInterval": "14m"}, "ADDomain")
        domain_is(home, "Synced")
        site.edit("corp", {"resyncInterval": "11m"}, "ADDomain")
        domain_is(site, "CredentialsRejected")
        site.api.create(credentials(site.dc, elsewhere, password="not-this-one"))  # the same account in another domain resource
        site.api.create(ad_domain(site.dc, elsewhere, site.container, servers=[front.url]))
        eventually(lambda: condition(site.api.get("ADDomain", elsewhere, "corp"), "Ready")["reason"] == "CredentialsRejected")
        assert front.accepted <= 2
        assert bad_binds(site.dc) - before <= 2

        replace_secret(site, password=site.dc.service.password)
        domain_is(site, "Synced", timeout=SOON)
        site.await_reason(name, timeout=SOON)
        assert "refusedCredentials" not in site.get("corp", "ADDomain")["status"]


def ask_again_without_answer(site: Site, name: str, kind: str) -> None:
    site.api.patch(kind, site.namespace, name, {"metadata": {"annotations": {"adsync.dev/reconcile-requested-at": unique()}}})


@pytest.mark.parametrize("missing", ["Secret corp-ad", "key 'password'", "key 'username'"])
def test_missing_credentials_are_named_and_waited_for(home: Site, site: Site, missing: str) -> None:
    name = unique("u")
    full = credentials(site.dc, site.namespace)
    if missing.startswith("key"):
        part = {key: value for key, value in full["stringData"].items() if key not in missing}
        site.api.create(secret(site.namespace, "corp-ad", part))
    site.api.create(ad_domain(site.dc, site.namespace, site.container))
    site.user(name)
    domain = domain_is(site, "CredentialsRejected")
    assert missing in message(domain)
    assert "corp-ad" in message(domain)
    site.await_reason(name, "CredentialsRejected")
    others_go_on(home)
    if missing.startswith("key"):
        replace_secret(site, **full["stringData"])
    else:
        site.api.create(full)
    domain_is(site, "Synced", timeout=SOON)
    site.await_reason(name, timeout=SOON)


def test_new_credentials_are_taken_over_without_a_restart(site: Site) -> None:
    """A change of the service account: the old one's session ends, the new one's begins."""
    name = unique("u")
    site.connect()
    domain_is(site, "Synced")
    replace_secret(site, username=site.dc.admin.name, password=site.dc.admin.password)
    eventually(lambda: site.get("corp", "ADDomain")["status"].get("excessRights"))  # an administrator has more than is needed
    site.user(name)
    site.await_reason(name)
    replace_secret(site, username=site.dc.service.name, password=site.dc.service.password)
    eventually(lambda: not site.get("corp", "ADDomain")["status"].get("excessRights"))


# --- certificates and servers ---


@contextmanager
def tls_server(certificate: Path, key: Path) -> Iterator[str]:
    """A server that shows a certificate and says no more; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with connection, context.wrap_socket(connection, server_side=True) as secure:
                    secure.settimeout(5)
                    secure.recv(1)
            except OSError:
                continue  # the client has looked at the certificate and gone: that is what this is for

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"ldaps://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


@pytest.mark.parametrize(
    ("names", "expired", "said"), [(["another.invalid"], False, "127.0.0.1"), (["127.0.0.1"], True, "expired")], ids=["host", "expired"]
)
def test_a_certificate_that_is_wrong(home: Site, site: Site, tmp_path: Path, names: list[str], expired: bool, said: str) -> None:
    name = unique("u")
    addresses = [each for each in names if each[0].isdigit()]
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    Authority(site.dc.ca_file.parent).issue(certificate, key, names, addresses, expired=expired)
    with tls_server(certificate, key) as url:
        site.connect(servers=[url])
        site.user(name)
        domain = domain_is(site, "CertificateRejected")
        assert said in message(domain)
        assert condition(domain, "Connected")["status"] == "False"
        site.await_reason(name, "CertificateRejected")
        others_go_on(home)
    site.edit("corp", {"servers": [site.dc.url]}, "ADDomain")
    domain_is(site, "Synced", timeout=SOON)
    site.await_reason(name, timeout=SOON)


def test_a_wrong_ca_and_its_hot_reload(home: Site, site: Site, tmp_path: Path) -> None:
    name = unique("u")
    other = Authority(tmp_path, "another CA").ca_file.read_text()
    site.connect()
    replace_secret(site, **{"ca.crt": other})
    site.user(name)
    domain = domain_is(site, "CertificateRejected")
    assert "CA" in message(domain)
    others_go_on(home)
    replace_secret(site, **{"ca.crt": "nonsense"})
    eventually(lambda: "no PEM certificate" in message(site.get("corp", "ADDomain")))
    replace_secret(site, **{"ca.crt": other + site.dc.ca_file.read_text()})  # a bundle, as during a change of CAs
    domain_is(site, "Synced", timeout=SOON)
    site.await_reason(name, timeout=SOON)


def test_a_ca_in_a_configmap(site: Site) -> None:
    name = unique("u")
    site.api.create(credentials(site.dc, site.namespace))
    site.api.create(ad_domain(site.dc, site.namespace, site.container, tls={"caConfigMapRef": {"name": "ca", "key": "ca.pem"}}))
    site.user(name)
    assert "ConfigMap ca with the CA does not exist" in message(domain_is(site, "CertificateRejected"))
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": site.namespace}}
    site.api.create({**body, "data": {"ca.crt": site.dc.ca_file.read_text()}})
    eventually(lambda: "no key 'ca.pem'" in message(site.get("corp", "ADDomain")))
    site.api.patch("ConfigMap", site.namespace, "ca", {"data": {"ca.pem": site.dc.ca_file.read_text()}})
    domain_is(site, "Synced", timeout=SOON)
    site.await_reason(name, timeout=SOON)


def test_the_name_in_the_certificate_may_be_another(site: Site) -> None:
    with Front(*site.dc.endpoint) as front:
        site.connect(servers=[front.url], tls={"caSecretRef": {"name": "corp-ad", "key": "ca.crt"}, "serverName": "elsewhere.invalid"})
        assert "elsewhere.invalid" in message(domain_is(site, "CertificateRejected"))
        site.edit("corp", {"tls": {"serverName": site.dc.host}}, "ADDomain")
        domain_is(site, "Synced", timeout=SOON)


def test_a_server_that_is_not_there(home: Site, site: Site) -> None:
    name = unique("u")
    (port,) = free_ports(1)
    site.connect(servers=[f"ldaps://127.0.0.1:{port}"])
    site.user(name)
    domain = domain_is(site, "DomainUnavailable")
    assert f"127.0.0.1:{port}" in message(domain)
    assert condition(domain, "Reconciling")["status"] == "True"
    user = site.await_reason(name, "DomainUnavailable")
    assert condition(user, "Reconciling")["status"] == "True"
    others_go_on(home)
    site.edit("corp", {"servers": [f"ldaps://127.0.0.1:{port}", site.dc.url]}, "ADDomain")
    domain = domain_is(site, "Synced", timeout=SOON)
    assert domain["status"]["domainController"]["url"] == site.dc.url
    site.await_reason(name, timeout=SOON)


def test_trouble_in_one_domain_does_not_hold_up_another(site: Site) -> None:
    name = unique("u")
    site.connect()
    with Front(site.dc.address) as front:
        front.cut()
        site.api.create(ad_domain(site.dc, site.namespace, site.container, name="far", servers=[front.url]))
        site.user(name, domains=[{"name": "corp"}, {"name": "far"}], deletionPolicy="Delete")
        user = site.await_reason(name, "DomainUnavailable")
        assert {each["name"]: each["reason"] for each in user["status"]["domains"]} == {"corp": "Synced", "far": "DomainUnavailable"}
        assert message(user).startswith("far: ")
        assert user["status"]["account"] == "Enabled"
        assert account(site, name)["dn"] == [f"CN={name},{site.container}"]
        site.edit(name, {"firstName": "Jane"})
        eventually(lambda: account(site, name)["givenName"] == ["Jane"])

        site.api.delete("SyncedUser", site.namespace, name)
        eventually(lambda: site.dc.find(name) is None)
        domain_is(site, "DomainUnavailable", "far")
        user = site.get(name)  # kept until the other domain has confirmed its part
        assert next(each for each in user["status"]["domains"] if each["name"] == "far")["reason"] == "DomainUnavailable"
        front.open()
        site.await_gone(name, timeout=40)


def test_an_answer_that_is_no_ldap(site: Site, tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    Authority(site.dc.ca_file.parent).issue(certificate, key, ["localhost"], ["127.0.0.1"])
    with tls_server(certificate, key) as url:
        site.connect(servers=[url])
        domain_is(site, "DomainUnavailable")


# --- the domain's own spec ---


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"rootUserContainer": "OU=People,DC=other,DC=example,DC=com"}, "DC=corp,DC=example,DC=com"),
        ({"rootUserContainer": "DC=corp,DC=example,DC=com"}, "whole domain"),
        ({"rootUserContainer": "OU=Absent,OU=People,DC=corp,DC=example,DC=com"}, "does not exist"),
        ({"rootUserContainer": "nonsense"}, "rootUserContainer"),
    ],
    ids=["elsewhere", "base", "absent", "nonsense"],
)
def test_a_root_container_that_can_not_be(home: Site, site: Site, spec: dict[str, Any], said: str) -> None:
    name = unique("u")
    site.connect(**spec)
    site.user(name)
    domain = domain_is(site, "InvalidSpec")
    assert said in message(domain)
    assert "spec.rootUserContainer" in message(domain)
    assert site.await_reason(name, "DomainUnavailable")["status"]["account"] == "Unknown"
    others_go_on(home)
    site.edit("corp", {"rootUserContainer": site.container}, "ADDomain")
    domain_is(site, "Synced", timeout=SOON)
    site.await_reason(name, timeout=SOON)


def test_a_container_that_is_created_later_is_found(site: Site) -> None:
    unit = unique("ou")
    site.connect(rootUserContainer=f"OU={unit},{site.container}")
    domain = domain_is(site, "InvalidSpec")
    assert condition(domain, "ScopeFound")["status"] == "False"
    site.dc.add_container(unit, groups=False, parent=site.container)
    ask_again_without_answer(site, "corp", "ADDomain")  # it would look by itself, but not at once
    domain = domain_is(site, "Synced")
    assert condition(domain, "ScopeFound")["status"] == "True"


def test_a_renamed_root_container_raises_a_condition(site: Site) -> None:
    name = unique("u")
    site.connect()
    site.user(name)
    site.await_reason(name)
    first, _, parent = site.container.partition(",")
    site.dc.rename(site.container, f"{first}-renamed")
    usn = account(site, name)["uSNChanged"]
    ask_again_without_answer(site, "corp", "ADDomain")
    eventually(lambda: condition(site.get("corp", "ADDomain"), "ScopeFound")["status"] == "False")
    site.edit(name, {"firstName": "Jane"})
    site.await_reason(name, "DomainUnavailable")
    assert account(site, name)["uSNChanged"] == usn
    site.edit("corp", {"rootUserContainer": f"{first}-renamed,{parent}"}, "ADDomain")
    site.await_reason(name, timeout=SOON)
    assert account(site, name)["givenName"] == ["Jane"]
    site.dc.rename(f"{first}-renamed,{parent}", first)


def test_another_domain_s_controller_is_not_taken_for_ours(site: Site) -> None:
    site.api.create(credentials(site.dc, site.namespace))
    site.api.create(
        ad_domain(site.dc, site.namespace, domainName="other.example.com", rootUserContainer="OU=People,DC=other,DC=example,DC=com") | {}
    )
    said = message(domain_is(site, "InvalidSpec"))
    assert "DC=corp,DC=example,DC=com" in said


def test_plain_ldap_is_refused_by_the_api_server(site: Site) -> None:
    with pytest.raises(ApiError) as caught:
        site.api.create(ad_domain(site.dc, site.namespace, site.container, servers=["ldap://dc1.corp.example.com"]))
    assert caught.value.status == 422
    assert "ldaps" in str(caught.value)


def test_missing_rights_are_listed(site: Site) -> None:
    name = unique("u")
    outside = site.dc.add_container(unique("ou"), parent=site.dc.base)  # nothing is delegated there
    try:
        site.connect(rootUserContainer=outside)
        site.user(name)
        domain = eventually(lambda: found if (found := site.get("corp", "ADDomain"))["status"].get("missingRights") else None)
        assert domain is not None
        assert condition(domain, "RightsSufficient")["status"] == "False"
        user = site.await_reason(name, "InsufficientRights")
        assert condition(user, "Stalled")["status"] == "True"
        assert site.dc.find(name) is None
    finally:
        site.dc.delete(outside, recursive=True)


def test_a_scope_group_that_is_not_there_is_told(site: Site) -> None:
    site.connect(scopeGroup=unique("absent"))
    domain = eventually(lambda: found if condition(found := site.get("corp", "ADDomain"), "ScopeFound")["status"] == "False" else None)
    assert domain is not None
    assert condition(domain, "ScopeFound")["reason"] == "GroupNotFound"
    site.edit("corp", {"scopeGroup": site.container.partition(",")[0].removeprefix("OU=")}, "ADDomain")
    eventually(lambda: condition(site.get("corp", "ADDomain"), "ScopeFound")["status"] == "True")


def test_a_status_tells_the_policy_and_the_controller(home: Site) -> None:
    status = eventually(lambda: found if (found := home.get("corp", "ADDomain")["status"]).get("lastFullSyncTime") else None)
    assert status is not None
    service, invocation = home.dc.dsa()
    assert status["domainController"]["url"] == home.dc.url
    assert status["domainController"]["dsServiceName"] == service
    assert status["domainController"].get("invocationId") in (invocation, None)  # None: the service account may not read it
    assert status["passwordPolicy"]["minLength"] == 7
    assert status["passwordPolicy"]["complexity"] is True
    assert not status.get("missingRights")
    assert condition(home.get("corp", "ADDomain"), "RightsSufficient")["status"] == "True"
    assert condition(home.get("corp", "ADDomain"), "EntraConnectDetected")["status"] == "False"


# --- who may bind ---


def test_a_domain_that_comes_later(site: Site) -> None:
    name = unique("u")
    site.user(name)
    user = site.await_reason(name, "DomainNotFound")
    assert "corp" in message(user)
    gone = unique("u")
    site.user(gone)
    site.await_reason(gone, "DomainNotFound")
    site.api.delete("SyncedUser", site.namespace, gone)
    site.await_gone(gone)
    site.connect()
    site.await_reason(name)
    assert account(site, name)["dn"] == [f"CN={name},{site.container}"]


def test_namespaces_bind_as_the_domain_allows(site: Site) -> None:
    site.connect()
    domain_is(site, "Synced")
    with new_namespace(site.api) as elsewhere:
        other = Site(site.api, site.control_plane, site.dc, elsewhere, site.container)
        name = unique("u")
        other.user(name, domains=[{"name": "corp", "namespace": site.namespace}])
        user = other.await_reason(name, "NamespaceNotAllowed")
        assert "allowedNamespaces" in message(user)
        assert site.dc.find(name) is None

        site.edit("corp", {"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "blue"}}}}, "ADDomain")
        other.await_reason(name, "NamespaceNotAllowed")
        site.api.patch("Namespace", "", elsewhere, {"metadata": {"labels": {"team": "blue"}}})
        other.await_reason(name)
        assert f"{elsewhere}/{name}" in account(site, name)["adminDescription"][0]
        usn = account(site, name)["uSNChanged"]
        site.api.patch("Namespace", "", elsewhere, {"metadata": {"labels": {"team": "red"}}})
        other.await_reason(name, "NamespaceNotAllowed")
        other.edit(name, {"firstName": "Eve"})
        other.await_reason(name, "NamespaceNotAllowed")
        assert account(site, name)["uSNChanged"] == usn

        site.edit("corp", {"allowedNamespaces": {"from": "All", "selector": None}}, "ADDomain")
        other.await_reason(name)
        present = unique("u")
        site.dc.add_user(present, PASSWORD, container=site.container, mail=f"{present}@example.com")
        other.user(present, email=f"{present}@example.com", domains=[{"name": "corp", "namespace": site.namespace}])
        assert "mayAdopt" in message(other.await_reason(present, "AdoptionRefused"))
        site.edit("corp", {"allowedNamespaces": {"mayAdopt": True}}, "ADDomain")
        ask_again_without_answer(other, present, "SyncedUser")
        other.await_reason(present)
        for each in (name, present):
            other.api.delete("SyncedUser", elsewhere, each)
            other.await_gone(each)


def test_a_domain_binds_users_by_their_labels(site: Site) -> None:
    name = unique("u")
    site.connect(bind={"userSelector": {"matchLabels": {"staff": "yes"}}})
    site.api.create(synced_user(site.namespace, name, domains=[]))
    site.await_reason(name)
    assert site.dc.find(name) is None
    site.api.patch("SyncedUser", site.namespace, name, {"metadata": {"labels": {"staff": "yes"}}})
    eventually(lambda: entry(site.get(name))["reason"] == "Synced")
    assert account(site, name)["dn"] == [f"CN={name},{site.container}"]
    site.api.patch("SyncedUser", site.namespace, name, {"metadata": {"labels": {"staff": None}}})
    eventually(lambda: not site.get(name)["status"].get("domains"))
    assert control(site, name) == 514


# --- Observe, paused, asked for, deleted ---


def test_observe_plans_and_writes_nothing(site: Site) -> None:
    new, present, leaving = unique("u"), unique("u"), unique("u")
    site.connect()
    for name in (present, leaving):
        site.user(name, firstName="Jane", suspended=False)
        site.await_reason(name)
    site.edit("corp", {"mode": "Observe"}, "ADDomain")
    domain_is(site, "Observing")
    before = site.dc.highest_usn()
    site.password(new, PASSWORD)
    site.user(new, passwordSecretRef={"name": new})
    site.edit(present, {"firstName": "Janet", "suspended": True})
    user = site.await_reason(new, "Observing")
    assert any(f"CN={new}" in each for each in entry(user)["plannedChanges"])
    assert PASSWORD not in str(entry(user))
    user = site.await_reason(present, "Observing")
    assert any("givenName: Jane → Janet" in each for each in entry(user)["plannedChanges"])
    site.api.delete("SyncedUser", site.namespace, leaving)
    eventually(lambda: entry(site.get(leaving))["reason"] == "Observing")
    planned = eventually(lambda: found if (found := planned_changes(site))["count"] == 3 else None)
    assert planned is not None
    assert len(planned["sample"]) == 3
    assert planned["digest"]
    assert eventually(lambda: all("WouldChange" in reasons(site, name) for name in (new, present, leaving)))
    assert site.dc.highest_usn() == before
    site.edit("corp", {"mode": "Apply"}, "ADDomain")
    site.await_reason(new)
    site.await_reason(present)
    site.await_gone(leaving)
    assert site.dc.bind_as(new, PASSWORD)
    assert (account(site, present)["givenName"], control(site, present), control(site, leaving)) == (["Janet"], 514, 514)
    eventually(lambda: not site.get("corp", "ADDomain")["status"].get("plannedChanges"))
    assert "plannedChanges" not in entry(site.get(new))


def planned_changes(site: Site) -> Manifest:
    found: Manifest = site.get("corp", "ADDomain")["status"]["plannedChanges"]
    return found


def test_paused_writes_nothing_until_it_goes_on(site: Site) -> None:
    there, new = unique("u"), unique("u")
    site.connect()
    site.user(there, firstName="Jane")
    first = site.await_reason(there)
    site.edit("corp", {"paused": True}, "ADDomain")
    assert "paused" in message(domain_is(site, "Paused"))
    before = site.dc.highest_usn()
    site.user(new)
    site.await_reason(new, "Paused")
    site.dc.replace(f"CN={there},{site.container}", {"givenName": "Eve"})
    assert site.get(there)["status"] == first["status"]  # it asks for nothing, and stands as it stood
    assert site.dc.highest_usn() == before + 1
    site.edit("corp", {"paused": False}, "ADDomain")
    site.await_reason(new)
    eventually(lambda: account(site, there)["givenName"] == ["Jane"])


def test_a_look_that_is_asked_for_is_answered(home: Site) -> None:
    name = unique("u")
    home.user(name)
    home.await_reason(name)
    before = eventually(lambda: home.get("corp", "ADDomain")["status"]["lastFullSyncTime"])
    ask_again(home, name)
    eventually(lambda: ask_again(home, "corp", "ADDomain")["status"]["lastFullSyncTime"] > before)


def test_a_domain_that_goes_leaves_its_accounts_as_they_are(site: Site) -> None:
    name, leaving = unique("u"), unique("u")
    site.connect()
    for each in (name, leaving):
        site.user(each, deletionPolicy="Delete")
        site.await_reason(each)
    with_mark = account(site, name)["adminDescription"]
    site.api.delete("SyncedUser", site.namespace, leaving)
    site.api.delete("ADDomain", site.namespace, "corp")
    site.await_gone(leaving)
    site.await_gone("corp", "ADDomain")
    assert site.dc.find(leaving) is None
    assert control(site, name) == 512
    site.await_reason(name, "DomainNotFound")
    site.api.create(ad_domain(site.dc, site.namespace, site.container, adoptionPolicy="Always"))
    site.await_reason(name)
    assert account(site, name)["adminDescription"][0].partition(";")[0] == with_mark[0].partition(";")[0]


# --- the safety limit ---


def test_removals_above_the_limit_are_held_and_exactly_those_approved_go(site: Site) -> None:
    names = [unique("u") for _ in range(6)]
    site.connect(safety={"maxRemovals": "10%", "minRemovals": 2})
    for name in names:
        site.user(name)
    for name in names:
        site.await_reason(name)
    for name in names[:4]:
        site.api.delete("SyncedUser", site.namespace, name)

    def held() -> list[str]:
        left = [
            name
            for name in names[:5]
            if (user := site.api.find("SyncedUser", site.namespace, name)) and "deletionTimestamp" in user["metadata"]
        ]
        return [name for name in left if entry(site.get(name))["reason"] == "SafetyLimit"]

    def gone() -> int:
        return sum(site.api.find("SyncedUser", site.namespace, name) is None for name in names)

    eventually(lambda: len(held()) == 2 and gone() == 2)
    eventually(lambda: planned_changes(site)["count"] == 2)
    domain = domain_is(site, "SafetyLimit")
    assert condition(domain, "WithinSafetyLimit")["status"] == "False"
    planned = domain["status"]["plannedChanges"]
    assert planned["count"] == 2
    first = held()
    assert all(any(name in each for each in planned["sample"]) for name in first)
    assert planned["digest"] in message(domain)

    site.api.delete("SyncedUser", site.namespace, names[4])  # a later one is none of those that were shown
    eventually(lambda: len(held()) == 3)
    assert planned_changes(site)["digest"] == planned["digest"]
    annotate(site, "corp", "adsync.dev/approve", "0" * 16)
    eventually(lambda: "ApprovalUnknown" in reasons(site, "corp"))
    assert len(held()) == 3, "it lets nothing through"
    annotate(site, "corp", "adsync.dev/approve", planned["digest"])
    for name in first:
        site.await_gone(name)
        assert control(site, name) == 514
    eventually(lambda: planned_changes(site)["digest"] != planned["digest"])
    assert held() == [names[4]]
    assert control(site, names[4]) == 512
    assert domain_is(site, "SafetyLimit")["status"]["safety"]["approvedDigest"] == planned["digest"]
    site.await_reason(names[5])
    site.edit("corp", {"safety": {"minRemovals": 10}}, "ADDomain")
    site.await_gone(names[4])
    domain_is(site, "Synced")


def annotate(site: Site, name: str, key: str, value: str, kind: str = "ADDomain") -> None:
    site.api.patch(kind, site.namespace, name, {"metadata": {"annotations": {key: value}}})


def test_suspensions_have_a_budget_of_their_own(site: Site) -> None:
    names = [unique("u") for _ in range(5)]
    site.connect(safety={"maxRemovals": "0%", "maxSuspensions": "60%", "minRemovals": 1})
    for name in names:
        site.user(name, suspended=False)
    for name in names:
        site.await_reason(name)
    for name in names[:4]:
        site.edit(name, {"suspended": True})
    eventually(lambda: sorted(entry(site.get(name))["reason"] for name in names) == ["SafetyLimit", "Synced", "Synced", "Synced", "Synced"])
    assert sum(control(site, name) == 514 for name in names) == 3
    held = next(name for name in names if entry(site.get(name))["reason"] == "SafetyLimit")
    site.edit(held, {"suspended": False})  # no longer wanted
    site.await_reason(held)
    domain_is(site, "Synced")


def test_the_window_survives_a_restart(site: Site, operator: Operator) -> None:
    names = [unique("u") for _ in range(2)]
    site.connect(safety={"maxRemovals": "0%", "minRemovals": 1})
    for name in names:
        site.user(name)
    for name in names:
        site.await_reason(name)
    site.api.delete("SyncedUser", site.namespace, names[0])
    site.await_gone(names[0])
    eventually(lambda: site.get("corp", "ADDomain")["status"]["safety"]["removals"])
    operator.restart()
    site.api.delete("SyncedUser", site.namespace, names[1])
    eventually(lambda: entry(site.get(names[1]))["reason"] == "SafetyLimit")
    assert control(site, names[1]) == 512


# --- lockout ---


@pytest.mark.usefixtures("lockout")
def test_a_lockout_is_told_and_cleared_once(home: Site) -> None:
    name = unique("u")
    home.password(name, PASSWORD)
    home.user(name, passwordSecretRef={"name": name})
    home.await_reason(name)

    def lock() -> None:
        for _ in range(3):
            home.dc.bind_error(name, "not this one")
        assert home.dc.bind_error(name, PASSWORD) == "775"
        eventually(lambda: entry(home.get(name))["suspension"]["lockedOut"] is True)

    lock()
    annotate(home, name, "adsync.dev/unlock-requested-at", "now", "SyncedUser")
    eventually(lambda: home.dc.bind_as(name, PASSWORD))
    eventually(lambda: entry(home.get(name))["suspension"]["lockedOut"] is False)
    lock()
    ask_again(home, name)
    assert home.dc.bind_error(name, PASSWORD) == "775"
    annotate(home, name, "adsync.dev/unlock-requested-at", "now again", "SyncedUser")
    eventually(lambda: home.dc.bind_as(name, PASSWORD))


# --- what kubectl shows ---


def test_kubectl_shows_what_matters(home: Site) -> None:
    name = unique("u")
    home.user(name, suspended=True)
    home.await_reason(name)
    domain_is(home, "Synced")
    kubectl = home.control_plane.kubectl
    head, row = kubectl("get", "suser", name, "-n", home.namespace).splitlines()
    assert head.split("  ")[0] == "NAME"
    assert head.replace("LAST SYNC", "LAST-SYNC").split() == [
        "NAME", "USERNAME", "ACCOUNT", "PASSWORD", "GROUPS", "READY", "REASON", "LAST-SYNC"
    ]  # fmt: skip
    assert row.split()[:7] == [name, name, "Disabled", "Generated", "0", "True", "Synced"]
    head, row = kubectl("get", "addom", "corp", "-n", home.namespace).splitlines()
    assert head.split() == ["NAME", "DOMAIN", "MODE", "DIRECTION", "READY", "REASON", "USERS", "GROUPS"]
    assert row.split()[:6] == ["corp", home.dc.domain, "Apply", "Export", "True", "Synced"]
    assert int(row.split()[6]) >= 1
    described = kubectl("describe", "suser", name, "-n", home.namespace)
    for part in (f"CN={name},{home.container}", "Disabled", "Generated", "Created", "Synced"):
        assert part in described
    kubectl("wait", "--for=condition=Ready", f"suser/{name}", "-n", home.namespace, "--timeout=5s")
    assert name in kubectl("get", "adsync", "-n", home.namespace)
    assert name in kubectl("get", "suser", "-A", "--field-selector", f"spec.username={name}")

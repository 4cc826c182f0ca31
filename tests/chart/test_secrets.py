"""Access to Secrets limited to some namespaces: there all works, elsewhere all that needs no Secret does, and the rest says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab.api import KubeApi
from lab.kube import ControlPlane
from lab.operator import Operator
from tests.audit import Audited
from tests.chart.support import NAMESPACE, Rendered, render
from tests.integration.support import (
    Site,
    ad_domain,
    condition,
    credentials,
    eventually,
    new_namespace,
    reasons,
    secret,
    synced_user,
    unique,
)


@pytest.fixture
def elsewhere(home: Site) -> Iterator[Site]:
    """A namespace in which Secrets may not be read."""
    with new_namespace(home.api) as name:
        yield Site(home.api, home.control_plane, home.dc, name, home.container)


@pytest.fixture
def later(home: Site) -> Iterator[Site]:
    """A namespace in which Secrets may be read, but only once somebody has made the Role."""
    with new_namespace(home.api) as name:
        yield Site(home.api, home.control_plane, home.dc, name, home.container)


def test_secrets_are_read_in_the_listed_namespaces_and_nowhere_else(
    home: Site, elsewhere: Site, later: Site, control_plane: ControlPlane, processes: Audited, as_account: Callable[[Rendered], Operator]
) -> None:
    rendered = render({
        "rbac": {"aggregate": False}, "crds": {"enabled": False}, "secretNamespaces": [home.namespace, later.namespace],
    })  # fmt: skip
    roles = [each for each in rendered if each["metadata"].get("namespace") == later.namespace]
    assert {each["kind"] for each in roles} == {"Role", "RoleBinding"}
    processes.audit_log.write_text("")
    operator = as_account(Rendered(each for each in rendered if each not in roles))
    operator.start(await_ready=False)
    processes.wait_ready(operator.name, lambda: operator.metric("adsync_leader") == 1 and operator.ready())
    api: KubeApi = home.api

    # In a listed namespace: credentials, CA, and a password that changes.
    home.connect(allowedNamespaces={"from": "All"})
    name = unique("s")
    home.password(name, "Lantern-Harbour-42")
    home.user(name, passwordSecretRef={"name": name})
    home.await_reason(name)
    assert home.dc.bind_as(name, "Lantern-Harbour-42")
    home.password(name, "Harbour-Lantern-43")
    eventually(lambda: home.dc.bind_as(name, "Harbour-Lantern-43"), what="the changed password arrives")

    # Elsewhere: a user that needs no Secret is served as ever, one that does says why it is not.
    plain, sealed, held = unique("s"), unique("s"), unique("s")
    binding = [{"name": "corp", "namespace": home.namespace}]
    api.create(secret(elsewhere.namespace, "mine", {"password": "Lantern-Harbour-42"}))
    api.create(synced_user(elsewhere.namespace, plain, domains=binding))
    api.create(synced_user(elsewhere.namespace, sealed, domains=binding, passwordSecretRef={"name": "mine"}))
    api.create(synced_user(elsewhere.namespace, held, domains=binding))
    elsewhere.await_reason(plain)
    elsewhere.await_reason(held)
    refused = elsewhere.await_reason(sealed, "InsufficientRights")
    assert f"may not read Secrets in namespace {elsewhere.namespace}" in condition(refused, "Ready")["message"]
    assert condition(refused, "Stalled")["status"] == "True"
    assert home.dc.find(sealed) is None
    assert "InsufficientRights" in reasons(elsewhere, sealed)
    # Who has an account keeps it, and its other attributes are followed.
    elsewhere.edit(held, {"passwordSecretRef": {"name": "mine"}, "lastName": "Lee"})
    refused = elsewhere.await_reason(held, "InsufficientRights")
    assert condition(refused, "PasswordSynced")["status"] == "False"
    assert "may not read Secrets" in condition(refused, "PasswordSynced")["message"]
    eventually(lambda: (home.dc.find(held, ["sn"]) or {}).get("sn") == ["Lee"])

    # A domain elsewhere can't sign in, says so, and can be deleted all the same.
    api.create(credentials(home.dc, elsewhere.namespace))
    api.create(ad_domain(home.dc, elsewhere.namespace, home.container))
    refused = elsewhere.await_reason("corp", "InsufficientRights", "ADDomain")
    for kind in ("Ready", "CredentialsValid"):
        assert condition(refused, kind)["status"] == "False"
        assert f"may not read Secrets in namespace {elsewhere.namespace}" in condition(refused, kind)["message"]
    api.delete("ADDomain", elsewhere.namespace, "corp")
    elsewhere.await_gone("corp", "ADDomain")

    # Where the Role is missing yet, it is said, and nobody has to restart anything when it comes.
    later.password("theirs", "Lantern-Harbour-42")
    late = unique("s")
    api.create(synced_user(later.namespace, late, domains=binding, passwordSecretRef={"name": "theirs"}))
    api.create(credentials(home.dc, later.namespace))
    api.create(ad_domain(home.dc, later.namespace, home.container))
    assert "is refused to read Secrets" in condition(later.await_reason(late, "InsufficientRights"), "Ready")["message"]
    later.await_reason("corp", "InsufficientRights", "ADDomain")
    control_plane.apply(*roles)
    later.await_reason(late, timeout=40)
    later.await_reason("corp", kind="ADDomain", timeout=40)
    assert home.dc.bind_as(late, "Lantern-Harbour-42")

    # What the API server says of all this.
    about = [entry for entry in processes.audit() if entry.get("objectRef", {}).get("resource") == "secrets"]
    forbidden = {
        entry["objectRef"].get("namespace") for entry in about if entry["annotations"]["authorization.k8s.io/decision"] == "forbid"
    }
    assert forbidden == {later.namespace}
    assert {entry["objectRef"].get("namespace") for entry in about} == {home.namespace, later.namespace, NAMESPACE}
    own = {entry["objectRef"].get("name") for entry in about if entry["objectRef"]["namespace"] == NAMESPACE and entry["verb"] == "get"}
    assert own == {"adsync-password-digests"}
    for site in (home, elsewhere, later):
        for user in api.list("SyncedUser", site.namespace):
            api.delete("SyncedUser", site.namespace, user["metadata"]["name"])
            site.await_gone(user["metadata"]["name"])
    for site in (later, home):
        api.delete("ADDomain", site.namespace, "corp")
        site.await_gone("corp", "ADDomain")
        api.delete("Secret", site.namespace, "corp-ad")

"""The chart's rights are what the operator needs, and no more.

The real operator works as the chart's ServiceAccount while the API server keeps an audit log. Nothing it asked for may have been refused, and
each verb that is granted must have been used: so taking any away breaks this test, and adding one that is not needed does as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab.kube import ControlPlane
from lab.operator import Operator
from tests.audit import Audited
from tests.chart.support import NAMESPACE, Rendered, render
from tests.integration.support import Site, credentials, eventually, synced_group, unique

Right = tuple[str, str, str, str, str]  # scope ("cluster" or a namespace), API group, resource, the one name it is limited to, verb

# What happens only when others write at the same moment, or rarely; the unit tests of adsync.cluster make it happen.
NOT_PROVOKED = {
    "get": {"addomains", "syncedusers", "syncedgroups"},  # a new look after a conflict, or before a finalizer is believed to be off
    "patch": {"secrets"},  # keys added to a Secret adsync-password-digests that is not whole
}


def granted(rendered: Rendered) -> set[Right]:
    rights: set[Right] = set()
    for role in rendered.of("ClusterRole") + rendered.of("Role"):
        scope = role["metadata"].get("namespace", "cluster")
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        rights |= {(scope, group, resource, name, verb) for verb in rule["verbs"]}
    return rights


def covers(right: Right, entry: dict[str, Any]) -> bool:
    """Whether this right allows the request in the audit log."""
    scope, group, resource, name, verb = right
    asked = entry.get("objectRef") or {}
    kind = "/".join(filter(None, (asked.get("resource", ""), asked.get("subresource", ""))))
    return (
        scope in ("cluster", asked.get("namespace", ""))
        and (group, resource, verb) == (asked.get("apiGroup", ""), kind, entry["verb"])
        and name in ("", asked.get("name", ""))
    )


@pytest.mark.parametrize("way", ["cluster-wide", "namespaced", "secrets limited"])
def test_every_right_is_used_and_none_is_missing(
    home: Site, control_plane: ControlPlane, processes: Audited, as_account: Callable[[Rendered], Operator], way: str
) -> None:
    limited = way == "namespaced"
    rendered = render({
        "rbac": {"aggregate": False}, "crds": {"enabled": False}, "namespaces": [home.namespace] if limited else [],
        "secretNamespaces": [home.namespace] if way == "secrets limited" else [],
    })  # fmt: skip
    control_plane.kubectl("delete", "secret/adsync-password-digests", "lease/adsync-leader", "-n", NAMESPACE, "--ignore-not-found")
    processes.audit_log.write_text("")
    operator = as_account(rendered)
    operator.start(await_ready=False)
    processes.wait_ready(operator.name, lambda: operator.metric("adsync_leader") == 1 and operator.ready())
    _live_through(home, unique("r"))
    _import(home, unique("i"))
    operator.terminate()  # hands on the lease
    asked = processes.audit()
    refused = {
        (entry["verb"], entry["requestURI"].partition("?")[0])
        for entry in asked
        if entry.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"
    }
    # Asked for where it can't know that it may not: the cluster's UID, for which another namespace serves, and all namespaces' labels.
    tried = {("get", "/api/v1/namespaces/kube-system"), ("list", "/api/v1/namespaces")}
    assert refused == (tried if limited else set())
    unused = {right for right in granted(rendered) if not any(covers(right, entry) for entry in asked)}
    needless = {right for right in unused if right[2] not in NOT_PROVOKED.get(right[4], set())}
    assert not needless


def _live_through(home: Site, name: str) -> None:
    """A domain with its CA in a ConfigMap, a user with a password, a group; each changed and deleted."""
    home.api.create(credentials(home.dc, home.namespace, "corp-ad"))
    home.api.create({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corp-ca", "namespace": home.namespace},
        "data": {"ca.crt": home.dc.ca_file.read_text()},
    })  # fmt: skip
    home.api.create({
        "apiVersion": "adsync.dev/v1alpha1", "kind": "ADDomain", "metadata": {"name": "corp", "namespace": home.namespace},
        "spec": {
            "domainName": home.dc.domain, "servers": [home.dc.url], "tls": {"caConfigMapRef": {"name": "corp-ca", "key": "ca.crt"}},
            "credentialsSecretRef": {"name": "corp-ad"}, "rootUserContainer": home.container,
        },
    })  # fmt: skip
    home.password(f"{name}-password", "Lantern-Harbour-42")
    home.user(name, passwordSecretRef={"name": f"{name}-password"})
    home.api.create(synced_group(home.namespace, f"{name}g", members=[{"name": name}]))
    home.await_reason(name)
    home.await_reason(f"{name}g", kind="SyncedGroup")
    home.await_reason("corp", kind="ADDomain")
    home.edit(name, {"displayName": "Changed"})
    eventually(lambda: (home.dc.find(name, ["displayName"]) or {}).get("displayName"), what="the change arrives")
    home.api.delete("SyncedGroup", home.namespace, f"{name}g")
    home.api.delete("SyncedUser", home.namespace, name)
    home.await_gone(f"{name}g", "SyncedGroup")
    home.await_gone(name)
    home.api.delete("ADDomain", home.namespace, "corp")
    home.await_gone("corp", "ADDomain")
    for kind, thing in (("Secret", "corp-ad"), ("ConfigMap", "corp-ca")):
        home.api.delete(kind, home.namespace, thing)
    for event in home.events():
        assert event["reportingComponent"] == "adsync.dev/operator"


def _import(home: Site, name: str) -> None:
    """A group and its member come into scope, and leave it again."""
    scope = home.container.partition(",")[0].removeprefix("OU=")
    member = home.dc.add_user(name, container=home.container)
    group = home.dc.add_group(f"{name}g", container=home.container, members=[member])
    home.dc.members(f"CN={scope},{home.container}", add=[group])
    home.connect(direction="Import", scopeGroup=scope)
    home.await_reason(name)
    home.await_reason(f"{name}g", kind="SyncedGroup")
    home.dc.members(f"CN={scope},{home.container}", delete=[group])
    home.await_gone(name, timeout=30)
    home.await_gone(f"{name}g", "SyncedGroup", timeout=30)
    home.api.delete("ADDomain", home.namespace, "corp")
    home.await_gone("corp", "ADDomain")
    home.api.delete("Secret", home.namespace, "corp-ad")

"""The CRDs before a real API server: it takes them, fills in the defaults, and refuses what it should with a text that helps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from adsync.resources.names import AD_DOMAIN, API_VERSION, KINDS
from lab.kube import ControlPlane
from lab.processes import LabError
from tests.specs import ACCEPTED, GOOD, ONE, REFUSED, spec_of

CRDS = Path(__file__).parents[2] / "crds"
NAMESPACE = "crd-rules"


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{kind.crd}" for kind in KINDS))
    control_plane.kubectl("create", "namespace", NAMESPACE)
    yield control_plane
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def make(api: ControlPlane, kind: str, change: dict[str, Any], *options: str, name: str = "x") -> dict[str, Any]:
    """Create a resource of this kind, a good one but for `change`, and return what the API server made of it."""
    manifest = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec_of(kind, change)}
    answer: dict[str, Any] = json.loads(api.kubectl("create", *options, "-o", "json", "-f", "-", stdin=json.dumps(manifest)))
    return answer


def test_the_api_server_finds_nothing_wrong_with_the_crds(api: ControlPlane) -> None:
    for kind in KINDS:
        conditions = {item["type"]: item["status"] for item in api.get("crd", kind.crd)["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions["NamesAccepted"] == "True"
        assert "NonStructuralSchema" not in conditions


@pytest.mark.parametrize(("kind", "change", "reason"), REFUSED)
def test_refused(api: ControlPlane, kind: str, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(LabError) as caught:
        make(api, kind, change, "--dry-run=server")
    assert reason in str(caught.value)


@pytest.mark.parametrize(("kind", "change"), ACCEPTED)
def test_accepted(api: ControlPlane, kind: str, change: dict[str, Any]) -> None:
    assert make(api, kind, change, "--dry-run=server")["spec"].keys() >= change.keys()


def test_defaults_are_filled_in(api: ControlPlane) -> None:
    spec = make(api, "ADDomain", {"tls": {"caSecretRef": {"name": "ca"}}}, "--dry-run=server")["spec"]
    assert spec == {
        **GOOD["ADDomain"],
        "credentialsSecretRef": {"name": "corp-ad", "usernameKey": "username", "passwordKey": "password"},
        "tls": {"caSecretRef": {"name": "ca", "key": "ca.crt"}},
        "userFieldMapping": {"username": "sAMAccountName", "email": "mail", "firstName": "givenName", "lastName": "sn"},
        "ownershipAttribute": "adminDescription",
        "direction": "Export",
        "authority": "Kubernetes",
        "mode": "Apply",
        "paused": False,
        "adoptionPolicy": "MatchEmail",
        "deletionPolicy": "Disable",
        "import": {"onScopeRemoval": "Delete"},
        "password": {"onDirectoryChange": "Report", "mustChangeAtNextLogon": False},
        "safety": {"maxRemovals": "10%", "minRemovals": 5, "maxSuspensions": "30%", "window": "1h"},
        "resyncInterval": "15m",
        "allowedNamespaces": {"from": "Same", "mayAdopt": False},
    }
    user = make(api, "SyncedUser", {"domains": [{"name": "corp"}], "passwordSecretRef": {"name": "p"}}, "--dry-run=server")["spec"]
    bound = [{"name": "corp", "namespace": ""}]
    assert user == {"username": "jdoe", "domains": bound, "passwordSecretRef": {"name": "p", "key": "password"}}


@pytest.mark.parametrize(("field", "value"), [("domainName", "other.example.com"), ("ownershipAttribute", "info")])
def test_immutable(api: ControlPlane, field: str, value: str) -> None:
    name = f"immutable-{field.lower()}"
    make(api, "ADDomain", {"servers": ONE}, name=name)
    with pytest.raises(LabError, match=f"spec.{field}.*cannot be changed"):
        api.kubectl("patch", "addom", name, "-n", NAMESPACE, "--type=merge", "-p", json.dumps({"spec": {field: value}}))
    # What may change still does.
    api.kubectl("patch", "addom", name, "-n", NAMESPACE, "--type=merge", "-p", '{"spec": {"mode": "Observe"}}')
    assert api.get("addom", name, "-n", NAMESPACE)["spec"]["mode"] == "Observe"


def test_a_spec_is_required(api: ControlPlane) -> None:
    for kind in KINDS:
        manifest = {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": {"name": "empty", "namespace": NAMESPACE}}
        with pytest.raises(LabError, match="spec"):
            api.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


def test_columns(api: ControlPlane) -> None:
    table: list[tuple[str, dict[str, Any], str, str]] = [
        ("ADDomain", {}, "addom", "NAME DOMAIN MODE DIRECTION READY REASON USERS GROUPS"),
        ("SyncedUser", {}, "suser", "NAME USERNAME ACCOUNT PASSWORD GROUPS READY REASON LAST SYNC"),
        ("SyncedGroup", {}, "sgroup", "NAME GROUP MEMBERS PENDING READY REASON LAST SYNC"),
    ]
    for kind, change, short, columns in table:
        make(api, kind, change, name="columns")
        assert api.kubectl("get", short, "columns", "-n", NAMESPACE).splitlines()[0].split() == columns.split()
    assert "LAST SYNC" in api.kubectl("get", "addom", "columns", "-n", NAMESPACE, "-o", "wide").splitlines()[0]
    listed = api.kubectl("get", "adsync", "-n", NAMESPACE, "-o", "name").splitlines()
    assert {f"{kind.singular}.adsync.dev/columns" for kind in KINDS} <= set(listed)


def test_users_are_selected_by_username(api: ControlPlane) -> None:
    for name in ("anna", "bert"):
        make(api, "SyncedUser", {"username": name}, name=f"select-{name}")
    found = api.kubectl("get", "suser", "-n", NAMESPACE, "--field-selector=spec.username=bert", "-o", "name")
    assert found.split() == ["synceduser.adsync.dev/select-bert"]


def test_status_is_a_subresource_and_its_lists_are_maps(api: ControlPlane) -> None:
    make(api, "SyncedUser", {}, name="status")
    where = ("suser", "status", "-n", NAMESPACE)
    api.kubectl("patch", *where, "--type=merge", "-p", '{"status": {"account": "Enabled"}}')
    assert "status" not in api.get(*where)
    entry = {"name": "corp", "namespace": "", "reason": "Synced", "ready": True, "objectGUID": "0e5c1d2e-8d6f-4e5b-9c7a-1f2e3d4c5b6a"}
    patch = json.dumps({"status": {"account": "Enabled", "domains": [entry]}})
    api.kubectl("patch", *where, "--subresource=status", "--type=merge", "-p", patch)
    assert api.get(*where)["status"] == {"account": "Enabled", "domains": [entry]}
    with pytest.raises(LabError, match=r"status\.domains\[1\]"):
        api.kubectl("patch", *where, "--subresource=status", "--type=merge", "-p", json.dumps({"status": {"domains": [entry, entry]}}))


def test_explain_describes_every_field(api: ControlPlane) -> None:
    told = api.kubectl("explain", "addomain.spec", "--recursive=false")
    assert "It cannot be changed" in told
    assert AD_DOMAIN.kind in told
    assert "<no description>" not in told


def test_the_examples_are_taken(api: ControlPlane) -> None:
    for path in sorted((CRDS.parent / "examples").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["apiVersion"] == API_VERSION:
                document["metadata"]["namespace"] = NAMESPACE
                api.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(document))

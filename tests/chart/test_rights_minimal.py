"""Each right of the chart's roles, taken away, breaks something that can be named: what is in the table below.

The operator works as the chart's ServiceAccount, with one verb of one resource missing. Then what the table says is tried: the API server must have
refused exactly that verb, and what was tried must not come about; with the right restored it must.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from lab.api import ApiError, KubeApi, Manifest
from lab.kube import ControlPlane
from lab.operator import Operator
from tests.audit import Audited
from tests.chart.support import NAMESPACE, Rendered, render
from tests.chart.test_rights import Right, covers, granted
from tests.integration.crowd import FULL
from tests.integration.support import Site, ad_domain, eventually, ready_reason, synced_group, synced_user, unique

KEYS, LEASE = "adsync-password-digests", "adsync-leader"
GOOD = "Lantern-Harbour-42"


class Scene:
    """One case's corner of the site: everything in it begins with `name`."""

    def __init__(self, site: Site, name: str, audit: Audited) -> None:
        self.site, self.name, self.audit = site, name, audit
        self.scope = f"CN={site.container.partition(',')[0].removeprefix('OU=')},{site.container}"

    @property
    def api(self) -> KubeApi:
        return self.site.api

    def synced(self, kind: str = "SyncedUser", namespace: str = "") -> bool:
        return ready_reason(self.api.get(kind, namespace or self.site.namespace, self.name)) == "Synced"

    def allowed(self, verb: str, resource: str) -> bool:
        """Whether the API server has served such a request about what is called `name`."""
        return any(
            (entry["verb"], entry["objectRef"].get("resource"), entry["objectRef"].get("name")) == (verb, resource, self.name)
            and entry["responseStatus"]["code"] == 200
            for entry in self.audit.audit()
            if "objectRef" in entry
        )

    def found(self, kind: str) -> Manifest | None:
        return self.api.find(kind, self.site.namespace, self.name if kind != "SyncedGroup" else f"{self.name}g")

    def domain(self, **spec: Any) -> None:
        """An ADDomain with its CA in a ConfigMap."""
        self.api.create({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name, "namespace": self.site.namespace},
            "data": {"ca.crt": self.site.dc.ca_file.read_text()},
        })  # fmt: skip
        tls = {"caConfigMapRef": {"name": self.name, "key": "ca.crt"}}
        self.api.create(ad_domain(self.site.dc, self.site.namespace, self.site.container, name=self.name, tls=tls, **spec))

    def late_ca(self) -> None:
        """A domain whose CA comes when it has been missed: it is looked for again after half a minute, unless it is heard of."""
        tls = {"caConfigMapRef": {"name": self.name, "key": "ca.crt"}}
        self.api.create(ad_domain(self.site.dc, self.site.namespace, self.site.container, name=self.name, tls=tls))
        self.site.await_reason(self.name, "CertificateRejected", "ADDomain")
        self.api.create({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name, "namespace": self.site.namespace},
            "data": {"ca.crt": self.site.dc.ca_file.read_text()},
        })  # fmt: skip

    def person(self) -> None:
        self.site.password(self.name, GOOD)
        self.site.user(self.name, passwordSecretRef={"name": self.name})

    def edited_and_told(self) -> bool:
        """An event tells of a change: of one made now, as what was to be told before is not told any more."""
        self.site.edit(self.name, {"displayName": unique("x")})
        return bool(self.site.events(self.name))

    def team(self) -> None:
        self.api.create(synced_group(self.site.namespace, self.name))

    def guest(self) -> None:
        """A user of another namespace, which its label lets into a domain."""
        self.domain(allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"guest": self.name}}})
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": {"guest": self.name}}})
        domains = [{"name": self.name, "namespace": self.site.namespace}]
        self.api.create(synced_user(self.name, self.name, domains=domains))

    def in_scope(self, direction: str = "Import") -> None:
        dc, container = self.site.dc, self.site.container
        member = dc.add_user(self.name, container=container)
        dc.members(self.scope, add=[member, dc.add_group(f"{self.name}g", container=container, members=[member])])
        self.domain(direction=direction, scopeGroup=self.scope.partition(",")[0].removeprefix("CN="))

    def out_of_scope(self) -> None:
        self.in_scope()
        eventually(lambda: self.found("SyncedUser") and self.found("SyncedGroup"), what="both are imported")
        container = self.site.container
        self.site.dc.members(self.scope, delete=[f"CN={self.name},{container}", f"CN={self.name}g,{container}"])

    def edited_in_directory(self) -> None:
        self.in_scope("Bidirectional")
        self.site.await_reason(self.name)
        self.site.await_reason(f"{self.name}g", kind="SyncedGroup")
        self.site.dc.replace(f"CN={self.name},{self.site.container}", {"sn": "Elsewhere"})
        self.site.dc.replace(f"CN={self.name}g,{self.site.container}", {"description": "Elsewhere"})

    def taken_from(self) -> None:
        """A domain whose finalizer somebody has taken off, and that is deleted: whether it is off is asked, before it is believed."""
        self.domain()
        self.site.await_reason(self.name, kind="ADDomain")
        self.api.patch("ADDomain", self.site.namespace, self.name, {"metadata": {"finalizers": ["example.com/hold"]}})
        self.api.delete("ADDomain", self.site.namespace, self.name)

    def clear(self) -> None:
        """Take everything away again, while an operator with all rights is there; out of scope first, or it would be imported anew."""
        for name in (self.name, f"{self.name}g"):
            if found := self.site.dc.find(name, ["memberOf"]):
                dn = f"CN={name},{self.site.container}"
                if self.scope.casefold() in map(str.casefold, found.get("memberOf", [])):
                    self.site.dc.members(self.scope, delete=[dn])
        for kind in ("SyncedGroup", "SyncedUser", "ADDomain"):
            for namespace in (self.site.namespace, self.name):
                for each in self.api.list(kind, namespace):
                    if each["metadata"]["name"].startswith(self.name):
                        self._remove(kind, each)
            eventually(lambda kind=kind: not [e for e in self.api.list(kind) if e["metadata"]["name"].startswith(self.name)])  # type: ignore[misc]
        for name in (self.name, f"{self.name}g"):
            if self.site.dc.find(name):
                self.site.dc.delete(f"CN={name},{self.site.container}")

    def _remove(self, kind: str, obj: Manifest) -> None:
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        try:
            if "deletionTimestamp" not in obj["metadata"]:
                self.api.patch(kind, namespace, name, {"spec": {"deletionPolicy": "Delete"}})
                self.api.delete(kind, namespace, name)
            elif "example.com/hold" in obj["metadata"]["finalizers"]:
                self.api.patch(kind, namespace, name, {"metadata": {"finalizers": None}})
        except ApiError as error:
            if error.status != 404:  # what was imported and is out of scope now goes by itself
                raise


class Case(NamedTuple):
    """`act` is done when the operator runs, as far as it can; `goal` comes about then, if the right is there. `before` is done first of all."""

    act: Callable[[Scene], object]
    goal: Callable[[Scene], object]
    before: Callable[[Scene], object] = lambda _: None


def _renewed(scene: Scene) -> bool:
    spec = scene.api.get("Lease", NAMESPACE, LEASE)["spec"]
    return bool(spec["renewTime"] > spec["acquireTime"])


def _nothing(_: Scene) -> None:
    pass


PERSON = Case(Scene.person, Scene.synced)
TEAM = Case(Scene.team, lambda scene: scene.synced("SyncedGroup"))
DOMAIN = Case(Scene.domain, lambda scene: scene.synced("ADDomain"))
LATE_CA = Case(Scene.late_ca, lambda scene: scene.synced("ADDomain"))
GUEST = Case(Scene.guest, lambda scene: scene.synced(namespace=scene.name))
CASES: dict[tuple[str, str], Case] = {
    ("addomains", "list"): PERSON,  # it ends: what is bound to what can't be known
    ("addomains", "watch"): DOMAIN,
    ("addomains", "patch"): DOMAIN,  # nothing is begun without the finalizer
    ("addomains", "get"): Case(Scene.taken_from, lambda scene: scene.allowed("get", "addomains")),
    ("addomains/status", "patch"): DOMAIN,
    ("syncedusers", "list"): PERSON,
    ("syncedusers", "watch"): PERSON,
    ("syncedusers", "patch"): PERSON,
    ("syncedusers", "get"): Case(
        Scene.edited_in_directory, lambda scene: (scene.found("SyncedUser") or {})["spec"].get("lastName") == "Elsewhere"
    ),
    ("syncedusers", "create"): Case(Scene.in_scope, lambda scene: scene.found("SyncedUser")),
    ("syncedusers", "delete"): Case(Scene.out_of_scope, lambda scene: not scene.found("SyncedUser")),
    ("syncedusers/status", "patch"): PERSON,
    ("syncedgroups", "list"): TEAM,
    ("syncedgroups", "watch"): TEAM,
    ("syncedgroups", "patch"): TEAM,
    ("syncedgroups", "get"): Case(
        Scene.edited_in_directory, lambda scene: (scene.found("SyncedGroup") or {})["spec"].get("description") == "Elsewhere"
    ),
    ("syncedgroups", "create"): Case(Scene.in_scope, lambda scene: scene.found("SyncedGroup")),
    ("syncedgroups", "delete"): Case(Scene.out_of_scope, lambda scene: not scene.found("SyncedGroup")),
    ("syncedgroups/status", "patch"): TEAM,
    ("secrets", "get"): DOMAIN,
    ("secrets", "list"): PERSON,
    ("secrets", "watch"): PERSON,
    ("configmaps", "get"): DOMAIN,
    ("configmaps", "list"): LATE_CA,
    ("configmaps", "watch"): LATE_CA,
    ("namespaces", "get"): PERSON,  # it ends: the cluster has no name for owner marks
    ("namespaces", "list"): GUEST,
    ("namespaces", "watch"): GUEST,
    ("events", "create"): Case(Scene.person, Scene.edited_and_told),
    ("secrets", "create"): PERSON._replace(before=lambda scene: _delete(scene, "Secret", KEYS)),
    (f"secrets/{KEYS}", "patch"): PERSON._replace(
        before=lambda scene: scene.api.patch("Secret", NAMESPACE, KEYS, {"data": {"current": None}})
    ),
    ("leases", "create"): PERSON,
    (f"leases/{LEASE}", "get"): PERSON,
    (f"leases/{LEASE}", "patch"): Case(_nothing, _renewed),
}
# Of these, without ADSYNC_TEST_SCALE=full: one of each way in which a missing right shows.
SHORT = {
    ("syncedusers", "patch"),
    ("syncedusers/status", "patch"),
    ("secrets", "watch"),
    ("configmaps", "get"),
    ("leases/adsync-leader", "patch"),
}


def key(right: Right) -> tuple[str, str]:
    _, _, resource, name, verb = right
    return (f"{resource}/{name}" if name else resource), verb


def without(roles: list[Manifest], right: Right) -> list[Manifest]:
    """The roles, with that one right missing."""
    scope, group, resource, name, verb = right
    changed = copy.deepcopy(roles)
    for role in changed:
        rules = []
        for rule in role["rules"]:
            for each in rule["resources"]:
                alone = {**rule, "resources": [each], "verbs": list(rule["verbs"])}
                if (scope, group, each, name) == (
                    role["metadata"].get("namespace", "cluster"), rule["apiGroups"][0], resource, rule.get("resourceNames", [""])[0],
                ):  # fmt: skip
                    alone["verbs"] = [left for left in rule["verbs"] if left != verb]
                rules += [alone] if alone["verbs"] else []
        role["rules"] = rules
    return changed


def _delete(scene: Scene, kind: str, name: str) -> None:
    try:
        scene.api.delete(kind, NAMESPACE, name)
    except ApiError as error:
        if error.status != 404:
            raise


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render({"rbac": {"aggregate": False}, "crds": {"enabled": False}})


@pytest.fixture(scope="module")
def connected(home: Site) -> Iterator[Site]:
    home.connect(safety={"maxRemovals": "100%", "minRemovals": 1000})
    yield home
    home.api.delete("ADDomain", home.namespace, "corp")


def test_the_table_names_every_right(rendered: Rendered) -> None:
    assert {key(right) for right in granted(rendered)} == CASES.keys()


@pytest.mark.parametrize("which", [each for each in CASES if FULL or each in SHORT], ids=" ".join)
def test_a_right_taken_away_is_missed(
    connected: Site,
    rendered: Rendered,
    control_plane: ControlPlane,
    processes: Audited,
    as_account: Callable[[Rendered], Operator],
    which: tuple[str, str],
) -> None:
    case, scene = CASES[which], Scene(connected, unique("m"), processes)
    (right,) = (each for each in granted(rendered) if key(each) == which)
    operator = as_account(rendered)
    roles = rendered.of("ClusterRole") + rendered.of("Role")
    control_plane.apply(*without(roles, right))
    _delete(scene, "Lease", LEASE)
    case.before(scene)
    processes.audit_log.write_text("")

    def refused() -> bool:
        return any(
            covers(right, entry) and entry["annotations"]["authorization.k8s.io/decision"] == "forbid" for entry in processes.audit()
        )

    def started() -> bool:
        # A watch is asked for when its list has been read, after which nothing that the case does can be in that list.
        return which[1] != "watch" and operator.metric("adsync_leader") == 1 and operator.ready()

    operator.start(await_ready=False)
    eventually(lambda: not operator.running or refused() or started(), what="it starts")
    case.act(scene)
    eventually(refused, what="the API server refuses it")
    with pytest.raises(AssertionError):
        eventually(lambda: case.goal(scene), 2)
    operator.kill()
    control_plane.apply(*roles)
    _delete(scene, "Lease", LEASE)
    operator.start(await_ready=False)
    eventually(lambda: case.goal(scene), what="with the right it comes about")
    scene.clear()

"""What the integration tests share: waiting for a condition, manifests against the lab's domain, and short ways to one corner of the lab."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from lab.api import ApiError, KubeApi, Manifest
from lab.kube import ControlPlane
from lab.ldaptools import Found, LdapError
from lab.operator import REPOSITORY, Operator
from lab.processes import LabError
from lab.samba import DomainController

__all__ = ["REPOSITORY", "Operator", "Site"]  # the operator as a process is the lab's; tests take it from here

API_VERSION = "adsync.dev/v1alpha1"
KINDS = ("SyncedUser", "SyncedGroup", "ADDomain")
PATIENCE = 30.0  # seconds; what takes longer has failed, also on a machine with other things to do
T = TypeVar("T")


def eventually(look: Callable[[], T], timeout: float = PATIENCE, *, interval: float = 0.05, what: str = "") -> T:
    """Look again and again until what is seen is true, and return it.

    An AssertionError, KeyError, IndexError, OSError or LabError in between means "not yet". After `timeout` seconds the last of them, or
    what was seen last, is the failure.
    """
    deadline = time.monotonic() + timeout
    seen: object = None
    while True:
        try:
            seen = result = look()
            if result:
                return result
        except (AssertionError, KeyError, IndexError, LabError, OSError) as error:
            seen = error
        if time.monotonic() > deadline:
            failure = AssertionError(
                f"not within {timeout:.0f} s: {what or getattr(look, '__name__', 'the condition')}; last seen: {seen!r}"
            )
            raise failure from (seen if isinstance(seen, BaseException) else None)
        time.sleep(interval)


def unique(prefix: str = "t") -> str:
    """A name that is new in this session's control plane and domain, also after its namespace is gone."""
    return f"{prefix}{secrets.token_hex(4)}"


def condition(resource: Mapping[str, Any], kind: str) -> Manifest:
    """The condition of this type, or an empty one."""
    conditions: list[Manifest] = resource.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), {"type": kind, "status": "Missing", "reason": "", "message": ""})


def ready_reason(resource: Mapping[str, Any]) -> str:
    """The reason of Ready, but only if the status is about the newest spec; else ""."""
    current = resource.get("status", {}).get("observedGeneration") == resource["metadata"]["generation"]
    return str(condition(resource, "Ready")["reason"]) if current else ""


def credentials(dc: DomainController, namespace: str, name: str = "corp-ad", *, password: str | None = None) -> Manifest:
    """The Secret with the service account's name and password and the CA."""
    data = {
        "username": dc.service.name,
        "password": dc.service.password if password is None else password,
        "ca.crt": dc.ca_file.read_text(),
    }
    return secret(namespace, name, data)


def secret(namespace: str, name: str, data: Mapping[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": dict(data)}


def ad_domain(dc: DomainController, namespace: str, container: str = "", *, name: str = "corp", **spec: Any) -> Manifest:
    """An ADDomain for the lab's domain controller; `spec` goes over the defaults, None takes one out."""
    full = {
        "domainName": dc.domain,
        "servers": [dc.url],
        "tls": {"caSecretRef": {"name": "corp-ad", "key": "ca.crt"}},
        "credentialsSecretRef": {"name": "corp-ad"},
        "rootUserContainer": container or dc.container,
        **spec,
    }
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": API_VERSION, "kind": "ADDomain", "metadata": metadata,
        "spec": {key: value for key, value in full.items() if value is not None},
    }  # fmt: skip


def synced_user(namespace: str, username: str, *, domain: str = "corp", name: str = "", **spec: Any) -> Manifest:
    return {
        "apiVersion": API_VERSION, "kind": "SyncedUser", "metadata": {"name": name or username, "namespace": namespace},
        "spec": {"username": username, "domains": [{"name": domain}], **spec},
    }  # fmt: skip


def synced_group(namespace: str, group: str, *, domain: str = "corp", name: str = "", **spec: Any) -> Manifest:
    return {
        "apiVersion": API_VERSION, "kind": "SyncedGroup", "metadata": {"name": name or group, "namespace": namespace},
        "spec": {"name": group, "domains": [{"name": domain}], **spec},
    }  # fmt: skip


class Site:
    """One test's corner of the lab: a namespace, a container of its own in the domain, and short ways to both."""

    def __init__(self, api: KubeApi, control_plane: ControlPlane, dc: DomainController, namespace: str, container: str) -> None:
        self.api = api
        self.control_plane = control_plane
        self.dc = dc
        self.namespace = namespace
        self.container = container

    def connect(self, *, name: str = "corp", **spec: Any) -> None:
        """Create the Secret `corp-ad` and an ADDomain for this container."""
        self.api.create(credentials(self.dc, self.namespace))
        self.api.create(ad_domain(self.dc, self.namespace, self.container, name=name, **spec))

    def user(self, username: str, **spec: Any) -> Manifest:
        return self.api.create(synced_user(self.namespace, username, **spec))

    def password(self, name: str, value: str) -> Manifest:
        """Create or replace the Secret of a password, under the key `password`."""
        if self.api.find("Secret", self.namespace, name):
            return self.api.patch("Secret", self.namespace, name, {"stringData": {"password": value}})
        return self.api.create(secret(self.namespace, name, {"password": value}))

    def get(self, name: str, kind: str = "SyncedUser") -> Manifest:
        return self.api.get(kind, self.namespace, name)

    def edit(self, name: str, spec: Mapping[str, Any], kind: str = "SyncedUser") -> Manifest:
        return self.api.patch(kind, self.namespace, name, {"spec": dict(spec)})

    def await_reason(self, name: str, reason: str = "Synced", kind: str = "SyncedUser", timeout: float = PATIENCE) -> Manifest:
        """Wait until Ready has this reason for the newest spec, and return the resource."""

        def look() -> Manifest:
            resource = self.get(name, kind)
            assert ready_reason(resource) == reason, json.dumps(resource.get("status"), ensure_ascii=False)
            return resource

        return eventually(look, timeout, what=f"{kind} {name} is {reason}")

    def await_gone(self, name: str, kind: str = "SyncedUser", timeout: float = PATIENCE) -> None:
        eventually(lambda: self.api.find(kind, self.namespace, name) is None, timeout, what=f"{kind} {name} is gone")

    def events(self, name: str = "") -> list[Manifest]:
        """The namespace's events, or those about one object."""
        return [each for each in self.api.list("Event", self.namespace) if name in ("", each["involvedObject"]["name"])]


@contextmanager
def new_namespace(api: KubeApi) -> Iterator[str]:
    """A namespace. At the end it goes, with our finalizers taken off: no operator needs to be there for that."""
    name = unique()
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    if api.find("Namespace", "", name) is not None:
        api.delete("Namespace", "", name)
    take_finalizers_off(api, name)


def take_finalizers_off(api: KubeApi, namespace: str) -> None:
    """Whatever of ours is being deleted in a namespace goes, also where no operator is there."""
    for kind in KINDS:
        for resource in api.list(kind, namespace):
            try:
                api.patch(kind, namespace, resource["metadata"]["name"], {"metadata": {"finalizers": None}})
            except ApiError as error:
                if error.status != 404:
                    raise


@contextmanager
def new_container(dc: DomainController) -> Iterator[str]:
    """The DN of a new OU below OU=People, where the service account has its rights. A group in it has the same name."""
    dn = dc.add_container(unique())
    yield dn
    try:
        dc.delete(dn, recursive=True)
    except LdapError as error:
        if error.code != 32:  # noSuchObject: the test itself has removed or renamed it
            raise


def account(site: Site, name: str) -> Found:
    """The account with this sAMAccountName, with what the tests look at."""
    found = site.dc.find(name, ["*", "uSNChanged"])
    assert found is not None, f"there is no account {name}"
    return found


def control(site: Site, name: str) -> int:
    return int(account(site, name)["userAccountControl"][0])


def entry(resource: Manifest) -> dict[str, Any]:
    """The status of the one domain that the resource is bound to."""
    found: list[dict[str, Any]] = resource["status"]["domains"]
    assert len(found) == 1
    return found[0]


def reasons(site: Site, name: str) -> set[str]:
    return {each["reason"] for each in site.events(name)}


def ask_again(site: Site, name: str, kind: str = "SyncedUser") -> Manifest:
    """Have a user looked at once more, or a whole domain compared, and return the resource as it is after that."""
    value = unique()
    site.api.patch(kind, site.namespace, name, {"metadata": {"annotations": {"adsync.dev/reconcile-requested-at": value}}})

    def handled() -> Manifest:
        resource = site.get(name, kind)
        assert resource["status"].get("lastHandledReconcileAt") == value
        return resource

    return eventually(handled)

"""What the integration tests share: waiting for a condition, manifests against the lab's domain, and the operator as a process."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lab.api import KubeApi, Manifest
from lab.kube import ControlPlane
from lab.processes import LabError, Processes, free_ports, tail
from lab.samba import DomainController

REPOSITORY = Path(__file__).parents[2]
API_VERSION = "adsync.dev/v1alpha1"
T = TypeVar("T")


def eventually(look: Callable[[], T], timeout: float = 15.0, *, interval: float = 0.05, what: str = "") -> T:
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


class Operator:
    """`adsync run` as a process of its own, limited to some namespaces, with its log in a file."""

    def __init__(
        self, processes: Processes, control_plane: ControlPlane, namespaces: Iterable[str], *, options: Iterable[str] = ()
    ) -> None:
        self.processes = processes
        self.control_plane = control_plane
        self.name = unique("operator-")
        self.namespaces = list(namespaces)
        self.options = list(options)
        self.environment: dict[str, str] = {}
        health, metrics = free_ports(2)
        self._health, self._metrics = f"127.0.0.1:{health}", f"127.0.0.1:{metrics}"

    @property
    def log_file(self) -> Path:
        return self.processes.log(self.name)

    @property
    def log(self) -> str:
        """All that it said, over all its starts."""
        return self.log_file.read_text(errors="replace")

    def start(self, *, await_ready: bool = True) -> None:
        """Start it, and wait until /readyz says so."""
        command = [
            sys.executable, "-m", "adsync", "run", "--health-address", self._health, "--metrics-address", self._metrics,
            "--log-level", "debug", "--operator-namespace", self.namespaces[0] if self.namespaces else "default",
            *(part for namespace in self.namespaces for part in ("--namespace", namespace)), *self.options,
        ]  # fmt: skip
        source = os.pathsep.join(filter(None, (str(REPOSITORY / "operator"), os.environ.get("PYTHONPATH", ""))))
        environment = {**self.control_plane.environment(), "PYTHONPATH": source, **self.environment}
        self.processes.start(self.name, command, environment)
        if await_ready:
            self.processes.wait_ready(self.name, self.ready)

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self.processes.kill(self.name)

    def terminate(self, grace: float = 20.0) -> None:
        """SIGTERM, as a pod gets it."""
        self.processes.stop(self.name, grace)

    def restart(self) -> None:
        self.terminate()
        self.start()

    @property
    def running(self) -> bool:
        return self.processes.alive(self.name)

    @property
    def pid(self) -> int:
        return self.processes.recorded()[self.name].pid

    def memory(self) -> int:
        """Resident memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def ready(self) -> bool:
        return self._get(self._health, "/readyz")[0] == 200

    def alive(self) -> bool:
        """What the liveness probe would find."""
        return self._get(self._health, "/healthz")[0] == 200

    def metrics(self) -> str:
        return self._get(self._metrics, "/metrics")[1]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in self.metrics().splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{wanted}"' in sample for key, wanted in labels.items()):
                total += float(value)
        return total

    @staticmethod
    def _get(address: str, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def tail(self, lines: int = 40) -> str:
        return tail(self.log_file, lines)


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

    def await_reason(self, name: str, reason: str = "Synced", kind: str = "SyncedUser", timeout: float = 15.0) -> Manifest:
        """Wait until Ready has this reason for the newest spec, and return the resource."""

        def look() -> Manifest:
            resource = self.get(name, kind)
            assert ready_reason(resource) == reason, json.dumps(resource.get("status"), ensure_ascii=False)
            return resource

        return eventually(look, timeout, what=f"{kind} {name} is {reason}")

    def await_gone(self, name: str, kind: str = "SyncedUser", timeout: float = 15.0) -> None:
        eventually(lambda: self.api.find(kind, self.namespace, name) is None, timeout, what=f"{kind} {name} is gone")

    def events(self, name: str = "") -> list[Manifest]:
        """The namespace's events, or those about one object."""
        return [each for each in self.api.list("Event", self.namespace) if name in ("", each["involvedObject"]["name"])]

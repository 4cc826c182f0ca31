"""Where the benchmarks run: a lab of their own, and in it one namespace, container and operator for each measurement."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from lab.api import GROUP, KubeApi, Manifest
from lab.kube import ControlPlane
from lab.ldaptools import password_value
from lab.operator import REPOSITORY, Operator
from lab.processes import LabError, Processes
from lab.samba import DomainController

PATIENCE = 600.0


class Lab:
    """A control plane and a domain controller that end with this program, however it ends."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.control_plane = ControlPlane(processes)
        self.dc = DomainController(processes)
        self.api = KubeApi(self.control_plane)


@contextlib.contextmanager
def lab(console: Console) -> Iterator[Lab]:
    state = Path(tempfile.mkdtemp(prefix="adsync-bench-"))
    processes = Processes(state)
    try:
        with console.status("Starting an API server and a domain controller …"):
            control_plane = ControlPlane(processes)
            control_plane.start()
            crds = str(REPOSITORY / "crds")
            control_plane.kubectl("apply", "--server-side", "-f", crds)
            control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", crds)
            dc = DomainController(processes)
            dc.create()
            dc.start()
            # Elsewhere it has a machine of its own, and its peers (ldapadd, ldapmodify) leave it this one nearly alone.
            processes.give_precedence(dc.process)
        yield Lab(processes)
    finally:
        processes.stop_all(grace=0)
        shutil.rmtree(state, ignore_errors=True)


class Site:
    """A namespace, a container below OU=People, an ADDomain called corp, and an operator that serves only this namespace. `spec` goes into
    the ADDomain's; without `domain` that is yet to be put."""

    def __init__(self, lab: Lab, name: str, *, domain: bool = True, **spec: Any) -> None:
        self.lab = lab
        self.name = name
        self.container = lab.dc.add_container(name, groups=False)
        self.operator = Operator(lab.processes, lab.control_plane, [name], name=f"operator-{name}", log_level="info")
        self._spec = spec
        lab.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}})
        if domain:
            self.put_domain()

    def put_domain(self) -> None:
        dc, api = self.lab.dc, self.lab.api
        data = {"username": dc.service.name, "password": dc.service.password, "ca.crt": dc.ca_file.read_text()}
        api.create({"apiVersion": "v1", "kind": "Secret", "metadata": self.metadata("corp-ad"), "stringData": data})
        spec = {
            "domainName": dc.domain,
            "servers": [dc.url],
            "tls": {"caSecretRef": {"name": "corp-ad", "key": "ca.crt"}},
            "credentialsSecretRef": {"name": "corp-ad"},
            "rootUserContainer": self.container,
            "extraAttributes": ["title"],
            **self._spec,
        }
        api.create({"apiVersion": "adsync.dev/v1alpha1", "kind": "ADDomain", "metadata": self.metadata("corp"), "spec": spec})

    def metadata(self, name: str) -> dict[str, str]:
        return {"name": name, "namespace": self.name}

    def start(self) -> None:
        """Start the operator, and wait until the domain is Ready."""
        self.operator.start()
        wait(lambda: ready(self.lab.api.get("ADDomain", self.name, "corp")), self.operator, "the ADDomain is Ready")

    def people(self, names: Iterable[str], *, passwords: bool = True) -> list[Manifest]:
        """SyncedUsers, and where `passwords` is set the Secrets that they name, which are created here already."""
        manifests, secrets = [], []
        for name in names:
            spec: dict[str, Any] = {**fields(name), "attributes": {"title": "Bench"}, "domains": [{"name": "corp"}]}
            if passwords:
                spec["passwordSecretRef"] = {"name": name}
                secret = {"apiVersion": "v1", "kind": "Secret", "metadata": self.metadata(name), "stringData": {"password": password(name)}}
                secrets.append(secret)
            manifests.append({"apiVersion": "adsync.dev/v1alpha1", "kind": "SyncedUser", "metadata": self.metadata(name), "spec": spec})
        self.lab.api.create_many(secrets)
        return manifests

    def fill(self, count: int, prefix: str) -> float:
        """Create so many users and wait until all are Ready; the seconds that took."""
        manifests = self.people([f"{prefix}{number:04d}" for number in range(count)], passwords=False)
        with ReadyCount(self) as counted:
            began = time.perf_counter()
            self.lab.api.create_many(manifests)
            counted.wait(count)
            return counted.reached - began


def fields(name: str) -> dict[str, str]:
    return {
        "username": name,
        "firstName": "Bench",
        "lastName": f"Mark {name}",
        "displayName": f"Bench Mark {name}",
        "email": f"{name}@corp.example.com",
    }


def password(name: str) -> str:
    return f"Quartz-{name[::-1]}-Meadow-7"


def ldif(container: str, domain: str, names: Iterable[str]) -> str:
    """What the operator's Add of the same people carries, for ldapadd; the stand-in for the owner mark is as long as a real one."""
    from lab.ldaptools import ldif_add

    return "".join(
        ldif_add(f"CN={name},{container}", {
            "objectClass": "user", "sAMAccountName": name, "userPrincipalName": f"{name}@{domain}", "givenName": "Bench",
            "sn": f"Mark {name}", "displayName": f"Bench Mark {name}", "mail": f"{name}@corp.example.com", "title": "Bench",
            "userAccountControl": "512", "unicodePwd": password_value(password(name)), "adminDescription": "bench " + "m" * 120,
        })
        for name in names
    )  # fmt: skip


def ready(resource: Mapping[str, Any]) -> bool:
    """Whether Ready is True for the newest spec."""
    status = resource.get("status") or {}
    if status.get("observedGeneration") != resource["metadata"]["generation"]:
        return False
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ()))


def wait(seen: Callable[[], object], operator: Operator, what: str, *, interval: float = 0.02) -> None:
    deadline = time.monotonic() + PATIENCE
    while not seen():
        if not operator.running:
            raise LabError(f"the operator has ended:\n{operator.tail()}")
        if time.monotonic() > deadline:
            raise LabError(f"not within {PATIENCE:.0f} s: {what}\n{operator.tail()}")
        time.sleep(interval)


class ReadyCount:
    """Counts a namespace's Ready SyncedUsers through a watch: listing them again and again would slow down what is measured."""

    def __init__(self, site: Site) -> None:
        self.reached = 0.0
        self._site = site
        self._ready: set[str] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._socket = self._open()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _open(self) -> ssl.SSLSocket:
        lab = self._site.lab
        listed = lab.api.request("GET", lab.api.path("SyncedUser", self._site.name))
        with self._changed:
            self._ready = {each["metadata"]["name"] for each in listed["items"] if ready(each)}
            self.reached = time.perf_counter()
            self._changed.notify_all()
        version = listed["metadata"]["resourceVersion"]
        context = ssl.create_default_context(cafile=str(lab.control_plane.ca_file))
        raw = socket.create_connection(("127.0.0.1", int(lab.control_plane.settings["api"])))
        connection = context.wrap_socket(raw, server_hostname="127.0.0.1")
        path = f"/{GROUP}/namespaces/{self._site.name}/syncedusers?watch=1&resourceVersion={version}"
        # HTTP/1.0: the answer ends with the connection and comes without chunks.
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: lab\r\nAuthorization: Bearer {lab.control_plane.token}\r\n\r\n".encode())
        return connection

    def __enter__(self) -> ReadyCount:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        self._follow()
        while not self._closing:  # the API server ends the watch of a client that can't keep up
            self._socket.close()
            self._socket = self._open()
            self._follow()

    def _follow(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                if not line.startswith(b"{"):
                    continue
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                name = event["object"]["metadata"]["name"]
                with self._changed:
                    if ready(event["object"]):
                        self._ready.add(name)
                    else:
                        self._ready.discard(name)
                    self.reached = time.perf_counter()
                    self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Return when so many are Ready; `reached` is then when the last of them was."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._ready) >= count, PATIENCE):
                raise LabError(f"{len(self._ready)} of {count} users are Ready after {PATIENCE:.0f} s\n{self._site.operator.tail()}")

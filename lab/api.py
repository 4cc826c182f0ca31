"""A small client of the API server for tests, demo and benchmarks, where starting kubectl for every look would be too slow.

It's the standard library only, and none of the operator's code. Connections are kept, one for each thread.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lab.kube import ControlPlane
from lab.processes import LabError

T = TypeVar("T")
R = TypeVar("R")
Manifest = dict[str, Any]
GROUP = "apis/adsync.dev/v1alpha1"
RESOURCES = {
    "ADDomain": (GROUP, "addomains"),
    "SyncedUser": (GROUP, "syncedusers"),
    "SyncedGroup": (GROUP, "syncedgroups"),
    "Secret": ("api/v1", "secrets"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Event": ("api/v1", "events"),
    "Namespace": ("api/v1", "namespaces"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
}


class ApiError(LabError):
    """The API server's refusal, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class KubeApi:
    """Requests as the lab's administrator. A `namespace` of "" means all of them, or a kind that has none."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._port = int(control_plane.settings["api"])
        self._headers = {"Authorization": f"Bearer {control_plane.token}", "Accept": "application/json"}
        self._ca_file = str(control_plane.ca_file)
        self._local = threading.local()
        self._open: set[http.client.HTTPSConnection] = set()

    def _connection(self) -> http.client.HTTPSConnection:
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            context = ssl.create_default_context(cafile=self._ca_file)
            connection = self._local.connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=60, context=context)
            self._open.add(connection)
        return connection

    def close(self) -> None:
        """Close this thread's connection."""
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._open.discard(connection)
            self._local.connection = None

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One request; ApiError on any answer but success. A kept connection that the server has closed is opened anew, once.

        429 is waited out for up to 15 s: just after a start, or when a CRD is new, the server says so until its watch caches are filled.
        """
        data = None if body is None else json.dumps(body)
        kept = self._connection().sock is not None
        patience = time.monotonic() + 15
        try:
            status, content = self._exchange(method, path, data, content_type)
        except (ConnectionError, ssl.SSLEOFError):  # the latter where only the TLS layer has noticed
            if not kept:
                raise
            status, content = self._exchange(method, path, data, content_type)
        while status == http.client.TOO_MANY_REQUESTS and time.monotonic() < patience:
            time.sleep(0.1)
            status, content = self._exchange(method, path, data, content_type)
        parsed = json.loads(content) if content.startswith(b"{") else {"message": content.decode(errors="replace")}
        if status >= 300:
            raise ApiError(status, str(parsed.get("message", "")))
        return parsed

    def _exchange(self, method: str, path: str, data: str | None, content_type: str) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.request(method, f"/{path}", body=data, headers={**self._headers, "Content-Type": content_type})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def path(kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
        prefix, plural = RESOURCES[kind]
        parts = [prefix, *(["namespaces", namespace] if namespace else []), plural, name, subresource]
        return "/".join(part for part in parts if part)

    def get(self, kind: str, namespace: str, name: str) -> Manifest:
        found: Manifest = self.request("GET", self.path(kind, namespace, name))
        return found

    def find(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """As `get`, but None where there is none."""
        try:
            return self.get(kind, namespace, name)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def list(self, kind: str, namespace: str = "") -> list[Manifest]:
        items: list[Manifest] = self.request("GET", self.path(kind, namespace))["items"]
        return items

    def create(self, manifest: Mapping[str, Any]) -> Manifest:
        metadata = manifest["metadata"]
        made: Manifest = self.request("POST", self.path(manifest["kind"], metadata.get("namespace", "")), manifest)
        return made

    def patch(self, kind: str, namespace: str, name: str, change: Mapping[str, Any], subresource: str = "") -> Manifest:
        """A JSON merge patch (RFC 7396)."""
        path = self.path(kind, namespace, name, subresource)
        changed: Manifest = self.request("PATCH", path, change, "application/merge-patch+json")
        return changed

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.request("DELETE", self.path(kind, namespace, name))

    def create_many(self, manifests: Iterable[Mapping[str, Any]], in_flight: int = 8) -> Sequence[Manifest]:
        """Create all of them, several at a time; the first refusal is raised."""
        return self.many(self.create, manifests, in_flight)

    def many(self, act: Callable[[T], R], items: Iterable[T], in_flight: int = 8) -> Sequence[R]:
        """Act on all items, several at a time, over connections that are closed after that; the first refusal is raised."""
        before = set(self._open)
        try:
            with ThreadPoolExecutor(in_flight) as pool:
                return list(pool.map(act, items))
        finally:
            for connection in set(self._open) - before:
                connection.close()
                self._open.discard(connection)

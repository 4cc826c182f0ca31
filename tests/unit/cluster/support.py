"""An API server of a few dictionaries, for the client's tests: what it must understand of objects, versions and patches, and faults on request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonpatch
from aiohttp import web
from aiohttp.test_utils import TestServer

from adsync.cluster.client import Cluster

Object = dict[str, Any]
Fault = Callable[[web.Request], "web.Response | None"]


def status(code: int, reason: str, message: str = "", **details: Any) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message or reason, "details": details, "code": code}
    return web.json_response(body, status=code)


class ApiServer:
    """Objects by path. `faults` are asked first and used up when they answer."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.tokens: list[str | None] = []
        self.faults: list[Fault] = []
        self.missing_namespaces: set[str] = set()
        self._version = 100

    def put(self, path: str, obj: Object) -> Object:
        self._version += 1
        meta = obj.setdefault("metadata", {})
        parts = path.split("/")
        meta.setdefault("name", parts[-1])
        if "namespaces" in parts[:-2]:
            meta.setdefault("namespace", parts[parts.index("namespaces") + 1])
        meta.setdefault("uid", f"uid-{self._version}")
        meta["resourceVersion"] = str(self._version)
        meta["managedFields"] = [{"manager": "test"}]
        self.objects[path] = obj
        return obj

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.path))
        self.tokens.append(request.headers.get("Authorization"))
        body = json.loads(await request.read() or b"null")
        self.bodies.append(body)
        for fault in self.faults:
            answer = fault(request)
            if answer is not None:
                self.faults.remove(fault)
                return answer
        if request.path == "/version":
            return web.json_response({"gitVersion": "v1.37.2"})
        answer = getattr(self, f"_{request.method.lower()}")(request, body)
        assert isinstance(answer, web.Response)
        return answer

    def _get(self, request: web.Request, _: Any) -> web.Response:
        if request.path in self.objects:
            return web.json_response(self.objects[request.path])
        parts = request.path.rsplit("/", 1)
        if any(path.startswith(request.path + "/") for path in self.objects) or parts[1] in ("syncedusers", "secrets"):
            return self._list(request)
        return status(404, "NotFound", f'"{parts[1]}" not found')

    def _list(self, request: web.Request) -> web.Response:
        items = [obj for path, obj in sorted(self.objects.items()) if path.startswith(request.path + "/")]
        start, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", len(items) or 1))
        meta: Object = {"resourceVersion": str(self._version)}
        if start + limit < len(items):
            meta["continue"] = str(start + limit)
        return web.json_response({"metadata": meta, "items": items[start : start + limit]})

    def _post(self, request: web.Request, body: Any) -> web.Response:
        parts = request.path.split("/")
        if "namespaces" in parts[:-1] and parts[parts.index("namespaces") + 1] in self.missing_namespaces:
            return status(404, "NotFound", "namespace not found")
        if parts[-1] == "namespaces":
            self.missing_namespaces.discard(body["metadata"]["name"])
        path = f"{request.path}/{body['metadata']['name']}"
        if path in self.objects:
            return status(409, "AlreadyExists")
        return web.json_response(self.put(path, body), status=201)

    def _patch(self, request: web.Request, body: Any) -> web.Response:
        path = request.path.removesuffix("/status")
        obj = self.objects.get(path)
        if obj is None:
            return status(404, "NotFound")
        if request.content_type == "application/json-patch+json":
            try:
                new = jsonpatch.apply_patch(obj, body)
            except jsonpatch.JsonPatchException:
                return status(422, "Invalid", "the server rejected our request due to an error in our request")
        else:
            wanted = body.get("metadata", {}).get("resourceVersion")
            if wanted is not None and wanted != obj["metadata"]["resourceVersion"]:
                return status(409, "Conflict")
            new = _merged(obj, body)
        if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
            del self.objects[path]
            return web.json_response(new)
        return web.json_response(self.put(path, new))

    def _delete(self, request: web.Request, body: Any) -> web.Response:
        obj = self.objects.get(request.path)
        if obj is None:
            return status(404, "NotFound")
        if body["preconditions"]["uid"] != obj["metadata"]["uid"]:
            return status(409, "Conflict")
        del self.objects[request.path]
        return web.json_response(obj)


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386 section 2."""
    if not isinstance(patch, dict):
        return patch
    new = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        else:
            new[name] = _merged(new.get(name), value)
    return new


async def serve(api: ApiServer) -> TestServer:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.handle)
    server = TestServer(application)
    await server.start_server()
    return server


def kubeconfig(directory: Path, url: str, token: str = "first") -> Path:  # noqa: S107 - no secret
    path = directory / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for what another task brings about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the code under test has no event for each of its steps
            await asyncio.sleep(0.001)


class Options:
    """The part of the settings that the client looks at."""

    namespaces: tuple[str, ...] = ()
    operator_namespace = "adsync-system"


async def connect(directory: Path, server: TestServer, monkeypatch: Any, **observers: Any) -> Cluster:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(directory, str(server.make_url("")).rstrip("/"))))
    return await Cluster.connect(Options(), **observers)

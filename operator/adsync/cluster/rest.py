"""One HTTP session with the API server: raw JSON in and out, bounded retries, and answers turned into `ClusterError`.

The generated client's models are left out on purpose: deserialising a status patch costs more than the API server needs to apply it (570
against 980 patches a second in the lab). Its configuration, TLS and authentication are kept, so that kubeconfigs, exec plugins and rotated
service account tokens work as they do for kubectl.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode
from urllib.request import getproxies

import aiohttp
import stamina
import yaml
from aiohttp.abc import AbstractStreamWriter
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from pydantic import SecretStr
from pydantic_core import from_json, to_json

from adsync.errors import ClusterError
from adsync.version import VERSION

MERGE_PATCH = "application/merge-patch+json"  # RFC 7386
JSON_PATCH = "application/json-patch+json"  # RFC 6902
APPLY_PATCH = "application/apply-patch+yaml"  # server-side apply; JSON is YAML

_POOL = 48  # sixteen status writes and sixteen imports in flight, and room for reads, events and the lease
_CONNECT_SECONDS = 5.0
_REQUEST_SECONDS = 30.0
_RETRIES: dict[str, Any] = {"attempts": 8, "timeout": 12.0, "wait_initial": 0.1, "wait_max": 2.0, "wait_jitter": 0.2}
_IDEMPOTENT = frozenset({"GET", "PUT", "PATCH", "DELETE"})
_VERBS = {"GET": "read", "POST": "create", "PUT": "replace", "PATCH": "change", "DELETE": "delete"}


class Observe(Protocol):
    """Is told of every request: HTTP method, resource in the plural, HTTP status (0: no answer), seconds."""

    def __call__(self, method: str, resource: str, status: int, seconds: float) -> None: ...


class RefusedError(ClusterError):
    """What `ClusterError` says, and what only this layer needs: the API's reason, and whether trying again can help.

    `sent` is false where the request can't have reached the server; `retry_after` is in seconds; `inapplicable` says that a JSON patch did
    not fit the object (RFC 6902 section 5), most often because its `test` failed.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str = "",
        retry_after: float | None = None,
        sent: bool = True,
        inapplicable: bool = False,
    ) -> None:
        super().__init__(message, status=status)
        self.reason = reason
        self.retry_after = retry_after
        self.sent = sent
        self.inapplicable = inapplicable


@dataclass(frozen=True)
class Credentials:
    """How to reach the API server, for another client of this process: paths of PEM files, and the `Authorization` header's value."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    verify: bool
    proxy: str | None
    authorization: SecretStr | None


class NotLeadingError(ClusterError):
    """Nothing was sent: the right to write ended before it could be."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not written: the lease has run out, another replica may be at work")


class _Body(aiohttp.BytesPayload):
    """A write's body. It is asked once more whether it may go when a connection is there and nothing is left but to send it: to get one can
    take seconds, in which a lease runs out. Without its body a request is nothing to the server."""

    def __init__(self, content: bytes, may_write: Callable[[], bool]) -> None:
        super().__init__(content)
        self._may_write = may_write

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if not self._may_write():
            raise ConnectionAbortedError("the lease has run out")
        await super().write_with_length(writer, content_length)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    what: str
    body: object
    content_type: str
    accept: str
    seconds: float
    fenced: bool


class Rest:
    """The session. Made by `connect`, closed by `close`. `may_write` is asked before each request that changes something is sent."""

    def __init__(self, configuration: Configuration, observe: Observe | None = None) -> None:
        self.configuration = configuration
        self._observe = observe
        self.may_write: Callable[[], bool] = lambda: True
        tls = RESTClientObject(configuration).ssl_context
        # With trust_env aiohttp asks two threads about proxies and ~/.netrc before every request: a third of a status write's time.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_POOL, ssl=tls), trust_env=bool(getproxies()))
        self._reload_lock = asyncio.Lock()
        self._loaded = time.monotonic()

    @classmethod
    async def connect(cls, observe: Observe | None = None) -> Rest:
        """Reads KUBECONFIG, else the pod's service account, else ~/.kube/config. Raises ClusterError where none of them can be used."""
        configuration = Configuration()
        await _load(configuration)
        try:
            return cls(configuration, observe)
        except (OSError, ssl.SSLError) as error:
            raise ClusterError(f"The certificates named in the Kubernetes configuration can't be used ({error}).") from error

    async def close(self) -> None:
        await self._session.close()

    async def credentials(self, *, fresh: bool = False) -> Credentials:
        """With `fresh`, everything is read anew first: the ones given before were refused."""
        if fresh:
            await self._reload()
        configuration = self.configuration
        value = (await configuration.auth_settings()).get("BearerToken", {}).get("value")
        return Credentials(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            verify=bool(configuration.verify_ssl),
            proxy=configuration.proxy,
            authorization=SecretStr(value) if value else None,
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        what: str,
        body: object = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        seconds: float = _REQUEST_SECONDS,
        retry: bool = True,
        fenced: bool = True,
    ) -> Any:
        """Sends one request and returns the decoded JSON answer.

        `what` names the object in errors ("Secret apps/jdoe"). Reads, patches and deletions are repeated for up to 12 seconds where the
        server is away, busy or failing; a creation only where it was certainly not carried out. Raises ClusterError, also where there
        is no answer (status 0); NotLeadingError where it is a write, `fenced`, and may not be sent.
        """
        url = self.configuration.host + path + ("?" + urlencode(params) if params else "")
        request = _Request(method, url, what, body, content_type, accept, seconds, fenced=fenced and method != "GET")

        def again(error: Exception) -> bool | float:
            if not isinstance(error, RefusedError):
                return False
            if error.status == 429:
                return True if error.retry_after is None else min(error.retry_after, 5.0)
            if error.status == 0 and not error.sent:
                return True
            return method in _IDEMPOTENT and (error.status == 0 or error.status in (500, 502, 503, 504))

        try:
            return await self._authenticated(request)  # nearly all are well with that, and spared what is kept of a series of attempts
        except RefusedError as error:
            if not retry or not again(error):
                raise
            refused = [error]
        async for attempt in stamina.retry_context(on=again, **_RETRIES):
            with attempt:
                if refused:
                    raise refused.pop()
                return await self._authenticated(request)
        raise AssertionError("unreachable: the last attempt raises")

    async def stream(self, path: str, *, what: str, params: Mapping[str, str], silence: float) -> AsyncGenerator[Any, None]:
        """The events of a watch as they come, until the server ends it. Raises ClusterError, also after `silence` seconds without a byte."""
        url = self.configuration.host + path + "?" + urlencode(params)
        timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=silence)
        answer = self._session.get(url, headers=await self._headers("application/json"), timeout=timeout)
        async with _transport_errors(self.configuration.host), answer as response:
            if response.status != 200:
                raise _refusal("GET", what, response.status, await response.read(), response.headers.get("Retry-After"))
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)

    async def _headers(self, accept: str) -> dict[str, str]:
        token = (await self.configuration.auth_settings()).get("BearerToken", {}).get("value")
        return {"Accept": accept, "User-Agent": f"adsync/{VERSION}"} | ({"Authorization": token} if token else {})

    async def _authenticated(self, request: _Request) -> Any:
        """Once more with credentials read anew where they were refused: a token may have been rotated, an exec plugin's have expired."""
        began = time.monotonic()
        try:
            return await self._once(request)
        except RefusedError as error:
            if error.status != 401:
                raise
        if self._loaded < began:
            await self._reload()
        return await self._once(request)

    async def _reload(self) -> None:
        asked = time.monotonic()
        async with self._reload_lock:
            if self._loaded < asked:
                await _load(self.configuration)
                self._loaded = time.monotonic()

    async def _once(self, request: _Request) -> Any:
        headers = await self._headers(request.accept) | {"Content-Type": request.content_type}
        may_write = self.may_write if request.fenced else lambda: True
        if not may_write():
            raise NotLeadingError(request.what)
        status, began = 0, time.perf_counter()
        try:
            async with _transport_errors(self.configuration.host), self._send(request, headers, may_write) as response:
                status = response.status
                payload = await response.read()
                retry_after = response.headers.get("Retry-After")
        finally:
            if self._observe is not None:
                self._observe(request.method, _resource_of(request.url), status, time.perf_counter() - began)
        if 200 <= status < 300:
            return from_json(payload) if payload else None
        raise _refusal(request.method, request.what, status, payload, retry_after)

    def _send(self, request: _Request, headers: Mapping[str, str], may_write: Callable[[], bool]) -> Any:
        """The library's own way of sending takes nothing but plain data for a body."""
        configuration = self.configuration
        others: dict[str, Any] = {}
        if request.body is not None:
            others["data"] = _Body(to_json(request.body), may_write)
        if configuration.tls_server_name:
            others["server_hostname"] = configuration.tls_server_name
        if configuration.proxy:
            others |= {"proxy": configuration.proxy, "proxy_headers": configuration.proxy_headers}
        timeout = aiohttp.ClientTimeout(total=request.seconds, sock_connect=_CONNECT_SECONDS)
        return self._session.request(request.method, request.url, headers=headers, timeout=timeout, **others)


async def _load(configuration: Configuration) -> None:
    """Fills `configuration` from where kubectl and client-go would take it."""
    path = os.environ.get("KUBECONFIG", "")
    if not path and os.environ.get("KUBERNETES_SERVICE_HOST"):
        where = "The pod's service account"
    elif path:
        where = f"KUBECONFIG={path}"
    else:
        path = str(Path.home() / ".kube" / "config")
        where = f"KUBECONFIG is not set, this is no pod with a service account, and {path}"
    try:
        if not path:
            load_incluster_config(client_configuration=configuration)
            return
        if not any(os.path.exists(each) for each in path.split(os.pathsep)):  # noqa: PTH110, ASYNC240 - a local file, read once
            raise FileNotFoundError("no such file")
        await load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(f"{where} can't be used ({detail}). Point KUBECONFIG at a working kubeconfig.") from error


@asynccontextmanager
async def _transport_errors(host: str) -> AsyncIterator[None]:
    """What aiohttp raises, as `RefusedError` with status 0."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        message = f"The certificate of the Kubernetes API at {host} is not trusted ({error.certificate_error})."
        raise RefusedError(
            f"{message} Check the kubeconfig's certificate authority.", status=0, reason="Certificate", sent=False
        ) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        detail = (str(error) or type(error).__name__).splitlines()[0]
        message = f"The Kubernetes API at {host} does not answer ({detail}). Check that it is running and can be reached from here."
        raise RefusedError(message, status=0, sent=not isinstance(error, aiohttp.ClientConnectorError)) from error


def _refusal(method: str, what: str, status: int, payload: bytes, retry_after: str | None) -> RefusedError:
    """The API's `Status` object as an error (API conventions, "Response Status Kind"); a proxy's HTML page is left out."""
    try:
        answer = json.loads(payload)
    except ValueError:
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    message, reason, details = str(answer.get("message") or ""), str(answer.get("reason") or ""), answer.get("details") or {}
    verb = _VERBS.get(method, method)
    if status == 401:
        text = "The Kubernetes API does not accept the operator's credentials (401). Check the kubeconfig or the pod's service account."
    elif status == 403 and "being terminated" in message:
        text = f"The Kubernetes API refuses to {verb} {what}: its namespace is being deleted."
    elif status == 403 and "exceeded quota" in message:
        text = f"The Kubernetes API refuses to {verb} {what}: {message}. Raise the ResourceQuota, or make room below it."
    elif status == 403:
        text = f"The operator may not {verb} {what}: {message or 'forbidden'}. Grant it by RBAC; the chart's roles have what is needed."
    else:
        text = f"The Kubernetes API refuses to {verb} {what} ({status}): {message or reason or 'no explanation'}."
    seconds = retry_after or details.get("retryAfterSeconds")
    try:
        delay = float(seconds) if seconds else None
    except ValueError:  # an HTTP date, which the API server does not send
        delay = None
    return RefusedError(text, status=status, reason=reason, retry_after=delay, inapplicable=status == 422 and not details.get("causes"))


def _resource_of(url: str) -> str:
    """The resource's plural in an API path, for a metric's label: never a name, which would make one series per object."""
    parts = url.split("?", 1)[0].split("/")[3:]
    parts = parts[2:] if parts[:1] == ["api"] else parts[3:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    return parts[0] if parts else "other"

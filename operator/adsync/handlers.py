"""Watch events in, nothing decided: kopf watches in a thread and a loop of its own, and every object goes on, raw, to the operator's loop.

Only `on.event` is used, which writes nothing to the API: kopf's other handlers, timers and daemons would each annotate every object.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, cast
from urllib.request import getproxies

import kopf
import uvloop

from adsync.cluster.inbox import EventSink, Inbox
from adsync.cluster.rest import Credentials
from adsync.cluster.secret_watch import UNINTERESTING
from adsync.errors import ClusterError
from adsync.sync.waiting import Patiently

_KINDS = {  # kind: group, version, plural
    "ADDomain": ("adsync.dev", "v1alpha1", "addomains"),
    "SyncedUser": ("adsync.dev", "v1alpha1", "syncedusers"),
    "SyncedGroup": ("adsync.dev", "v1alpha1", "syncedgroups"),
    "Secret": ("", "v1", "secrets"),
    "ConfigMap": ("", "v1", "configmaps"),
    "Namespace": ("", "v1", "namespaces"),
}
Login = Callable[[bool], Coroutine[Any, Any, Credentials]]


class _NoDiffs(kopf.DiffBaseStorage):
    """What kopf compares for handlers of changes, of which there are none: it would copy every object of every event in depth for them."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None: ...


class Watches:
    """The watches run from the moment of making. `stopped` is done when they have ended: with an exception unless `stop` was called.

    `login` gives the credentials; with True where those given before were refused. Without `namespaces`: the whole cluster. With them, the
    namespaces themselves are not watched, as access to single ones does not allow it. Without `secrets`, neither are Secrets.
    """

    def __init__(self, sink: EventSink, login: Login, namespaces: Sequence[str] = (), *, secrets: bool = True) -> None:
        self._login, self._namespaces = login, tuple(namespaces)
        self._left_out = {"Namespace" if namespaces else "", "" if secrets else "Secret"}
        self._loop = asyncio.get_running_loop()
        self.stopped: asyncio.Future[None] = self._loop.create_future()
        self._stopping = False
        self._stop: Callable[[], object] = lambda: None
        self._inbox = Inbox(sink, self._failed)
        self._logins = itertools.count()
        threading.Thread(target=self._run, name="kopf", daemon=True).start()

    async def stop(self) -> None:
        """Ends the watches; after three seconds without their consent (the thread is a daemon and holds nothing that needs closing)."""
        self._stopping = True
        with suppress(RuntimeError):  # its loop is closed: it has ended already
            self._stop()
        await asyncio.wait([self.stopped], timeout=3.0)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            uvloop.run(self._watch())
        except BaseException as problem:  # noqa: BLE001 - whatever ends the watches must reach the operator, which ends with it
            error = problem
        with suppress(RuntimeError):  # our loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._ended, error)

    async def _watch(self) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        if self._stopping:
            return
        await kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            identity=cast("Any", "adsync"),  # only peering uses it; left to itself, kopf asks for a user name that a pod does not have
            standalone=True, clusterwide=not self._namespaces, namespaces=self._namespaces, stop_flag=stop,
        )  # fmt: skip
        await asyncio.sleep(0.25)  # TLS connections that were closed say goodbye in later turns of the loop

    def _ended(self, error: BaseException | None) -> None:
        if self._stopping and not self.stopped.done():
            self.stopped.set_result(None)
        self._failed(ClusterError(f"The watches of the Kubernetes API have ended ({error!r}). adsync must be started again."))

    def _failed(self, error: Exception) -> None:
        if not self.stopped.done():
            self.stopped.set_exception(error)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, backoff=2.0)(cast("Any", self._credentials))
        for kind, (group, version, plural) in _KINDS.items():
            if kind not in self._left_out:
                kopf.on.event(group=group, version=version, plural=plural, registry=registry, id=plural)(self._forwarder(kind))
        return registry

    def _forwarder(self, kind: str) -> Any:
        async def forward(event: dict[str, Any], **_: Any) -> None:
            self._inbox.put(kind, event["type"], event["object"])

        return forward

    async def _credentials(self, **_: Any) -> kopf.ConnectionInfo:
        """kopf asks again whenever the ones it has are refused: then they are read anew."""
        if number := next(self._logins):
            await asyncio.sleep(1.0)  # an API server that refuses everybody for a moment, while it starts, is not to be stormed
        given = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._login(number > 0), self._loop))
        scheme, _space, token = given.authorization.get_secret_value().partition(" ") if given.authorization else ("", "", "")
        return kopf.ConnectionInfo(
            server=given.server, ca_path=given.ca_path, certificate_path=given.certificate_path, private_key_path=given.private_key_path,
            insecure=not given.verify, proxy_url=given.proxy, scheme=scheme or None, token=token or None, trust_env=bool(getproxies()),
            priority=number,  # kopf ends for good on being given the same again, and a refusal may have been a passing one
        )  # fmt: skip


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # no watching of CRDs and namespaces for their own sake
    settings.posting.enabled = False
    settings.watching.chunk_size = 500
    settings.watching.field_selectors["v1", "secrets"] = UNINTERESTING
    settings.networking.connect_timeout = 5.0
    settings.networking.request_timeout = 60.0
    settings.networking.error_backoffs = Patiently()
    settings.queueing.idle_timeout = 0.1  # a worker per object lives this long after its last event
    settings.queueing.exit_timeout = 0.2
    settings.process.ultimate_exiting_timeout = None
    # Nothing is stored on objects. Were it, then under a prefix that does not hide our own annotations.
    prefix = "kopf.adsync.dev"
    settings.persistence.finalizer = f"{prefix}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=prefix)
    settings.persistence.diffbase_storage = _NoDiffs()
    return settings

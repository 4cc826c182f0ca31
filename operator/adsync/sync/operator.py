"""The operator: takes the cluster's events, keeps a loop for each ADDomain, and has every resource looked at where it is bound."""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from adsync.cluster.access import AccessCheck, Right, watched
from adsync.cluster.client import Cluster
from adsync.cluster.events import EventRecorder
from adsync.cluster.secret_watch import UNINTERESTING, SecretWatch
from adsync.core.identity import Verdict
from adsync.errors import ClusterError
from adsync.health import Heartbeats
from adsync.metrics import Metrics
from adsync.resources.conditions import Reason
from adsync.settings import Settings
from adsync.sync.domain import DomainLoop, Shared
from adsync.sync.offline import Offline
from adsync.sync.refusals import Refusals
from adsync.sync.reports import Reports
from adsync.sync.store import DOMAIN, GROUP, USER, Dirty, Key, Store, differs

_log = structlog.get_logger(__name__)

_STANDSTILL_SECONDS = 180.0
_RELIST_SECONDS = 600.0
_FIRST_RELIST_SECONDS = 20.0  # what went between our own first list and that of the watches


class Operator:
    """`object_event` may be called before and while `run` runs, in the same loop. What comes before the first list is kept until then."""

    def __init__(
        self,
        cluster: Cluster,
        settings: Settings,
        metrics: Metrics,
        heartbeats: Heartbeats,
        *,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._metrics = metrics
        self._heartbeats = heartbeats
        self._may_write = may_write
        self._early: list[tuple[str, str | None, dict[str, Any]]] = []
        self._loops: dict[Key, tuple[DomainLoop, asyncio.Task[None]]] = {}
        self._strays: set[asyncio.Task[None]] = set()
        self._store: Store | None = None
        self._shared: Shared | None = None
        self._failed: asyncio.Future[None] | None = None
        self._ready = False
        rights = watched(settings.namespaces, secrets=not settings.secret_namespaces)
        self._access = AccessCheck(cluster, tuple(rights), self._rights_changed)

    def missing_rights(self) -> tuple[Right, ...]:
        """What the watches need and the API server refuses."""
        return self._access.missing

    def ready(self) -> bool:
        """Whether the resources have been read."""
        return self._ready

    def healthy(self) -> tuple[bool, dict[str, str]]:
        """Every loop has its heartbeat; there is nothing to add to those."""
        return True, {}

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`. Raises ClusterError where the resources can't be read at the start; any unforeseen error of a loop ends it too."""
        keys = await self._cluster.ensure_key_secret()
        cluster_uid = await self._cluster.cluster_uid()
        store = self._store = Store(keys, self._settings.secret_namespaces)
        secret_watches = [
            SecretWatch(self._cluster, namespace, lambda type_, obj: self.object_event("Secret", type_, obj), self._secrets_refused)
            for namespace in self._settings.secret_namespaces
        ]
        events = EventRecorder(self._cluster, posted=self._metrics.count_posted_event, dropped=self._metrics.count_dropped_event)
        reports = Reports(store, self._cluster, events, self._dirty, count=self._metrics.count_status_write)
        self._metrics.status_pending.set_function(lambda: len(reports.writer))
        refusals = Refusals(asyncio.get_running_loop().time)
        self._shared = Shared(
            store, self._cluster, reports, self._metrics, cluster_uid, self._settings.resolvers, self._may_write, refusals
        )
        self._failed = asyncio.get_running_loop().create_future()
        background = [
            asyncio.create_task(events.run(), name="events"),
            asyncio.create_task(reports.writer.run(), name="status writer"),
        ]
        try:
            await self._list(secret_watches)
            for kind, event, obj in self._early:
                self._take(kind, event, obj)
            self._early.clear()
            self._ready = True
            self._start_all()
            background.append(asyncio.create_task(self._relist(), name="relist"))
            background.append(asyncio.create_task(self._access.run(), name="rights"))
            self._metrics.show_missing_rights(self._access.counts())
            background += [asyncio.create_task(each.run(), name="secrets") for each in secret_watches]
            stopping = asyncio.create_task(stop.wait())
            waited: tuple[asyncio.Future[Any], ...] = (*background, stopping, self._failed)
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not stop.is_set():
                for task in (*background, self._failed):
                    if task.done():
                        task.result()
            await self._wind_down(reports)
        finally:
            tasks = [task for _, task in self._loops.values()] + background + list(self._strays)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _wind_down(self, reports: Reports) -> None:
        """Stop beginning anything new, and have what is known written."""
        tasks = [task for _, task in self._loops.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        try:
            async with asyncio.timeout(4.0):
                await reports.writer.drained()
        except TimeoutError:
            _log.info("some statuses were not written; the next start does so")

    # --- what the cluster tells ---

    def object_event(self, kind: str, type: str | None, obj: dict[str, Any]) -> None:  # noqa: A002 - the API's own name for it
        """A watch event, raw. Objects without a namespace are Namespaces."""
        self._metrics.watch_events.labels(kind, type or "LISTED").inc()
        if self._ready:
            self._take(kind, type, obj)
        else:
            self._early.append((kind, type, obj))

    def _take(self, kind: str, event: str | None, obj: dict[str, Any]) -> None:
        store = self._store
        assert store is not None
        meta = obj["metadata"]
        namespace, name = meta.get("namespace", ""), meta["name"]
        gone = event == "DELETED"
        if kind == "Namespace":
            terminating = not gone and "deletionTimestamp" in meta
            self._dirty(store.put_namespace(name, {} if gone else meta.get("labels") or {}, terminating=terminating))
            if terminating:
                self._changed_in(name)
        elif kind == "Secret":
            self._dirty(store.remove_secret(namespace, name) if gone else store.put_secret(obj, _decoded(obj)))
            self._referenced(kind, namespace, name)
        elif kind == "ConfigMap":
            self._referenced(kind, namespace, name)
        else:
            key = Key(kind, namespace, name)
            before = store.resources.get(key)
            self._dirty(store.remove(kind, namespace, name) if gone else store.put(kind, obj))
            after = store.resources.get(key)
            if before is None or after is None or differs(before, after):
                self._see_to(key)

    def _see_to(self, key: Key) -> None:
        """A domain gets its loop, or hears that it has changed; a user or group that is bound to nothing gets its answer."""
        assert self._store is not None
        assert self._shared is not None
        resource = self._store.resources.get(key)
        if key.kind == DOMAIN:
            if key in self._loops:
                self._loops[key][0].changed()
            elif resource is not None and self._ready:
                self._start(key)
        elif resource is not None and not self._store.bindings.get(key):
            self._stray(self._unbound(key))

    def _secrets_refused(self, namespace: str, refused: bool) -> None:
        """Whether the API server lets Secrets of a namespace be read: who needs one there has to know."""
        assert self._store is not None
        self._dirty(self._store.put_secrets_refused(namespace, refused))
        self._changed_in(namespace)

    def _rights_changed(self, missing: tuple[Right, ...]) -> None:
        """Those who look at a domain that misses changes are told why."""
        assert self._store is not None
        assert self._shared is not None
        self._metrics.show_missing_rights(self._access.counts())
        for resource in self._store.domains() if missing else ():
            here = [str(right) for right in missing if right.namespace in ("", resource.key.namespace)]
            if here:
                said = f"adsync may not {', nor '.join(here)}: changes there are not seen. Grant it by RBAC; the chart's roles have it."
                self._shared.reports.event(resource, "RightsMissing", said, warning=True)

    def _referenced(self, kind: str, namespace: str, name: str) -> None:
        for key, (loop, _) in self._loops.items():
            if key.namespace == namespace and (resource := loop.resource) is not None and resource.spec is not None:
                tls, credentials = resource.spec.tls, resource.spec.credentials_secret_ref
                ca = tls.ca_secret_ref if kind == "Secret" else tls.ca_config_map_ref
                if (ca is not None and ca.name == name) or (kind == "Secret" and credentials.name == name):
                    loop.changed()

    def _changed_in(self, namespace: str) -> None:
        for key, (loop, _) in self._loops.items():
            if key.namespace == namespace:
                loop.changed()

    def _dirty(self, dirty: Dirty) -> None:
        """Have resources looked at by their domains' loops; by nobody's where there is no such domain."""
        for domain, key in dirty:
            if domain in self._loops:
                self._loops[domain][0].mark(key)
            elif self._ready:
                self._stray(self._without_domain(domain, key))

    # --- loops ---

    def _start_all(self) -> None:
        assert self._store is not None
        for resource in self._store.domains():
            self._start(resource.key)
        for key in list(self._store.resources):
            if key.kind != DOMAIN:
                self._dirty({(domain, key) for domain in self._store.bindings.get(key, {}) if domain not in self._loops})
                self._see_to(key)

    def _start(self, key: Key) -> None:
        assert self._shared is not None
        assert self._store is not None
        beat = self._heartbeats.register(f"domain {key.namespace}/{key.name}", max_age=_STANDSTILL_SECONDS)
        loop = DomainLoop(key, self._shared, beat)
        task = asyncio.create_task(loop.run(), name=f"domain {key.namespace}/{key.name}")
        self._loops[key] = (loop, task)
        task.add_done_callback(lambda done: self._ended(key, done))
        for bound in self._store.bound_to(key):
            loop.mark(bound)

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        """A domain's loop has ended: as it should, or by an unforeseen error, which ends the operator (it begins anew from what is written)."""
        assert self._store is not None
        assert self._failed is not None
        if self._loops.get(key, (None, None))[1] is task:
            del self._loops[key]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            if not self._failed.done():
                self._failed.set_exception(error)
            return
        self._dirty({(key, bound) for bound in self._store.bound_to(key)})
        if key in self._store.resources:
            self._start(key)

    def _stray(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._strays.add(task)
        task.add_done_callback(self._strays.discard)

    async def _without_domain(self, domain: Key, key: Key) -> None:
        """The answer for a resource whose domain is not there."""
        assert self._shared is not None
        if domain in self._loops:
            return
        said = f"there is no ADDomain {domain.name} in namespace {domain.namespace}; create it, or correct spec.domains"
        offline = Offline(domain, self._shared.store, self._shared.reports, Verdict(Reason.DOMAIN_NOT_FOUND, said))
        await offline.look(key)

    async def _unbound(self, key: Key) -> None:
        assert self._shared is not None
        resource = self._shared.store.resources.get(key)
        if resource is None:
            return
        try:
            await self._shared.reports.let_go(resource)
        except ClusterError as error:
            _log.warning("not let go of yet", resource=str(key), error=str(error))
            return
        self._shared.reports.unbound(resource)

    # --- lists ---

    async def _list(self, secret_watches: Sequence[SecretWatch]) -> None:
        """Everything there is, so that the picture is complete before anything is decided by what is missing from it."""
        assert self._store is not None
        for kind in (DOMAIN, USER, GROUP):
            items, _ = await self._cluster.list(kind)
            for obj in items:
                self._store.put(kind, obj)
        # Namespaces and Secrets come by watch; until a Secret has come its user waits, and nothing is decided by a label that is not known.
        await self._first_look("Namespace")
        if not secret_watches:
            await self._first_look("Secret")
        for each in secret_watches:
            await each.list()

    async def _first_look(self, kind: str) -> None:
        assert self._store is not None
        try:
            items, _ = await self._cluster.list(kind, field_selector=UNINTERESTING if kind == "Secret" else "")
        except ClusterError as error:
            if error.status != 403:
                raise
            return
        for obj in items:
            self._take(kind, None, obj)

    async def _relist(self) -> None:
        """Deletions that fell into a break of the watch give no event: find them by what is listed no more."""
        assert self._store is not None
        for pause in itertools.chain((_FIRST_RELIST_SECONDS,), itertools.repeat(_RELIST_SECONDS)):
            await asyncio.sleep(pause)
            for kind in (DOMAIN, USER, GROUP):
                before = {resource.key: resource.uid for resource in self._store.of_kind(kind)}
                try:
                    items, _ = await self._cluster.list(kind, metadata_only=True)
                except ClusterError as error:
                    _log.warning("the regular list failed", kind=kind, error=str(error))
                    continue
                there = {(obj["metadata"]["namespace"], obj["metadata"]["name"]): obj["metadata"]["uid"] for obj in items}
                for key, uid in before.items():
                    current = self._store.resources.get(key)
                    if there.get((key.namespace, key.name)) != uid and current is not None and current.uid == uid:
                        self._dirty(self._store.remove(kind, key.namespace, key.name))
                        self._see_to(key)


def _decoded(obj: Mapping[str, Any]) -> dict[str, bytes]:
    """A Secret's values. What is no base64, which the API server lets nobody write, is left out."""
    values: dict[str, bytes] = {}
    for name, text in (obj.get("data") or {}).items():
        try:
            values[name] = base64.b64decode(text or "", validate=True)
        except (binascii.Error, ValueError):
            continue
    return values

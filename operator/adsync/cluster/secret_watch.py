"""Secrets of single namespaces, where they may not be read cluster-wide.

kopf's watches are of all namespaces or of the same ones for every kind, and know no answer to a refusal but to try again in silence. Here a
namespace in which Secrets may not be read (yet, or any more: its Role came later, or went with the namespace) is told of and asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import structlog

from adsync.cluster.client import Cluster
from adsync.errors import ClusterError

_log = structlog.get_logger(__name__)

UNINTERESTING = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=bootstrap.kubernetes.io/token"
"""A field selector. Never a password, credentials or a CA, and by far the largest Secrets of most clusters: left out by the API server itself."""

_REFUSED_SECONDS, _FAILED_SECONDS = 15.0, 2.0
_WATCH_SECONDS = 290  # the server ends a watch after this
_SILENCE_SECONDS = 150.0  # it sends a bookmark every minute

Deliver = Callable[[str | None, dict[str, Any]], None]
"""Takes the type of a watch event (None for what is listed) and the raw Secret."""


class SecretWatch:
    """One namespace. `deliver` is told of its Secrets, `refused` whether reading them is refused; both are called in the loop of `run`."""

    def __init__(self, cluster: Cluster, namespace: str, deliver: Deliver, refused: Callable[[str, bool], None]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._deliver = deliver
        self._refused = refused
        self._known: dict[str, str] = {}  # name → uid
        self._version = ""  # "": it has to be listed

    async def list(self) -> bool:
        """Deliver all there are, and as deleted what is there no more; whether that was allowed. Raises ClusterError for any other failure."""
        try:
            items, self._version = await self._cluster.list("Secret", self._namespace, field_selector=UNINTERESTING)
        except ClusterError as error:
            if error.status != 403:
                raise
            self._refused(self._namespace, True)
            return False
        self._refused(self._namespace, False)
        there = {obj["metadata"]["name"] for obj in items}
        for name in self._known.keys() - there:
            gone = {"metadata": {"namespace": self._namespace, "name": name, "uid": self._known[name]}}
            self._take("DELETED", gone)
        for obj in items:
            self._take(None, obj)
        return True

    async def run(self) -> None:
        """Follows the namespace until cancelled."""
        while True:
            try:
                if self._version or await self.list():
                    await self._follow()
                    continue
                pause = _REFUSED_SECONDS
            except ClusterError as error:
                self._version, pause = "", _FAILED_SECONDS
                _log.warning("the watch of Secrets broke off and begins again", namespace=self._namespace, error=str(error))
            await asyncio.sleep(pause)

    async def _follow(self) -> None:
        """One watch, from the version at hand until the server ends it or has forgotten that version."""
        params = {
            "watch": "true", "allowWatchBookmarks": "true", "fieldSelector": UNINTERESTING, "resourceVersion": self._version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }  # fmt: skip
        path, what = f"/api/v1/namespaces/{self._namespace}/secrets", f"secrets in namespace {self._namespace}"
        try:
            async with aclosing(self._cluster.rest.stream(path, what=what, params=params, silence=_SILENCE_SECONDS)) as events:
                async for event in events:
                    if event["type"] == "ERROR":  # 410 Gone, most often
                        self._version = ""
                        return
                    self._version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._take(event["type"], event["object"])
        except ClusterError as error:
            if error.status != 403:
                raise
            self._version = ""  # the list, which is asked for next, tells whether that is refused as well
            await asyncio.sleep(_FAILED_SECONDS)

    def _take(self, event_type: str | None, obj: dict[str, Any]) -> None:
        meta = obj["metadata"]
        meta.pop("managedFields", None)
        if event_type == "DELETED":
            self._known.pop(meta["name"], None)
        else:
            self._known[meta["name"]] = meta["uid"]
        self._deliver(event_type, obj)

"""Namespaces, where the operator may see only some of them and so can't watch: each is read now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from adsync.cluster.client import Cluster
from adsync.errors import ClusterError

_log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 30.0


async def poll_namespaces(
    cluster: Cluster, deliver: Callable[[str, str | None, dict[str, Any]], None], *, interval: float = _INTERVAL_SECONDS
) -> None:
    """Reads the operator's namespaces for ever, and delivers what is new as watch events of the kind Namespace.

    A role of the namespace itself suffices to allow it. Where it is not allowed, the namespace is delivered once, without labels: it
    exists, and a selector by labels does not match it.
    """
    seen: dict[str, dict[str, Any]] = {}
    while True:
        for name in cluster.namespaces:
            try:
                obj = await cluster.get_namespace(name)
            except ClusterError as error:
                if error.status != 403:
                    _log.debug("namespace not read", namespace=name, error=str(error))
                    continue
                obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "uid": "", "resourceVersion": ""}}
            before = seen.get(name)
            if obj is None:
                if before is not None:
                    deliver("Namespace", "DELETED", seen.pop(name))
            elif before is None or before["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                seen[name] = obj
                deliver("Namespace", None if before is None else "MODIFIED", obj)
        await asyncio.sleep(interval)

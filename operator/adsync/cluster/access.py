"""Whether the watches are allowed. Refused ones are tried again for ever, and in silence: so the API server is asked what it would allow.

    at the start, and once a minute    every right that the watches need
    while one is missing               all of them every ten seconds

One small request each (SelfSubjectAccessReview, which everybody may make); with hundreds of namespaces the pauses are longer.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import structlog

from adsync.cluster.client import Cluster
from adsync.errors import ClusterError

_log = structlog.get_logger(__name__)

_SECONDS, _MISSING_SECONDS = 60.0, 10.0
_SECONDS_EACH = 0.1  # of pause for each right that was asked about
_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_VERBS = ("list", "watch")
_WATCHED = {
    "addomains": "adsync.dev", "syncedusers": "adsync.dev", "syncedgroups": "adsync.dev", "secrets": "", "configmaps": "", "namespaces": "",
}  # fmt: skip
"""Resource: its API group."""


class Right(NamedTuple):
    """To list or watch a resource; `namespace` is empty for all of them."""

    verb: str
    resource: str
    namespace: str = ""

    def __str__(self) -> str:
        group = _WATCHED[self.resource]
        where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{self.verb} {self.resource}{'.' if group else ''}{group}" + ("" if self.resource == "namespaces" else f" {where}")


def watched(namespaces: Sequence[str] = (), *, secrets: bool = True) -> Iterator[Right]:
    """What the watches need. With `namespaces`, in each of these, and Namespaces are not watched; without `secrets`, neither are Secrets."""
    left_out = {"namespaces" if namespaces else "", "" if secrets else "secrets"}
    for namespace in namespaces or ("",):
        yield from (Right(verb, resource, namespace) for resource in _WATCHED if resource not in left_out for verb in _VERBS)


class AccessCheck:
    """`missing` is what was found missing of `rights` last; `changed` is called, in the loop of `run`, whenever that is another."""

    def __init__(self, cluster: Cluster, rights: Sequence[Right], changed: Callable[[tuple[Right, ...]], None]) -> None:
        self._cluster = cluster
        self._rights = tuple(rights)
        self._changed = changed
        self.missing: tuple[Right, ...] = ()

    async def run(self) -> None:
        """Asks until cancelled."""
        while True:
            try:
                await self.ask()
            except ClusterError as error:
                _log.debug("it is not known whether the watches are allowed", error=str(error))
            await asyncio.sleep(max(_MISSING_SECONDS if self.missing else _SECONDS, _SECONDS_EACH * len(self._rights)))

    async def ask(self) -> None:
        """One look at all of them. Raises ClusterError where there is no answer, which leaves everything as it was."""
        missing = tuple([right for right in self._rights if not await self._allowed(right)])
        if missing == self.missing:
            return
        for right in missing:
            if right not in self.missing:
                _log.error(f"The operator may not {right}: what changes there is not seen. Grant it by RBAC; the chart's roles have it.")
        if not missing:
            _log.info("all watches are allowed again")
        self.missing = missing
        self._changed(missing)

    def counts(self) -> dict[tuple[str, str], int]:
        """For each verb and resource, in how many namespaces it is missing; all namespaces are one."""
        found = Counter((right.verb, right.resource) for right in self.missing)
        return {(right.verb, right.resource): found[right.verb, right.resource] for right in self._rights}

    async def _allowed(self, right: Right) -> bool:
        attributes = {"verb": right.verb, "group": _WATCHED[right.resource], "resource": right.resource, "namespace": right.namespace}
        body = {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {name: value for name, value in attributes.items() if value}},
        }  # fmt: skip
        answer = await self._cluster.rest.request("POST", _PATH, what="its own rights", body=body, retry=False, fenced=False)
        return bool((answer.get("status") or {}).get("allowed"))

"""What the operator asks of the Kubernetes API, in raw JSON objects.

An object is a `dict` as the API gives it, without `metadata.managedFields` (a third of its size, of no use here). Absence is None, and only
ever means that the server said 404; everything else that is not success raises ClusterError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from adsync.cluster.keys import ensure_digest_keys
from adsync.cluster.ownership import same_items, spec_to_apply
from adsync.cluster.rest import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, Credentials, Observe, RefusedError, Rest
from adsync.cluster.secrets import SecretData
from adsync.core.passwords import DigestKeys
from adsync.errors import ClusterError

_PAGE = 500
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_CONFLICT_ATTEMPTS = 6
FIELD_MANAGER = "adsync"
"""As what the operator writes specs, so that others can leave those fields to it."""

Object = dict[str, Any]
Objects = list[Object]  # the class below has a method called list
Strings = list[str]


class _Kind(NamedTuple):
    api: str
    plural: str
    namespaced: bool = True


GROUP_VERSION = "adsync.dev/v1alpha1"
_KINDS = {
    "ADDomain": _Kind(f"apis/{GROUP_VERSION}", "addomains"),
    "SyncedUser": _Kind(f"apis/{GROUP_VERSION}", "syncedusers"),
    "SyncedGroup": _Kind(f"apis/{GROUP_VERSION}", "syncedgroups"),
    "Secret": _Kind("api/v1", "secrets"),
    "ConfigMap": _Kind("api/v1", "configmaps"),
    "Namespace": _Kind("api/v1", "namespaces", namespaced=False),
    "Event": _Kind("apis/events.k8s.io/v1", "events"),
    "Lease": _Kind("apis/coordination.k8s.io/v1", "leases"),
}


class ClusterSettings(Protocol):
    """The part of the settings that concerns the cluster. `namespaces` empty: all."""

    @property
    def namespaces(self) -> Sequence[str]: ...
    @property
    def operator_namespace(self) -> str: ...


class Cluster:
    """The one client of the process. Make it with `connect`; safe for any number of tasks of the loop it was made in."""

    def __init__(self, rest: Rest, *, namespaces: Sequence[str] = (), operator_namespace: str = "adsync-system") -> None:
        self.rest = rest
        self.namespaces = tuple(namespaces)
        self.operator_namespace = operator_namespace

    @classmethod
    async def connect(cls, settings: ClusterSettings, *, observe: Observe | None = None) -> Cluster:
        """Finds the configuration and asks the API server for its version, so that a wrong address or certificate shows at once.

        Raises ClusterError. `observe` is told of every request.
        """
        rest = await Rest.connect(observe)
        try:
            await rest.request("GET", "/version", what="its version", retry=False)
        except ClusterError:
            await rest.close()
            raise
        return cls(rest, namespaces=settings.namespaces, operator_namespace=settings.operator_namespace)

    async def close(self) -> None:
        await self.rest.close()

    async def credentials(self, *, fresh: bool = False) -> Credentials:
        """For the watches, which have a client of their own."""
        return await self.rest.credentials(fresh=fresh)

    # ---- reading

    async def list(
        self, kind: str, namespace: str | None = None, *, metadata_only: bool = False, field_selector: str = ""
    ) -> tuple[Objects, str]:
        """All objects of a kind, and the resource version that the list stands for. The list is complete, or ClusterError is raised.

        Without a namespace: those of every namespace that the operator serves; where these are several, the resource version is the oldest
        list's. With `metadata_only` the objects are PartialObjectMetadata, for a cheap look at what is there.
        """
        selector = {"fieldSelector": field_selector} if field_selector else {}
        if namespace is not None or not self.namespaces or not _KINDS[kind].namespaced:
            return await self._list(kind, namespace, metadata_only, selector)
        lists = [await self._list(kind, each, metadata_only, selector) for each in self.namespaces]
        return [obj for items, _ in lists for obj in items], lists[0][1]

    async def _list(self, kind: str, namespace: str | None, metadata_only: bool, selector: dict[str, str]) -> tuple[Objects, str]:
        params = {"limit": str(_PAGE), **selector}
        items: list[Object] = []
        restarts = 0
        while True:
            try:
                page = await self.rest.request(
                    "GET", _path(kind, namespace), what=_named(kind, namespace), params=params, seconds=60.0,
                    accept=_METADATA_ONLY if metadata_only else "application/json",
                )  # fmt: skip
            except RefusedError as error:
                if error.status == 410 and "continue" in params and restarts < 3:
                    # The server has forgotten the state that the list began with: half a list is no list, so begin again.
                    restarts += 1
                    items, params = [], {"limit": str(_PAGE), **selector}
                    continue
                if error.status == 404 and _KINDS[kind].api.endswith(GROUP_VERSION):
                    raise ClusterError(
                        f"The kind {kind} of {GROUP_VERSION} is not known to this cluster. Install the CRDs: "
                        "adsync crds | kubectl apply --server-side -f -",
                        status=404,
                    ) from error
                raise
            for obj in page["items"] or ():  # of metadata only, an empty list comes as null
                items.append(_slim(obj))
            meta = page.get("metadata") or {}
            if not meta.get("continue"):
                return items, str(meta.get("resourceVersion", ""))
            params["continue"] = meta["continue"]

    async def get(self, kind: str, namespace: str, name: str, *, maybe_old: bool = False) -> Object | None:
        """The object, or None where the server says that there is none.

        With `maybe_old` the server may answer from its watch cache (resourceVersion 0), which spares it the way to etcd: for those who can
        tell from the answer whether it will do.
        """
        params = {"resourceVersion": "0"} if maybe_old else None
        try:
            return _slim(await self.rest.request("GET", _path(kind, namespace, name), what=_named(kind, namespace, name), params=params))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def get_secret(self, namespace: str, name: str, *, maybe_old: bool = False) -> SecretData | None:
        obj = await self.get("Secret", namespace, name, maybe_old=maybe_old)
        return SecretData.of(obj) if obj is not None else None

    async def get_configmap(self, namespace: str, name: str) -> Object | None:
        return await self.get("ConfigMap", namespace, name)

    async def get_namespace(self, name: str) -> Object | None:
        return await self.get("Namespace", "", name)

    async def cluster_uid(self) -> str:
        """The UID of the namespace kube-system, which serves as the cluster's identity.

        Where RBAC does not let it be read, the UID of the operator's own namespace stands in. The two differ: an ADDomain of such an
        installation does well to set `clusterName`, as a later grant would change the answer. Raises ClusterError where neither can be
        read.
        """
        for name in ("kube-system", self.operator_namespace):
            try:
                obj = await self.get_namespace(name)
            except ClusterError as error:
                if error.status != 403:
                    raise
                continue
            if obj is not None:
                return str(obj["metadata"]["uid"])
        raise ClusterError(
            f"Neither the namespace kube-system nor {self.operator_namespace} can be read, so this cluster has no name for owner marks. "
            "Allow get on one of them, or set clusterName in the ADDomain.",
            status=403,
        )

    # ---- writing

    async def patch_status(self, kind: str, namespace: str, name: str, operations: Objects, *, uid: str) -> Object | None:
        """Applies a JSON patch (RFC 6902, see `status.json_patch`) to the status of exactly the object with this UID.

        A merge patch can't do this: the API server ignores `metadata.uid` in one on a custom resource's /status, and a resource that was
        deleted and made again under the same name would carry the old one's status. Returns the new object; None where it is gone or
        another one has its name. Raises ClusterError, with status 409 where the patch does not fit the status that is there.
        """
        what = _named(kind, namespace, name)
        body = [{"op": "test", "path": "/metadata/uid", "value": uid}, *operations]
        try:
            return _slim(
                await self.rest.request("PATCH", _path(kind, namespace, name) + "/status", what=what, body=body, content_type=JSON_PATCH)
            )
        except RefusedError as error:
            if error.status == 404:
                return None
            if not error.inapplicable:
                raise
        now = await self.get(kind, namespace, name)
        if now is None or now["metadata"].get("uid") != uid:
            return None
        raise ClusterError(f"The status of {what} has been changed by somebody else in between.", status=409)

    async def patch(
        self, kind: str, namespace: str, name: str, patch: Object, *, resource_version: str | None = None, field_manager: str = ""
    ) -> Object | None:
        """Applies a JSON merge patch (RFC 7386) to the object, not its status; None where it is gone.

        With `resource_version`, only to that version of it: otherwise ClusterError with status 409.
        """
        if resource_version is not None:
            patch = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": resource_version}}
        try:
            params = {"fieldManager": field_manager} if field_manager else None
            answer = await self.rest.request(
                "PATCH",
                _path(kind, namespace, name),
                what=_named(kind, namespace, name),
                body=patch,
                params=params,
                content_type=MERGE_PATCH,
            )
            return _slim(answer)
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    async def add_finalizer(self, obj: Object, finalizer: str) -> Object | None:
        """Sees to it that the object has the finalizer, and returns it as it is then.

        None where it is gone, replaced by another of its name, or being deleted without it: in each case nothing may be begun for it.
        """
        current: Object | None = obj
        for attempt in range(_CONFLICT_ATTEMPTS):
            if current is None or current["metadata"].get("uid") != obj["metadata"].get("uid"):
                return None
            finalizers = current["metadata"].get("finalizers") or []
            if finalizer in finalizers:
                return current
            if "deletionTimestamp" in current["metadata"]:
                return None
            current, done = await self._patch_finalizers(current, [*finalizers, finalizer], attempt)
            if done:
                return current
        raise _contended(obj)

    async def remove_finalizer(self, obj: Object, finalizer: str) -> Object | None:
        """Sees to it that the object has not got the finalizer; those of others stay.

        Returns the object as it is then; None where it is gone, often because of this.
        """
        current: Object | None = obj
        for attempt in range(_CONFLICT_ATTEMPTS):
            if current is None or current["metadata"].get("uid") != obj["metadata"].get("uid"):
                return None
            finalizers = current["metadata"].get("finalizers") or []
            if finalizer not in finalizers:
                if attempt > 0:
                    return current
                # The object at hand may be older than the finalizer: only what the server says is believed of an absence.
                current = await self.get(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])
                continue
            left = [each for each in finalizers if each != finalizer]
            current, done = await self._patch_finalizers(current, left, attempt)
            if done:
                return None if current is None or ("deletionTimestamp" in current["metadata"] and not left) else current
        raise _contended(obj)

    async def _patch_finalizers(self, obj: Object, finalizers: Strings, attempt: int) -> tuple[Object | None, bool]:
        """One try, on exactly the version at hand, so that no finalizer added in between is lost. (object now, whether it was written)."""
        meta = obj["metadata"]
        kind, namespace, name = obj["kind"], meta["namespace"], meta["name"]
        try:
            patch = {"metadata": {"finalizers": finalizers}}
            return await self.patch(kind, namespace, name, patch, resource_version=meta["resourceVersion"]), True
        except ClusterError as error:
            if error.status not in (409, 422):
                raise
            if attempt > 0:
                await asyncio.sleep(0.02 * 2**attempt)
            now = await self.get(kind, namespace, name)
            # 422 is right where the object began to be deleted meanwhile: it takes no new finalizer.
            if error.status == 422 and now is not None and "deletionTimestamp" not in now["metadata"]:
                raise
            return now, False

    async def apply_spec(self, obj: Object, spec: Object) -> Object | None:
        """Writes these fields of a spec by server-side apply, as the field manager `adsync`, and returns the object as it is then.

        `obj` is the object that they were worked out from: ClusterError with status 409 where its spec has changed since; None where it is
        gone. What is applied is said in `ownership`. List items that others own can't be taken out by an apply: where some are left, a merge
        patch replaces the list.
        """
        meta = obj["metadata"]
        kind, namespace, name = obj["kind"], meta["namespace"], meta["name"]
        path, what = _path(kind, namespace, name), _named(kind, namespace, name)
        try:
            current = await self.rest.request("GET", path, what=what)
            if current["metadata"]["uid"] != meta["uid"]:
                return None
            if current["metadata"].get("generation") != meta.get("generation"):
                raise ClusterError(f"The spec of {what} has been changed by somebody else in between.", status=409)
            identity = {"name": name, "namespace": namespace, "uid": meta["uid"], "resourceVersion": current["metadata"]["resourceVersion"]}
            body = {"apiVersion": GROUP_VERSION, "kind": kind, "metadata": identity, "spec": spec_to_apply(current, spec, FIELD_MANAGER)}
            params = {"fieldManager": FIELD_MANAGER, "force": "true"}
            now = _slim(await self.rest.request("PATCH", path, what=what, body=body, params=params, content_type=APPLY_PATCH))
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        left = {field: value for field, value in spec.items() if isinstance(value, list) and not same_items(now["spec"].get(field), value)}
        if left:
            return await self.patch(
                kind, namespace, name, {"spec": left}, resource_version=now["metadata"]["resourceVersion"], field_manager=FIELD_MANAGER
            )
        return now

    async def create(self, kind: str, obj: Object, *, field_manager: str = "") -> Object:
        """Creates the object. Raises ClusterError, with status 409 where one of that name is there."""
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"].get("name", "")
        params = {"fieldManager": field_manager} if field_manager else None
        return _slim(await self.rest.request("POST", _path(kind, namespace), what=_named(kind, namespace, name), body=obj, params=params))

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, resource_version: str | None = None) -> bool:
        """Deletes exactly the object with this UID, and this version if one is given. False where there is none.

        Raises ClusterError with status 409 where the object there is not the one that was meant.
        """
        preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version is not None else {})
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
        try:
            await self.rest.request("DELETE", _path(kind, namespace, name), what=_named(kind, namespace, name), body=body)
        except RefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def ensure_key_secret(self) -> DigestKeys:
        """The keys of the password digests, from the operator's own Secret, which is made where it is missing. Raises ClusterError."""
        return await ensure_digest_keys(self)


def _path(kind: str, namespace: str | None = None, name: str | None = None) -> str:
    entry = _KINDS[kind]
    path = f"/{entry.api}"
    if entry.namespaced and namespace:
        path += f"/namespaces/{namespace}"
    path += f"/{entry.plural}"
    return f"{path}/{name}" if name else path


def _named(kind: str, namespace: str | None = None, name: str | None = None) -> str:
    where = "/".join(part for part in (namespace, name) if part)
    return f"{kind} {where}" if name else f"{_KINDS[kind].plural}" + (f" in namespace {namespace}" if namespace else "")


def _slim(obj: Object) -> Object:
    obj["metadata"].pop("managedFields", None)
    return obj


def _contended(obj: Object) -> ClusterError:
    meta = obj["metadata"]
    what = _named(obj["kind"], meta["namespace"], meta["name"])
    return ClusterError(f"The finalizers of {what} are being changed by others all the time. It is tried again.", status=409)

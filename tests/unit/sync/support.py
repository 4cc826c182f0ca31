"""Objects as the API server delivers them."""

from __future__ import annotations

import itertools
from typing import Any

from adsync.sync.store import DOMAIN, GROUP, USER, Key, Store
from tests.specs import DOMAIN as DOMAIN_SPEC
from tests.unit.core.support import KEYS, ROOT

_versions = itertools.count(100)


def next_version() -> str:
    """A resourceVersion newer than all before."""
    return str(next(_versions))


FINALIZER = "adsync.dev/directory"


def obj(kind: str, name: str, spec: dict[str, Any] | None, namespace: str = "team-a", **changes: Any) -> dict[str, Any]:
    """With a newer resourceVersion than all before. `meta` goes into the metadata."""
    meta = {
        "namespace": namespace,
        "name": name,
        "uid": f"uid-{kind}-{namespace}-{name}",
        "resourceVersion": next_version(),
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "finalizers": [FINALIZER],
        **changes.pop("meta", {}),
    }
    return {"kind": kind, "metadata": meta, "spec": spec, **changes}


def user(
    name: str = "jdoe", namespace: str = "team-a", *, status: dict[str, Any] | None = None, meta: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    given = {"username": name, "domains": [{"name": "corp"}], **spec}
    return obj(USER, name, given, namespace, meta=meta or {}, **({"status": status} if status else {}))


def domain(name: str = "corp", namespace: str = "team-a", *, meta: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return obj(DOMAIN, name, {**DOMAIN_SPEC, "rootUserContainer": ROOT, "clusterName": "prod-1", **spec}, namespace, meta=meta or {})


def secret(name: str = "pw", namespace: str = "team-a") -> dict[str, Any]:
    return obj("Secret", name, None, namespace)


def user_key(name: str = "jdoe", namespace: str = "team-a") -> Key:
    return Key(USER, namespace, name)


def group_key(name: str = "finance", namespace: str = "team-a") -> Key:
    return Key(GROUP, namespace, name)


def domain_key(name: str = "corp", namespace: str = "team-a") -> Key:
    return Key(DOMAIN, namespace, name)


JDOE, CORP = user_key(), domain_key()


def store(*objects: dict[str, Any]) -> Store:
    made = Store(KEYS)
    for each in objects:
        made.put(each["kind"], each)
    return made


def entry_of(name: str = "corp", namespace: str = "", **fields: Any) -> dict[str, Any]:
    """A status that has an entry for a domain."""
    return {"domains": [{"name": name, "namespace": namespace, **fields}]}

"""One of our resources as the API server delivers it: its spec, parsed once, and the parts of its metadata that matter."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from adsync.errors import InvalidSpec
from adsync.resources import names
from adsync.resources.addomain import ADDomainSpec
from adsync.resources.common import DomainRef, Spec
from adsync.resources.reading import parse_spec
from adsync.resources.syncedgroup import SyncedGroupSpec
from adsync.resources.synceduser import SyncedUserSpec

_SPECS: Mapping[str, type[Spec]] = {"ADDomain": ADDomainSpec, "SyncedUser": SyncedUserSpec, "SyncedGroup": SyncedGroupSpec}
USER, GROUP, DOMAIN = "SyncedUser", "SyncedGroup", "ADDomain"
_SHORT = 128  # characters
_NO_REFS: tuple[DomainRef, ...] = ()
_ANNOTATION_LIMIT = 1024


class Key(NamedTuple):
    """A resource of ours. `str()` is how messages name it."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(slots=True)
class Resource:
    """One of our resources: its parsed spec, or why it could not be parsed, and the parts of its metadata that matter."""

    key: Key
    uid: str
    version: str
    generation: int
    created: str
    deleting: bool
    finalizers: tuple[str, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Any
    problem: str
    refs: tuple[DomainRef, ...]  # spec.domains, also of a spec that can't be read as a whole
    status: dict[str, Any]

    @classmethod
    def read(cls, kind: str, raw: Mapping[str, Any], known: Resource | None = None) -> Resource:
        """From the API server's JSON. A spec of the same generation is not parsed again."""
        meta = raw["metadata"]
        generation = meta.get("generation", 0)
        spec: Any = None
        problem, refs = "", _NO_REFS
        if known is not None and known.generation == generation and known.uid == meta["uid"]:
            spec, problem, refs = known.spec, known.problem, known.refs
        else:
            try:
                spec = parse_spec(_SPECS[kind], raw.get("spec"))
                refs = spec.domains if kind != DOMAIN else _NO_REFS
            except InvalidSpec as error:
                problem, refs = str(error), _readable_refs(raw.get("spec"))
        # No more of a value than a status can repeat: any new one is another as well by its beginning.
        given = (meta.get("annotations") or {}).items()
        annotations = {name: value[:_ANNOTATION_LIMIT] for name, value in given if name.startswith(f"{names.GROUP}/")}
        return cls(
            key=Key(kind, meta["namespace"], meta["name"]),
            uid=meta["uid"],
            version=meta.get("resourceVersion", ""),
            generation=generation,
            created=meta.get("creationTimestamp", ""),
            deleting="deletionTimestamp" in meta,
            finalizers=tuple(meta.get("finalizers") or ()),
            labels=meta.get("labels") or {},
            annotations=annotations,
            spec=spec,
            problem=problem,
            refs=refs,
            status=_shared(raw.get("status") or {}),
        )

    @property
    def held(self) -> bool:
        """Whether our finalizer is on it."""
        return names.FINALIZER in self.finalizers

    @property
    def age(self) -> tuple[str, str, str]:
        """Orders resources, the older first; the name breaks ties."""
        return self.created, self.key.namespace, self.key.name

    @property
    def requested(self) -> str:
        return self.annotations.get(names.RECONCILE_REQUESTED_AT, "")

    @property
    def imported_from(self) -> tuple[Key, str] | None:
        """The domain and the objectGUID that an imported resource came from. Only in the domain's own namespace does a label say that."""
        labels = self.labels
        if labels.get(names.IMPORTED_LABEL) != "true":
            return None
        domain, guid = labels.get(names.DOMAIN_LABEL), labels.get(names.OBJECT_GUID_LABEL)
        return (Key(DOMAIN, self.key.namespace, domain), guid) if domain and guid else None

    def reference(self) -> dict[str, Any]:
        """What an event is about."""
        metadata = {"namespace": self.key.namespace, "name": self.key.name, "uid": self.uid, "resourceVersion": self.version}
        return {"apiVersion": names.API_VERSION, "kind": self.key.kind, "metadata": metadata}


def _shared(value: Any) -> Any:
    """The same, with one copy of each name and short value for all resources: each answer is decoded with strings of its own, and those of ten
    thousand statuses are more than all the rest of what is known of them."""
    if isinstance(value, dict):
        return {sys.intern(name): _shared(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_shared(each) for each in value]
    return sys.intern(value) if isinstance(value, str) and len(value) <= _SHORT else value


def _readable_refs(spec: Any) -> tuple[DomainRef, ...]:
    """Those of spec.domains that make sense by themselves."""
    refs = []
    for raw in (spec.get("domains") if isinstance(spec, Mapping) else None) or ():
        with contextlib.suppress(InvalidSpec):
            refs.append(parse_spec(DomainRef, raw))
    return tuple(refs)

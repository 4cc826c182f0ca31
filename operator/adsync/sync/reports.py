"""From what a domain found out about a resource to its status: each domain reports its own entry, the whole is composed when it is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from adsync.cluster.client import Cluster
from adsync.cluster.events import EventRecorder
from adsync.cluster.status import Counter, StatusWriter
from adsync.core.report import Subject, group_status, user_status
from adsync.resources import names
from adsync.resources.conditions import Reason
from adsync.resources.reading import read_status
from adsync.resources.syncedgroup import GroupDomainStatus
from adsync.resources.synceduser import AccountState, Origin, UserDomainStatus
from adsync.sync.store import DOMAIN, USER, Dirty, Key, Resource, Store

Entry: TypeAlias = UserDomainStatus | GroupDomainStatus


@dataclass(frozen=True, slots=True)
class _Look:
    """What a domain has looked at: the generation, and the value of the annotation that asks for a look."""

    generation: int
    requested: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a resource stands in a domain, as far as the domain's own status counts it."""

    reason: Reason | None
    suspended: bool
    imported: bool
    planned: tuple[str, ...]
    guid: str


class Reports:
    """Takes the domains' reports, writes statuses and events, and lets resources go when every domain has let go of them."""

    def __init__(
        self, store: Store, cluster: Cluster, events: EventRecorder, concerned: Callable[[Dirty], None], *, count: Counter | None = None
    ) -> None:
        self.store = store
        self.cluster = cluster
        self.events = events
        self.concerned = concerned
        self.writer = StatusWriter(cluster, self._current, self._written, count=count)
        self._entries: dict[tuple[Key, Key], Entry | None] = {}  # reported, not yet in the store
        self._looks: defaultdict[Key, dict[Key, _Look]] = defaultdict(dict)
        self._released: defaultdict[Key, set[Key]] = defaultdict(set)
        self._standings: defaultdict[Key, dict[Key, Standing]] = defaultdict(dict)  # domain → resource
        self._at: dict[tuple[Key, str], Key] = {}  # (domain, objectGUID) → resource
        self._told: dict[Key, str] = {}  # the version that the API server made of a resource by the last status we wrote
        self.revision = 0  # another one whenever `recorded_at` may have another answer

    def recorded(self, resource: Resource, domain: Key) -> Entry:
        """The latest entry for a domain, written or about to be; an empty one where there is none."""
        entry = self._entries.get((resource.key, domain)) or self._listed(resource, domain)
        if entry is not None:
            return entry
        # "" where it is the resource's own namespace, as the spec may leave it out too.
        namespace = "" if domain.namespace == resource.key.namespace else domain.namespace
        return _model(resource.key)(name=domain.name, namespace=namespace)

    def put(self, resource: Resource, domain: Key, entry: Entry | None) -> None:
        """Report an entry, or with None that the domain has nothing to say of this resource any more. Equal to what is recorded: nothing happens."""
        key = resource.key
        self._released[key].discard(domain)
        self._looks[key][domain] = _Look(resource.generation, resource.requested)
        self._count(key, domain, entry)
        settled = (key, domain) not in self._entries
        if settled and entry == self._listed(resource, domain) and self._subject(resource) == _told(resource):
            return
        self._entries[key, domain] = entry
        self._submit(resource, domain)

    def recount(self, resource: Resource, domain: Key) -> None:
        """Count a resource as it is recorded, without a look."""
        self._count(resource.key, domain, self._listed(resource, domain))

    def is_told(self, resource: Resource, domain: Key) -> bool:
        """Whether all that a domain has reported of a resource is written, and this is how it stands since."""
        return (resource.key, domain) not in self._entries and self.store.resources.get(resource.key) is resource

    def is_as_told(self, resource: Resource, domain: Key) -> bool:
        """Whether all that a domain has reported of a resource is written, and that was the last that happened to it."""
        return (resource.key, domain) not in self._entries and self._told.get(resource.key) == resource.version

    def unbound(self, resource: Resource) -> None:
        """Report on a resource that is bound to no domain at all."""
        if self._subject(resource) != _told(resource) or not resource.status.get("conditions") or resource.status.get("domains"):
            self.writer.submit(*resource.key, resource.uid, lambda status: self._compose(resource.key, status, drop_all=True), part="")

    def _listed(self, resource: Resource, domain: Key) -> Entry | None:
        """The entry in the status as the store has it."""
        for raw in resource.status.get("domains") or ():
            if (raw.get("namespace") or resource.key.namespace, raw.get("name")) == (domain.namespace, domain.name):
                return read_status(_model(resource.key), raw)
        return None

    async def release(self, resource: Resource, domain: Key) -> None:
        """A domain has let go of a resource. When all have, one that is being deleted goes, and one that stays loses our finalizer.

        The latter, as it may be deleted when no operator is there any more. Before the next write to a directory it gets it again.
        """
        key = resource.key
        if resource.deleting:
            self._count(key, domain, None)
            self._released[key].add(domain)
            await self.let_go(resource)
        else:
            self.put(resource, domain, None)
            waiting = {
                other
                for other, binding in self.store.bindings.get(key, {}).items()
                if other != domain
                and (binding.wanted or other not in self._released[key])  # one that let go may have been bound again since
            }
            if resource.held and resource.spec is not None and not waiting:
                obj = await self.cluster.remove_finalizer(as_object(resource), names.FINALIZER)
                if obj is not None:
                    self.taken(key.kind, obj)
            self._released[key].add(domain)

    def has_released(self, key: Key, domain: Key) -> bool:
        return domain in self._released.get(key, ())

    def standings(self, domain: Key) -> Mapping[Key, Standing]:
        """How every resource that was looked at stands in a domain."""
        return self._standings.get(domain, {})

    def recorded_at(self, domain: Key, guid: str) -> set[Key]:
        """The resource whose object in a domain has this objectGUID, if there is one."""
        key = self._at.get((domain, guid))
        return {key} if key is not None else set()

    def forget_domain(self, domain: Key) -> None:
        """The domain is gone for good."""
        self._standings.pop(domain, None)
        for place in [place for place in self._at if place[0] == domain]:
            del self._at[place]

    async def let_go(self, resource: Resource) -> None:
        """Remove our finalizer from a resource that is being deleted, if no domain holds it any more. Raises ClusterError."""
        waiting = set(self.store.bindings.get(resource.key, ())) - self._released[resource.key]
        if resource.deleting and resource.held and not waiting:
            await self.take_off_finalizer(resource)
            self.forget(resource.key)

    async def take_off_finalizer(self, resource: Resource) -> None:
        """What is gone because of it is taken out of the store at once: of what goes before the watches have begun no event ever tells."""
        if await self.cluster.remove_finalizer(as_object(resource), names.FINALIZER) is not None:
            return
        known = self.store.resources.get(resource.key)
        if known is not None and known.uid == resource.uid:
            self.concerned(self.store.remove(*resource.key))

    def forget(self, key: Key) -> None:
        self._told.pop(key, None)
        self._released.pop(key, None)
        for domain in self._looks.pop(key, ()):
            self._entries.pop((key, domain), None)
            self._count(key, domain, None)

    def event(self, resource: Resource, reason: str, message: str, *, warning: bool = False) -> None:
        self.events.emit(resource.reference(), "Warning" if warning else "Normal", reason, message, action="Sync")

    def _count(self, key: Key, domain: Key, entry: Entry | None) -> None:
        before = self._standings[domain].pop(key, None)
        if (before.guid if before else "") != ((entry and entry.object_guid) or ""):
            self.revision += 1
        if before is not None and self._at.get((domain, before.guid)) == key:
            del self._at[domain, before.guid]
        if entry is None:
            return
        suspension = entry.suspension if isinstance(entry, UserDomainStatus) else None
        standing = Standing(
            reason=entry.reason,
            suspended=suspension is not None and suspension.account is AccountState.DISABLED,
            imported=entry.origin is Origin.IMPORTED,
            planned=tuple(entry.planned_changes or ()),
            guid=entry.object_guid or "",
        )
        self._standings[domain][key] = standing
        if standing.guid:
            self._at[domain, standing.guid] = key

    def _submit(self, resource: Resource, domain: Key) -> None:
        key = resource.key
        self.writer.submit(*key, resource.uid, lambda status: self._compose(key, status), part=str(domain))

    def _compose(self, key: Key, status: dict[str, Any], *, drop_all: bool = False) -> dict[str, Any]:
        """The status with every domain's latest entry in it."""
        resource = self.store.resources.get(key)
        if resource is None:
            return status
        entries: dict[Key, Entry] = {}
        for raw in () if drop_all else status.get("domains") or ():
            entry = read_status(_model(key), raw)
            entries[Key(DOMAIN, entry.namespace or key.namespace, entry.name)] = entry
        for domain in self._looks[key]:
            if (key, domain) not in self._entries:
                continue
            if (reported := self._entries[key, domain]) is None:
                entries.pop(domain, None)
            else:
                entries[domain] = reported
        for domain, binding in self.store.bindings.get(key, {}).items():
            if binding.wanted and domain not in entries and domain not in self._released[key]:
                # Bound, and not asked yet: the others must not make the whole look done.
                namespace = "" if domain.namespace == key.namespace else domain.namespace
                said = f"ADDomain {domain.name} has not looked at it yet"
                entries[domain] = _model(key)(name=domain.name, namespace=namespace, ready=False, reason=Reason.PROGRESSING, message=said)
        compose = user_status if key.kind == USER else group_status
        return compose(status, self._subject(resource), list(entries.values()), datetime.now(UTC))  # type: ignore[arg-type]

    def _subject(self, resource: Resource) -> Subject:
        """What all the domains that are bound have looked at; those not asked yet in this process stand at what the status says."""
        told = _told(resource)
        looks = self._looks[resource.key]
        bound = [looks.get(domain) for domain, binding in self.store.bindings.get(resource.key, {}).items() if binding.wanted]
        generation = min((look.generation if look else told.generation for look in bound), default=resource.generation)
        handled = all(look is not None and look.requested == resource.requested for look in bound)
        return Subject(generation, resource.requested if handled and resource.requested else told.requested_at, resource.problem)

    def _current(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        resource = self.store.resources.get(Key(kind, namespace, name))
        if resource is None:
            return None
        return as_object(resource) | ({"status": resource.status} if resource.status else {})

    def taken(self, kind: str, obj: dict[str, Any]) -> None:
        """Take over an object that the API server answered a write with, ahead of the watch."""
        self.concerned(self.store.put(kind, obj))

    def _written(self, kind: str, obj: dict[str, Any]) -> None:
        """The API server has taken a status: what it now says need not be remembered here."""
        self.taken(kind, obj)
        if kind == DOMAIN:
            return
        meta = obj["metadata"]
        key = Key(kind, meta["namespace"], meta["name"])
        self._told[key] = meta["resourceVersion"]
        written = {(raw.get("namespace") or key.namespace, raw["name"]): raw for raw in (obj.get("status") or {}).get("domains") or ()}
        for domain in list(self._looks[key]):
            entry = self._entries.get((key, domain))
            raw = written.get((domain.namespace, domain.name))
            if (key, domain) in self._entries and (raw is None if entry is None else entry.to_json() == raw):
                del self._entries[key, domain]


def as_object(resource: Resource) -> dict[str, Any]:
    """As much of the API server's form of a resource as the cluster layer looks at."""
    metadata: dict[str, Any] = {
        "namespace": resource.key.namespace,
        "name": resource.key.name,
        "uid": resource.uid,
        "resourceVersion": resource.version,
        "generation": resource.generation,
        "finalizers": list(resource.finalizers),
    }
    if resource.deleting:
        metadata["deletionTimestamp"] = resource.created
    return {"kind": resource.key.kind, "metadata": metadata}


def _model(key: Key) -> type[UserDomainStatus] | type[GroupDomainStatus]:
    return UserDomainStatus if key.kind == USER else GroupDomainStatus


def _told(resource: Resource) -> Subject:
    """What the status as it stands says that was looked at."""
    return Subject(resource.status.get("observedGeneration", 0), resource.status.get("lastHandledReconcileAt", ""))

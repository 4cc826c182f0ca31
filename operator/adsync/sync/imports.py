"""What is in scope of the directory, and the resources that stand for it: made where they are missing, users before groups.

scope changed, a resource gone    →  who came, who left, whose groups are others now: they are looked at again
in scope, without a resource      →  a resource is created, with everything the directory says of it
in scope, named by hand           →  nothing: the resource that somebody wrote adopts the object when it is looked at
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from adsync.cluster.client import FIELD_MANAGER
from adsync.core.both import (
    SUSPENDED,
    group_in_directory,
    is_importable,
    user_in_directory,
    user_spec,
    username_in,
)
from adsync.core.entries import Entry, EntryKind
from adsync.core.identity import may_adopt
from adsync.core.labels import given_labels, remembered
from adsync.core.owner import OwnerMark
from adsync.core.scope import Scope, flatten, scope_of
from adsync.errors import ClusterError
from adsync.resources import names
from adsync.resources.addomain import Direction, Mode
from adsync.resources.common import is_account_name
from adsync.sync.store import GROUP, USER, Key, Resource
from adsync.sync.wishes import owner_of
from adsync.sync.workplace import Workplace

_log = structlog.get_logger(__name__)

_IN_FLIGHT = 16
_GATHER_SECONDS = 0.02
_RETRY_SECONDS = 5.0
_NAME_LIMIT = 200
_NOT_IN_NAMES = re.compile(r"[^a-z0-9.-]+")
_DOTS = re.compile(r"\.[.-]*|-+\.[.-]*")


class Imports:
    """One session's view of the scope. `dirty` marks a resource to be looked at."""

    def __init__(self, place: Workplace, dirty: Callable[[Key], None], settled: Callable[[], None]) -> None:
        self.place = place
        self.active = place.rules.spec.direction is not Direction.EXPORT
        self._dirty = dirty
        self._settled = settled
        self._scope = Scope()
        self._stale = True
        self._told = Scope()
        self._wake = asyncio.Event()
        self._refused: dict[str, Entry] = {}  # what the API server would not take, until it changes
        self.complaint = ""  # why not all of the scope is imported
        self._names: dict[tuple[str, str], str] = {}  # (kind, name of a resource) → objectGUID that it was given to
        self._owners: dict[str, Key] = {}

    @property
    def scope(self) -> Scope:
        """The scope as it is known now."""
        if self._stale:
            place, spec = self.place, self.place.rules.spec
            self._scope = scope_of(spec.scope_group, spec.admins_group, place.rules.container, place.mirror, place.protected)
            self._stale = False
        return self._scope

    def changed(self) -> None:
        """Something that the scope is made of has changed, or a resource that stands for somebody in it."""
        if self.active:
            self._stale = True
            self._wake.set()

    def know_owners(self, owners: dict[str, Key]) -> None:
        self._owners = owners

    # --- who stands for an object ---

    def linked(self, resource: Resource) -> str:
        """The objectGUID that a resource is believed to stand for without an owner mark; "" for none. Under Import no marks are written,
        and nothing else either, so what the status records is believed as well, in the domain's own namespace."""
        if not self.active or resource.key.namespace != self.place.domain.namespace:
            return ""
        if self.is_imported(resource):
            return (resource.imported_from or ("", ""))[1]
        if self.place.rules.spec.direction is Direction.IMPORT:
            return self.place.reports.recorded(resource, self.place.domain).object_guid or ""
        return ""

    def is_imported(self, resource: Resource) -> bool:
        source = resource.imported_from
        return self.active and source is not None and source[0] == self.place.domain

    def yields(self, resource: Resource, entry: Entry | None) -> tuple[str, ...]:
        """The owner whose mark on `entry` gives way to a resource: its imported twin, or one that is gone; under Import, any."""
        mark = OwnerMark.parse(entry.mark) if entry is not None else None
        if mark is None or entry is None or not self.active:
            return ()
        if self.place.rules.spec.direction is Direction.IMPORT:
            return (mark.owner,)
        twins = {owner_of(key, self.place.rules) for key in self.place.store.imported(self.place.domain, entry.guid)}
        of_this_cluster = mark.owner.split(":")[2] == self.place.rules.cluster
        gone = of_this_cluster and self.is_imported(resource) and self._owners.get(mark.owner) not in self.place.store.resources
        return (mark.owner,) if mark.owner in twins or gone else ()

    def by_hand(self, entry: Entry) -> Key | None:
        """The resource that somebody wrote for an object, if it has it, or may take it over."""
        place, kind = self.place, USER if entry.kind is EntryKind.USER else GROUP
        mark = OwnerMark.parse(entry.mark)
        holders: set[Key] = set(place.reports.recorded_at(place.domain, entry.guid))
        if mark is not None and (key := self._owners.get(mark.owner)) is not None:
            holders.add(key)
        for key in holders:
            if self._lives(key) and not self.is_imported(place.store.resources[key]):
                return key
        for key in sorted(self._claimants(kind, entry)):
            if not self.is_imported(resource := place.store.resources[key]) and self._may_adopt(resource, entry):
                return key
        return None

    def _claimants(self, kind: str, entry: Entry) -> set[Key]:
        """The resources that name an object and are bound to the domain."""
        place = self.place
        claimants = place.store.claimants(kind, entry.sam)
        if kind == USER and (name := username_in(entry, place.rules)) != entry.sam:
            claimants = claimants | place.store.claimants(kind, name)
        return {key for key in claimants if self._lives(key)}

    def _lives(self, key: Key) -> bool:
        resource = self.place.store.resources.get(key)
        return resource is not None and not resource.deleting and self.place.store.is_wanted(key, self.place.domain)

    def _may_adopt(self, resource: Resource, entry: Entry) -> bool:
        place = self.place
        if resource.spec is None or not place.store.namespace_allowed(place.resource, resource.key.namespace):
            return False
        if self._stands_for_another(resource, entry):
            return False
        allowed = place.resource.spec.allowed_namespaces.may_adopt or resource.key.namespace == place.domain.namespace
        refusal = may_adopt(
            entry,
            place.rules.spec.adoption_policy,
            email=resource.spec.email or "",
            entry_email=entry.attributes.get(place.rules.fields["email"], ""),
            from_elsewhere=not allowed,
        )
        return refusal is None

    def _stands_for_another(self, resource: Resource, entry: Entry) -> bool:
        """Whether a resource has an object already, which it would have to be renamed to come by this one."""
        place = self.place
        recorded = place.reports.recorded(resource, place.domain).object_guid or ""
        held = {each.guid for each in place.mirror.by_owner(owner_of(resource.key, place.rules))}
        if place.mirror.by_guid(recorded) is not None:
            held.add(recorded)
        return bool(held - {entry.guid})

    def keys_of(self, guid: str) -> set[Key]:
        """Every resource that stands for an object, those that are going included."""
        place = self.place
        keys = place.store.imported(place.domain, guid) | place.reports.recorded_at(place.domain, guid)
        entry = place.mirror.by_guid(guid)
        mark = OwnerMark.parse(entry.mark) if entry is not None else None
        if mark is not None and (key := self._owners.get(mark.owner)) in place.store.resources:
            assert key is not None
            keys = keys | {key}
        return keys

    def member_name(self, guid: str, namespace: str) -> str | None:
        """How a group of a namespace names the user with an objectGUID; None where there is no resource for it there."""
        keys = {key for key in self.keys_of(guid) if key.kind == USER and key.namespace == namespace and key in self.place.store.resources}
        if len(keys) > 1:
            keys = {key for key in keys if not self.is_imported(self.place.store.resources[key])} or keys
        return min(keys, key=lambda key: self.place.store.resources[key].age).name if keys else None

    @property
    def names_as_of(self) -> tuple[int, ...]:
        """Equal as long as `member_name`, and who is in which group, can have no other answer."""
        place, owners = self.place, self._owners
        return place.mirror.revision, place.store.revision, place.reports.revision, id(owners), len(owners)

    def outer(self, guid: str) -> None:
        """The members of a group have changed, or an object came, went or moved: it and every group around it must look."""
        if self.active:
            self.changed()
            self._mark_around(guid)

    def _mark_around(self, guid: str) -> None:
        waiting, seen = [guid], {guid}
        while waiting:
            each = waiting.pop()
            for key in self.keys_of(each):
                self._dirty(key)
            for group in self.place.mirror.groups_of(each):
                if group.guid not in seen:
                    seen.add(group.guid)
                    waiting.append(group.guid)

    # --- at work ---

    async def run(self) -> None:
        """Follow the scope until cancelled."""
        if not self.active:
            return
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._wake.clear()
            self._tell()
            try:
                await self._create_missing()
            except ClusterError as error:
                self._complain(str(error))
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._wake.set)
            else:
                self._complain("")

    def _complain(self, complaint: str) -> None:
        """Told once, and by the domain's Ready for as long as it lasts."""
        if self.complaint == complaint:
            return
        if complaint:
            _log.warning("not imported yet, will be tried again", domain=self.place.name, error=complaint)
            self.place.reports.event(self.place.resource, "ImportFailed", complaint, warning=True)
        self.complaint = complaint
        self._settled()

    def _tell(self) -> None:
        """Have those looked at who came, left, or became or ceased to be admins."""
        before, now = self._told, self.scope
        self._told = now
        moved = (before.users ^ now.users) | (before.groups ^ now.groups) | (before.admins ^ now.admins)
        if (before.group is None) != (now.group is None) or before.complete != now.complete:
            for key in self.place.store.bound_to(self.place.domain):
                self._dirty(key)
        for guid in moved:
            for key in self.keys_of(guid) | self._named(guid):
                self._dirty(key)
        self._settled()

    def _named(self, guid: str) -> set[Key]:
        """The resources that name an object which came or went, and may have waited for it: it was deleted, say, and made again."""
        entry = self.place.mirror.by_guid(guid)
        return set() if entry is None else self._claimants(USER if entry.kind is EntryKind.USER else GROUP, entry)

    async def _create_missing(self) -> None:
        place, scope = self.place, self.scope
        if (
            scope.group is None
            or place.going
            or place.resource.spec.mode is Mode.OBSERVE
            or place.domain.namespace in place.store.terminating
        ):
            return
        await self._create(USER, scope.users)
        await self._create(GROUP, scope.groups)

    async def _create(self, kind: str, guids: Iterable[str]) -> None:
        todo = iter([entry for guid in sorted(guids) if (entry := self._missing(guid)) is not None])

        async def work() -> None:
            for entry in todo:
                if entry.guid in self.scope and self._missing(entry.guid) is not None:
                    await self._create_one(kind, entry)

        tasks = [asyncio.create_task(work()) for _ in range(_IN_FLIGHT)]
        try:
            for task in tasks:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _missing(self, guid: str) -> Entry | None:
        """The object, if nothing stands for it and it can be imported."""
        entry = self.place.mirror.by_guid(guid)
        if entry is None or self._refused.get(guid) == entry or self.keys_of(guid) or self.by_hand(entry) is not None:
            return None
        fit = is_importable(entry, self.place.rules) if entry.kind is EntryKind.USER else is_account_name(entry.sam)
        return entry if fit else None

    async def _create_one(self, kind: str, entry: Entry) -> None:
        place = self.place
        for name in self._names_for(kind, entry):
            self._names[kind, name] = entry.guid
            try:
                obj = await place.cluster.create(kind, self._manifest(kind, name, entry), field_manager=FIELD_MANAGER)
            except ClusterError as error:
                if error.status == 409:
                    there = await place.cluster.get(kind, place.domain.namespace, name)
                    if there is not None and (there["metadata"].get("labels") or {}).get(names.OBJECT_GUID_LABEL) == entry.guid:
                        place.reports.taken(kind, there)  # made before, by a request whose answer was lost
                        return
                    continue
                if error.status in (400, 413, 422):
                    self._refused[entry.guid] = entry
                    said = f"{entry.dn} can't be imported: {error}"
                    place.reports.event(place.resource, "ImportRefused", said, warning=True)
                    return
                raise
            place.reports.taken(kind, obj)
            self._mark_around(entry.guid)
            return
        _log.warning("no name is free for an imported resource", domain=place.name, dn=str(entry.dn))

    def _names_for(self, kind: str, entry: Entry) -> list[str]:
        """The username made a valid name (RFC 1123), and the same with a part of the objectGUID where that is taken."""
        plain = username_in(entry, self.place.rules) if kind == USER else entry.sam
        name = resource_name(plain, kind)
        suffixed = f"{name[: _NAME_LIMIT - 9].rstrip('-.')}-{entry.guid[:8]}"
        taken = self._names.get((kind, name), entry.guid) != entry.guid
        if taken or Key(kind, self.place.domain.namespace, name) in self.place.store.resources:
            return [suffixed]
        return [name, suffixed]

    def _manifest(self, kind: str, name: str, entry: Entry) -> dict[str, Any]:
        place, spec = self.place, self.place.rules.spec
        labels = {
            **given_labels(spec.import_.labels),
            names.IMPORTED_LABEL: "true",
            names.DOMAIN_LABEL: place.domain.name,
            names.OBJECT_GUID_LABEL: entry.guid,
        }
        if entry.guid in self.scope.admins:
            labels[names.ADMIN_LABEL] = "true"
        metadata: dict[str, Any] = {"name": name, "namespace": place.domain.namespace, "labels": labels}
        if told := remembered(spec.import_.labels):
            metadata["annotations"] = told
        if spec.direction is Direction.BIDIRECTIONAL:
            metadata["finalizers"] = [names.FINALIZER]
        body = self._user(entry) if kind == USER else self._group(entry)
        body["domains"] = [{"name": place.domain.name}]
        return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": body}

    def _user(self, entry: Entry) -> dict[str, Any]:
        values = user_in_directory(entry, self.place.rules)
        return user_spec(values, [name for name, value in values.items() if value or name == SUSPENDED], self.place.rules)

    def _group(self, entry: Entry) -> dict[str, Any]:
        place = self.place
        flat = flatten(entry.guid, place.rules.container, place.mirror)
        members = sorted({name for guid in flat.users if (name := self.member_name(guid, place.domain.namespace)) is not None})
        values = {name: value for name, value in group_in_directory(entry, place.rules).items() if value}
        return {**values, "members": [{"name": name} for name in members]}


def resource_name(name: str, kind: str) -> str:
    """A name of the directory as the name of a resource."""
    made = _DOTS.sub(".", _NOT_IN_NAMES.sub("-", name.lower()))[:_NAME_LIMIT].strip("-.")
    return made or kind.removeprefix("Synced").lower()

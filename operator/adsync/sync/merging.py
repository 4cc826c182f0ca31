"""What import and both ways add to a look, for users and groups alike: leaving and joining the scope, and writing to the resource.

an imported resource whose object
    is taken over by a resource written by hand     goes; nothing is written to the directory
    was deleted, moved out or left the scope        goes, is suspended, or is kept, as onScopeRemoval says; the safety limit counts it
a resource written by hand whose object
    was never in scope                              joins the scope group (Bidirectional)
    has left the scope                              OutOfScope; it is not put back
a resource that a person deletes                    its object leaves the scope with it (Bidirectional), or comes back (Import)

An operator's own deletion takes our finalizer off first: a resource without it never touches the directory, whatever comes between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from adsync.core.carried import Carried
from adsync.core.changes import DropResource, Edit, ModifyMembers
from adsync.core.entries import Entry
from adsync.core.identity import Verdict
from adsync.core.labels import labels_patch
from adsync.core.merge import Merged
from adsync.errors import ClusterError, InvalidSpec, NoSuchObject
from adsync.resources import names
from adsync.resources.addomain import Direction, Mode, OnScopeRemoval
from adsync.resources.conditions import Reason
from adsync.sync.imports import Imports
from adsync.sync.objects import AGAIN, Again, ObjectSync, Outcome
from adsync.sync.reports import as_object
from adsync.sync.store import Key, Resource
from adsync.sync.workplace import Workplace

_REFUSALS = (400, 413, 422)


@dataclass(frozen=True, slots=True)
class Departure:
    """Why an imported resource has nothing to stand for any more. `taken_over`: another resource stands for it."""

    why: str
    taken_over: bool = False


class Merging(ObjectSync):
    """Mixed into the looks of both kinds."""

    def __init__(self, place: Workplace, imports: Imports) -> None:
        super().__init__(place)
        self.imports = imports
        self.read_only = place.rules.spec.direction is Direction.IMPORT

    def vanished(self, key: Key) -> None:
        super().vanished(key)
        self.place.memory.carried.pop(key, None)
        self.imports.changed()

    def base(
        self, key: Key, guid: str, agreed: Mapping[str, str], here: Mapping[str, str | None], there: Mapping[str, str]
    ) -> Mapping[str, str]:
        """The base of the merge of a resource with the object of this objectGUID."""
        return self._carried(key, guid).base(agreed, here, there)

    def send_to_directory(self, key: Key, guid: str, merged: Merged, here: Mapping[str, str | None]) -> None:
        """Note what both sides will have when a write to the directory is through; `guid` is "" for an object that is yet to be made."""
        values = {name: value for name, value in merged.values.items() if name not in merged.to_resource}
        self._carried(key, guid).send_to_directory(values if guid else {name: value for name, value in here.items() if value is not None})

    def send_to_resource(self, key: Key, guid: str, merged: Merged) -> None:
        self._carried(key, guid).send_to_resource({name: merged.values[name] for name in merged.to_resource})

    def _carried(self, key: Key, guid: str) -> Carried:
        carried = self.place.memory.carried.get(key)
        if carried is None or carried.guid not in ("", guid):
            carried = self.place.memory.carried[key] = Carried()
        carried.guid = guid
        return carried

    def agree(self, resource: Resource) -> None:
        """What both sides have is recorded: nothing is under way any more."""
        self.place.memory.carried.pop(resource.key, None)

    def _refusal(self, resource: Resource) -> Verdict | None:
        return super()._refusal(resource) or self.copied(resource)

    def copied(self, resource: Resource) -> Verdict | None:
        """Whether a resource with the labels of an imported one only repeats another: a copy writes nothing, and takes nothing with it
        when it goes. Who has the object already stays, or else who is older."""
        place = self.place
        if not self.imports.is_imported(resource) or resource.imported_from is None:
            return None
        domain, guid = resource.imported_from
        twins = [place.store.resources[key] for key in place.store.imported(domain, guid) if key.kind == resource.key.kind]
        # One that is being deleted counts as well, until it has gone, and taken the object out of the scope.
        first = min(twins, key=lambda twin: (place.reports.recorded(twin, domain).object_guid != guid, twin.age), default=resource)
        if first.key == resource.key:
            return None
        said = f"{first.key} stands for the same object; delete this copy, or write it anew without the labels of an imported one"
        return Verdict(Reason.CONFLICT, said)

    def edited(self, agreed: Mapping[str, object], merged: Merged) -> tuple[str, ...]:
        """The fields that are to be set back, as somebody has edited them under Import."""
        return tuple(name for name in merged.to_resource if self.read_only and agreed.get(name) == merged.values[name])

    def without_contested(self, resource: Resource, agreed: Mapping[str, object], merged: Merged) -> tuple[Merged, Verdict | None]:
        """Without the fields that are not set back for now, and why they are not."""
        back = self.edited(agreed, merged)
        verdict = self.contested(resource, back)
        if verdict is None:
            return merged, None
        return replace(merged, to_resource=tuple(name for name in merged.to_resource if name not in back)), verdict

    def contested(self, resource: Resource, fields: Iterable[str]) -> Verdict | None:
        """Why fields of a spec that would be set back are left as they are for now, if so: somebody writes them again and again."""
        return self.place.quarrels.verdict(resource.key, [Edit(f"spec.{name}", None, None) for name in fields])

    def tell_conflicts(self, resource: Resource, merged: Merged) -> None:
        for conflict in merged.conflicts:
            self.place.reports.event(resource, "Conflict", str(conflict), warning=True)

    async def write_spec(self, resource: Resource, fields: Mapping[str, Any]) -> bool:
        """Write to the resource's spec. False where it was edited meanwhile, or is gone. Raises InvalidSpec where the API server refuses it."""
        try:
            obj = await self.place.cluster.apply_spec(as_object(resource), dict(fields))
        except ClusterError as error:
            if error.status in _REFUSALS:
                raise InvalidSpec(f"the directory's values can't be taken over: {error}") from None
            if error.status == 409:
                return False
            raise
        if obj is None:
            return False
        self.place.reports.taken(resource.key.kind, obj)
        return True

    async def mark_imported(self, resource: Resource, *, admin: bool = False) -> None:
        """See that an imported resource carries the labels that it shall have and no longer those that it shall not, and, where a person's
        deletion of it has to take its object out of the scope, our finalizer: it may have been made under Import, which needs none."""
        place = self.place
        if not self.read_only and place.resource.spec.mode is not Mode.OBSERVE:
            await self.hold(resource)
        patch = labels_patch(resource.labels, resource.annotations, place.rules.spec.import_.labels, admin=admin)
        if patch and place.resource.spec.mode is not Mode.OBSERVE:
            obj = await place.cluster.patch(*resource.key, {"metadata": patch})
            if obj is not None:
                place.reports.taken(resource.key.kind, obj)

    # --- leaving ---

    async def leave(self, resource: Resource, guid: str) -> Outcome:
        """For an imported resource: AGAIN where it has something to stand for, and otherwise the outcome of the look."""
        departure = await self.departure(resource, guid)
        if departure is None:
            return AGAIN
        return await self.depart(resource, guid, departure) if isinstance(departure, Departure) else self.stuck(resource, departure)

    async def departure(self, resource: Resource, guid: str) -> Departure | Verdict | None:
        """Whether an imported resource is to go; a verdict where that can't be told. Only what was read in full takes anybody out."""
        place, scope = self.place, self.imports.scope
        entry = place.mirror.by_guid(guid)
        if entry is not None and (other := self.imports.by_hand(entry)) is not None and other != resource.key:
            return Departure(f"{other} has taken over {entry.dn}", taken_over=True)
        if scope.group is None or not scope.complete:
            if entry is None:
                return Verdict(
                    Reason.PROGRESSING, "the object is not known, and the scope group can't be read: nobody is removed meanwhile"
                )
            return None
        if entry is None:
            if await place.refresh(guid) is not None:
                return Verdict(Reason.PROGRESSING, "the object was just found again")
            return self.unproven(resource) or Departure("the object was deleted in the directory")
        if not entry.dn.is_below(place.rules.container):
            return Departure(f"the object was moved out of {place.rules.container}, to {entry.dn}")
        if guid not in scope:
            return Departure(f"{entry.dn} has left the scope group {scope.group.dn}")
        return None

    async def depart(self, resource: Resource, guid: str, departure: Departure) -> float | None:
        """Do with an imported resource what the domain says. The directory is never touched."""
        place = self.place
        if departure.taken_over or place.rules.spec.import_.on_scope_removal is OnScopeRemoval.DELETE:
            return await self._drop(resource, guid, departure)
        if place.rules.spec.import_.on_scope_removal is OnScopeRemoval.SUSPEND:
            return await self.suspend(resource, departure)
        return self.stuck(resource, Verdict(Reason.OUT_OF_SCOPE, f"{departure.why}; the resource is kept"))

    async def suspend(self, resource: Resource, departure: Departure) -> float | None:
        """A group has nothing to suspend, and is kept."""
        return self.stuck(resource, Verdict(Reason.OUT_OF_SCOPE, f"{departure.why}; the resource is kept"))

    async def _drop(self, resource: Resource, guid: str, departure: Departure) -> float | None:
        place, key = self.place, resource.key
        where = place.reports.recorded(resource, place.domain).distinguished_name or guid
        change = DropResource(guid, where, departure.why)
        if place.resource.spec.mode is Mode.OBSERVE:
            return self.stuck(resource, Verdict(Reason.OBSERVING, f"mode Observe: the resource would be deleted, as {departure.why}"))
        if not departure.taken_over and (verdict := place.guard.judge(key, (change,))):
            return self.stuck(resource, verdict)
        version = resource.version
        if resource.held:
            obj = await place.cluster.remove_finalizer(as_object(resource), names.FINALIZER)
            if obj is None:
                return None
            place.reports.taken(key.kind, obj)
            version = obj["metadata"]["resourceVersion"]
        try:
            await place.cluster.delete(*key, uid=resource.uid, resource_version=version)
        except ClusterError as error:
            if error.status != 409:
                raise
            return 0.0  # something has changed since it was decided: decide again
        place.guard.note(key, change)
        said = f"{departure.why}; the imported resource was deleted, the directory is left as it is"
        place.reports.event(resource, "TakenOver" if departure.taken_over else "LeftScope", said)
        place.reports.event(place.resource, "TakenOver" if departure.taken_over else "LeftScope", f"{key}: {said}")
        return None

    def out_of_scope(self, entry: Entry, *, has_been_in: bool) -> Verdict | None:
        """For a resource written by hand: whether its object has left the scope, or (Import) is not in it."""
        scope = self.imports.scope
        if scope.group is None or not scope.complete or entry.guid in scope or not (has_been_in or self.read_only):
            return None
        said = f"{entry.dn} is not in the scope group {scope.group.dn}; put it back there, or delete this resource"
        return Verdict(Reason.OUT_OF_SCOPE, said)

    async def deleted(self, resource: Resource, *, has_been_in: bool) -> Verdict | Again | None:
        """For a resource written by hand whose object is not there: None where one is to be created, as there has been none in scope yet."""
        if not has_been_in:
            return None
        if await self.found_by_read(resource):
            return AGAIN
        said = "the object was deleted in the directory; delete this resource too, or make another one to have it created again"
        return self.unproven(resource) or Verdict(Reason.OUT_OF_SCOPE, said)

    def released_as_left(self, resource: Resource, entry: Entry | None, *, has_been_in: bool) -> Verdict | None:
        """Why the deletion policy is not served: the object has left the scope, and is not ours to write any more."""
        if entry is None or not (has_been_in or self.imports.is_imported(resource)):
            return None
        return self.out_of_scope(entry, has_been_in=True)

    # --- joining, and leaving with the resource ---

    async def join(self, resource: Resource, entry: Entry) -> Verdict | None:
        """Put what came from Kubernetes into the scope group; why that can't be done now, or None."""
        scope = self.imports.scope
        if scope.group is None:
            return Verdict(Reason.PROGRESSING, "waiting for the domain's scope group, which can't be found")
        change = ModifyMembers(scope.group.guid, scope.group.dn, add=(entry.guid,), told=f"+{entry.sam}")
        return await self._change_scope(resource, scope.group, change)

    async def let_go(self, resource: Resource, entry: Entry) -> Verdict | None:
        """Take an object whose resource is deleted by a person out of the scope, or it would come back: out of every group in it."""
        place, scope = self.place, self.imports.scope
        if place.going or not resource.deleting or scope.group is None:
            return None
        inside = [group for group in place.mirror.groups_of(entry.guid) if group.guid in scope.groups or group.guid == scope.group.guid]
        for group in inside:
            if entry.guid not in (place.mirror.members(group.guid) or ()):
                continue  # by its primary group, which is not ours to change
            change = ModifyMembers(group.guid, group.dn, remove=(entry.guid,), told=f"−{entry.sam}")
            if verdict := place.guard.judge(resource.key, (change,)) or await self._change_scope(resource, group, change):
                return verdict
            place.guard.note(resource.key, change)
        return None

    async def _change_scope(self, resource: Resource, group: Entry, change: ModifyMembers) -> Verdict | None:
        place = self.place
        if place.resource.spec.mode is Mode.OBSERVE:
            return Verdict(Reason.OBSERVING, f"mode Observe: the scope would be changed: {change}")
        if await place.recheck(group.guid) is None or group.guid in place.protected:
            return Verdict(Reason.PROTECTED, f"{group.dn} is privileged, or gone: its members can't be changed")
        if change.add and not await self.hold(resource):
            return Verdict(Reason.PROGRESSING, "the resource is going")
        try:
            await place.apply(change)
        except NoSuchObject:
            for guid in (group.guid, *change.add, *change.remove):
                await place.refresh(guid)
            return Verdict(Reason.PROGRESSING, f"{group.dn}, or the object, was gone when its membership was to be changed")
        place.mirror.changed_members(group.guid, place.mirror.members_read_at(group.guid), change.add, change.remove)
        place.members_changed({*change.add, *change.remove})
        place.group_changed(group.guid)
        self.imports.outer(group.guid)
        return None

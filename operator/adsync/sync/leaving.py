"""The end of a domain that is being deleted: what is bound to it is let go of, then the ADDomain goes."""

from __future__ import annotations

from adsync.sync.dirty import DirtySet
from adsync.sync.reports import Reports
from adsync.sync.store import Key, Resource, Store


async def finish_deletion(domain: Resource, store: Store, reports: Reports, dirty: DirtySet[Key]) -> bool:
    """Let the ADDomain go once everything that was bound to it has been let go of. Resources of a namespace that is going are waited for."""
    bound = [store.resources[key] for key in store.bound_to(domain.key) if key in store.resources]
    waiting = [each for each in bound if not reports.has_released(each.key, domain.key)]
    for each in waiting:
        if each.key not in dirty and (each.deleting or each.key.namespace not in store.terminating):
            dirty.add(each.key)
    if waiting:
        return False
    await reports.take_off_finalizer(domain)
    return True


async def give_up(domain: Resource, store: Store, reports: Reports, dirty: DirtySet[Key]) -> None:
    """Its credentials are gone for good: nothing more can be done in the directory, so everything is let go of."""
    where = f"{domain.key.namespace}/{domain.key.name}"
    said = f"ADDomain {where} is being deleted and its credentials are gone: the account stays in the directory as it is"
    for key in list(store.bound_to(domain.key)):
        other = store.resources.get(key)
        if other is not None and (other.deleting or other.key.namespace not in store.terminating):
            if other.held:
                reports.event(other, "Released", said, warning=True)
            await reports.release(other, domain.key)
    await finish_deletion(domain, store, reports, dirty)

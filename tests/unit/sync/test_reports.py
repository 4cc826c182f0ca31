"""Reports: one domain's word never overwrites another's, nothing is written twice, and a resource goes when all have let go of it."""

from __future__ import annotations

from typing import Any

import pytest

from adsync.core.identity import Verdict
from adsync.errors import ClusterError
from adsync.resources.conditions import Reason
from adsync.resources.syncedgroup import GroupDomainStatus
from adsync.resources.synceduser import UserDomainStatus
from adsync.sync.offline import Offline
from adsync.sync.reports import Entry, Reports
from adsync.sync.store import DOMAIN, GROUP, USER, Key, Resource, Store
from tests.unit.core.support import GUID
from tests.unit.sync.support import CORP, FINALIZER, JDOE, domain, domain_key, entry_of, group_key, next_version, obj, store, user, user_key

LAB = domain_key("lab")
BOTH = [{"name": "corp"}, {"name": "lab"}]
GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


class Servers:
    """The API server, and who hears of events and of what was written."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.released: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.away = False

    async def remove_finalizer(self, obj: dict[str, Any], finalizer: str) -> dict[str, Any]:
        if self.away:
            raise ClusterError("the API server is away")
        assert finalizer == FINALIZER
        self.released.append(obj["metadata"]["name"])
        known = self.store.resources[Key(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])]
        meta = obj["metadata"] | {"finalizers": [], "resourceVersion": next_version(), "generation": known.generation}
        return obj | {"metadata": meta, "spec": None, "status": known.status}

    def emit(self, regarding: Any, type: str, reason: str, message: str, action: str = "Sync") -> None:  # noqa: A002
        self.events.append((reason, message))


class Desk:
    """A store and its reports; `write` does what the status writer and the watch do."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.store: Store = store(*objects)
        self.servers = Servers(self.store)
        self.reports = Reports(self.store, self.servers, self.servers, lambda _dirty: None)  # type: ignore[arg-type]

    @property
    def waiting(self) -> int:
        return len(self.reports.writer)

    def resource(self, key: Key = JDOE) -> Resource:
        return self.store.resources[key]

    def put(self, name: Key, reason: Reason, key: Key = JDOE, **fields: Any) -> None:
        entry = self.reports.recorded(self.resource(key), name)
        self.reports.put(self.resource(key), name, entry.model_copy(update={"reason": reason, "ready": reason is Reason.SYNCED, **fields}))

    def write(self, key: Key = JDOE) -> dict[str, Any]:
        """Have the pending status written; returns it."""
        resource = self.resource(key)
        for pending_key, pending in list(self.reports.writer._pending.items()):
            if tuple(pending_key) == tuple(key):
                status = dict(resource.status)
                for compose in pending.parts.values():
                    status = compose(status)
                del self.reports.writer._pending[pending_key]
                meta = {"namespace": key.namespace, "name": key.name, "uid": resource.uid, "generation": resource.generation}
                meta |= {"resourceVersion": next_version(), "creationTimestamp": resource.created, "finalizers": list(resource.finalizers)}
                meta |= {"annotations": dict(resource.annotations)}
                self.reports._written(key.kind, {"metadata": meta, "spec": None, "status": status})
        return self.resource(key).status

    def change(self, **spec: Any) -> None:
        known = self.resource()
        meta = {"generation": known.generation + 1, **spec.pop("meta", {})}
        self.store.put(USER, user(status=known.status, meta=meta, **spec))


def reasons(status: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["reason"] for entry in status["domains"]}


async def test_each_domain_has_its_own_entry() -> None:
    desk = Desk(user(domains=BOTH))
    desk.put(CORP, Reason.SYNCED)
    desk.put(LAB, Reason.CONFLICT)
    assert reasons(desk.write()) == {"corp": "Synced", "lab": "Conflict"}
    desk.put(LAB, Reason.SYNCED)
    assert reasons(desk.write()) == {"corp": "Synced", "lab": "Synced"}


async def test_nothing_new_is_not_written() -> None:
    desk = Desk(user())
    desk.put(CORP, Reason.SYNCED)
    assert desk.waiting == 1
    desk.write()
    assert desk.waiting == 0
    desk.put(CORP, Reason.SYNCED)
    assert desk.waiting == 0
    assert not desk.reports._entries


async def test_after_a_restart_what_the_status_says_is_known() -> None:
    first = Desk(user())
    first.put(CORP, Reason.SYNCED, object_guid=GUID)
    status = first.write()
    second = Desk(user(status=status))
    recorded = second.reports.recorded(second.resource(), CORP)
    assert (recorded.reason, recorded.object_guid) == (Reason.SYNCED, GUID)
    second.put(CORP, Reason.SYNCED)
    assert second.waiting == 0


async def test_what_is_reported_counts_before_it_is_written() -> None:
    desk = Desk(user())
    desk.put(CORP, Reason.SYNCED, object_guid=GUID)
    assert desk.reports.recorded(desk.resource(), CORP).object_guid == GUID


async def test_an_entry_is_known_whichever_way_its_namespace_is_written() -> None:
    for namespace in ("", "team-a"):
        desk = Desk(user(status=entry_of(namespace=namespace, objectGUID=GUID)))
        assert desk.reports.recorded(desk.resource(), CORP).object_guid == GUID
        desk.put(CORP, Reason.SYNCED)
        assert len(desk.write()["domains"]) == 1


async def test_the_generation_is_the_one_that_every_domain_has_looked_at() -> None:
    desk = Desk(user(domains=BOTH))
    desk.put(CORP, Reason.SYNCED)
    assert desk.write()["observedGeneration"] == 0
    desk.put(LAB, Reason.SYNCED)
    assert desk.write()["observedGeneration"] == 1
    desk.change(domains=BOTH, email="a@b")
    desk.put(LAB, Reason.SYNCED)
    assert desk.write()["observedGeneration"] == 1
    desk.put(CORP, Reason.SYNCED)
    assert desk.write()["observedGeneration"] == 2


async def test_a_request_is_handled_when_every_domain_has_acted_on_it() -> None:
    desk = Desk(user(domains=BOTH, meta={"annotations": {"adsync.dev/reconcile-requested-at": "now"}}))
    desk.put(CORP, Reason.SYNCED)
    assert "lastHandledReconcileAt" not in desk.write()
    desk.put(LAB, Reason.SYNCED)
    assert desk.write()["lastHandledReconcileAt"] == "now"


async def test_a_forged_or_newer_status_is_read_as_far_as_it_can_be() -> None:
    desk = Desk(user(status={"domains": [{"name": "corp", "namespace": "", "reason": "Novel", "objectGUID": GUID, "origin": 7}]}))
    assert desk.reports.recorded(desk.resource(), CORP).object_guid == GUID


# --- letting go -----------------------------------------------------------------------------------------------------------------------------


async def test_a_resource_goes_when_all_its_domains_have_let_go() -> None:
    desk = Desk(user(domains=BOTH, meta=GOING))
    await desk.reports.release(desk.resource(), CORP)
    assert desk.servers.released == []
    assert desk.reports.has_released(JDOE, CORP)
    await desk.reports.release(desk.resource(), LAB)
    assert desk.servers.released == ["jdoe"]


async def test_a_domain_that_has_something_to_say_again_has_not_let_go() -> None:
    desk = Desk(user(domains=BOTH, meta=GOING))
    await desk.reports.release(desk.resource(), CORP)
    desk.put(CORP, Reason.DIRECTORY_ERROR)
    await desk.reports.release(desk.resource(), LAB)
    assert desk.servers.released == []


async def test_a_resource_that_stays_loses_the_entry_and_nothing_else() -> None:
    desk = Desk(user(domains=BOTH))
    desk.put(CORP, Reason.SYNCED)
    desk.put(LAB, Reason.SYNCED)
    desk.write()
    desk.change(domains=[{"name": "lab"}])
    await desk.reports.release(desk.resource(), CORP)
    assert reasons(desk.write()) == {"lab": "Synced"}
    assert desk.servers.released == []


async def test_a_domain_that_is_bound_again_still_needs_the_finalizer() -> None:
    """It let go of the resource before: what counts is that it is about to write again."""
    desk = Desk(user())
    desk.put(CORP, Reason.SYNCED)
    desk.write()
    desk.change(domains=[{"name": "lab"}])
    await desk.reports.release(desk.resource(), CORP)
    desk.change(domains=[{"name": "corp"}])
    await desk.reports.release(desk.resource(), LAB)
    assert desk.servers.released == []


async def test_a_resource_that_stays_is_known_to_have_no_finalizer_at_once() -> None:
    """Or a domain that it is bound to again would write before the finalizer is back."""
    desk = Desk(user(status=entry_of()))
    desk.change(domains=[])
    await desk.reports.release(desk.resource(), CORP)
    assert desk.servers.released == ["jdoe"]
    assert not desk.resource().held


async def test_without_our_finalizer_there_is_nothing_to_remove() -> None:
    desk = Desk(user(meta=GOING | {"finalizers": []}))
    await desk.reports.release(desk.resource(), CORP)
    assert desk.servers.released == []


async def test_what_is_bound_to_nothing_says_so_once() -> None:
    desk = Desk(user(domains=[]))
    desk.reports.unbound(desk.resource())
    status = desk.write()
    assert status["conditions"][0]["reason"] == "Synced"
    assert "bound to no domain" in status["conditions"][0]["message"]
    desk.reports.unbound(desk.resource())
    assert desk.waiting == 0


async def test_a_spec_that_cannot_be_read_and_is_bound_to_nothing() -> None:
    desk = Desk(user(username="a/b", domains=[]))
    desk.reports.unbound(desk.resource())
    assert desk.write()["conditions"][0]["reason"] == "InvalidSpec"


# --- counting -------------------------------------------------------------------------------------------------------------------------------


async def test_how_resources_stand_in_a_domain() -> None:
    desk = Desk(user(), user("other"), obj(GROUP, "finance", {"name": "finance", "domains": [{"name": "corp"}]}))
    desk.put(CORP, Reason.SYNCED, object_guid=GUID)
    desk.put(CORP, Reason.CONFLICT, user_key("other"))
    desk.put(CORP, Reason.SYNCED, group_key())
    standings = desk.reports.standings(CORP)
    assert {key.name: standing.reason for key, standing in standings.items()} == {
        "jdoe": "Synced",
        "other": "Conflict",
        "finance": "Synced",
    }
    assert desk.reports.recorded_at(CORP, GUID) == {JDOE}
    assert desk.reports.recorded_at(LAB, GUID) == set()
    desk.reports.forget(JDOE)
    assert JDOE not in desk.reports.standings(CORP)
    assert desk.reports.recorded_at(CORP, GUID) == set()
    desk.reports.forget_domain(CORP)
    assert desk.reports.standings(CORP) == {}


# --- while a domain is away -----------------------------------------------------------------------------------------------------------------

AWAY = Verdict(Reason.DOMAIN_UNAVAILABLE, "no route to host")


async def offline(desk: Desk, verdict: Verdict = AWAY, key: Key = JDOE, where: Key = CORP) -> Entry:
    await Offline(where, desk.store, desk.reports, verdict).look(key)
    return desk.reports.recorded(desk.resource(key), where)


async def test_what_asks_for_something_hears_why_it_must_wait() -> None:
    entry = await offline(Desk(user(), domain()))
    assert (entry.reason, entry.message) == (Reason.DOMAIN_UNAVAILABLE, "ADDomain team-a/corp: no route to host")


async def test_what_was_in_step_stays_so() -> None:
    desk = Desk(user(), domain())
    desk.put(CORP, Reason.SYNCED, object_guid=GUID)
    desk.write()
    assert (await offline(desk)).reason is Reason.SYNCED
    assert desk.waiting == 0
    assert desk.reports.standings(CORP)[JDOE].reason is Reason.SYNCED
    desk.change(email="a@b")
    entry = await offline(desk)
    assert isinstance(entry, UserDomainStatus)
    assert (entry.reason, entry.object_guid) == (Reason.DOMAIN_UNAVAILABLE, GUID)


async def test_a_deletion_waits_for_the_domain() -> None:
    desk = Desk(user(meta=GOING), domain())
    assert (await offline(desk)).reason is Reason.DOMAIN_UNAVAILABLE
    assert desk.servers.released == []


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (Reason.CREDENTIALS_REJECTED, Reason.CREDENTIALS_REJECTED),
        (Reason.CERTIFICATE_REJECTED, Reason.CERTIFICATE_REJECTED),
        (Reason.PAUSED, Reason.PAUSED),
        (Reason.INVALID_SPEC, Reason.DOMAIN_UNAVAILABLE),
        (Reason.DIRECTORY_ERROR, Reason.DOMAIN_UNAVAILABLE),
    ],
)
async def test_whose_fault_it_is(verdict: Reason, told: Reason) -> None:
    assert (await offline(Desk(user(), domain()), Verdict(verdict, "x"))).reason is told


async def test_a_namespace_that_is_not_allowed_hears_that_first() -> None:
    key = user_key("jdoe", "team-b")
    desk = Desk(user("jdoe", "team-b", domains=[{"name": "corp", "namespace": "team-a"}]), domain())
    assert (await offline(desk, key=key)).reason is Reason.NAMESPACE_NOT_ALLOWED


async def test_a_resource_of_such_a_namespace_goes_without_the_domain() -> None:
    key = user_key("jdoe", "team-b")
    desk = Desk(user("jdoe", "team-b", domains=[{"name": "corp", "namespace": "team-a"}], meta=GOING), domain())
    await Offline(CORP, desk.store, desk.reports, AWAY).look(key)
    assert desk.servers.released == ["jdoe"]
    assert desk.servers.events == [("DomainUnavailable", "released as it is: the domain does not allow this namespace")]


async def test_a_fault_of_its_own_is_told_without_the_domain() -> None:
    assert (await offline(Desk(user(username="a/b"), domain()))).reason is Reason.INVALID_SPEC


NOT_FOUND = Verdict(Reason.DOMAIN_NOT_FOUND, "there is no ADDomain corp")


async def test_an_unknown_domain() -> None:
    desk = Desk(user())
    assert (await offline(desk, NOT_FOUND)).message == "there is no ADDomain corp"
    desk.change(meta=GOING)
    await Offline(CORP, desk.store, desk.reports, NOT_FOUND).look(JDOE)
    assert desk.servers.released == ["jdoe"]
    assert desk.servers.events == [("DomainNotFound", "released as it is: there is no such ADDomain")]


async def test_a_domain_that_is_gone_is_no_longer_told_as_in_step() -> None:
    desk = Desk(user(), domain())
    desk.put(CORP, Reason.SYNCED)
    desk.write()
    desk.store.remove(DOMAIN, "team-a", "corp")
    assert (await offline(desk, NOT_FOUND)).reason is Reason.DOMAIN_NOT_FOUND


async def test_an_api_server_that_is_away_does_not_end_anything() -> None:
    desk = Desk(user(meta=GOING))
    desk.servers.away = True
    await Offline(CORP, desk.store, desk.reports, NOT_FOUND).look(JDOE)
    assert desk.servers.released == []


async def test_a_resource_that_is_gone_is_forgotten() -> None:
    desk = Desk(user(), domain())
    desk.put(CORP, Reason.SYNCED)
    desk.store.remove(USER, "team-a", "jdoe")
    await Offline(CORP, desk.store, desk.reports, AWAY).look(JDOE)
    assert desk.reports.standings(CORP) == {}


async def test_groups_hear_it_too() -> None:
    desk = Desk(obj(GROUP, "finance", {"name": "finance", "domains": [{"name": "corp"}]}), domain())
    entry = await offline(desk, key=group_key())
    assert isinstance(entry, GroupDomainStatus)
    assert entry.reason is Reason.DOMAIN_UNAVAILABLE


def test_one_domain_does_not_make_the_whole_look_done() -> None:
    desk = Desk(domain(), domain("lab"), user(domains=BOTH))
    desk.put(CORP, Reason.SYNCED)
    status = desk.write()
    ready = next(condition for condition in status["conditions"] if condition["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Progressing")
    desk.put(LAB, Reason.SYNCED)
    status = desk.write()
    ready = next(condition for condition in status["conditions"] if condition["type"] == "Ready")
    assert (ready["status"], status["observedGeneration"]) == ("True", desk.resource().generation)

"""Whole looks at a user against a directory that does what AD does, with everything else real but the two servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from adsync.cluster.secrets import SecretData
from adsync.core.changes import Add, Change, Delete, Modify, PasswordSource
from adsync.core.dn import DN
from adsync.core.entries import ACCOUNTDISABLE, Entry
from adsync.core.owner import OwnerMark
from adsync.core.policy import UNKNOWN, PasswordPolicy
from adsync.core.rules import DomainRules
from adsync.directory.codec import guid_dn
from adsync.errors import (
    AlreadyExists,
    DirectoryError,
    DirectoryUnavailable,
    InsufficientRights,
    NoSuchObject,
    PasswordRefused,
    ValueMismatch,
    ValueRefused,
)
from adsync.metrics import Metrics
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import Origin, PasswordState, SyncedUserStatus, UserDomainStatus
from adsync.sync.dirty import DirtySet
from adsync.sync.guard import Guard, Managed
from adsync.sync.mirror import Mirror
from adsync.sync.quarrels import Quarrels
from adsync.sync.readback import ReadBack
from adsync.sync.reports import Reports, as_object
from adsync.sync.session import Session
from adsync.sync.store import DOMAIN, USER, Key, Store
from adsync.sync.users import UserSync
from adsync.sync.workplace import AHEAD, Memory, Workplace
from tests.unit.core.support import GUID, KEYS, OWNER, ROOT, STRANGER
from tests.unit.core.support import Directory as ActiveDirectory
from tests.unit.core.support import entry as account_of
from tests.unit.core.support import ours as marked
from tests.unit.sync.support import CORP, JDOE, domain, next_version, user, user_key

PW: dict[str, Any] = {"passwordSecretRef": {"name": "pw"}}
GOOD, BETTER, WEAK = "Correct-Horse-1", "Battery-Staple-2", "weak"
FOREIGN = "seen by the help desk"


class Directory:
    """The facade as the looks use it. `before_write` is called ahead of every write, to let others be quicker."""

    def __init__(self, *entries: Entry) -> None:
        self.ad = ActiveDirectory(*entries)
        self.info = SimpleNamespace(url="ldaps://dc1", account_guid="own")
        self.written: list[Change] = []
        self.passwords: list[str] = []
        self.protected: dict[str, str] = {}
        self.fine: dict[str, PasswordPolicy] = {}  # fine-grained policies
        self.before_write: Callable[[Change], None] = lambda _change: None
        self.reads = 0

    async def apply(self, change: Change, password: SecretStr | None = None) -> None:
        self.before_write(change)
        there = None if isinstance(change, Add) else self.ad.by_guid(change.guid)
        if not isinstance(change, Add) and there is None:
            raise NoSuchObject("it is gone")
        if isinstance(change, Add) and (self.ad.by_dn(change.dn) or self.ad.by_sam(change.attributes["sAMAccountName"])):
            raise AlreadyExists("the name is taken", code=68)
        if isinstance(change, Modify) and there is not None:
            for edit in change.edits:
                if edit.exact and edit.old != self.ad._value(there, edit.attribute):
                    raise ValueMismatch("the value has changed", code=16)
        source = change.password if isinstance(change, (Add, Modify)) else PasswordSource.NONE
        assert (source is not PasswordSource.NONE) is (password is not None)
        if password is not None and "refused" in password.get_secret_value():
            raise PasswordRefused("0000052D", code=53)
        if source is PasswordSource.SECRET and password is not None:
            self.passwords.append(password.get_secret_value())
        self.written.append(change)
        self.ad.apply([change])

    async def read(self, guid: str) -> Entry | None:
        self.reads += 1
        guid_dn(guid)  # refuses what is no GUID, as the facade does
        return self.ad.by_guid(guid)

    async def read_for_write(self, guid: str) -> tuple[Entry | None, str | None]:
        return self.ad.by_guid(guid), self.protected.get(guid)

    async def policy_for(self, guid: str) -> PasswordPolicy | None:
        return self.fine.get(guid)

    async def find(self, *, sams: Iterable[str] = (), upns: Iterable[str] = (), guids: Iterable[str] = ()) -> list[Entry]:
        found = [self.ad.by_sam(sam) for sam in sams] + [self.ad.by_upn(upn) for upn in upns] + [self.ad.by_guid(guid) for guid in guids]
        return list({each.guid: each for each in found if each is not None}.values())


class Cluster:
    """The API server as far as looks ask it."""

    def __init__(self) -> None:
        self.secrets: dict[str, SecretData] = {}
        self.cached: dict[str, SecretData] = {}  # what the server answers to those who take an old answer
        self.released: list[str] = []

    async def get_secret(self, namespace: str, name: str, *, maybe_old: bool = False) -> SecretData | None:
        return (self.cached if maybe_old else self.secrets).get(name)

    async def remove_finalizer(self, obj: dict[str, Any], finalizer: str) -> dict[str, Any]:
        self.released.append(obj["metadata"]["name"])
        return obj


class Recorder:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def emit(self, regarding: Any, type: str, reason: str, message: str, action: str = "Sync") -> None:  # noqa: A002
        self.said.append((reason, message))


class Place:
    """A domain at work, with one mirror that knows what a sweep has found."""

    def __init__(self, *entries: Entry, policy: PasswordPolicy | None = None, **spec: Any) -> None:
        self.directory, self.cluster, self.events, self.store = Directory(*entries), Cluster(), Recorder(), Store(KEYS)
        self.store.put(DOMAIN, domain(extraAttributes=["department", "title"], **spec))
        self.reports = Reports(self.store, self.cluster, self.events, lambda dirty: None)  # type: ignore[arg-type]
        mirror = Mirror()
        for each in entries:
            mirror.put(each)
        parsed = self.store.resources[CORP].spec
        self.work = Workplace(
            domain=CORP,
            store=self.store,
            cluster=self.cluster,  # type: ignore[arg-type]
            reports=self.reports,
            metrics=Metrics(),
            guard=Guard(parsed.safety, None),
            memory=Memory(),
            quarrels=Quarrels(lambda: 0.0),
            directory=self.directory,  # type: ignore[arg-type]
            rules=DomainRules.resolve(parsed, "uid"),
            policy=policy or PasswordPolicy(min_length=7, complexity=True),
            mirror=mirror,
            readback=ReadBack(self.directory, mirror.put, lambda: 0),  # type: ignore[arg-type]
        )
        self.users = UserSync(self.work)

    def ask(self, name: str = "jdoe", **spec: Any) -> None:
        """Apply a manifest: a newer generation, with the status as it is."""
        known = self.store.resources.get(user_key(name))
        meta = spec.pop("meta", {})
        generation = known.generation + 1 if known else 1
        self.store.put(USER, user(name, status=known.status if known else None, meta={"generation": generation, **meta}, **spec))

    def secret(self, value: str, name: str = "pw", *, seen: bool = True, cached: bool = True) -> None:
        """Write a Secret; not `seen`: the watch has not told of it yet; not `cached`: nor has it come to the API server's own cache."""
        data = SecretData("team-a", name, "uid", next_version(), {"password": value.encode()})
        self.cluster.secrets[name] = data
        if cached:
            self.cluster.cached[name] = data
        if seen:
            self.store.put_secret({"metadata": {"namespace": "team-a", "name": name, "resourceVersion": data.resource_version}}, data.data)

    async def look(self, name: str = "jdoe") -> UserDomainStatus:
        """One look, and what it reports; the status is written as it would be, and read again."""
        key = user_key(name)
        self.pause = await self.users.look(key)
        entry = self.recorded(name)
        self.write_status(key)
        return entry

    def recorded(self, name: str = "jdoe") -> UserDomainStatus:
        entry = self.reports.recorded(self.store.resources[user_key(name)], CORP)
        assert isinstance(entry, UserDomainStatus)
        return entry

    def write_status(self, key: Key) -> None:
        resource = self.store.resources.get(key)
        if resource is None:
            return
        obj = as_object(resource) | {"status": self.reports._compose(key, dict(resource.status)), "spec": None}
        obj["metadata"] |= {
            "generation": resource.generation,
            "resourceVersion": next_version(),
            "creationTimestamp": resource.created,
            "annotations": dict(resource.annotations),
        }
        self.reports._written(USER, obj)

    def account(self) -> Entry:
        found = self.directory.ad.by_owner(OWNER)
        assert len(found) == 1
        return found[0]


# --- turns and caches -----------------------------------------------------------------------------------------------------------------------


async def test_an_old_answer_is_taken_for_the_secret_only_where_it_is_the_planned_value() -> None:
    place = Place()
    place.secret("Old-password-1")
    place.secret(GOOD, cached=False)
    place.ask(**PW)
    await place.look()
    assert place.directory.passwords == [GOOD]


async def test_who_has_changed_while_waiting_for_a_turn_is_not_written_as_was_planned_before() -> None:
    place = Place()
    place.ask(firstName="Old")
    async with AsyncExitStack() as others:
        for _ in range(AHEAD):
            await others.enter_async_context(place.work.ahead.taken(0))
        look = asyncio.create_task(place.users.look(user_key("jdoe")))
        for _ in range(5):
            await asyncio.sleep(0)
        place.ask(firstName="New")
    await look
    assert place.directory.written == []
    await place.look()
    assert place.account().attributes["givenName"] == "New"


# --- created --------------------------------------------------------------------------------------------------------------------------------


async def test_created_with_its_password_in_one_write() -> None:
    place = Place()
    place.secret(GOOD)
    place.ask(**PW)
    status = await place.look()
    assert len(place.directory.written) == 1
    assert place.directory.passwords == [GOOD]
    assert (status.ready, status.reason, status.origin) == (True, Reason.SYNCED, Origin.CREATED)
    assert status.object_guid == place.account().guid
    assert status.password is not None
    assert status.password.state is PasswordState.SYNCED
    assert place.events.said[0][0] == "Created"
    assert place.pause is None


async def test_a_look_that_finds_nothing_to_do_writes_nothing_and_says_the_same() -> None:
    place = Place()
    place.secret(GOOD)
    place.ask(email="j@example.com", suspended=False, **PW)
    await place.look()
    before = place.store.resources[JDOE].status
    events = len(place.events.said)
    for _ in range(3):
        await place.look()
    assert len(place.directory.written) == 1
    assert place.store.resources[JDOE].status == before
    assert len(place.events.said) == events
    assert not place.reports._entries


async def test_a_restart_without_a_status_writes_nothing() -> None:
    first = Place()
    first.secret(GOOD)
    first.ask(**PW)
    await first.look()
    second = Place(first.account())
    second.secret(GOOD)
    second.ask(**PW)
    status = await second.look()
    assert second.directory.written == []
    assert status.object_guid == first.account().guid


async def test_a_named_secret_is_waited_for() -> None:
    place = Place()
    place.ask(**PW)
    assert (await place.look()).reason is Reason.PASSWORD_PENDING
    assert place.directory.written == []
    place.secret(GOOD)
    assert (await place.look()).reason is Reason.SYNCED
    assert place.directory.passwords == [GOOD]


@pytest.mark.parametrize(("value", "asked"), [(WEAK, 0), ("Refused-refused-1", 1)])
async def test_a_refused_password_creates_all_the_same_and_is_tried_once(value: str, asked: int) -> None:
    place = Place()
    tried: list[Change] = []
    place.directory.before_write = lambda change: tried.append(change) if isinstance(change, Add) else None
    place.secret(value)
    place.ask(**PW)
    status = await place.look()
    assert (status.reason, status.password and status.password.state) == (Reason.PASSWORD_REJECTED, PasswordState.REJECTED)
    assert len(tried) == asked + 1
    assert place.directory.ad.passwords[place.account().guid] is PasswordSource.RANDOM
    for _ in range(2):
        await place.look()
    assert len(tried) == asked + 1
    place.secret(GOOD)
    assert (await place.look()).reason is Reason.SYNCED
    assert place.directory.passwords == [GOOD]
    assert value not in str(place.events.said) + str(place.store.resources[JDOE].status)


@pytest.mark.parametrize(
    ("fine", "value", "sent"),
    [
        (None, WEAK, False),
        (PasswordPolicy(min_length=4), WEAK, True),
        (PasswordPolicy(min_length=5), WEAK, False),
        (UNKNOWN, WEAK, True),
        (UNKNOWN, "weak\n", False),
    ],
)
async def test_a_fine_grained_policy_goes_before_the_domains(fine: PasswordPolicy | None, value: str, sent: bool) -> None:
    place = Place(marked())
    if fine is not None:
        place.directory.fine[GUID] = fine
    place.secret(value)
    place.ask(**PW)
    assert (await place.look()).reason is (Reason.SYNCED if sent else Reason.PASSWORD_REJECTED)
    assert place.directory.passwords == ([value] if sent else [])


async def test_what_a_hidden_policy_may_allow_is_tried_when_somebody_asks_for_it() -> None:
    place = Place(marked())
    place.secret(WEAK)
    place.ask(**PW)
    assert (await place.look()).reason is Reason.PASSWORD_REJECTED
    place.ask(**PW, meta={"annotations": {"adsync.dev/reconcile-requested-at": "1"}})
    assert (await place.look()).reason is Reason.SYNCED
    assert place.directory.passwords == [WEAK]


async def test_asking_for_it_sends_no_password_with_the_user_s_own_name() -> None:
    place = Place(marked())
    place.secret("Xx-jdoe-Xx-1")
    place.ask(**PW, meta={"annotations": {"adsync.dev/reconcile-requested-at": "1"}})
    assert (await place.look()).reason is Reason.PASSWORD_REJECTED
    assert place.directory.passwords == []


async def test_what_a_fine_grained_policy_asks_for_is_told() -> None:
    place = Place(marked())
    place.directory.fine[GUID] = PasswordPolicy(min_length=30)
    place.secret("Refused-refused-1")
    place.ask(**PW)
    assert "at least 30 characters" in ((await place.look()).message or "")
    place.directory.fine[GUID] = UNKNOWN
    place.secret("Refused-refused-2")
    assert "a fine-grained policy says, which the service account can't read" in ((await place.look()).message or "")


@pytest.mark.parametrize("there", [False, True])
async def test_asking_for_a_look_tries_a_refused_password_once_more(there: bool) -> None:
    place = Place(*([marked()] if there else []))
    tried: list[Change] = []
    place.directory.before_write = tried.append
    place.secret("Refused-refused-1")
    place.ask(**PW, meta={"annotations": {"adsync.dev/reconcile-requested-at": "1"}})
    assert (await place.look()).reason is Reason.PASSWORD_REJECTED
    assert len([change for change in tried if getattr(change, "password", None) is PasswordSource.SECRET]) == 1
    before = len(tried)
    await place.look()
    assert len(tried) == before
    place.ask(**PW, meta={"annotations": {"adsync.dev/reconcile-requested-at": "2"}})
    assert (await place.look()).reason is Reason.PASSWORD_REJECTED
    assert len(tried) == before + 1


async def test_somebody_else_takes_the_name_at_the_same_moment() -> None:
    place = Place()
    place.ask()
    rival = account_of("rival", "jdoe", dn=f"CN=x,{ROOT}", mark=str(OwnerMark(STRANGER)))
    place.directory.before_write = lambda _change: place.directory.ad.entries.update(rival=rival)
    assert (await place.look()).reason is Reason.CONFLICT
    assert place.directory.written == []


async def test_nothing_is_created_before_the_finalizer_is_there() -> None:
    place = Place()
    place.ask(meta={"finalizers": []})
    added: list[dict[str, Any]] = []

    async def add_finalizer(obj: dict[str, Any], finalizer: str) -> None:
        added.append(obj)
        assert place.directory.written == []

    place.cluster.add_finalizer = add_finalizer  # type: ignore[attr-defined]
    await place.users.look(JDOE)
    assert len(added) == 1
    assert place.directory.written == [], "the resource was gone"


# --- changed --------------------------------------------------------------------------------------------------------------------------------


async def test_a_new_password_is_sent_once() -> None:
    place = Place()
    place.secret(GOOD)
    place.ask(**PW)
    await place.look()
    place.secret(BETTER)
    for _ in range(3):
        assert (await place.look()).reason is Reason.SYNCED
    assert place.directory.passwords == [GOOD, BETTER]
    assert len(place.directory.written) == 2


async def test_a_password_that_changes_while_it_is_fetched() -> None:
    place = Place()
    place.secret(GOOD)
    place.ask(**PW)
    place.secret(BETTER, seen=False)
    assert (await place.look()).reason is Reason.SYNCED
    assert place.directory.passwords == [BETTER], "what is set is what the mark says"
    place.secret(BETTER)
    await place.look()
    assert place.directory.passwords == [BETTER]


async def test_without_a_place_for_a_mark_a_password_is_sent_once_too() -> None:
    place = Place(account_of(mark=FOREIGN), adoptionPolicy="Always")
    place.secret(GOOD)
    place.ask(**PW)
    for _ in range(3):
        status = await place.look()
        assert (status.reason, "somebody else's value" in (status.message or "")) == (Reason.SYNCED, True)
    assert place.directory.passwords == [GOOD]
    assert place.directory.ad.entries[GUID].mark == FOREIGN


@pytest.mark.parametrize(("reaction", "sent", "state"), [("Report", 1, "ChangedInDirectory"), ("Enforce", 2, "Synced")])
async def test_a_password_that_somebody_changes_in_the_directory(reaction: str, sent: int, state: str) -> None:
    place = Place(password={"onDirectoryChange": reaction})
    place.secret(GOOD)
    place.ask(**PW)
    await place.look()
    theirs = replace(place.account(), pwd_last_set=place.account().pwd_last_set + 1_000_000_000, usn_changed=99)
    place.directory.ad.entries[theirs.guid] = theirs
    place.work.mirror.put(theirs)
    for _ in range(3):
        status = await place.look()
        assert (status.reason, status.password and status.password.state) == (Reason.SYNCED, state)
    assert place.directory.passwords == [GOOD] * sent


async def test_drift_is_set_back_and_told() -> None:
    place = Place()
    place.ask(attributes={"title": "CFO"})
    await place.look()
    drifted = replace(place.account(), attributes={"title": "Clown"}, usn_changed=99)
    place.directory.ad.entries[drifted.guid] = drifted
    place.work.mirror.put(drifted)
    assert (await place.look()).reason is Reason.SYNCED
    assert place.account().attributes == {"title": "CFO"}
    assert ("DriftReverted", "set back what was changed in the directory: title: Clown → CFO") in place.events.said


async def test_what_changes_at_the_moment_of_writing_is_not_lost() -> None:
    """Somebody sets another bit of userAccountControl between our read and our write."""
    place = Place(marked())
    place.ask(suspended=True)

    def meanwhile(change: Change) -> None:
        place.directory.before_write = lambda _change: None
        there = place.directory.ad.entries[GUID]
        place.directory.ad.entries[GUID] = replace(there, user_account_control=there.user_account_control | 0x10000, usn_changed=50)

    place.directory.before_write = meanwhile
    assert (await place.look()).reason is Reason.SYNCED
    assert place.directory.ad.entries[GUID].user_account_control == 0x10202


async def test_a_privilege_given_a_moment_ago_is_seen_before_writing() -> None:
    place = Place(marked())
    place.directory.protected[GUID] = "it is a member of Domain Admins"
    place.ask(attributes={"title": "CEO"})
    status = await place.look()
    assert (status.reason, "Domain Admins" in (status.message or "")) == (Reason.PROTECTED, True)
    assert place.directory.written == []


async def test_somebody_keeps_writing_the_same_attribute() -> None:
    place = Place(marked())
    place.ask(attributes={"title": "CEO"})
    counter = iter(range(1000))
    apply = place.directory.ad.apply

    def and_back(changes: Iterable[Change]) -> None:
        apply(changes)
        there = place.directory.ad.entries[GUID]
        place.directory.ad.entries[GUID] = replace(there, attributes={"title": str(next(counter))}, usn_changed=there.usn_changed + 1)

    place.directory.ad.apply = and_back  # type: ignore[method-assign]
    assert (await place.look()).reason is Reason.CONTESTED
    assert place.pause is not None
    assert len(place.directory.written) <= 6


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InsufficientRights("no", code=50), Reason.INSUFFICIENT_RIGHTS),
        (ValueRefused("too long", code=19), Reason.INVALID_SPEC),
        (DirectoryError("no", code=53), Reason.DIRECTORY_ERROR),
    ],
)
async def test_what_the_directory_refuses_is_told(error: Exception, reason: Reason) -> None:
    place = Place(marked())
    place.ask(attributes={"title": "CEO"})

    def refuse(_change: Change) -> None:
        raise error

    place.directory.before_write = refuse
    assert (await place.look()).reason is reason


async def test_a_lost_connection_says_nothing_about_the_user() -> None:
    place = Place(marked())
    place.ask(attributes={"title": "CEO"})

    def lose(_change: Change) -> None:
        raise DirectoryUnavailable("gone")

    place.directory.before_write = lose
    with pytest.raises(DirectoryUnavailable):
        await place.users.look(JDOE)
    assert place.recorded().reason is None


async def test_observe_plans_and_writes_nothing() -> None:
    place = Place(mode="Observe")
    place.secret(GOOD)
    place.ask(**PW)
    status = await place.look()
    assert status.reason is Reason.OBSERVING
    assert status.planned_changes == [f"create user CN=jdoe,{ROOT}"]
    assert place.directory.written == []
    assert place.events.said[0][0] == "WouldChange"
    assert status.password is None or status.password.state is not PasswordState.SYNCED


@pytest.mark.parametrize("asked", ["reconcile-requested-at", "unlock-requested-at"])
async def test_an_annotation_of_any_length_leaves_a_status_that_can_be_written(asked: str) -> None:
    place = Place()
    place.ask(meta={"annotations": {f"adsync.dev/{asked}": "x" * 50_000}})
    await place.look()
    status = SyncedUserStatus.model_validate(place.store.resources[JDOE].status)
    assert status.domains[0].reason is Reason.SYNCED
    if asked == "reconcile-requested-at":
        assert status.last_handled_reconcile_at == "x" * 1024


@pytest.mark.parametrize("forged", ["nonsense", "", GUID.replace("1", "A"), "{" + GUID + "}"])
async def test_a_forged_guid_holds_up_neither_the_account_nor_its_end(forged: str) -> None:
    place = Place(adoptionPolicy="Never")
    place.store.put(USER, user(status={"domains": [{"name": "corp", "namespace": "", "objectGUID": forged}]}))
    assert (await place.look()).reason is Reason.SYNCED
    place.directory.ad.entries.clear()
    place.work.mirror.drop(place.recorded().object_guid or "")
    status = place.store.resources[JDOE].status
    status["domains"][0]["objectGUID"] = forged
    place.store.put(USER, user(status=status, meta={"deletionTimestamp": "2026-01-03T00:00:00Z"}))
    await place.users.look(JDOE)
    assert place.cluster.released == ["jdoe"]


# --- absence --------------------------------------------------------------------------------------------------------------------------------


async def test_on_a_controller_that_may_lag_a_recorded_account_is_not_created_again() -> None:
    place = Place()
    place.ask()
    await place.look()
    other = Place()
    other.store, other.reports, other.users.place.store, other.users.place.reports = (
        place.store,
        place.reports,
        place.store,
        place.reports,
    )
    other.work.absence_proven = False
    status = await other.look()
    assert (status.reason, "may not have caught up" in (status.message or "")) == (Reason.PROGRESSING, True)
    assert other.directory.written == []
    assert other.pause is not None
    other.work.absence_proven = True
    assert (await other.look()).reason is Reason.SYNCED
    assert len(other.directory.written) == 1


async def test_an_account_that_the_mirror_misses_is_read_before_it_is_called_gone() -> None:
    place = Place()
    place.ask()
    await place.look()
    place.work.mirror.drop(place.account().guid)
    assert (await place.look()).reason is Reason.SYNCED
    assert len(place.directory.written) == 1
    assert place.directory.reads == 1


# --- going ----------------------------------------------------------------------------------------------------------------------------------

GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("policy", "there", "disabled", "mark"), [("Delete", False, None, None), ("Disable", True, True, True), ("Retain", True, False, False)]
)
@pytest.mark.parametrize("proven", [True, False])
async def test_a_deleted_resource_goes_when_the_policy_is_carried_out(
    policy: str, there: bool, disabled: bool | None, mark: bool | None, proven: bool
) -> None:
    place = Place(deletionPolicy=policy)
    place.ask()
    guid = (await place.look()).object_guid or ""
    place.work.absence_proven = proven
    place.ask(meta=GOING)
    await place.users.look(JDOE)
    assert place.cluster.released == ["jdoe"]
    account = place.directory.ad.by_guid(guid)
    assert (account is not None) is there
    if account is not None:
        assert (account.disabled, bool(account.mark)) == (disabled, mark)


@pytest.mark.parametrize(
    ("policy", "told"), [("Delete", "deleted CN=jdoe,"), ("Disable", "disabled CN=jdoe,"), ("Retain", "let go of CN=jdoe,")]
)
async def test_what_the_policy_did_is_told_as_done(policy: str, told: str) -> None:
    place = Place(deletionPolicy=policy)
    place.ask()
    await place.look()
    place.ask(meta=GOING)
    await place.users.look(JDOE)
    (message,) = [message for reason, message in place.events.said if reason == "Released"]
    assert message.startswith(told)


@pytest.mark.parametrize("gone", [True, False])
async def test_a_domain_that_goes_in_the_middle_of_a_look_is_no_defect(gone: bool) -> None:
    place = Place()
    place.ask()
    dirty: DirtySet[Key] = DirtySet(lambda _key: 0)
    looked = asyncio.Event()
    session = Session(place.work, dirty, lambda: None, looked.set)
    dirty.add(JDOE)

    async def trips(_key: Key) -> float | None:
        if gone:
            place.store.remove(*CORP)
            pytest.fail(f"{place.work.resource} is still there")
        raise ValueError("a defect")

    with patch.object(session.users, "look", trips), capture_logs() as logged:
        work = asyncio.create_task(session._work())
        await looked.wait()
        work.cancel()
    assert bool(logged) is not gone


async def test_a_resources_own_policy_comes_before_the_domains() -> None:
    place = Place(deletionPolicy="Delete")
    place.ask()
    await place.look()
    place.ask(deletionPolicy="Retain", meta=GOING)
    await place.users.look(JDOE)
    assert len(place.directory.ad.entries) == 1


@pytest.mark.parametrize(
    ("account", "namespace_allowed"),
    [
        (account_of(), True),
        (account_of(mark=str(OwnerMark(STRANGER))), True),
        (marked(admin_count=1), True),
        (marked(dn="CN=jdoe,CN=Users,DC=corp,DC=example,DC=com"), True),
    ],
)
async def test_what_may_not_be_written_is_released_as_it_is(account: Entry, namespace_allowed: bool) -> None:
    place = Place(account, deletionPolicy="Delete")
    place.ask(meta=GOING)
    await place.users.look(JDOE)
    assert place.directory.written == []
    assert place.cluster.released == ["jdoe"]


async def test_taken_off_the_list_the_policy_is_carried_out_and_the_entry_goes() -> None:
    place = Place()
    place.ask()
    await place.look()
    place.ask(domains=[])
    await place.look()
    assert place.account().user_account_control & ACCOUNTDISABLE
    assert place.store.resources[JDOE].status["domains"] == []
    assert place.cluster.released == ["jdoe"], "nothing of it is in any directory any more: it may be deleted when no operator is there"


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        ({}, True),
        ({"domainName": "CORP.example.com"}, True),
        ({"domainName": "else.example.com", "rootUserContainer": "OU=People,DC=else,DC=example,DC=com"}, False),
        ({"rootUserContainer": "OU=Elsewhere,DC=corp,DC=example,DC=com"}, False),
        ({"clusterName": "prod-9"}, False),
        ({"allowedNamespaces": {"from": "Same"}}, False),  # and it is in another namespace
    ],
)
@pytest.mark.parametrize("going", [False, True])
async def test_an_account_that_another_domain_resource_manages_as_well_is_passed_on(other: dict[str, Any], kept: bool, going: bool) -> None:
    """An ADDomain is given another name: every user is bound to the new one, and off the old one's list."""
    place = Place()
    place.ask()
    await place.look()
    far = "team-b" if "allowedNamespaces" in other else "team-a"
    place.store.put(DOMAIN, domain("new", far, **other))
    place.ask(domains=[{"name": "new", "namespace": far}])
    if going:
        place.store.put(DOMAIN, domain(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    await place.look()
    account = next(iter(place.directory.ad.entries.values()))
    assert bool(account.user_account_control & ACCOUNTDISABLE) is (not kept and not going)
    assert bool(account.mark) is (kept or not going)
    assert [entry["name"] for entry in place.store.resources[JDOE].status["domains"]] == ["new"]


@pytest.mark.parametrize("deleting", [False, True])
async def test_a_domain_that_only_observes_lets_go_when_it_goes(deleting: bool) -> None:
    place = Place(marked(), mode="Observe")
    place.ask(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {})
    await place.users.look(JDOE)
    assert place.cluster.released == []
    place.store.put(DOMAIN, domain(mode="Observe", meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    assert await place.users.look(JDOE) is None
    assert place.directory.written == []
    assert place.cluster.released == ["jdoe"]


@pytest.mark.parametrize("error", [InsufficientRights("no", code=50), DirectoryError("no", code=53)])
async def test_what_the_directory_refuses_holds_up_no_domain_that_goes(error: Exception) -> None:
    place = Place(marked())
    place.ask(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"})

    def refuse(_change: Change) -> None:
        raise error

    place.directory.before_write = refuse
    for _ in range(6):
        await place.users.look(JDOE)
    assert place.cluster.released == [], "the deletion policy is not carried out"
    place.store.put(DOMAIN, domain(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    for _ in range(4):
        await place.users.look(JDOE)
    assert place.cluster.released == ["jdoe"]
    assert any("released as it is" in message for _, message in place.events.said)


async def test_a_spec_that_cannot_be_read_leaves_the_account_alone() -> None:
    place = Place()
    place.ask()
    await place.look()
    place.ask(username="a/b")
    assert (await place.look()).reason is Reason.INVALID_SPEC
    assert len(place.directory.written) == 1


async def test_the_limit_holds_however_many_go_at_once() -> None:
    place = Place(deletionPolicy="Delete", safety={"minRemovals": 3, "maxRemovals": "0%"})
    place.work.guard.count = lambda: Managed(20, 0)
    names = [f"u{number}" for number in range(20)]
    for name in names:
        place.ask(name)
    await asyncio.gather(*(place.users.look(user_key(name)) for name in names))
    assert len(place.directory.ad.entries) == 20
    for name in names:
        place.write_status(user_key(name))
        place.ask(name, meta=GOING)

    async def slowly(guid: str) -> tuple[Entry | None, str | None]:
        await asyncio.sleep(0)
        return place.directory.ad.by_guid(guid), None

    place.directory.read_for_write = slowly  # type: ignore[method-assign]
    await asyncio.gather(*(place.users.look(user_key(name)) for name in names))
    assert len([change for change in place.directory.written if isinstance(change, Delete)]) == 3
    assert len(place.cluster.released) == 3
    planned = place.work.guard.planned()
    assert planned is not None
    assert planned.count == 17
    place.work.guard.approve(planned.digest or "")
    await asyncio.gather(*(place.users.look(user_key(name)) for name in names))
    assert place.directory.ad.entries == {}


# --- claims ---------------------------------------------------------------------------------------------------------------------------------


async def test_two_resources_of_one_name() -> None:
    place = Place()
    place.ask("z", username="jdoe", meta={"creationTimestamp": "2026-01-01T00:00:00Z"})
    place.ask("a", username="JDoe", meta={"creationTimestamp": "2026-01-02T00:00:00Z"})
    younger = await place.look("a")
    assert (younger.reason, "SyncedUser team-a/z is older" in (younger.message or "")) == (Reason.CONFLICT, True)
    assert (await place.look("z")).reason is Reason.SYNCED
    assert (await place.look("a")).reason is Reason.CONFLICT
    assert len(place.directory.written) == 1


@pytest.mark.parametrize("mark", ["", FOREIGN])
async def test_whoever_has_the_account_keeps_it_from_an_older_one(mark: str) -> None:
    """Also where no mark can say so."""
    place = Place(account_of(mark=mark), adoptionPolicy="Always")
    place.ask("a", username="jdoe", meta={"creationTimestamp": "2026-01-02T00:00:00Z"})
    assert (await place.look("a")).reason is Reason.SYNCED
    place.ask("z", username="jdoe", meta={"creationTimestamp": "2026-01-01T00:00:00Z"}, attributes={"title": "Usurper"})
    for _ in range(2):
        older = await place.look("z")
        assert (older.reason, "SyncedUser team-a/a" in (older.message or "") or mark == "") == (Reason.CONFLICT, True)
        assert (await place.look("a")).reason is Reason.SYNCED
    assert "title" not in next(iter(place.directory.ad.entries.values())).attributes


async def test_a_namespace_that_the_domain_does_not_allow() -> None:
    place = Place()
    key = user_key("jdoe", "team-b")
    place.store.put(USER, user("jdoe", "team-b", domains=[{"name": "corp", "namespace": "team-a"}]))
    await place.users.look(key)
    entry = place.reports.recorded(place.store.resources[key], CORP)
    assert entry.reason is Reason.NAMESPACE_NOT_ALLOWED
    assert place.directory.written == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"username": "x" * 21}, "21 characters"),
        ({"attributes": {"wWWHomePage": "x"}}, "does not allow 'wWWHomePage'"),
        ({"domains": [{"name": "corp", "container": "OU=Elsewhere,DC=corp,DC=example,DC=com"}]}, "is not below"),
    ],
)
async def test_what_cannot_be_done_is_said_and_nothing_is_written(spec: dict[str, Any], said: str) -> None:
    place = Place()
    place.ask(**spec)
    status = await place.look()
    assert (status.reason, said in (status.message or "")) == (Reason.INVALID_SPEC, True)
    assert place.directory.written == []


def test_where_the_root_is() -> None:
    assert Place().work.rules.container == DN.parse(ROOT)

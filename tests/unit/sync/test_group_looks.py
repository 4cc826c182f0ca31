"""Whole looks at a group's members against a directory that does what AD does: nobody goes on the ground of a list that may not be complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Set
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from adsync.core.changes import Add, Change, ModifyMembers
from adsync.core.dn import DN
from adsync.core.entries import Entry, EntryKind
from adsync.core.owner import OwnerMark, owner_id
from adsync.directory.model import Link
from adsync.errors import DirectoryUnavailable, IncompleteRead, NoSuchObject
from adsync.resources.conditions import Reason
from adsync.resources.syncedgroup import GroupDomainStatus
from adsync.resources.synceduser import Origin
from adsync.sync.groups import GroupSync
from adsync.sync.store import GROUP, USER
from adsync.sync.workplace import AHEAD
from tests.unit.core.support import ROOT, entry
from tests.unit.sync.support import CORP, group_key, obj, user, user_key
from tests.unit.sync.test_looks import Directory, Place

FINANCE = "00000000-0000-0000-0000-00000000f1f1"
STRANGER = "00000000-0000-0000-0000-0000000000ff"
MANY = 150
GENEROUS = {"safety": {"minRemovals": 10000}}


def guid(number: int) -> str:
    return f"00000000-0000-0000-0000-1{number:011}"


def person(number: int) -> Entry:
    """The account of SyncedUser team-a/p<number>."""
    mark = OwnerMark(owner_id("prod-1", "user", "team-a", f"p{number}"), Origin.CREATED)
    return entry(guid(number), f"p{number}", mark=str(mark), sid=f"S-1-5-21-1-2-3-{2000 + number}")


def finance(**changes: Any) -> Entry:
    mark = OwnerMark(owner_id("prod-1", "group", "team-a", "finance"), Origin.CREATED)
    given = {
        "kind": EntryKind.GROUP,
        "upn": "",
        "user_account_control": 0,
        "primary_group": 0,
        "mark": str(mark),
        "dn": f"CN=finance,{ROOT}",
    }
    return entry(FINANCE, "finance", **(given | changes))


class Groups(Directory):
    """With members. `hidden` are members that nobody has told us of yet."""

    def __init__(self, *entries: Entry, members: Set[str] = frozenset()) -> None:
        super().__init__(*entries)
        self.members = set(members)
        self.member_reads = 0
        self.incomplete = False
        self.gone: set[str] = set()

    async def read_members(self, guid: str) -> list[Link]:
        self.member_reads += 1
        if self.incomplete:
            raise IncompleteRead("the answer was cut")
        return [Link(guid=each, dn=str(self.ad.entries[each].dn)) for each in sorted(self.members)]

    def by_others(self, change: Callable[[set[str]], object]) -> None:
        """A member list that somebody else changes."""
        change(self.members)
        self._moved()

    def _moved(self) -> None:
        known = self.ad.entries[FINANCE]
        self.ad.entries[FINANCE] = replace(known, usn_changed=known.usn_changed + 1)

    async def apply(self, change: Change, password: SecretStr | None = None) -> None:
        if not isinstance(change, (Add, ModifyMembers)):
            await super().apply(change, password)
            return
        self.before_write(change)
        if isinstance(change, Add):
            if {*change.members} & self.gone:
                raise NoSuchObject("a member is gone")
            assert len(change.members) <= 1000
            self.written.append(change)
            self.ad.entries[FINANCE] = finance()
            self.members = self._meant(change.members, change.names)
            return
        if {*change.add, *change.remove} & self.gone:
            raise NoSuchObject("a member is gone")
        assert 0 < len(change.add) + len(change.remove) <= 1000
        self.written.append(change)
        self.members = (self.members | self._meant(change.add, change.names)) - set(change.remove)
        self._moved()

    def _meant(self, guids: tuple[str, ...], names: tuple[DN, ...]) -> set[str]:
        """Whom the directory takes them for: whoever bears the name by now."""
        if not names:
            return set(guids)
        found = [self.ad.by_dn(name) for name in names]
        return {each.guid for each in found if each is not None}


class Site(Place):
    """The domain with one group and people; the mirror holds what a sweep has found of them, and of the members unless `unread`."""

    def __init__(self, people: int, members: Set[str], *, unread: bool = False, **spec: Any) -> None:
        entries = [finance(), entry(STRANGER, "stranger", sid="S-1-5-21-1-2-3-1900"), *map(person, range(people))]
        super().__init__(*entries, **(GENEROUS | spec))
        self.groups_directory = Groups(*entries, members=members)
        self.work.directory = self.groups_directory  # type: ignore[assignment]
        self.work.readback._directory = self.groups_directory  # type: ignore[assignment]
        if not unread:
            self.work.mirror.put_members(FINANCE, finance().usn_changed, set(members))
        self.told: set[str] = set()
        self.work.members_changed = self.told.update
        self.groups = GroupSync(self.work)
        for number in range(people):
            self.store.put(USER, user(f"p{number}"))

    def forget_group(self) -> None:
        """The group is not there yet."""
        del self.groups_directory.ad.entries[FINANCE]
        self.work.mirror.drop(FINANCE)

    async def look_at(self, *names: str, **spec: Any) -> GroupDomainStatus:
        """One look at the group with these members wanted, and what it reports."""
        known = self.store.resources.get(group_key())
        members = [{"name": name} for name in names]
        given = {"name": "finance", "domains": [{"name": "corp"}], "members": members, **spec}
        self.store.put(GROUP, obj(GROUP, "finance", given, meta={"generation": known.generation + 1 if known else 1}))
        self.pause = await self.groups.look(group_key())
        status = self.reports.recorded(self.store.resources[group_key()], CORP)
        assert isinstance(status, GroupDomainStatus)
        return status

    @property
    def written(self) -> list[Change]:
        return self.groups_directory.written

    @property
    def usn(self) -> int:
        """The uSNChanged of the group in the directory."""
        return self.groups_directory.ad.entries[FINANCE].usn_changed


async def test_one_in_and_one_out_is_one_small_write() -> None:
    site = Site(3, {guid(0), guid(1)})
    status = await site.look_at("p1", "p2")
    (change,) = site.written
    assert isinstance(change, ModifyMembers)
    assert (change.add, change.remove, change.told) == ((guid(2),), (guid(0),), "+p2, −p0")
    assert site.told == {guid(0), guid(2)}
    assert status.reason is Reason.SYNCED
    assert status.membership is not None
    assert (status.membership.desired, status.membership.applied, status.membership.foreign) == (2, 2, 0)
    assert site.events.said == [("MembersChanged", f"CN=finance,{ROOT}: +p2, −p0")]
    assert (await site.look_at("p1", "p2")).last_sync_time == status.last_sync_time
    assert len(site.written) == 1


async def test_the_list_of_a_large_group_is_not_read_for_one_in_and_one_out() -> None:
    site = Site(601, {guid(number) for number in range(600)})
    await site.look_at(*everybody(601)[1:])
    (change,) = site.written
    assert isinstance(change, ModifyMembers)
    assert (change.add, change.remove) == ((guid(600),), (guid(0),))
    assert site.groups_directory.member_reads == 0
    assert site.work.mirror.members_read_at(FINANCE) == site.usn, "or it would be read because of our own change"


async def test_a_list_that_could_not_be_read_to_its_end_takes_nobody_out() -> None:
    site = Site(2, {guid(0), guid(1)}, unread=True)
    site.groups_directory.incomplete = True
    status = await site.look_at("p1", membershipPolicy="Exact")
    assert status.reason is Reason.DIRECTORY_ERROR
    assert site.written == []
    assert site.pause is not None
    site.groups_directory.incomplete = False
    assert (await site.look_at("p1", membershipPolicy="Exact")).reason is Reason.SYNCED
    assert site.groups_directory.members == {guid(1)}


async def test_a_list_that_others_have_changed_since_is_read_again_before_it_is_written() -> None:
    site = Site(3, {guid(0)})
    site.groups_directory.by_others(lambda members: members.update({STRANGER, guid(2)}))
    status = await site.look_at("p0", "p1", membershipPolicy="Exact")
    assert site.groups_directory.members == {guid(0), guid(1)}
    assert site.groups_directory.member_reads == 2, "before, and to see what was written"
    assert status.membership is not None
    assert (status.membership.applied, status.membership.foreign) == (2, 0)


async def test_a_list_that_turns_out_incomplete_before_the_write_takes_nobody_out() -> None:
    site = Site(3, {guid(0), guid(1)})
    site.groups_directory.by_others(lambda members: members.add(STRANGER))
    site.groups_directory.incomplete = True
    assert (await site.look_at("p2", membershipPolicy="Exact")).reason is Reason.DIRECTORY_ERROR
    assert site.written == []


async def test_a_member_that_is_gone_has_its_own_resource_look_and_holds_up_nobody() -> None:
    site = Site(2, set())
    site.groups_directory.gone.add(guid(0))
    del site.groups_directory.ad.entries[guid(0)]
    status = await site.look_at("p0", "p1")
    assert guid(0) in site.told
    assert site.groups_directory.members == {guid(1)}
    assert status.reason is Reason.SYNCED
    assert status.membership is not None
    assert [each.user for each in status.membership.pending or ()] == ["p0"]


async def test_a_group_that_became_privileged_is_not_written() -> None:
    site = Site(2, {guid(0)})
    site.groups_directory.protected[FINANCE] = "it is in Domain Admins"
    status = await site.look_at("p1")
    assert status.reason is Reason.PROTECTED
    assert "Domain Admins" in (status.message or "")
    assert site.written == []


@asynccontextmanager
async def meanwhile(site: Site, *names: str, **spec: Any) -> AsyncIterator[asyncio.Task[GroupDomainStatus]]:
    """Within, a look at the group waits for its turn to write; at the end it gets it, and the look comes to its end."""
    async with AsyncExitStack() as others:
        for _ in range(AHEAD):
            await others.enter_async_context(site.work.ahead.taken(0))
        look = asyncio.create_task(site.look_at(*names, **spec))
        for _ in range(20):
            await asyncio.sleep(0)
        assert site.written == []
        assert not look.done()
        yield look
    await look


async def test_a_group_that_became_privileged_while_it_waited_is_not_written() -> None:
    for spec in ({}, {"description": "ours"}):
        site = Site(2, {guid(0)})
        async with meanwhile(site, "p1", **spec) as look:
            site.groups_directory.protected[FINANCE] = "it is in Domain Admins"
        assert site.written == []
        assert look.result().reason is Reason.PROTECTED


async def test_a_group_that_left_the_container_while_it_waited_keeps_its_members() -> None:
    site = Site(2, {guid(0)})
    async with meanwhile(site, "p1") as look:
        site.groups_directory.ad.entries[FINANCE] = finance(
            dn="CN=finance,DC=corp,DC=example,DC=com", usn_changed=finance().usn_changed + 1
        )
    assert site.written == []
    assert look.result().reason is Reason.OUT_OF_SCOPE


async def test_what_a_group_wants_no_more_when_its_turn_comes_is_not_written() -> None:
    site = Site(2, {guid(0)})
    async with meanwhile(site, "p1", description="first"):
        known = site.store.resources[group_key()]
        spec = {"name": "finance", "domains": [{"name": "corp"}], "members": [{"name": "p0"}], "description": "second"}
        site.store.put(GROUP, obj(GROUP, "finance", spec, meta={"generation": known.generation + 1}))
    assert site.written == []
    assert site.pause is None, "the edit has marked it"


async def test_who_is_selected_no_more_when_the_turn_comes_is_not_added() -> None:
    """The group's own resource is the same then: it is its members' labels that have changed."""
    site = Site(3, set())
    for number in range(3):
        site.store.put(USER, user(f"p{number}", meta={"labels": {"team": "a"}}))
    async with meanwhile(site, memberSelector={"matchLabels": {"team": "a"}}) as look:
        site.store.put(USER, user("p1"))
        site.groups_directory.by_others(lambda members: members.add(guid(0)))
    assert site.groups_directory.members == {guid(0), guid(2)}
    (change,) = site.written
    assert isinstance(change, ModifyMembers)
    assert change.add == (guid(2),)
    assert look.result().reason is Reason.SYNCED


async def test_what_others_change_before_the_reading_back_is_set_right_in_the_same_look() -> None:
    """The reading back waits for a lull, up to seconds; nothing would tell of their change after it."""
    for others in (3, MANY):  # who join by GUID, or by name
        site = Site(others, set())
        site.work.pressing.add(user_key("other"))
        look = asyncio.create_task(site.look_at(*everybody(others), membershipPolicy="Exact"))
        await asyncio.wait([look], timeout=0.2)
        site.groups_directory.by_others(lambda members: members.symmetric_difference_update({STRANGER, guid(1)}))
        site.work.pressing.clear()
        status = await look
        assert site.groups_directory.members == {guid(number) for number in range(others)}
        assert (status.reason, len(site.written)) == (Reason.SYNCED, 2)
        assert status.last_sync_time is not None


@pytest.mark.parametrize("many", [3, MANY, 600])
async def test_a_group_that_is_deleted_while_it_is_changed_is_made_again(many: int) -> None:
    site = Site(many, set())
    site.work.pressing.add(user_key("other"))
    look = asyncio.create_task(site.look_at(*everybody(many)))
    await asyncio.wait([look], timeout=0.2)
    del site.groups_directory.ad.entries[FINANCE]
    site.groups_directory.members.clear()
    site.work.pressing.clear()
    await look
    assert [type(change) for change in site.written] == [ModifyMembers, Add]
    assert site.groups_directory.members == {guid(number) for number in range(many)}


async def test_too_many_removals_are_held_as_a_whole_and_approved_as_a_whole() -> None:
    """More than one operation's worth: the approval covers all of them, and who joins does not wait."""
    leaving = {guid(number) for number in range(1500)}
    site = Site(1501, leaving, safety={"minRemovals": 5, "maxRemovals": "10%"})
    status = await site.look_at("p1500")
    assert status.reason is Reason.SAFETY_LIMIT
    assert site.groups_directory.members == leaving | {guid(1500)}
    assert status.membership is not None
    assert status.membership.applied == 1
    planned = site.work.guard.planned()
    assert planned is not None
    assert planned.digest is not None
    assert site.work.guard.approve(planned.digest) == [str(group_key())]
    assert (await site.look_at("p1500")).reason is Reason.SYNCED
    assert site.groups_directory.members == {guid(1500)}


@pytest.mark.parametrize("policy", ["Managed", "Exact"])
async def test_a_user_that_is_gone_leaves_the_group(policy: str) -> None:
    """Its account with our mark is not a stranger's."""
    site = Site(2, {guid(0), guid(1), STRANGER})
    site.store.remove(USER, "team-a", "p0")
    assert user_key("p0") not in site.store.resources
    await site.look_at("p0", "p1", membershipPolicy=policy)
    assert site.groups_directory.members == {guid(1)} | ({STRANGER} if policy == "Managed" else set())


async def test_observe_plans_and_writes_nothing() -> None:
    site = Site(2, {guid(0)}, mode="Observe")
    status = await site.look_at("p1")
    assert status.reason is Reason.OBSERVING
    assert status.planned_changes == [f"members of CN=finance,{ROOT}: +p1, −p0"]
    assert site.written == []


# --- others who keep changing the members ---


async def undone(site: Site, *names: str, times: int, **spec: Any) -> None:
    """So many rounds: p0 is taken out by others, and the stranger put in."""
    for _ in range(times):
        site.groups_directory.by_others(lambda members: members.symmetric_difference_update({guid(0), STRANGER}))
        await site.work.read_members(FINANCE)
        status = await site.look_at(*names, **spec)
        assert status.reason is Reason.SYNCED


async def test_a_member_that_others_fight_about_is_left_alone_and_the_rest_goes_on() -> None:
    site = Site(4, {guid(0), guid(1)})
    await undone(site, "p0", "p1", times=5, membershipPolicy="Exact")
    assert len(site.written) == 5
    site.groups_directory.by_others(lambda members: members.symmetric_difference_update({guid(0), STRANGER}))
    await site.work.read_members(FINANCE)
    status = await site.look_at("p0", "p1", membershipPolicy="Exact")
    assert status.reason is Reason.CONTESTED
    assert "taking out p0 and putting in stranger;" in (status.message or "")
    assert status.planned_changes == [f"members of CN=finance,{ROOT}: +p0, −stranger"]
    assert site.pause is not None
    assert 20 < site.pause <= 30
    assert len(site.written) == 5
    status = await site.look_at("p0", "p2", membershipPolicy="Exact")
    assert site.groups_directory.members == {STRANGER, guid(2)}
    assert status.reason is Reason.CONTESTED
    status = await site.look_at("p2", membershipPolicy="Managed")
    assert status.reason is Reason.SYNCED, "neither is asked for any more"
    status = await site.look_at("p0", "p2", membershipPolicy="Exact")
    assert status.reason is Reason.CONTESTED
    site.groups_directory.by_others(lambda members: members.symmetric_difference_update({guid(0), STRANGER}))
    await site.work.read_members(FINANCE)
    assert (await site.look_at("p0", "p2", membershipPolicy="Exact")).reason is Reason.SYNCED


async def test_removals_that_are_held_stay_held_while_a_member_is_contested() -> None:
    site = Site(10, {guid(number) for number in range(9)}, safety={"minRemovals": 3, "maxRemovals": "1%"})
    await undone(site, *everybody(9), times=5)
    site.groups_directory.by_others(lambda members: members.discard(guid(0)))
    await site.work.read_members(FINANCE)
    status = await site.look_at("p0", "p9")
    assert status.reason is Reason.SAFETY_LIMIT
    assert site.work.guard.planned() is not None
    assert site.groups_directory.members == {STRANGER, *(guid(number) for number in range(1, 10))}
    assert (await site.look_at(*everybody(10))).reason is Reason.CONTESTED
    assert site.work.guard.planned() is None, "nobody is to go any more"


# --- many at once ---


def everybody(count: int = MANY) -> list[str]:
    return [f"p{number}" for number in range(count)]


def take_the_name(site: Site, number: int, other: str) -> None:
    """Person `number` is renamed, and somebody else takes the name that becomes free, without our being told of either."""
    entries = site.groups_directory.ad.entries
    theirs = entries[guid(number)].dn
    entries[guid(number)] = replace(entries[guid(number)], dn=DN.parse(f"CN=renamed,{ROOT}"))
    entries[other] = replace(entries[other], dn=theirs)


async def test_many_join_by_name_and_are_read_back_once() -> None:
    site = Site(MANY, set())
    status = await site.look_at(*everybody())
    (change,) = site.written
    assert isinstance(change, ModifyMembers)
    assert [str(name) for name in change.names] == [f"CN={site.work.mirror.by_guid(each).sam},{ROOT}" for each in change.add]  # type: ignore[union-attr]
    assert site.groups_directory.member_reads == 1
    assert status.reason is Reason.SYNCED
    assert status.membership is not None
    assert (status.membership.applied, status.membership.foreign) == (MANY, 0)
    await site.look_at(*everybody())
    assert (len(site.written), site.groups_directory.member_reads) == (1, 1)


async def test_few_join_a_large_group_by_what_never_changes() -> None:
    site = Site(720, {guid(number) for number in range(600)})
    await site.look_at(*everybody(720))
    (change,) = site.written
    assert isinstance(change, ModifyMembers)
    assert (len(change.add), change.names) == (120, ())
    assert site.groups_directory.member_reads == 0


@pytest.mark.parametrize("new", [False, True])
async def test_who_took_the_name_of_one_who_joins_is_taken_out_again(*, new: bool) -> None:
    site = Site(MANY, set())
    if new:
        site.forget_group()
    site.groups_directory.before_write = lambda _change: take_the_name(site, 7, STRANGER)
    await site.look_at(*everybody())
    site.groups_directory.before_write = lambda _change: None
    assert STRANGER not in site.groups_directory.members
    assert site.pause == 0.0
    site.work.mirror.put(site.groups_directory.ad.entries[guid(7)])  # as the feed brings it
    status = await site.look_at(*everybody())
    assert status.reason is Reason.SYNCED
    assert site.groups_directory.members == {guid(number) for number in range(MANY)}
    assert not site.work.memory.unseen


async def test_who_was_in_the_group_before_stays_whatever_the_name() -> None:
    site = Site(MANY, {STRANGER})
    site.groups_directory.before_write = lambda _change: take_the_name(site, 7, STRANGER)
    await site.look_at(*everybody())
    assert STRANGER in site.groups_directory.members


async def test_who_joined_by_name_is_looked_for_after_a_lost_connection_too() -> None:
    """It is not known then whether the write happened."""
    site = Site(MANY, set())
    lost = [True]

    async def cut(guid: str) -> list[Link]:
        if lost.pop():
            take_the_name(site, 7, STRANGER)
            site.groups_directory.members = (site.groups_directory.members - {site_guid}) | {STRANGER}
            raise DirectoryUnavailable("cut")
        raise AssertionError

    site_guid = guid(7)
    whole = site.groups_directory.read_members
    site.groups_directory.read_members = cut  # type: ignore[method-assign]
    with pytest.raises(DirectoryUnavailable):
        await site.look_at(*everybody())
    site.groups_directory.read_members = whole  # type: ignore[method-assign]
    await site.look_at(*everybody())
    assert STRANGER not in site.groups_directory.members


async def test_a_new_group_has_its_members_from_the_beginning() -> None:
    site = Site(3, set())
    site.forget_group()
    status = await site.look_at("p0", "p2", "nobody")
    (change,) = site.written
    assert isinstance(change, Add)
    assert (change.members, change.names) == ((guid(0), guid(2)), ())
    created = ("Created", f"created group CN=finance,{ROOT} with 2 members")
    assert site.events.said == [created, ("MembersChanged", f"CN=finance,{ROOT}: +p0, +p2")]
    assert site.groups_directory.member_reads == 0
    assert site.told == {guid(0), guid(2)}
    assert status.reason is Reason.SYNCED
    assert status.membership is not None
    assert (status.membership.desired, status.membership.applied) == (3, 2)


async def test_a_new_group_of_thousands_gets_the_rest_right_after() -> None:
    site = Site(2100, set())
    site.forget_group()
    status = await site.look_at(*everybody(2100))
    assert [type(change) for change in site.written] == [Add, ModifyMembers, ModifyMembers]
    assert site.groups_directory.members == {guid(number) for number in range(2100)}
    assert status.reason is Reason.SYNCED


async def test_a_new_group_is_made_without_its_members_where_one_of_them_is_gone() -> None:
    site = Site(3, set())
    site.forget_group()
    site.groups_directory.gone.add(guid(1))
    del site.groups_directory.ad.entries[guid(1)]
    await site.look_at("p0", "p1")
    assert [type(change) for change in site.written] == [Add, ModifyMembers]
    assert site.groups_directory.members == {guid(0)}


async def test_what_is_left_waits_until_the_others_have_written() -> None:
    site = Site(1, set())
    site.work.pressing.add(user_key("other"))
    look = asyncio.create_task(site.look_at("p0"))
    await asyncio.wait([look], timeout=0.2)
    assert site.written
    assert not look.done()
    assert site.work.pressing == {user_key("other")}
    site.work.pressing.clear()
    assert (await look).reason is Reason.SYNCED
    assert not site.work.pressing

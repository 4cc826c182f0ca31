"""What a comparison reads of the directory, and what it can do without; and the looks after one that found nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from adsync.core.entries import LOCKOUT, PASSWORD_EXPIRED, Entry, EntryKind
from adsync.core.owner import OwnerMark
from adsync.core.policy import UNKNOWN, PasswordPolicy
from adsync.directory.model import Link, MemberList
from adsync.errors import DirectoryUnavailable
from adsync.resources.synceduser import Origin
from adsync.sync import comparison
from adsync.sync.comparison import Comparison
from adsync.sync.imports import Imports
from adsync.sync.merging_users import MergingUsers
from adsync.sync.mirror import Mirror
from adsync.sync.store import Key
from adsync.sync.workplace import Workplace
from tests.unit.core.support import GUID, OWNER, TICKS, entry
from tests.unit.sync.support import JDOE
from tests.unit.sync.test_looks import Place

GROUP, NEWCOMER = "00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-0000000000bb"
LATER = 10 * TICKS


def group(usn: int = 5) -> Entry:
    return entry(GROUP, "finance", kind=EntryKind.GROUP, usn_changed=usn, upn="", primary_group=0)


class Domain:
    """A directory that counts what it is asked. Its constructed attributes are given out only where they are asked for."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = {each.guid: each for each in entries}
        self.members: set[str] = {GUID}
        self.asked: list[str] = []
        self.cut = False
        self.policy = UNKNOWN

    async def read_policy(self) -> PasswordPolicy:
        return self.policy

    async def sweep(self, *, full_below: Any, constructed: bool = True) -> AsyncIterator[list[Entry]]:
        self.asked.append("all of all" if constructed else "stored of all")
        yield [each if constructed else replace(each, computed_control=0, password_expires=0) for each in self.entries.values()]
        if self.cut:
            raise DirectoryUnavailable("cut")

    async def find(self, *, guids: Iterable[str]) -> list[Entry]:
        wanted = list(guids)
        self.asked.append(f"all of {', '.join(sorted(self.entries[each].sam for each in wanted))}")
        return [self.entries[each] for each in wanted]

    async def member_lists(self) -> AsyncIterator[list[MemberList]]:
        self.asked.append("members of all")
        yield [
            MemberList(each.guid, each.usn_changed, [Link("", member) for member in self.members])
            for each in self.entries.values()
            if each.kind is EntryKind.GROUP
        ]


class Work:
    def __init__(self, *entries: Entry) -> None:
        self.directory, self.mirror = Domain(*entries), Mirror()
        self.rules, self.policy = SimpleNamespace(container=None), UNKNOWN
        self.writing: set[str] = set()
        self.current: list[str] = []
        self.comparison = Comparison(cast("Workplace", self), lambda each: self.current.append(each.sam), lambda: None)

    async def refresh(self, guid: str) -> None:
        self.directory.asked.append(f"whether {self.mirror.by_guid(guid).sam} is gone")  # type: ignore[union-attr]
        self.mirror.drop(guid)

    async def read_members(self, guid: str) -> None:
        self.directory.asked.append("members of one")
        self.mirror.put_members(guid, self.directory.entries[guid].usn_changed, set(self.directory.members))

    async def compare(self) -> list[str]:
        self.directory.asked.clear()
        self.current.clear()
        await self.comparison.run()
        return list(self.directory.asked)


async def test_everything_at_the_start_and_then_what_has_moved() -> None:
    work = Work(entry(password_expires=LATER), group())
    assert await work.compare() == ["all of all", "members of all"]
    assert work.current == []
    revision, known = work.mirror.revision, work.mirror.by_guid(GUID)
    assert await work.compare() == ["stored of all"]
    assert work.current == ["jdoe"]
    assert work.mirror.by_guid(GUID) is known
    assert known is not None
    assert (known.password_expires, work.mirror.revision) == (LATER, revision)


async def test_what_moved_is_read_whole_and_a_group_s_members_too() -> None:
    work = Work(entry(), group())
    await work.compare()
    work.directory.entries[GUID] = entry(usn_changed=9, password_expires=LATER)
    work.directory.entries[NEWCOMER] = entry(NEWCOMER, "new", computed_control=LOCKOUT)
    work.directory.entries[GROUP], work.directory.members = group(usn=8), {GUID, NEWCOMER}
    assert await work.compare() == ["stored of all", "all of finance, jdoe, new", "members of one"]
    assert work.mirror.by_guid(GUID) == work.directory.entries[GUID]
    assert work.mirror.by_guid(NEWCOMER) == work.directory.entries[NEWCOMER]
    assert sorted(work.current) == ["jdoe", "new"]
    assert work.mirror.members(GROUP) == {GUID, NEWCOMER}


async def test_a_stored_attribute_that_shows_without_a_change_is_taken_over() -> None:
    """A container that is renamed, or a right to read that is granted, leaves uSNChanged as it is."""
    work = Work(entry(password_expires=LATER))
    await work.compare()
    work.directory.entries[GUID] = entry(
        password_expires=LATER, attributes={"title": "Shown"}, dn="CN=jdoe,OU=Renamed,DC=corp,DC=example,DC=com"
    )
    await work.compare()
    assert work.mirror.by_guid(GUID) == work.directory.entries[GUID]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"computed_control": LOCKOUT}, {}),  # the lockout is over
        ({"password_expires": TICKS}, {"password_expires": TICKS, "computed_control": PASSWORD_EXPIRED}),
    ],
)
async def test_what_turns_with_time_alone_is_noticed(before: dict[str, Any], after: dict[str, Any]) -> None:
    work = Work(entry(**before))
    await work.compare()
    work.directory.entries[GUID] = entry(**after)
    assert await work.compare() == ["stored of all", "all of jdoe"]
    assert work.mirror.by_guid(GUID) == work.directory.entries[GUID]


async def test_much_that_moved_is_read_with_all_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_MANY_ACCOUNTS", 0)
    monkeypatch.setattr(comparison, "_MANY_GROUPS", 0)
    work = Work(entry(), group())
    await work.compare()
    work.directory.entries[GROUP], work.directory.members = group(usn=8), {GUID, NEWCOMER}
    assert await work.compare() == ["stored of all", "all of all", "members of all"]


async def test_after_a_change_of_the_password_policy_everything_again() -> None:
    """When a password expires is worked out from it, and no account's uSNChanged tells."""
    work = Work(entry(password_expires=LATER))
    await work.compare()
    work.directory.policy, work.directory.entries[GUID] = PasswordPolicy(max_age=86400), entry(password_expires=LATER + TICKS)
    assert await work.compare() == ["all of all", "members of all"]
    assert work.mirror.by_guid(GUID) == entry(password_expires=LATER + TICKS)
    assert work.policy == PasswordPolicy(max_age=86400)
    assert await work.compare() == ["stored of all"]


async def test_after_an_hour_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_THOROUGH_SECONDS", 0.0)
    work = Work(entry(), group())
    for _ in range(2):
        assert await work.compare() == ["all of all", "members of all"]


async def test_what_is_not_there_is_asked_for_and_only_after_a_whole_sweep() -> None:
    work = Work(entry(), group())
    await work.compare()
    del work.directory.entries[GROUP]
    work.directory.cut = True
    with pytest.raises(DirectoryUnavailable):
        await work.compare()
    assert work.mirror.by_guid(GROUP) is not None
    work.directory.cut = False
    assert await work.compare() == ["stored of all", "whether finance is gone"]


async def test_a_first_comparison_that_was_cut_is_made_up_for() -> None:
    work = Work(entry(), group())
    work.directory.cut = True
    with pytest.raises(DirectoryUnavailable):
        await work.compare()
    work.directory.cut = False
    assert await work.compare() == ["all of all", "members of all"]


# --- looks after one that found nothing -----------------------------------------------------------------------------------------------------


class Merged(MergingUsers):
    """Counts whole looks."""

    def __init__(self, place: Workplace) -> None:
        super().__init__(place, Imports(place, lambda _key: None, lambda: None))
        self.rounds_made = 0

    async def _round(self, *arguments: Any) -> Any:
        self.rounds_made += 1
        return await super()._round(*arguments)

    async def look_at(self, key: Key) -> int:
        """How many whole looks it took."""
        before = self.rounds_made
        assert await self.look(key) is None
        return self.rounds_made - before


@pytest.fixture
def both() -> Place:
    place = Place(entry(mark=str(OwnerMark(OWNER, Origin.CREATED))), direction="Import", scopeGroup="everybody")
    place.users = Merged(place.work)
    place.ask()
    return place


async def test_once_its_status_is_written_a_look_that_finds_all_the_same_is_over_at_once(both: Place) -> None:
    users = cast("Merged", both.users)
    assert await users.look_at(JDOE) == 1
    assert await users.look_at(JDOE) == 1, "nothing says yet that its status was written"
    both.write_status(JDOE)
    assert await users.look_at(JDOE) == 0
    assert await users.look_at(JDOE) == 0


async def test_a_status_that_somebody_else_wrote_since_is_looked_at(both: Place) -> None:
    users = cast("Merged", both.users)
    await users.look_at(JDOE)
    both.write_status(JDOE)
    both.ask(meta={"generation": 1})  # the same resource, in a newer version
    assert await users.look_at(JDOE) == 1


async def test_a_spec_that_was_edited_while_the_status_was_on_its_way_is_looked_at(both: Place) -> None:
    users = cast("Merged", both.users)
    await users.look_at(JDOE)
    both.ask()  # another generation, of which the look knew nothing
    both.write_status(JDOE)
    assert await users.look_at(JDOE) == 1


async def test_an_account_that_changed_is_looked_at(both: Place) -> None:
    users = cast("Merged", both.users)
    await users.look_at(JDOE)
    both.write_status(JDOE)
    both.work.mirror.put(entry(mark=str(OwnerMark(OWNER, Origin.CREATED)), usn_changed=9, computed_control=LOCKOUT))
    assert await users.look_at(JDOE) == 1


async def test_a_look_that_found_something_since_is_not_forgotten(both: Place) -> None:
    """Its report is the one that was written: when all is as at the look before, the status has to say so again."""
    users = cast("Merged", both.users)
    await users.look_at(JDOE)
    both.work.protected[GUID] = "it is in Domain Admins"
    await users.look_at(JDOE)
    both.write_status(JDOE)
    del both.work.protected[GUID]
    assert await users.look_at(JDOE) == 1

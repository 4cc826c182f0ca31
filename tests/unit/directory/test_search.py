"""Complete, or it says so: pages and ranges as Windows and Samba give them, and as they break off."""

from __future__ import annotations

import asyncio

import pytest

from adsync.directory import filters, search, wire
from adsync.directory.wire import Answer, RawEntry
from adsync.errors import DirectoryError, DirectoryUnavailable, IncompleteRead, NoSuchObject
from tests.unit.directory.support import SUCCESS, Scripted, paged


def end(cookie: bytes = b"") -> Answer:
    return Answer(0, controls=paged(cookie))


def named(*names: str) -> list[RawEntry]:
    return [(name, {}) for name in names]


async def test_pages_are_followed_to_the_end() -> None:
    fake = Scripted([(named("a", "b"), end(b"\x01")), (named("c"), end(b"\x02")), ([], end())])
    found = await search.collect(fake.connection, "DC=x", filters.ACCOUNTS, ["cn"], size=2)
    assert [name for name, _ in found] == ["a", "b", "c"]
    assert [wire.encode(1, wire.delete_request("x"), each["controls"]).endswith(b"\x04\x00") for each in fake.asked] == [True, False, False]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(4, controls=paged()), IncompleteRead),
        (Answer(3), IncompleteRead),
        (Answer(11), IncompleteRead),
        (SUCCESS, IncompleteRead),  # the paging control is missing
        (Answer(32), NoSuchObject),
        (Answer(51), DirectoryUnavailable),
        (Answer(10), DirectoryError),
        (Answer(0, controls={wire.PAGED_RESULTS: b"\x30"}), DirectoryUnavailable),
    ],
)
async def test_a_sweep_that_breaks_off_never_ends_normally(answer: Answer, kind: type[DirectoryError]) -> None:
    fake = Scripted([(named("a"), end(b"\x01")), (named("b"), answer)])
    with pytest.raises(kind):
        await search.collect(fake.connection, "DC=x", filters.ACCOUNTS, ["cn"])


async def test_one_is_there_or_absent_or_not_known() -> None:
    fake = Scripted([(named("a"), SUCCESS), ([], SUCCESS), ([], Answer(32)), ([], Answer(50)), ([], Answer(52))])
    assert await search.one(fake.connection, "a", ["cn"]) == ("a", {})
    assert await search.one(fake.connection, "a", ["cn"]) is None
    assert await search.one(fake.connection, "a", ["cn"]) is None
    for _ in range(2):
        with pytest.raises(DirectoryError):
            await search.one(fake.connection, "a", ["cn"])


async def test_any_one_is_content_with_a_size_limit() -> None:
    fake = Scripted([(named("a"), Answer(4)), ([], SUCCESS), ([], Answer(3))])
    assert await search.any_one(fake.connection, "DC=x", filters.USERS) == ("a", {})
    assert await search.any_one(fake.connection, "DC=x", filters.USERS) is None
    with pytest.raises(IncompleteRead):
        await search.any_one(fake.connection, "DC=x", filters.USERS)


def group(usn: int, **runs: list[bytes]) -> tuple[list[RawEntry], Answer]:
    attributes = {name.replace("__", ";range=").replace("_", "-").replace("end", "*"): values for name, values in runs.items()}
    return [("CN=g", {"usnchanged": [str(usn).encode()], **attributes})], SUCCESS


async def test_ranges_as_windows_gives_them() -> None:
    fake = Scripted([group(5, member__0_1=[b"a", b"b"]), group(5, member__2_3=[b"c", b"d"]), group(5, member__4_end=[b"e"])])
    assert await search.values(fake.connection, "CN=g", "member") == [b"a", b"b", b"c", b"d", b"e"]
    assert [each["attributes"][0] for each in fake.asked] == ["member;range=0-*", "member;range=2-*", "member;range=4-*"]


async def test_ranges_as_samba_gives_them() -> None:
    assert await search.values(Scripted([group(5, member__0_end=[b"a"])]).connection, "CN=g", "member") == [b"a"]
    assert await search.values(Scripted([group(5, member=[b"a", b"b"])]).connection, "CN=g", "member") == [b"a", b"b"]


async def test_no_values_and_no_object() -> None:
    assert await search.values(Scripted([group(5)]).connection, "CN=g", "member") == []
    assert await search.values(Scripted([([], Answer(32))]).connection, "CN=g", "member") is None


async def test_a_change_in_between_begins_again() -> None:
    fake = Scripted([group(5, member__0_0=[b"a"]), group(6, member__1_end=[b"c"]), group(6, member__0_end=[b"b", b"c"])])
    assert await search.values(fake.connection, "CN=g", "member") == [b"b", b"c"]


async def test_a_group_deleted_in_between() -> None:
    fake = Scripted([group(5, member__0_0=[b"a"]), ([], Answer(32)), ([], Answer(32))])
    assert await search.values(fake.connection, "CN=g", "member") is None


async def test_a_group_that_never_stands_still_is_incomplete() -> None:
    fake = Scripted([group(usn, **{f"member__{usn % 2}_{usn % 2}": [b"x"]}) for usn in range(10)])
    with pytest.raises(IncompleteRead, match="keeps changing"):
        await search.values(fake.connection, "CN=g", "member")


async def test_a_rest_that_is_missing_is_incomplete() -> None:
    for second in (group(5), group(5, member__7_end=[b"x"])):
        with pytest.raises(IncompleteRead):
            await search.values(Scripted([group(5, member__0_0=[b"a"]), second]).connection, "CN=g", "member")


async def test_the_next_page_is_on_its_way_while_one_is_looked_at() -> None:
    fake = Scripted([(named("a"), end(b"\x01")), (named("b"), end(b"\x02")), (named("c"), end())])
    found = search.pages(fake.connection, "DC=x", filters.ACCOUNTS, ["cn"])
    assert await anext(found) == named("a")
    await asyncio.sleep(0)
    assert len(fake.asked) == 2
    await found.aclose()  # whoever has enough asks for no more
    await asyncio.sleep(0)
    assert len(fake.asked) == 2

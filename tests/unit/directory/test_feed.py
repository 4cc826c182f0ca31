"""Replication cursors in both forms that servers tell them in, and what tombstones show."""

from __future__ import annotations

import struct
import uuid

import pytest

from adsync.directory import feed
from adsync.directory.wire import Answer, RawEntry
from adsync.errors import DirectoryError, DirectoryUnavailable
from tests.unit.directory.support import SUCCESS, Scripted

ONE, TWO = (uuid.UUID(int=number) for number in (1, 2))
XML = b"""<DS_REPL_CURSOR>
    <uuidSourceDsaInvocationID>%s</uuidSourceDsaInvocationID>
    <usnAttributeFilter>%d</usnAttributeFilter>
    <ftimeLastSyncSuccess>2026-01-01T00:00:00Z</ftimeLastSyncSuccess>
</DS_REPL_CURSOR>\x00"""


def answer(**attributes: list[bytes]) -> tuple[list[RawEntry], Answer]:
    return [("DC=x", {name.replace("_", "-"): values for name, values in attributes.items()})], SUCCESS


async def cursor(*searches: tuple[list[RawEntry], Answer]) -> int | None:
    return await feed.replication_cursor(Scripted(list(searches)).connection, "DC=x", str(TWO).upper())


async def test_cursors_in_xml() -> None:
    values = [XML % (str(one).upper().encode(), usn) for one, usn in ((ONE, 11), (TWO, 22))]
    assert await cursor(answer(msds_ncreplcursors=values)) == 22


@pytest.mark.parametrize("version", [1, 2])
async def test_cursors_as_a_vector(version: int) -> None:
    extra = b"\x00" * 8 if version == 2 else b""
    parts = [one.bytes_le + struct.pack("<Q", usn) + extra for one, usn in ((ONE, 11), (TWO, 22))]
    vector = struct.pack("<4I", version, 0, 2, 0) + b"".join(parts)
    assert await cursor(answer(), answer(replUpToDateVector=[vector])) is None  # names come in lower case
    assert await cursor(answer(), answer(repluptodatevector=[vector])) == 22
    assert await cursor(answer(), answer(repluptodatevector=[vector[:-9]])) is None


async def test_cursors_that_can_not_be_read_are_not_known() -> None:
    assert await cursor(answer(), answer()) is None
    assert await cursor(([], Answer(50)), ([], Answer(32))) is None
    with pytest.raises(DirectoryUnavailable):
        await cursor(([], Answer(52)))


async def test_tombstones_show_or_do_not_or_it_is_not_known() -> None:
    there = answer()
    cases: list[tuple[list[tuple[list[RawEntry], Answer]], bool | None]] = [
        ([([], Answer(32))], False),
        ([([], Answer(50))], False),
        ([there, there], True),
        ([there, ([], SUCCESS)], None),
    ]
    for searches, shows in cases:
        assert await feed.reads_tombstones(Scripted(searches).connection, "DC=x") is shows
    with pytest.raises(DirectoryUnavailable):
        await feed.reads_tombstones(Scripted([([], Answer(51))]).connection, "DC=x")


async def test_a_server_without_a_usn_is_no_domain_controller() -> None:
    with pytest.raises(DirectoryError, match="highestCommittedUSN"):
        await feed.highest_usn(Scripted([answer()]).connection)

"""Searches that are complete or say that they are not (IncompleteRead): pages (RFC 2696), ranges (MS-ADTS 3.1.1.3.1.3.3) to their end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from adsync.directory import answers, codec, wire
from adsync.directory.connection import LdapConnection
from adsync.directory.filters import EVERYTHING, Filter
from adsync.directory.wire import Answer, RawEntry
from adsync.errors import DirectoryUnavailable, IncompleteRead

PATIENCE = 60.0
"""Seconds: a server may gather the whole result before it sends the first page."""

_RANGE = re.compile(r"(?P<name>[^;]+);range=(?P<low>\d+)-(?P<high>\d+|\*)")


async def pages(
    connection: LdapConnection,
    base: str,
    search_filter: Filter,
    attributes: Sequence[str],
    *,
    scope: int = wire.SUBTREE,
    size: int = 500,
    controls: Sequence[Any] = (),
) -> AsyncGenerator[list[RawEntry], None]:
    """The entries, page by page. It ends normally only after the server said success and that there are no more pages. The next page is
    asked for before one is given out, so that the server is at it meanwhile."""

    def ask(cookie: bytes) -> asyncio.Task[tuple[list[RawEntry], Answer]]:
        paging = [wire.paged_control(size, cookie), *controls]
        return asyncio.create_task(connection.search(base, scope, search_filter, attributes, controls=paging, patience=PATIENCE))

    asked = ask(b"")
    try:
        while True:
            found, answer = await asked
            cookie = _next_page(answer, base, connection.peer)
            if cookie:
                asked = ask(cookie)
            yield found
            if not cookie:
                return
    finally:
        asked.cancel()
        if asked.done() and not asked.cancelled():
            asked.exception()  # whoever did not come for the page need not hear why there was none


def _next_page(answer: Answer, base: str, peer: str) -> bytes:
    """The cookie that asks for it; empty after the last one."""
    if answer.code != answers.SUCCESS:
        raise answers.refused(answer, f"search below {base or 'the root'}")
    paging = answer.controls.get(wire.PAGED_RESULTS)
    if paging is None:
        raise IncompleteRead(f"the directory left out the paging of a search below {base}: it is not known whether anything is missing")
    try:
        return wire.paged_cookie(paging)
    except wire.ProtocolError as error:
        raise DirectoryUnavailable(f"{peer} sent {error}") from None


async def collect(
    connection: LdapConnection,
    base: str,
    search_filter: Filter,
    attributes: Sequence[str],
    *,
    scope: int = wire.SUBTREE,
    size: int = 500,
    controls: Sequence[Any] = (),
) -> list[RawEntry]:
    """All pages together."""
    found: list[RawEntry] = []
    async for page in pages(connection, base, search_filter, attributes, scope=scope, size=size, controls=controls):
        found += page
    return found


async def one(
    connection: LdapConnection, base: str, attributes: Sequence[str], search_filter: Filter = EVERYTHING, *, controls: Sequence[Any] = ()
) -> RawEntry | None:
    """The object `base` itself. None only where the server looked and it is not there, or does not match."""
    found, answer = await connection.search(base, wire.BASE, search_filter, attributes, controls=controls)
    if answer.code == answers.NO_SUCH_OBJECT:
        return None
    if answer.code != answers.SUCCESS:
        raise answers.refused(answer, f"read {base or 'the rootDSE'}")
    return found[0] if found else None


async def any_one(connection: LdapConnection, base: str, search_filter: Filter, *, controls: Sequence[Any] = ()) -> RawEntry | None:
    """Any one match below `base`, its objectGUID only; None where the server looked and has none."""
    found, answer = await connection.search(
        base, wire.SUBTREE, search_filter, ["objectGUID"], controls=controls, size_limit=1, patience=PATIENCE
    )
    if answer.code not in (answers.SUCCESS, answers.SIZE_LIMIT_EXCEEDED):
        raise answers.refused(answer, f"search below {base}")
    return found[0] if found else None


async def values(
    connection: LdapConnection, base: str, attribute: str, *, controls: Sequence[Any] = (), attempts: int = 5
) -> list[bytes] | None:
    """Every value of one attribute, however many; None where the object is not there.

    The position of a range means something only while the set stands still, so that a change in between begins the reading again; raises
    IncompleteRead where it never stands still.
    """
    for _ in range(attempts):
        found = await _ranges(connection, base, attribute, controls)
        if found is not _MOVED:
            return found
    raise IncompleteRead(f"{attribute} of {base} keeps changing while it is read; it will be tried again")


async def linked(
    connection: LdapConnection, base: str, search_filter: Filter, attribute: str, *, size: int, controls: Sequence[Any] = ()
) -> AsyncGenerator[list[tuple[RawEntry, list[bytes]]], None]:
    """Objects with all values of one of their link attributes, page by page; those that do not fit into an answer are read on their own."""
    names = ["objectGUID", "uSNChanged", f"{attribute};range=0-*"]
    async for page in pages(connection, base, search_filter, names, size=size, controls=controls):
        complete = []
        for entry in page:
            run, more = _run(entry, attribute.lower(), 0)
            if more:
                whole = await values(connection, codec.guid_dn(codec.guid_of(entry)), attribute, controls=controls)
                if whole is None:
                    continue  # deleted since: whoever looks for it finds that out
                run = whole
            complete.append((entry, run))
        yield complete


_MOVED: list[bytes] = []
"""What `_ranges` returns, by identity, where the object changed meanwhile."""


async def _ranges(connection: LdapConnection, base: str, attribute: str, controls: Sequence[Any]) -> list[bytes] | None:
    found: list[bytes] = []
    usn: int | None = None
    while True:
        entry = await one(connection, base, [f"{attribute};range={len(found)}-*", "uSNChanged"], controls=controls)
        if entry is None:
            return None if usn is None else _MOVED
        if usn is not None and codec.number(entry, "uSNChanged") != usn:
            return _MOVED
        usn = codec.number(entry, "uSNChanged")
        run, more = _run(entry, attribute.lower(), len(found))
        found += run
        if not more:
            return found


def _run(entry: RawEntry, attribute: str, start: int) -> tuple[list[bytes], bool]:
    """The values in this answer, and whether there are more. Without any range in the answer, it is the whole attribute."""
    for name, run in entry[1].items():
        match = _RANGE.fullmatch(name)
        if match is None or match["name"] != attribute:
            continue
        if int(match["low"]) != start:
            raise IncompleteRead(f"the directory answered {name} of {entry[0]} where values from {start} were asked for")
        return run, match["high"] != "*" and bool(run)
    if start:
        raise IncompleteRead(f"the directory left out the rest of {attribute} of {entry[0]}, from value {start} on")
    return entry[1].get(attribute, []), False

"""What changed, as one domain controller tells it: uSNChanged, tombstones, wake-ups, and how far it has caught up with others."""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import AsyncGenerator

from adsync.directory import codec, filters, search, wire
from adsync.directory.connection import LdapConnection
from adsync.directory.model import Notification
from adsync.directory.wire import RawEntry
from adsync.errors import DirectoryError, DirectoryUnavailable

_DELETED_OBJECTS = "18E2EA80684F11D2B9AA00C04F79F805"  # GUID_DELETED_OBJECTS_CONTAINER_W, MS-ADTS 6.1.1.4

_TOMBSTONES = filters.all_of(filters.equal("isDeleted", "TRUE"), filters.any_of((filters.equal("objectClass", "user"), filters.GROUPS)))


async def highest_usn(connection: LdapConnection) -> int:
    root = await search.one(connection, "", ["highestCommittedUSN"])
    if root is None or not root[1].get("highestcommittedusn"):
        raise DirectoryError(f"{connection.peer} does not tell its highestCommittedUSN: it is no domain controller, or hides its rootDSE")
    return codec.number(root, "highestCommittedUSN")


def deleted_objects(base: str) -> str:
    return f"<WKGUID={_DELETED_OBJECTS},{base}>"


async def reads_tombstones(connection: LdapConnection, base: str) -> bool | None:
    """Whether deleted users and groups show. None: the container of deleted objects shows, but none in it; it may be empty, or be closed to
    us. False: it does not show, as is the default for all but administrators."""
    controls = [wire.control(wire.SHOW_DELETED)]
    try:
        if await search.one(connection, deleted_objects(base), ["objectGUID"], controls=controls) is None:
            return False
        return True if await search.any_one(connection, deleted_objects(base), _TOMBSTONES, controls=controls) is not None else None
    except DirectoryUnavailable:
        raise
    except DirectoryError:
        return False


async def deleted_since(connection: LdapConnection, base: str, usn: int, size: int) -> list[str]:
    """The objectGUIDs of users and groups deleted after `usn`."""
    gone = filters.all_of(_TOMBSTONES, filters.at_least("uSNChanged", usn + 1))
    controls = [wire.control(wire.SHOW_DELETED)]
    found = await search.collect(
        connection, deleted_objects(base), gone, ["objectGUID"], scope=wire.ONE_LEVEL, size=size, controls=controls
    )
    return [codec.guid_of(entry) for entry in found]


async def notifications(connection: LdapConnection, base: str) -> AsyncGenerator[Notification, None]:
    """Wake-ups (MS-ADTS 3.1.1.3.4.1.9). Windows takes the subtree at the root of a naming context and this filter only."""
    stream = connection.listen(
        base, wire.SUBTREE, filters.EVERYTHING, ["objectGUID", "uSNChanged"], controls=[wire.control(wire.NOTIFICATION)]
    )
    async for entry in stream:
        if entry[1].get("objectguid"):
            yield Notification(codec.guid_of(entry), codec.number(entry, "uSNChanged"), entry[0])


async def replication_cursor(connection: LdapConnection, base: str, invocation_id: str) -> int | None:
    """Up to which USN of another domain controller this one has everything; None where it can't be read or knows nothing of that one."""
    for attribute, parse in (("msDS-NCReplCursors", _cursors_from_xml), ("replUpToDateVector", _cursors_from_vector)):
        try:
            entry = await search.one(connection, base, [attribute])
        except DirectoryUnavailable:
            raise
        except DirectoryError:
            continue
        if entry is not None and (usn := parse(entry, attribute).get(invocation_id.lower())) is not None:
            return usn
    return None


_CURSOR = re.compile(
    rb"<uuidSourceDsaInvocationID>\s*([0-9A-Fa-f-]{36})\s*</uuidSourceDsaInvocationID>.*?<usnAttributeFilter>\s*(\d+)\s*</usnAttributeFilter>",
    re.DOTALL,
)


def _cursors_from_xml(entry: RawEntry, attribute: str) -> dict[str, int]:
    """MS-ADTS 3.1.1.4.5.29: a DS_REPL_CURSOR element a value."""
    values = entry[1].get(attribute.lower(), ())
    return {match[1].decode().lower(): int(match[2]) for value in values for match in _CURSOR.finditer(value)}


def _cursors_from_vector(entry: RawEntry, attribute: str) -> dict[str, int]:
    """MS-DRSR 5.212, UPTODATE_VECTOR_V1_EXT and V2_EXT: a header of 16 octets, then a GUID, a USN and, in V2, a time each."""
    values = entry[1].get(attribute.lower())
    if not values or len(values[0]) < 16:
        return {}
    version, _, count, _ = struct.unpack_from("<4I", values[0])
    size = {1: 24, 2: 32}.get(version, 0)
    if not size or len(values[0]) < 16 + count * size:
        return {}
    parts = (struct.unpack_from("<16sQ", values[0], 16 + index * size) for index in range(count))
    return {str(uuid.UUID(bytes_le=guid)): usn for guid, usn in parts}

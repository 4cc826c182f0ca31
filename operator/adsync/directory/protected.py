"""Who is privileged: AD's protected groups, known by SID and not by name, with all that is in them however nested (MS-ADTS 3.1.1.6.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adsync.directory import codec, filters, search, wire
from adsync.directory.connection import LdapConnection
from adsync.directory.wire import RawEntry

_BUILTIN = "S-1-5-32"
_BUILTIN_RIDS = (544, 548, 549, 550, 551, 552)
"""Administrators, Account Operators, Server Operators, Print Operators, Backup Operators, Replicator."""

_DOMAIN_RIDS = (498, 512, 516, 517, 518, 519, 520, 521, 526, 527)
"""(Enterprise) read-only and other domain controllers, Domain/Schema/Enterprise Admins, Cert Publishers, Group Policy Creator Owners,
(Enterprise) Key Admins. AdminSDHolder leaves Cert Publishers and Group Policy Creator Owners out; their members can still make
themselves administrators."""

FIRST_ORDINARY_RID = 1000
"""RIDs below are the domain's built-in accounts: Administrator, Guest, krbtgt and groups (MS-ADTS 6.1.1.6)."""

SHOWN = ("objectGUID", "objectSid", "sAMAccountName", "adminCount", "isCriticalSystemObject", "primaryGroupID")


def sids(domain_sid: str) -> list[str]:
    """The SIDs of the protected groups of a domain."""
    return [f"{_BUILTIN}-{rid}" for rid in _BUILTIN_RIDS] + [f"{domain_sid}-{rid}" for rid in _DOMAIN_RIDS]


@dataclass(slots=True)
class Protected:
    """The protected groups of a domain as last read: what a check at the moment of writing needs."""

    groups: Mapping[str, str] = field(default_factory=dict)  # DN → name, the protected groups themselves
    primary: Mapping[int, str] = field(default_factory=dict)  # RID → name, of every group that is protected or nested in one that is


async def read_groups(connection: LdapConnection, base: str, domain_sid: str) -> list[RawEntry]:
    """The protected groups that exist in this domain (some are in the forest's root domain only)."""
    wanted = filters.any_of(filters.equal("objectSid", codec.sid_bytes(sid)) for sid in sids(domain_sid))
    return await search.collect(connection, base, filters.all_of(filters.GROUPS, wanted), SHOWN)


async def read_all(connection: LdapConnection, base: str, domain_sid: str) -> tuple[set[str], Protected]:
    """The objectGUIDs of everything protected: those groups, what is in them however nested, and who has one as the primary group.

    From the groups down, level by level: protected groups are few and small, whereas asking every account would be a walk for each.
    """
    found = await read_groups(connection, base, domain_sid)
    known = Protected({entry[0]: codec.text(entry, "sAMAccountName") for entry in found})
    guids: set[str] = set()
    primary: dict[int, str] = {}
    level = found
    while level:
        fresh = {codec.guid_of(entry): entry for entry in level}
        guids |= fresh.keys()
        primary |= {_rid(entry): codec.text(entry, "sAMAccountName") for entry in level}
        lists = await asyncio.gather(*(_members(connection, guid) for guid in fresh))
        new = {guid for members in lists for guid in members} - guids
        guids |= new
        level = await _groups_among(connection, base, sorted(new))
    by_primary = filters.any_of(filters.equal("primaryGroupID", str(rid)) for rid in primary)
    users = await search.collect(connection, base, by_primary, ["objectGUID"]) if primary else []
    guids |= {codec.guid_of(entry) for entry in users}
    known.primary = primary
    return guids, known


async def reason(connection: LdapConnection, found: RawEntry, known: Protected, own_guid: str) -> str | None:
    """Why an object must not be written, in words, or None. `found` was read a moment ago, with the attributes in SHOWN and `memberOf`.

    `known` may be a while old: the protected groups in it are asked of the server afresh, for whoever is in any group at all, and
    adminCount says what the domain itself found in its last round.
    """
    if codec.guid_of(found) == own_guid:
        return "it is the operator's own service account"
    if codec.text(found, "isCriticalSystemObject") == "TRUE" or 0 < _rid(found) < FIRST_ORDINARY_RID:
        return "it is a built-in account or group of the domain"
    if name := known.primary.get(codec.number(found, "primaryGroupID")):
        return f"its primary group is the privileged group {name}"
    if name := await _privileged_through(connection, found, known):
        return f"it is a member of the privileged group {name}, directly or through other groups"
    if codec.number(found, "adminCount") == 1:
        return "its adminCount is 1: it is, or once was, in a privileged group (an administrator can clear adminCount once it has left)"
    return None


async def _privileged_through(connection: LdapConnection, found: RawEntry, known: Protected) -> str | None:
    """The name of a protected group that this object is in, however deep. No search for what is in no group, one for most others."""
    direct = codec.texts(found, "memberOf")
    if not direct or not known.groups:
        return None
    for dn in direct:
        if dn in known.groups:
            return known.groups[dn]
    itself = codec.guid_dn(codec.guid_of(found))
    chains = {name: filters.in_chain("memberOf", dn) for dn, name in known.groups.items()}
    if await search.one(connection, itself, ["objectGUID"], filters.any_of(chains.values())) is None:
        return None
    for name, chain in chains.items():
        if await search.one(connection, itself, ["objectGUID"], chain) is not None:
            return name
    return "that it was in a moment ago"


async def _members(connection: LdapConnection, guid: str) -> list[str]:
    values = await search.values(connection, codec.guid_dn(guid), "member", controls=[wire.extended_dn()])
    return [found.guid for found in map(codec.link, values or ()) if found.guid]


async def _groups_among(connection: LdapConnection, base: str, guids: Sequence[str]) -> list[RawEntry]:
    found: list[RawEntry] = []
    for batch in filters.batches(guids):
        wanted = filters.all_of(filters.GROUPS, filters.any_of(map(filters.guid_is, batch)))
        found += await search.collect(connection, base, wanted, SHOWN)
    return found


def _rid(entry: RawEntry) -> int:
    sid = codec.sid_text(entry[1].get("objectsid", [b""])[0])
    return int(sid.rpartition("-")[2] or 0)

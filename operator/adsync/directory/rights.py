"""What the service account may do, and what it should not be able to, as the directory itself works it out.

allowedAttributesEffective, allowedChildClassesEffective and sDRightsEffective are constructed for whoever asks (MS-ADTS 3.1.1.4.5.19 to
3.1.1.4.5.23). Extended rights (resetting a password) and deleting do not show in them: those are found out by doing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from adsync.core.dn import DN
from adsync.directory import codec, filters, protected, search
from adsync.directory.connection import LdapConnection
from adsync.directory.model import DomainInfo, Rights
from adsync.directory.wire import RawEntry
from adsync.errors import NoSuchObject

_EFFECTIVE = ("allowedAttributesEffective", "allowedChildClassesEffective", "sDRightsEffective")
_CHILDREN = {"user": "users", "group": "groups", "organizationalUnit": "organizational units", "computer": "computers"}
_DACL_OR_OWNER = 0x1 | 0x4  # OWNER_SECURITY_INFORMATION, DACL_SECURITY_INFORMATION


class _Effective(NamedTuple):
    attributes: frozenset[str]
    children: frozenset[str]
    descriptor: bool


async def read(
    connection: LdapConnection, info: DomainInfo, container: DN, user_attributes: Sequence[str], group_attributes: Sequence[str]
) -> Rights:
    """Raises NoSuchObject where there is no such container. Attributes are judged by an ordinary user and group below it, if any."""
    own = await search.one(connection, str(container), _EFFECTIVE)
    if own is None:
        raise NoSuchObject(f"there is no container {container} that the service account can see: create it, or correct the spec", code=32)
    here = _effective(own)
    missing = [f"create {_CHILDREN[kind]} in {container}" for kind in ("user", "group") if kind not in here.children]
    for kind, names in ((filters.USERS, user_attributes), (filters.GROUPS, group_attributes)):
        sample = await _sample(connection, str(container), kind)
        if sample is not None:
            what = "users" if kind is filters.USERS else "groups"
            able = _effective(sample).attributes
            missing += [f"write {name} of {what} below {container}" for name in names if name.lower() not in able]
    return Rights(sorted(missing), sorted(await _excess(connection, info, container, here)))


async def _excess(connection: LdapConnection, info: DomainInfo, container: DN, here: _Effective) -> list[str]:
    base = str(info.base)
    excess = [f"change the permissions of {container}"] if here.descriptor else []
    if container != info.base:
        domain = await search.one(connection, base, _EFFECTIVE)
        if domain is not None:
            top = _effective(domain)
            excess += [f"create {told} in {base}" for kind, told in _CHILDREN.items() if kind in top.children]
            excess += [f"change the permissions of {base}"] if top.descriptor else []
            excess += [f"change the password policy of {base}"] if "minpwdlength" in top.attributes else []
    for group in await protected.read_groups(connection, base, info.domain_sid):
        name, sid = codec.text(group, "sAMAccountName"), codec.sid_text(group[1].get("objectsid", [b""])[0])
        if sid in info.account_groups:
            excess.append(f"is a member of {name}")
            continue
        able = await search.one(connection, codec.guid_dn(codec.guid_of(group)), _EFFECTIVE)
        if able is not None and "member" in _effective(able).attributes:
            excess.append(f"change the members of {name}")
    return excess


async def _sample(connection: LdapConnection, container: str, kind: filters.Filter) -> RawEntry | None:
    """An ordinary object of that kind: rights on privileged ones are set back by AdminSDHolder and say nothing."""
    ordinary = filters.all_of(kind, filters.none_of(filters.equal("adminCount", "1"), filters.present("isCriticalSystemObject")))
    # In two steps: a server may work these attributes out for every match before it looks at the size limit.
    found = await search.any_one(connection, container, ordinary)
    return await search.one(connection, codec.guid_dn(codec.guid_of(found)), _EFFECTIVE) if found is not None else None


def _effective(entry: RawEntry) -> _Effective:
    lower = {name: frozenset(value.lower() for value in codec.texts(entry, name)) for name in _EFFECTIVE[:2]}
    children = frozenset(kind for kind in _CHILDREN if kind.lower() in lower["allowedChildClassesEffective"])
    return _Effective(lower["allowedAttributesEffective"], children, bool(codec.number(entry, "sDRightsEffective") & _DACL_OR_OWNER))


async def detect_entra(connection: LdapConnection, base: str) -> list[str]:
    """The traces of Entra Connect in a domain, in words: a second authority for passwords, not to be combined with ours unknowingly."""
    accounts = filters.any_of(
        (
            filters.prefix("sAMAccountName", "MSOL_"),
            filters.prefix("sAMAccountName", "ADSyncMSA"),
            filters.prefix("sAMAccountName", "provAgentgMSA"),
            filters.equal("sAMAccountName", "AZUREADSSOACC$"),
        )
    )
    found = await search.collect(connection, base, accounts, ["sAMAccountName"])
    traces = sorted(f"account {codec.text(entry, 'sAMAccountName')}" for entry in found)
    anchored = filters.all_of(filters.USERS, filters.present("mS-DS-ConsistencyGuid"))
    some = await search.any_one(connection, base, anchored)
    return traces + ([f"mS-DS-ConsistencyGuid set, for one on {some[0]}"] if some is not None else [])

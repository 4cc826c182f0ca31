"""From the directory's octets to `Entry` and back (MS-ADTS 2.2 and 3.1.1.2.2.2; MS-DTYP 2.3.4.2 for GUIDs, 2.4.2 for SIDs)."""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Iterable, Mapping

from pydantic import SecretStr

from adsync.core.dn import DN
from adsync.core.entries import Entry, EntryKind
from adsync.directory.model import Link
from adsync.directory.wire import RawEntry
from adsync.errors import InsufficientRights, InvalidSpec

_SIMPLE_DN = re.compile(r'([A-Za-z]+)=([^\s\\+",;<>=#](?:[^\\+",;<>=\x00]*[^\s\\+",;<>=\x00])?),(.+)', re.DOTALL)
_EXTENDED = re.compile(r"<GUID=([0-9A-Fa-f-]+)>;(?:<SID=(S-[0-9-]+)>;)?(.*)", re.DOTALL)

# sAMAccountType, MS-SAMR 2.2.1.9: groups and aliases, those for mail only included, begin with 1 and 2.
_GROUP_TYPES = (0x10000000, 0x10000001, 0x20000000, 0x20000001)

_FIXED = (
    "objectGUID", "objectSid", "sAMAccountName", "sAMAccountType", "uSNChanged", "cn", "userPrincipalName", "userAccountControl",
    "pwdLastSet", "adminCount", "primaryGroupID", "groupType", "isCriticalSystemObject",
)  # fmt: skip
CONSTRUCTED = ("msDS-User-Account-Control-Computed", "msDS-UserPasswordExpiryTimeComputed")
_NONE: Mapping[str, str] = {}


def guid_text(raw: bytes) -> str:
    """objectGUID octets as lower-case 8-4-4-4-12."""
    return str(uuid.UUID(bytes_le=raw))


def guid_dn(guid: str) -> str:
    """The alternative form of a DN, which follows the object wherever it goes (MS-ADTS 3.1.1.3.1.2.4). Raises InvalidSpec for no GUID."""
    try:
        return f"<GUID={uuid.UUID(guid)}>"
    except ValueError:
        raise InvalidSpec(f"{guid!r} is not an objectGUID") from None


def sid_text(raw: bytes) -> str:
    """A SID as S-1-...; "" for octets that are none."""
    if len(raw) < 8 or len(raw) != 8 + 4 * raw[1]:
        return ""
    parts = struct.unpack_from(f"<{raw[1]}I", raw, 8)
    return "-".join(map(str, ("S", raw[0], int.from_bytes(raw[2:8], "big"), *parts)))


def sid_bytes(text: str) -> bytes:
    revision, authority, *parts = (int(part) for part in text.split("-")[1:])
    return bytes((revision, len(parts))) + authority.to_bytes(6, "big") + struct.pack(f"<{len(parts)}I", *parts)


def password_value(password: SecretStr) -> bytes:
    """What unicodePwd takes: in quotes, UTF-16LE (MS-ADTS 3.1.1.3.1.5.1)."""
    return f'"{password.get_secret_value()}"'.encode("utf-16-le", "surrogatepass")


def text(entry: RawEntry, attribute: str, default: str = "") -> str:
    """The first value, with what is not UTF-8 replaced."""
    values = entry[1].get(attribute.lower())
    return values[0].decode("utf-8", "replace") if values else default


def texts(entry: RawEntry, attribute: str) -> list[str]:
    return [value.decode("utf-8", "replace") for value in entry[1].get(attribute.lower(), ())]


def number(entry: RawEntry, attribute: str, default: int = 0) -> int:
    values = entry[1].get(attribute.lower())
    try:
        return int(values[0]) if values else default
    except ValueError:
        return default


def guid_of(entry: RawEntry) -> str:
    """The objectGUID; raises InsufficientRights where the server does not show it: without it nothing can be told apart."""
    values = entry[1].get("objectguid")
    if not values or len(values[0]) != 16:
        raise InsufficientRights(f"the service account can't read objectGUID of {entry[0]}: grant it to read all properties there")
    return guid_text(values[0])


def link(value: bytes) -> Link:
    """One DN-valued attribute value, extended (MS-ADTS 3.1.1.3.4.1.5) or plain."""
    plain = value.decode("utf-8", "replace")
    found = _EXTENDED.match(plain)
    return Link(found.group(3), found.group(1).lower(), found.group(2) or "") if found else Link(plain)


def dn_of(written: str) -> DN:
    """A DN as a server wrote it. One that can't be parsed must not end a sweep: it becomes a name that lies below nothing."""
    try:
        return DN.parse(written)
    except InvalidSpec:
        return DN(((("unreadable", written),),))


class EntryCodec:
    """Turns answers into entries for one domain: `names` is what to ask the server for."""

    def __init__(self, attributes: Iterable[str], ownership_attribute: str) -> None:
        self._mapped = tuple((name, name.lower()) for name in dict.fromkeys(attributes))
        self._ownership = ownership_attribute.lower()
        asked = {name.lower(): name for name in (*_FIXED, *CONSTRUCTED, ownership_attribute, *(name for name, _ in self._mapped))}
        self.names: tuple[str, ...] = tuple(asked.values())
        self.stored: tuple[str, ...] = tuple(name for name in self.names if name not in CONSTRUCTED)
        self._parents: dict[str, DN] = {}

    def entry(self, raw: RawEntry, full_below: DN | None = None) -> Entry:
        """One user or group. With `full_below`, what lies elsewhere comes without its `attributes`, to spare memory."""
        dn = self.dn(raw[0])
        values = raw[1]
        get = values.get
        sid = get("objectsid")
        return Entry(
            guid=guid_of(raw),
            dn=dn,
            kind=EntryKind.GROUP if number(raw, "samaccounttype") in _GROUP_TYPES or "grouptype" in values else EntryKind.USER,
            sam=text(raw, "samaccountname"),
            sid=sid_text(sid[0]) if sid else "",
            usn_changed=number(raw, "usnchanged"),
            cn=text(raw, "cn"),
            upn=text(raw, "userprincipalname"),
            mark=text(raw, self._ownership),
            attributes=self._attributes(values) if full_below is None or dn.within(full_below) else _NONE,
            user_account_control=number(raw, "useraccountcontrol"),
            computed_control=number(raw, "msds-user-account-control-computed"),
            pwd_last_set=number(raw, "pwdlastset"),
            password_expires=number(raw, "msds-userpasswordexpirytimecomputed"),
            admin_count=number(raw, "admincount"),
            primary_group=number(raw, "primarygroupid"),
            group_type=number(raw, "grouptype"),
            critical=get("iscriticalsystemobject") == [b"TRUE"],
        )

    def _attributes(self, values: Mapping[str, list[bytes]]) -> dict[str, str]:
        return {name: values[low][0].decode("utf-8", "replace") for name, low in self._mapped if values.get(low)}

    def dn(self, written: str) -> DN:
        """Parse a DN. Siblings share their parent, parsed once: parsing each whole would take longer than all the rest of a sweep."""
        found = _SIMPLE_DN.fullmatch(written)
        if found is None:
            return dn_of(written)
        kind, value, above = found.groups()
        parent = self._parents.get(above)
        if parent is None:
            if len(self._parents) > 4096:
                self._parents.clear()
            parent = self._parents[above] = dn_of(above)
        return parent.child(kind, value)

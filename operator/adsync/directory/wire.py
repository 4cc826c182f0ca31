"""LDAP messages as bytes (RFC 4511). Requests are built by ldap3's message classes; answers are taken apart here.

ldap3's own decoder makes a tuple for every element and a dictionary for every entry, twice over; a sweep of ten thousand entries spends its
time there. What a client has to understand is little enough to be read straight from the buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeAlias

from ldap3.operation.add import add_operation
from ldap3.operation.modify import modify_operation
from ldap3.operation.modifyDn import modify_dn_operation
from ldap3.operation.search import search_operation
from ldap3.protocol import rfc4511
from ldap3.protocol.convert import build_controls_list
from ldap3.protocol.microsoft import extended_dn_control
from ldap3.protocol.rfc2696 import paged_search_control
from ldap3.utils import asn1

BASE, ONE_LEVEL, SUBTREE = 0, 1, 2

PAGED_RESULTS = "1.2.840.113556.1.4.319"
NOTIFICATION = "1.2.840.113556.1.4.528"
SHOW_DELETED = "1.2.840.113556.1.4.417"
PERMISSIVE_MODIFY = "1.2.840.113556.1.4.1413"

_MAX_MESSAGE = 64 * 1024 * 1024

RawEntry: TypeAlias = tuple[str, dict[str, list[bytes]]]
"""A DN as the server wrote it, and its attributes by their name in lower case."""

Operation: TypeAlias = tuple[str, Any]
"""The name of a choice of LDAPMessage.protocolOp, and its value."""


class Kind(IntEnum):
    """The application tags of answers, RFC 4511 section 4.2 and on."""

    BIND = 0x61
    ENTRY = 0x64
    DONE = 0x65
    MODIFY = 0x67
    ADD = 0x69
    DELETE = 0x6B
    MODIFY_DN = 0x6D
    REFERENCE = 0x73
    EXTENDED = 0x78
    INTERMEDIATE = 0x79


class ProtocolError(Exception):
    """The bytes are no LDAP message, or one of absurd size. Stays inside the layer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An LDAPResult (RFC 4511 section 4.1.9) with the values of its controls by OID."""

    code: int
    matched_dn: str = ""
    diagnostic: str = ""
    controls: Mapping[str, bytes] = field(default_factory=dict)


def control(oid: str, value: bytes | None = None, *, critical: bool = True) -> Any:
    return (oid, critical, value)


def paged_control(size: int, cookie: bytes) -> Any:
    return paged_search_control(True, size, cookie)


def extended_dn() -> Any:
    """MS-ADTS 3.1.1.3.4.1.5: DNs come as `<GUID=...>;<SID=...>;dn`, in string form."""
    return extended_dn_control(True, False)


def bind_request(name: str, password: bytes) -> Operation:
    # ldap3's bind_operation would put the password through SASLprep, which AD does not: the octets go as they are.
    request = rfc4511.BindRequest()
    request["version"] = rfc4511.Version(3)
    request["name"] = name
    request["authentication"] = rfc4511.AuthenticationChoice().setComponentByName("simple", rfc4511.Simple(password))
    return "bindRequest", request


def search_request(base: str, scope: int, search_filter: str, attributes: Sequence[str], size_limit: int = 0) -> Operation:
    # References are never dereferenced; AD has no aliases (MS-ADTS 3.1.1.3.1.3).
    return "searchRequest", search_operation(base, search_filter, scope, 0, attributes, size_limit, 0, False, False, False)


def add_request(dn: str, attributes: Mapping[str, Sequence[str | bytes]]) -> Operation:
    return "addRequest", add_operation(dn, attributes, False)


def modify_request(dn: str, changes: Mapping[str, Sequence[tuple[str, Sequence[str | bytes]]]]) -> Operation:
    """`changes`: attribute → [("MODIFY_ADD" | "MODIFY_DELETE" | "MODIFY_REPLACE", values), ...], in the order that the server is to see."""
    return "modifyRequest", modify_operation(dn, changes, False)


def modify_dn_request(dn: str, new_rdn: str, new_superior: str | None) -> Operation:
    return "modDNRequest", modify_dn_operation(dn, new_rdn, True, new_superior)


def delete_request(dn: str) -> Operation:
    return "delRequest", rfc4511.DelRequest(dn)


def abandon_request(message_id: int) -> Operation:
    return "abandonRequest", rfc4511.AbandonRequest(message_id)


def unbind_request() -> Operation:
    return "unbindRequest", rfc4511.UnbindRequest()


def encode(message_id: int, operation: Operation, controls: Iterable[Any] = ()) -> bytes:
    message = rfc4511.LDAPMessage()
    message["messageID"] = rfc4511.MessageID(message_id)
    message["protocolOp"] = rfc4511.ProtocolOp().setComponentByName(*operation)
    built = build_controls_list(list(controls))
    if built is not None:
        message["controls"] = built
    return bytes(asn1.encode(message))  # type: ignore[attr-defined]


def frame(buffer: bytes | bytearray, start: int) -> int:
    """Where the message that begins at `start` ends, or 0 if its length is not all there yet. The end may lie beyond the buffer."""
    have = len(buffer) - start
    if have < 2:
        return 0
    if buffer[start] != 0x30:
        raise ProtocolError("not an LDAP message")
    length = buffer[start + 1]
    if length < 0x80:
        return start + 2 + length
    octets = length & 0x7F
    if not 1 <= octets <= 4:
        raise ProtocolError("a message of indefinite or absurd length")
    if have < 2 + octets:
        return 0
    length = int.from_bytes(buffer[start + 2 : start + 2 + octets], "big")
    if length > _MAX_MESSAGE:
        raise ProtocolError(f"a message of {length} bytes")
    return start + 2 + octets + length


def _header(data: bytes, at: int) -> tuple[int, int, int]:
    """(tag, where the content begins, where it ends) of the element at `at`."""
    tag = data[at]
    length = data[at + 1]
    at += 2
    if length > 0x7F:
        octets = length & 0x7F
        length = int.from_bytes(data[at : at + octets], "big")
        at += octets
    end = at + length
    if end > len(data):
        raise ProtocolError("an element reaches beyond its message")
    return tag, at, end


def decode(data: bytes) -> tuple[int, Kind, RawEntry | Answer | None]:
    """Take one whole message apart: (message id, kind, entry or result). References and intermediate answers have no content here."""
    try:
        _, at, _ = _header(data, 0)
        _, at, end = _header(data, at)
        message_id = int.from_bytes(data[at:end], "big")
        tag, at, end = _header(data, end)
        kind = Kind(tag)
        if kind is Kind.ENTRY:
            return message_id, kind, _entry(data, at)
        if kind is Kind.REFERENCE or kind is Kind.INTERMEDIATE:
            return message_id, kind, None
        return message_id, kind, _answer(data, at, end)
    except (IndexError, ValueError) as error:
        raise ProtocolError("an LDAP message that can't be read") from error


_names: dict[bytes, str] = {}
"""Attribute names seen, in lower case: a domain has a few hundred of them, and each is met ten thousand times."""


def _name(raw: bytes) -> str:
    name = raw.decode("utf-8", "replace").lower()
    if len(_names) < 4096:
        _names[raw] = name
    return name


def _entry(data: bytes, at: int) -> RawEntry:
    _, at, end = _header(data, at)
    dn = data[at:end].decode("utf-8", "replace")
    _, at, stop = _header(data, end)
    if stop > len(data):
        raise ProtocolError("an entry reaches beyond its message")
    attributes: dict[str, list[bytes]] = {}
    while at < stop:
        # The four headers of an attribute are read in place: a call for each would double the time of a sweep.
        at += 1
        if data[at] > 0x7F:
            at += data[at] & 0x7F
        at += 2
        length = data[at]
        at += 1
        if length > 0x7F:
            octets = length & 0x7F
            length = int.from_bytes(data[at : at + octets], "big")
            at += octets
        raw = data[at : at + length]
        at += length + 1
        length = data[at]
        at += 1
        if length > 0x7F:
            octets = length & 0x7F
            length = int.from_bytes(data[at : at + octets], "big")
            at += octets
        end = at + length
        values = []
        while at < end:
            length = data[at + 1]
            at += 2
            if length > 0x7F:
                octets = length & 0x7F
                length = int.from_bytes(data[at : at + octets], "big")
                at += octets
            values.append(data[at : at + length])
            at += length
        attributes[_names.get(raw) or _name(raw)] = values
    if at != stop:
        raise ProtocolError("an entry whose parts do not add up")
    return dn, attributes


def _answer(data: bytes, at: int, stop: int) -> Answer:
    _, at, end = _header(data, at)
    code = int.from_bytes(data[at:end], "big")
    _, at, end = _header(data, end)
    matched = data[at:end].decode("utf-8", "replace")
    _, at, end = _header(data, end)
    diagnostic = data[at:end].decode("utf-8", "replace").rstrip("\x00\r\n ")
    return Answer(code, matched, diagnostic, _controls(data, stop) if stop < len(data) else {})


def _controls(data: bytes, at: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    _, at, stop = _header(data, at)
    while at < stop:
        _, at, end = _header(data, at)
        _, inner, inner_end = _header(data, at)
        oid, value = data[inner:inner_end].decode("ascii", "replace"), b""
        while inner_end < end:
            tag, inner, inner_end = _header(data, inner_end)
            if tag == 0x04:
                value = data[inner:inner_end]
        found[oid] = value
        at = end
    return found


def paged_cookie(value: bytes) -> bytes:
    """The cookie of a paged-results answer (RFC 2696): empty after the last page."""
    try:
        _, at, _ = _header(value, 0)
        _, _, end = _header(value, at)
        _, at, end = _header(value, end)
    except IndexError as error:
        raise ProtocolError("a paging control that can't be read") from error
    return value[at:end]

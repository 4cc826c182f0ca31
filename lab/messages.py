"""LDAP messages as bytes (RFC 4511): framing, a look at what kind they are, and the few that have to be changed, taken apart by pyasn1.

Most messages are passed on as they are. For those only the envelope is looked at, which costs a microsecond or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ldap3.protocol import rfc4511
from ldap3.protocol.rfc2696 import Cookie, RealSearchControlValue, Size
from ldap3.utils import asn1
from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1.type.namedtype import NamedType, NamedTypes, OptionalNamedType
from pyasn1.type.univ import Any as Raw
from pyasn1.type.univ import Sequence as AsnSequence

PAGED_RESULTS = "1.2.840.113556.1.4.319"
NOTIFICATION = "1.2.840.113556.1.4.528"
DISCONNECTION = b"1.3.6.1.4.1.1466.20036"  # RFC 4511 section 4.4.1

BASE, ONE_LEVEL, SUBTREE = 0, 1, 2


class NotLdapError(Exception):
    """The bytes are no LDAP message."""


class Kind(IntEnum):
    """The application tags of protocolOp."""

    BIND = 0x60
    BIND_ANSWER = 0x61
    UNBIND = 0x42
    SEARCH = 0x63
    ENTRY = 0x64
    SEARCH_DONE = 0x65
    REFERENCE = 0x73
    MODIFY = 0x66
    MODIFY_ANSWER = 0x67
    ADD = 0x68
    ADD_ANSWER = 0x69
    DELETE = 0x4A
    DELETE_ANSWER = 0x6B
    MODIFY_DN = 0x6C
    MODIFY_DN_ANSWER = 0x6D
    COMPARE = 0x6E
    COMPARE_ANSWER = 0x6F
    ABANDON = 0x50
    EXTENDED = 0x77
    EXTENDED_ANSWER = 0x78
    INTERMEDIATE = 0x79


KINDS = {int(kind): kind for kind in Kind}
WRITES = (Kind.ADD, Kind.MODIFY, Kind.MODIFY_DN, Kind.DELETE)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is quickly seen of a message: its id, what it is, and where its protocolOp begins and ends."""

    number: int
    kind: Kind
    start: int
    end: int


@dataclass(slots=True)
class Search:
    """A search request, taken apart. The filter is kept as bytes: nothing here has to understand it."""

    number: int
    base: str
    scope: int
    size_limit: int
    filter: bytes
    attributes: list[str]
    controls: dict[str, bytes] = field(default_factory=dict)


def header(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """Where the content of the element at `at` begins and ends."""
    length = data[at + 1]
    if length < 0x80:
        return at + 2, at + 2 + length
    start = at + 2 + (length & 0x7F)
    return start, start + int.from_bytes(data[at + 2 : start], "big")


def frame(buffer: bytes | bytearray, at: int) -> int:
    """Where the message that begins at `at` ends, or 0 if its header is not all there. The end may lie beyond the buffer."""
    have = len(buffer) - at
    if have < 2:
        return 0
    if buffer[at] != 0x30 or buffer[at + 1] == 0x80 or buffer[at + 1] > 0x84:
        raise NotLdapError(bytes(buffer[at : at + 8]).hex())
    if buffer[at + 1] > 0x80 and have < 2 + (buffer[at + 1] & 0x7F):
        return 0
    return header(buffer, at)[1]


def envelope(message: bytes) -> Envelope:
    """Look at a whole message. Raises NotLdapError."""
    try:
        start, _ = header(message, 0)
        start, end = header(message, start)
        number, operation = int.from_bytes(message[start:end], "big"), end
        kind = KINDS[message[operation]]
        end = header(message, operation)[1]
    except (IndexError, KeyError) as error:
        raise NotLdapError(message[:16].hex()) from error
    return Envelope(number, kind, operation, end)


class _SearchRequest(AsnSequence):
    """RFC 4511's SearchRequest as ldap3 defines it, but with the filter as it came: ldap3's definition of filters is for encoding only."""

    tagSet = rfc4511.SearchRequest.tagSet  # noqa: N815 - pyasn1's name
    componentType = NamedTypes(  # noqa: N815
        *(
            NamedType("filter", Raw()) if part.name == "filter" else part
            for part in rfc4511.SearchRequest.componentType.namedTypes
        )
    )  # fmt: skip


class _SearchMessage(AsnSequence):
    componentType = NamedTypes(  # noqa: N815 - pyasn1's name
        NamedType("messageID", rfc4511.MessageID()),
        NamedType("request", _SearchRequest()),
        OptionalNamedType("controls", rfc4511.LDAPMessage.componentType.getTypeByPosition(2)),  # type: ignore[no-untyped-call]
    )


def _decode_search(message: bytes) -> Any:
    try:
        return decoder.decode(message, asn1Spec=_SearchMessage())[0]
    except PyAsn1Error as error:
        raise NotLdapError(message[:16].hex()) from error


def read_search(message: bytes) -> Search:
    """Take a search request apart. Raises NotLdapError."""
    found = _decode_search(message)
    request = found["request"]
    controls = found["controls"] if found["controls"].isValue else ()
    return Search(
        number=int(found["messageID"]),
        base=bytes(request["baseObject"]).decode(),
        scope=int(request["scope"]),
        size_limit=int(request["sizeLimit"]),
        filter=bytes(request["filter"]),
        attributes=[bytes(name).decode() for name in request["attributes"]],
        controls={
            bytes(each["controlType"]).decode(): bytes(each["controlValue"]) if each["controlValue"].isValue else b"" for each in controls
        },
    )


def change_search(message: bytes, attributes: Sequence[str], controls: dict[str, bytes]) -> bytes:
    """The same request for these attributes, and with these values of those controls that it has."""
    found = _decode_search(message)
    chosen = rfc4511.AttributeSelection()
    for position, name in enumerate(attributes):
        chosen.setComponentByPosition(position, rfc4511.Selector(name))
    found["request"]["attributes"] = chosen
    for each in found["controls"] if found["controls"].isValue else ():
        value = controls.get(bytes(each["controlType"]).decode())
        if value:
            each["controlValue"] = rfc4511.ControlValue(value)
    return bytes(asn1.encode(found))  # type: ignore[attr-defined]


def paging(value: bytes) -> tuple[int, bytes]:
    """Size and cookie of a paged-results control (RFC 2696)."""
    found, _ = decoder.decode(value, asn1Spec=RealSearchControlValue())
    return int(found["size"]), bytes(found["cookie"])


def paging_value(size: int, cookie: bytes) -> bytes:
    """The value of a paged-results control."""
    value = RealSearchControlValue()
    value["size"] = Size(size)
    value["cookie"] = Cookie(cookie)
    return bytes(encoder.encode(value))


def read_entry(message: bytes) -> list[tuple[bytes, list[bytes]]]:
    """The attributes of a search result entry, in their order."""
    payload = asn1.decode_message_fast(message)["payload"]  # type: ignore[no-untyped-call]
    return [(attribute[3][0][3], [value[3] for value in attribute[3][1][3]]) for attribute in payload[1][3]]


def change_entry(message: bytes, attributes: Sequence[tuple[bytes, Sequence[bytes]]]) -> bytes:
    """The same search result entry with these attributes."""
    seen = envelope(message)
    entry = rfc4511.SearchResultEntry()
    start, _ = header(message, seen.start)
    start, end = header(message, start)
    entry["object"] = rfc4511.LDAPDN(message[start:end])
    listed = rfc4511.PartialAttributeList()
    for position, (name, values) in enumerate(attributes):
        attribute, contained = rfc4511.PartialAttribute(), rfc4511.Vals()
        attribute["type"] = rfc4511.AttributeDescription(name)
        for place, value in enumerate(values):
            contained.setComponentByPosition(place, rfc4511.AttributeValue(value))
        attribute["vals"] = contained
        listed.setComponentByPosition(position, attribute)
    entry["attributes"] = listed
    inside, _ = header(message, 0)
    return _wrap(message[inside : seen.start] + bytes(encoder.encode(entry)) + message[seen.end :])


def _wrap(content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes((0x30, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((0x30, 0x80 | len(length))) + length + content


def search_done(number: int, code: int, text: str = "") -> bytes:
    """The end of a search, with this result code."""
    return _answer(number, "searchResDone", rfc4511.SearchResultDone(), code, text)


def disconnection(code: int, text: str) -> bytes:
    """The notice that the server gives before it closes the connection (RFC 4511 section 4.4.1)."""
    notice = rfc4511.ExtendedResponse()
    notice["responseName"] = rfc4511.ResponseName(DISCONNECTION)
    return _answer(0, "extendedResp", notice, code, text)


def _answer(number: int, name: str, result: Any, code: int, text: str) -> bytes:
    result["resultCode"] = rfc4511.ResultCode(code)
    result["matchedDN"] = rfc4511.LDAPDN("")
    result["diagnosticMessage"] = rfc4511.LDAPString(text)
    message = rfc4511.LDAPMessage()
    message["messageID"] = rfc4511.MessageID(number)
    message["protocolOp"] = rfc4511.ProtocolOp().setComponentByName(name, result)
    return bytes(encoder.encode(message))


def subject(message: bytes, seen: Envelope) -> str:
    """The DN that a request is about: of searches the base, of binds the name. "" where there is none."""
    start, end = header(message, seen.start)
    if seen.kind is Kind.DELETE:
        return message[start:end].decode(errors="replace")
    if seen.kind is Kind.BIND:
        start = header(message, start)[1]
    elif seen.kind not in (Kind.SEARCH, Kind.ADD, Kind.MODIFY, Kind.MODIFY_DN):
        return ""
    start, end = header(message, start)
    return message[start:end].decode(errors="replace")


def modified_values(message: bytes, seen: Envelope) -> int:
    """How many values a modify request carries."""
    start, _ = header(message, seen.start)
    at, stop = header(message, header(message, start)[1])
    total = 0
    while at < stop:
        inside, after = header(message, at)
        attribute, _ = header(message, header(message, inside)[1])  # past the operation
        value, end = header(message, header(message, attribute)[1])  # past the attribute's name
        while value < end:
            value = header(message, value)[1]
            total += 1
        at = after
    return total

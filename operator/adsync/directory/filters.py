"""Search filters (RFC 4515), put together from escaped pieces only: no caller ever writes one as text."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import NewType, TypeVar

Filter = NewType("Filter", str)

_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.@")
_IN_CHAIN = "1.2.840.113556.1.4.1941"
_T = TypeVar("_T")


def escape(value: str | bytes) -> str:
    """Escape an assertion value: every octet that is not plainly harmless becomes `\\xx` (RFC 4515 section 3), so that nothing is
    left to a parser's view of spaces, parentheses, wildcards, NUL or bytes that are not UTF-8."""
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return "".join(chr(octet) if octet in _PLAIN else f"\\{octet:02x}" for octet in raw)


def _attribute(name: str) -> str:
    if not _ATTRIBUTE.fullmatch(name):
        raise ValueError(f"{name!r} is no attribute name")
    return name


def equal(attribute: str, value: str | bytes) -> Filter:
    return Filter(f"({_attribute(attribute)}={escape(value)})")


def prefix(attribute: str, value: str) -> Filter:
    return Filter(f"({_attribute(attribute)}={escape(value)}*)")


def present(attribute: str) -> Filter:
    return Filter(f"({_attribute(attribute)}=*)")


def at_least(attribute: str, value: int) -> Filter:
    return Filter(f"({_attribute(attribute)}>={value})")


def in_chain(attribute: str, dn: str) -> Filter:
    """LDAP_MATCHING_RULE_IN_CHAIN (MS-ADTS 3.1.1.3.4.4.3): follows the link attribute however deep."""
    return Filter(f"({_attribute(attribute)}:{_IN_CHAIN}:={escape(dn)})")


def guid_is(guid: str) -> Filter:
    return equal("objectGUID", uuid.UUID(guid).bytes_le)


def any_of(filters: Iterable[Filter]) -> Filter:
    parts = list(filters)
    return parts[0] if len(parts) == 1 else Filter(f"(|{''.join(parts)})")


def all_of(*filters: Filter) -> Filter:
    return Filter(f"(&{''.join(filters)})")


def none_of(*filters: Filter) -> Filter:
    """Not one of them."""
    return Filter(f"(!{any_of(filters)})")


def batches(items: Sequence[_T], size: int = 100) -> Iterator[Sequence[_T]]:
    """Runs of at most `size`, for filters that a server still takes gladly."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


EVERYTHING = present("objectClass")
USERS = all_of(equal("objectCategory", "person"), equal("objectClass", "user"))
GROUPS = equal("objectClass", "group")
ACCOUNTS = any_of((USERS, GROUPS))
"""Users and groups. Computers and managed service accounts are of class user too, but of another category; contacts are the reverse."""

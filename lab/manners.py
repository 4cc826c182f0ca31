"""The manners of a Windows domain controller that Samba does not have, as rules on the messages of one connection: nothing here does I/O.

The limits are the LDAP policies of MS-ADTS 3.1.1.3.4.6 with their defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lab import messages
from lab.messages import NOTIFICATION, PAGED_RESULTS, Envelope, Kind, Search

SIZE_LIMIT_EXCEEDED, ADMIN_LIMIT_EXCEEDED, UNWILLING = 4, 11, 53

_RANGE = re.compile(r"(?P<name>[^;]+);range=(?P<low>\d+)-(?P<high>\d+|\*)", re.IGNORECASE)
_ANY_OBJECT = b"\x87\x0bobjectclass"  # the filter (objectClass=*), in lower case
_NOTICED = tuple(oid.encode() for oid in (PAGED_RESULTS, NOTIFICATION))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the server gives: values of an attribute and entries of a page at once, notification searches of a connection, seconds that
    a connection may lie idle, and bytes of a request."""

    values: int = 1500  # MaxValRange
    page: int = 1000  # MaxPageSize
    notifications: int = 5  # MaxNotificationPerConn
    idle: float = 900.0  # MaxConnIdleTime
    request: int = 10 * 1024 * 1024  # MaxReceiveBuffer


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a request: passed on to the server in this form (None: not at all), or answered at once."""

    forward: bytes | None = None
    answer: bytes | None = None


def naming_contexts(base: str) -> list[str]:
    """The naming contexts of a domain that is its forest's root, from its DN."""
    configuration = f"CN=Configuration,{base}"
    return [base, configuration, f"CN=Schema,{configuration}", f"DC=DomainDnsZones,{base}", f"DC=ForestDnsZones,{base}"]


def plain_dn(dn: str) -> str:
    """A DN to compare with the root of a naming context: no upper case, no blanks around separators."""
    return re.sub(r"\s*([,=])\s*", r"\1", dn.strip()).lower()


class Manners:
    """One connection. `request` judges what the client sends, `answer` what the server sends back."""

    def __init__(self, limits: Limits, contexts: Iterable[str]) -> None:
        self.limits = limits
        self._contexts = {plain_dn(dn) for dn in contexts}
        self._left: dict[int, int] = {}
        """Of searches without pages: how many entries may still be given."""
        self._notifications: set[int] = set()

    def request(self, message: bytes) -> Verdict:
        """Raises NotLdapError. A request above the limit is for the caller to refuse: it never comes here as a whole."""
        seen = messages.envelope(message)
        if seen.kind is Kind.ABANDON:
            start, end = messages.header(message, seen.start)
            self._forget(int.from_bytes(message[start:end], "big"))
        if seen.kind is not Kind.SEARCH:
            return Verdict(message)
        if not any(oid in message for oid in _NOTICED) and b"range=" not in message.lower():
            self._left[seen.number] = self.limits.page
            return Verdict(message)
        return self._search(message, messages.read_search(message))

    def _search(self, message: bytes, search: Search) -> Verdict:
        if NOTIFICATION in search.controls:
            refusal = self._refusal(search)
            if refusal is not None:
                return Verdict(answer=refusal)
            self._notifications.add(search.number)
        controls = {}
        if PAGED_RESULTS in search.controls:
            size, cookie = messages.paging(search.controls[PAGED_RESULTS])
            if size > self.limits.page:
                controls[PAGED_RESULTS] = messages.paging_value(self.limits.page, cookie)
        elif NOTIFICATION not in search.controls:
            self._left[search.number] = self.limits.page
        attributes = [self._shortened(name) for name in search.attributes]
        if controls or attributes != search.attributes:
            message = messages.change_search(message, attributes, controls)
        return Verdict(message)

    def _refusal(self, search: Search) -> bytes | None:
        """MS-ADTS 3.1.1.3.4.1.9: the filter must be (objectClass=*), and a subtree must be that of a naming context."""
        if len(self._notifications) >= self.limits.notifications:
            return messages.search_done(search.number, ADMIN_LIMIT_EXCEEDED, "too many notification searches on this connection")
        if search.filter.lower() != _ANY_OBJECT:
            return messages.search_done(search.number, UNWILLING, "a notification search takes no filter but (objectClass=*)")
        if search.scope == messages.SUBTREE and plain_dn(search.base) not in self._contexts:
            return messages.search_done(search.number, UNWILLING, "notification of a subtree only at the root of a naming context")
        return None

    def _shortened(self, name: str) -> str:
        """An attribute as asked for, with a range that is not longer than the limit (MS-ADTS 3.1.1.3.1.3.3)."""
        match = _RANGE.fullmatch(name)
        if match is None:
            return name
        low, last = int(match["low"]), int(match["low"]) + self.limits.values - 1
        if match["high"] != "*" and int(match["high"]) <= last:
            return name
        return f"{match['name']};range={low}-{last}"

    def answer(self, message: bytes) -> bytes:
        """What the client gets for this message of the server; nothing, where the client has already been told that there is no more."""
        seen = messages.envelope(message)
        if seen.kind is Kind.ENTRY:
            left = self._left.get(seen.number)
            if left is not None:
                if left <= 0:
                    self._left[seen.number] = left - 1
                    return messages.search_done(seen.number, SIZE_LIMIT_EXCEEDED) if left == 0 else b""
                self._left[seen.number] = left - 1
            # A value takes two bytes at least.
            return self._ranged(message) if len(message) > 2 * self.limits.values else message
        if seen.kind is Kind.REFERENCE:
            return b"" if self._left.get(seen.number, 0) < 0 else message
        if seen.kind is Kind.SEARCH_DONE:
            over = self._left.get(seen.number, 0) < 0
            self._forget(seen.number)
            return b"" if over else message
        return message

    def notifies(self, number: int) -> bool:
        """Whether this is the number of a notification search."""
        return number in self._notifications

    def end(self, seen: Envelope) -> None:
        """The client is told at this entry, or at its end, how the search ends: give it nothing more of it."""
        if seen.kind is Kind.SEARCH_DONE:
            self._forget(seen.number)
        else:
            self._left[seen.number] = -1

    def _ranged(self, message: bytes) -> bytes:
        """Attributes with too many values: by their plain name none, and a first range."""
        limit = self.limits.values
        found = messages.read_entry(message)
        if all(len(values) <= limit or b";range=" in name.lower() for name, values in found):
            return message
        given: list[tuple[bytes, list[bytes]]] = []
        for name, values in found:
            if len(values) <= limit or b";range=" in name.lower():
                given.append((name, values))
            else:
                given += [(name, []), (name + f";range=0-{limit - 1}".encode(), values[:limit])]
        return messages.change_entry(message, given)

    def _forget(self, number: int) -> None:
        self._left.pop(number, None)
        self._notifications.discard(number)

"""Distinguished names, compared parsed (RFC 4514): spaces, case and escapes make no difference.

A DN is a tuple of RDNs, the leaf first, as it is written. Values compare by AD's rules for Unicode strings as far as they matter
here: ignoring case, with outer spaces dropped and inner runs of spaces folded into one (MS-ADTS 2.2.16 syntaxes, RFC 4518 section 2.6.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from adsync.errors import InvalidSpec

_TYPE = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)*)\s*=")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_SPECIAL = '"+,;<>\\='
_SPACES = re.compile(r" +")
_PLAIN = re.compile(r"[\w.@-]+(?: [\w.@-]+)*")  # nothing in it needs an escape

RDN: TypeAlias = tuple[tuple[str, str], ...]
"""Attribute types with their unescaped values; more than one pair where the RDN is written with `+`."""


def escape_value(value: str) -> str:
    """Escape an attribute value for use in a DN (RFC 4514 section 2.4), control characters included."""
    if _PLAIN.fullmatch(value):
        return value
    out = []
    for index, char in enumerate(value):
        edge = index == 0 or index == len(value) - 1
        if char in _SPECIAL or (char == " " and edge) or (char == "#" and index == 0):
            out.append("\\" + char)
        elif char < " " or char == "\x7f":
            out.append(f"\\{ord(char):02X}")
        else:
            out.append(char)
    return "".join(out)


def _folded(rdn: RDN) -> RDN:
    return tuple(sorted((kind.lower(), _fold(value)) for kind, value in rdn))


def _fold(value: str) -> str:
    return fold_case(_SPACES.sub(" ", value.strip(" ")))


def fold_case(value: str) -> str:
    """A name in the form in which names are compared: only case makes no difference. AD's own comparison takes more for one (accents,
    widths); where it matters the server says so, and what it may tell apart must never be mixed up here."""
    return value.lower() if value.isascii() else "".join(map(_lower, value))


def _lower(char: str) -> str:
    """Only pairs of an upper and a lower case letter count as one (as in AD's table, MS-UCODEREF 3.1.5.3): str.casefold also makes "ss" of
    "ß" and "k" of the Kelvin sign, and would take a container of another name for ours."""
    lower = char.lower()
    return lower if lower.upper() == char else char


class DN:
    """A parsed DN. Equal, and of equal hash, when AD takes both for the same name."""

    __slots__ = ("_key", "rdns")

    def __init__(self, rdns: tuple[RDN, ...]) -> None:
        self.rdns = rdns
        self._key: tuple[RDN, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> DN:
        """Parse an RFC 4514 string; raises InvalidSpec with the place where it stops making sense."""
        return cls(tuple(_rdns(text)))

    @property
    def key(self) -> tuple[RDN, ...]:
        """What equality and hashing go by; worked out once."""
        if self._key is None:
            self._key = tuple(map(_folded, self.rdns))
        return self._key

    @property
    def parent(self) -> DN:
        return DN(self.rdns[1:])

    @property
    def leaf(self) -> RDN:
        return self.rdns[0]

    @property
    def name(self) -> str:
        """The value of the leaf RDN."""
        return self.rdns[0][0][1]

    def child(self, kind: str, value: str) -> DN:
        leaf = ((kind, value),)
        child = DN((leaf, *self.rdns))
        child._key = (_folded(leaf), *self.key)  # the rest is the parent's: thousands of siblings share it
        return child

    def is_below(self, ancestor: DN) -> bool:
        """Whether this is in the subtree under `ancestor`, which itself does not count."""
        extra = len(self.rdns) - len(ancestor.rdns)
        return extra > 0 and self.key[extra:] == ancestor.key

    def within(self, ancestor: DN) -> bool:
        """As is_below, `ancestor` itself included."""
        return self.is_below(ancestor) or self == ancestor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DN) and (self.rdns == other.rdns or self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return ",".join("+".join(f"{kind}={escape_value(value)}" for kind, value in rdn) for rdn in self.rdns)

    def __repr__(self) -> str:
        return f"DN({str(self)!r})"


def base_of(domain_name: str) -> DN:
    """The naming context of a DNS domain name: corp.example.com → DC=corp,DC=example,DC=com (RFC 2247 section 2)."""
    return DN(tuple((("DC", label),) for label in domain_name.rstrip(".").split(".")))


def _rdns(text: str) -> Iterator[RDN]:
    position = 0
    if not text.strip():
        raise InvalidSpec("an empty DN names nothing")
    pairs: list[tuple[str, str]] = []
    while True:
        match = _TYPE.match(text, position)
        if match is None:
            raise InvalidSpec(f"{text!r} is not a DN: expected name=value at character {position + 1}")
        value, position = _value(text, match.end())
        pairs.append((match.group(1), value))
        separator = text[position : position + 1]
        position += 1
        if separator == "+":
            continue
        yield tuple(pairs)
        pairs = []
        if not separator:
            return


def _value(text: str, position: int) -> tuple[str, int]:
    """The unescaped value that begins at `position`, and where its separator (or the end) is."""
    while text[position : position + 1] == " ":
        position += 1
    if text[position : position + 1] == "#":
        raise InvalidSpec(f"{text!r}: a value in #hexadecimal form is not supported")
    out = bytearray()
    kept = 0  # up to here, spaces were escaped and stay
    while position < len(text) and text[position] not in ",;+":
        char = text[position]
        if char == "\\":
            if _HEX.match(text, position + 1):
                out += bytes.fromhex(text[position + 1 : position + 3])
                position += 3
            elif (
                text[position + 1 : position + 2] and text[position + 1] in _SPECIAL + " #?"
            ):  # Samba writes \? where RFC 4514 has no need to
                out += text[position + 1].encode()
                position += 2
            else:
                raise InvalidSpec(f"{text!r}: a backslash at character {position + 1} escapes nothing")
            kept = len(out)
            continue
        if char in '"<>' or char == "\x00":
            raise InvalidSpec(f"{text!r}: character {position + 1} must be escaped with a backslash")
        out += char.encode("utf-8", "surrogatepass")
        position += 1
    tail = out[kept:].rstrip(b" ")
    try:
        value = (bytes(out[:kept]) + bytes(tail)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{text!r}: the escapes do not form UTF-8") from error
    if not value:
        raise InvalidSpec(f"{text!r}: a name has an empty value")
    return value, position

"""What we escape, a parser reads back unchanged; what we decode is what was encoded. Against the real server: tests/integration/test_directory.py."""

from __future__ import annotations

import string
import uuid

from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import MATCH_EQUAL, MATCH_SUBSTRING, FilterNode, parse_filter
from ldap3.protocol.convert import prepare_filter_for_sending

from adsync.core.dn import DN
from adsync.directory import codec, filters, wire
from adsync.directory.codec import EntryCodec
from adsync.directory.wire import Kind, ProtocolError
from tests.unit.directory.support import entry

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.text(string.ascii_letters + string.digits + "-;=", min_size=1, max_size=20)
DN_VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda value: value.strip(" "))


def parsed(made: filters.Filter) -> FilterNode:
    node: FilterNode = parse_filter(made, None, False, False, None, False)  # type: ignore[no-untyped-call]
    return node


@given(st.one_of(ANY_TEXT, st.binary()))
def test_an_escaped_value_is_one_value_and_reads_back(value: str | bytes) -> None:
    raw = value.encode() if isinstance(value, str) else value
    if not raw:
        return
    for made, tag in ((filters.equal("mail", value), MATCH_EQUAL), (filters.prefix("mail", raw.decode("latin-1")), MATCH_SUBSTRING)):
        (node,) = parsed(made).elements
        assert node.tag == tag
        assert not node.elements
        if tag == MATCH_EQUAL:
            assert node.assertion["attr"] == "mail"
            assert prepare_filter_for_sending(node.assertion["value"]) == raw  # type: ignore[no-untyped-call]


@given(st.lists(ANY_TEXT.filter(bool), min_size=2, max_size=6))
def test_no_value_changes_the_shape_of_a_filter(values: list[str]) -> None:
    made = filters.all_of(filters.USERS, filters.any_of(filters.equal("cn", value) for value in values))
    (root,) = parsed(made).elements
    users, alternatives = root.elements
    assert len(users.elements) == 2
    assert len(alternatives.elements) == len(values)


@given(ANY_TEXT, st.dictionaries(NAMES, st.lists(st.binary(max_size=300), max_size=5), max_size=6))
def test_an_entry_is_decoded_as_it_was_encoded(dn: str, attributes: dict[str, list[bytes]]) -> None:
    distinct = {name.lower(): values for name, values in attributes.items()}
    data = entry(7, dn, distinct)
    assert wire.frame(data, 0) == len(data)
    assert wire.decode(data) == (7, Kind.ENTRY, (dn, distinct))


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_octets_do_worse_than_being_refused(noise: bytes, at: int) -> None:
    good = entry(7, "CN=x,DC=y", {"cn": [b"x"], "mail": [b"a", b"b"]})
    for data in (noise, good[:at] + noise + good[at + len(noise) :]):
        try:
            if 0 < wire.frame(data, 0) <= len(data):
                wire.decode(data)
        except ProtocolError:
            pass


@given(DN_VALUES, st.lists(DN_VALUES, max_size=3))
def test_the_short_way_to_a_dn_is_the_long_one(leaf: str, above: list[str]) -> None:
    name = DN(((("CN", leaf),), *((("OU", value),) for value in above), (("DC", "x"),)))
    read = EntryCodec([], "adminDescription").dn(str(name))
    assert read == name
    assert read.rdns == DN.parse(str(name)).rdns


@given(st.uuids(), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=15), st.integers(0, 2**48 - 1))
def test_guids_and_sids_read_back(guid: uuid.UUID, parts: list[int], authority: int) -> None:
    assert codec.guid_text(guid.bytes_le) == str(guid)
    text = "-".join(map(str, ("S", 1, authority, *parts)))
    assert codec.sid_text(codec.sid_bytes(text)) == text

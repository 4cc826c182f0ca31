"""Filters are put together from escaped pieces."""

from __future__ import annotations

import pytest

from adsync.directory import filters


def test_everything_special_is_escaped() -> None:
    assert filters.escape("a*b(c)d\\e\x00f") == "a\\2ab\\28c\\29d\\5ce\\00f"
    assert filters.escape(" ä ") == "\\20\\c3\\a4\\20"
    assert filters.escape(b"\xff\x00*") == "\\ff\\00\\2a"
    assert filters.escape("\udcff")  # no text, and yet no way out


def test_the_kinds_of_filters() -> None:
    assert filters.equal("mail", "a@b") == "(mail=a@b)"
    assert filters.prefix("cn", "MSOL_*") == "(cn=MSOL_\\2a*)"
    assert filters.any_of([filters.present("a")]) == "(a=*)"
    assert filters.any_of([filters.present("a"), filters.at_least("b", 2)]) == "(|(a=*)(b>=2))"
    assert filters.none_of(filters.present("a"), filters.present("b")) == "(!(|(a=*)(b=*)))"
    assert filters.in_chain("memberOf", "CN=x") == "(memberOf:1.2.840.113556.1.4.1941:=CN\\3dx)"
    assert filters.guid_is("7af0d84c-716a-47cb-ae41-176983dbc2c1").startswith("(objectGUID=L\\d8\\f0zjq")


@pytest.mark.parametrize("name", ["", "a=b)(c", "a b", "1a", "a)", "a*", "a;range=0-1"])
def test_an_attribute_name_is_one(name: str) -> None:
    with pytest.raises(ValueError, match="attribute name"):
        filters.equal(name, "x")


def test_batches() -> None:
    assert [len(batch) for batch in filters.batches(range(250))] == [100, 100, 50]
    assert not list(filters.batches([]))

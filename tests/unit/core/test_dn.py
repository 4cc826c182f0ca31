"""DNs: parsed, compared and written as RFC 4514 and AD have it. Further cases are made up by tests/property."""

from __future__ import annotations

import pytest

from adsync.core.dn import DN, base_of, escape_value
from adsync.errors import InvalidSpec

ROOT = DN.parse("OU=People,DC=corp,DC=example,DC=com")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("CN=a,DC=b", ["a", "b"]),
        ("cn = a , dc = b", ["a", "b"]),
        ("CN=a;DC=b", ["a", "b"]),
        ("2.5.4.3=a", ["a"]),
        (r"CN=Doe\, Jane", ["Doe, Jane"]),
        (r"CN=Doe\2C Jane", ["Doe, Jane"]),
        (r"CN=\ a\ ", [" a "]),
        (r"CN=\20a\20", [" a "]),
        (r"CN=a\  ", ["a "]),
        (r"CN=\#1", ["#1"]),
        (r"CN=a\0Ab", ["a\nb"]),
        (r"CN=J\C3\B6rg", ["Jörg"]),
        ("CN=Jörg", ["Jörg"]),
        ("CN=a=b", ["a=b"]),
        (r"CN=a\+b\;c\<d\>e\"f\\g\=h", ['a+b;c<d>e"f\\g=h']),
    ],
)
def test_parsed(text: str, values: list[str]) -> None:
    dn = DN.parse(text)
    assert [rdn[0][1] for rdn in dn.rdns] == values
    assert dn.name == values[0]
    assert DN.parse(str(dn)) == dn


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "a", "CN", "CN=", "CN= ", "=a", "CN=a,", ",CN=a", "CN=a,,DC=b", "CN=a+", "CN=a,b", 'CN="a"', "CN=a<b", "CN=a\x00"),
        *(r"CN=a\x", "CN=a\\", r"CN=\C3", r"CN=\ZZ", "CN=#04", "C N=a", "-=a", "/etc", "CN=\ud800"),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        DN.parse(text)


def test_the_refusal_says_where() -> None:
    with pytest.raises(InvalidSpec, match="expected name=value at character 6"):
        DN.parse("CN=a,b")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=Jane Doe,DC=b", "cn=jane doe,dc=B"),
        ("CN=a,DC=b", "CN=a, DC=b"),
        ("CN=a,DC=b", r"CN=\61,DC=b"),
        ("CN=a  b,DC=c", "CN=a b,DC=c"),
        (r"CN=\ a,DC=c", "CN=a,DC=c"),
        ("CN=a+OU=b,DC=c", "OU=B+CN=A,DC=c"),
        ("CN=JÖRG", "CN=jörg"),
        ("OU=ΣΑΣ", "OU=σασ"),
    ],
)
def test_the_same_name(one: str, other: str) -> None:
    left, right = DN.parse(one), DN.parse(other)
    assert left == right
    assert len({left, right}) == 1
    assert DN.parse("CN=x," + one).is_below(right)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("CN=a,DC=b", "OU=a,DC=b"),
        ("CN=a,DC=b", "CN=a"),
        ("CN=a,DC=b", "CN=a,DC=b,DC=c"),
        (r"CN=a\,DC=b", "CN=a,DC=b"),
        ("CN=a+OU=b", "CN=a,OU=b"),
        ("CN=ab", "CN=a b"),
        # Case folding that makes two characters of one would call two containers one.
        ("OU=Straße", "OU=Strasse"),
        ("OU=\N{KELVIN SIGN}", "OU=k"),
        ("OU=\N{LATIN SMALL LIGATURE FI}n", "OU=fin"),
    ],
)
def test_another_name(one: str, other: str) -> None:
    assert DN.parse(one) != DN.parse(other)
    assert not DN.parse("CN=x," + one).is_below(DN.parse(other))


@pytest.mark.parametrize(
    ("text", "below", "within"),
    [
        ("CN=a,OU=People,DC=corp,DC=example,DC=com", True, True),
        ("CN=a,OU=b,ou=people, dc=corp,dc=example,dc=com", True, True),
        ("OU=People,DC=corp,DC=example,DC=com", False, True),
        ("DC=corp,DC=example,DC=com", False, False),
        ("CN=a,OU=People2,DC=corp,DC=example,DC=com", False, False),
        ("CN=a,OU=xPeople,DC=corp,DC=example,DC=com", False, False),
        ("OU=People,DC=corp,DC=example,DC=com,DC=evil", False, False),
        (r"CN=a\,OU=People,DC=corp,DC=example,DC=com", False, False),
        (r"CN=a,OU=b\,OU=People,DC=corp,DC=example,DC=com", False, False),
        ("CN=a+OU=People,DC=corp,DC=example,DC=com", False, False),
        ("CN=a,CN=People,DC=corp,DC=example,DC=com", False, False),
    ],
)
def test_containment(text: str, below: bool, within: bool) -> None:
    dn = DN.parse(text)
    assert dn.is_below(ROOT) is below
    assert dn.within(ROOT) is within


def test_parent_child_and_leaf() -> None:
    child = ROOT.child("CN", "Doe, Jane+1")
    assert str(child) == r"CN=Doe\, Jane\+1,OU=People,DC=corp,DC=example,DC=com"
    assert child.parent == ROOT
    assert child.leaf == (("CN", "Doe, Jane+1"),)
    assert str(DN.parse("CN=a+OU=b,DC=c")) == "CN=a+OU=b,DC=c"


def test_the_base_of_a_domain() -> None:
    assert base_of("corp.example.com.") == DN.parse("DC=corp,DC=example,DC=com")


@pytest.mark.parametrize(
    ("value", "escaped"),
    [(" a ", r"\ a\ "), ("#a#", r"\#a#"), ("a b", "a b"), ("a\r\n\x00\x7f", r"a\0D\0A\00\7F"), ("ö", "ö"), (" ", "\\ "), ("#", "\\#")],
)
def test_escaping(value: str, escaped: str) -> None:
    assert escape_value(value) == escaped

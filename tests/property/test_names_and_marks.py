"""DNs, owner marks and digests: whatever people write, it reads back as the same and as nothing else."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from adsync.core.dn import DN, escape_value
from adsync.core.names import account_names
from adsync.core.owner import MARK_LIMIT, OwnerMark, PasswordDigest, owner_id
from adsync.core.passwords import DigestKeys, PasswordWish, known_refusal, random_password
from adsync.core.policy import PasswordPolicy
from adsync.errors import InvalidSpec
from adsync.resources.synceduser import Origin

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(lambda text: text.strip(" "))
NASTY = st.text(' ,+=\\"<>;#\x00\r\nab', min_size=1, max_size=12).filter(lambda text: text.strip(" "))
VALUES = TEXT | NASTY
TYPES = st.sampled_from(["CN", "OU", "dc", "2.5.4.11", "uid"])
PAIRS = st.tuples(TYPES, VALUES)
DNS = st.lists(PAIRS, min_size=1, max_size=4).map(lambda pairs: DN(tuple((pair,) for pair in pairs)))


@given(DNS)
def test_a_written_dn_reads_back(dn: DN) -> None:
    again = DN.parse(str(dn))
    assert again.rdns == dn.rdns
    assert again == dn
    assert hash(again) == hash(dn)


@given(DNS, st.data())
def test_case_spaces_and_escapes_make_no_difference(dn: DN, data: st.DataObject) -> None:
    def pair(kind: str, value: str) -> str:
        written = data.draw(st.sampled_from([escape_value(value), "".join(f"\\{byte:02x}" for byte in value.encode())]))
        return f"{data.draw(st.sampled_from(['', ' ']))}{kind.swapcase()} = {written}{data.draw(st.sampled_from(['', '  ']))}"

    assert DN.parse(",".join(pair(kind, value) for ((kind, value),) in dn.rdns)) == dn


@given(st.text(max_size=40))
def test_what_is_no_dn_is_refused_and_nothing_else_happens(text: str) -> None:
    try:
        dn = DN.parse(text)
    except InvalidSpec:
        return
    assert DN.parse(str(dn)) == dn


@given(DNS, PAIRS, DNS)
def test_below_is_below_and_nothing_else_is(root: DN, leaf: tuple[str, str], other: DN) -> None:
    child = root.child(*leaf)
    assert child.is_below(root)
    assert child.within(root)
    assert not root.is_below(child)
    assert not root.is_below(root)
    assert child.parent == root
    if other.is_below(root):
        assert other.rdns != root.rdns
        assert DN(other.rdns[-len(root.rdns) :]) == root


@given(DNS, VALUES)
def test_no_value_makes_more_than_one_rdn(root: DN, value: str) -> None:
    child = DN.parse(str(root.child("CN", value)))
    assert len(child.rdns) == len(root.rdns) + 1
    assert child.name == value


NAMES = st.text(string.ascii_lowercase + string.digits + "-.", min_size=1, max_size=253)
CLUSTERS = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=63)
NAMESPACES = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=63)
OWNERS = st.builds(owner_id, CLUSTERS, st.sampled_from(["user", "group"]), NAMESPACES, NAMES)
DIGESTS = st.builds(
    PasswordDigest, st.text("0123456789abcdef", min_size=8, max_size=8), st.text(string.ascii_letters + "-_", min_size=22, max_size=22)
)


@given(OWNERS, st.none() | st.sampled_from(Origin), st.none() | DIGESTS)
def test_marks_read_back_and_fit(owner: str, origin: Origin | None, digest: PasswordDigest | None) -> None:
    mark = OwnerMark(owner, origin, digest)
    assert OwnerMark.parse(str(mark)) == mark
    assert len(str(mark)) <= MARK_LIMIT


@given(st.tuples(CLUSTERS, NAMESPACES, NAMES), st.tuples(CLUSTERS, NAMESPACES, NAMES))
def test_two_resources_never_share_a_mark(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    made = [owner_id(cluster, "user", namespace, name) for cluster, namespace, name in (one, other)]
    assert (made[0] == made[1]) is (one == other)
    assert owner_id(one[0], "group", *one[1:]) != made[0]


@given(st.text(max_size=60))
def test_whatever_stands_in_the_attribute_is_ours_only_as_we_write_it(text: str) -> None:
    mark = OwnerMark.parse(text)
    if mark is not None:
        assert str(mark) == text


@given(st.binary(max_size=64), st.binary(max_size=64), OWNERS)
def test_digests_tell_values_apart(value: bytes, other: bytes, owner: str) -> None:
    keys = DigestKeys("aa", {"aa": b"a" * 32, "bb": b"b" * 32})
    wish = PasswordWish(True, "", "1", "aa", keys.bound(owner, keys.of_value(value)))
    for key, digest in keys.bound(owner, keys.of_value(other)).items():
        assert wish.matches(PasswordDigest(key, digest)) is (value == other)
    assert wish.digest is not None
    mark = OwnerMark(owner, Origin.CREATED, wish.digest)
    assert OwnerMark.parse(str(mark)) == mark


@given(st.binary(min_size=32, max_size=64), st.integers(0, 256), st.booleans())
def test_random_passwords_satisfy_any_policy(entropy: bytes, length: int, complexity: bool) -> None:
    policy = PasswordPolicy(min_length=length, complexity=complexity)
    password = random_password(entropy, policy)
    assert not known_refusal(password, policy, sam="somebody.longer", display_name="Somebody, Longer")
    assert password.isascii()
    assert password.isprintable()
    assert " " not in password


@given(st.text(max_size=40), st.sampled_from(["sAMAccountName", "userPrincipalName"]))
def test_names_are_what_the_directory_takes(username: str, field: str) -> None:
    try:
        names = account_names(username, field, "corp.example.com")
    except InvalidSpec:
        return
    assert 1 <= len(names.sam) <= 20
    assert not set(names.sam) & set('"/\\[]:;|=,+*?<>@')
    assert not names.sam.endswith(".")
    assert 1 <= len(names.cn) <= 64
    assert names.upn.count("@") == 1
    assert not any(char.isspace() for char in names.upn.replace("\u00a0", "")) or field == "sAMAccountName"

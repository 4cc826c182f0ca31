"""Owner marks: what is written is read back, what is not ours is not taken for ours."""

from __future__ import annotations

import pytest

from adsync.core.owner import MARK_LIMIT, OwnerMark, PasswordDigest, owner_id, owner_in_words
from adsync.resources.synceduser import Origin

DIGEST = PasswordDigest("0a1b2c3d", "AAAA-_aaaaaaaaaaaaaaaa")


@pytest.mark.parametrize("origin", [None, *Origin])
@pytest.mark.parametrize("digest", [None, DIGEST])
@pytest.mark.parametrize("kind", ["user", "group"])
def test_round_trip(kind: str, origin: Origin | None, digest: PasswordDigest | None) -> None:
    mark = OwnerMark(owner_id("prod-1", kind, "team-a", "jdoe"), origin, digest)
    assert OwnerMark.parse(str(mark)) == mark


def test_how_a_mark_is_written() -> None:
    mark = OwnerMark(owner_id("prod-1", "user", "team-a", "jdoe"), Origin.CREATED, DIGEST)
    assert str(mark) == "adsync1:u:prod-1:team-a/jdoe;o=c;p=0a1b2c3d.AAAA-_aaaaaaaaaaaaaaaa"


def test_the_longest_names_fit_and_differ() -> None:
    """adminDescription takes 256 characters; a cluster's name has at most 63, a namespace's 63, a resource's 253."""
    longest = [owner_id("c" * 63, "user", "n" * 63, "x" * 252 + last) for last in "yz"]
    assert longest[0] != longest[1]
    assert longest[0] != owner_id("c" * 63, "group", "n" * 63, "x" * 252 + "y")
    assert longest[0] != owner_id("d" * 63, "user", "n" * 63, "x" * 252 + "y")
    for owner in (*longest, owner_id("c" * 63, "user", "n" * 63, "x" * 62)):
        mark = OwnerMark(owner, Origin.IMPORTED, DIGEST)
        assert len(str(mark)) <= MARK_LIMIT
        assert OwnerMark.parse(str(mark)) == mark


@pytest.mark.parametrize("length", range(100, 254))
def test_names_of_any_length_fit(length: int) -> None:
    mark = OwnerMark(owner_id("prod-1", "user", "team-a", "x" * length), Origin.ADOPTED, DIGEST)
    assert len(str(mark)) <= MARK_LIMIT
    assert OwnerMark.parse(str(mark)) == mark


def test_a_boundary_between_namespace_and_name_counts() -> None:
    assert owner_id("c", "user", "a", "b-c") != owner_id("c", "user", "a-b", "c")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "User_1234",
        "seen by the help desk",
        "adsync1:",
        "adsync1:u:prod-1",
        "adsync1:x:prod-1:a/b",
        "adsync2:u:prod-1:a/b",
        "adsync1:u::a/b",
        "adsync1:u:prod-1:",
        "x adsync1:u:prod-1:a/b",
        "adsync1:u:prod-1:a/b;o=z",
        "adsync1:u:prod-1:a/b;p=0a",
        "adsync1:u:prod-1:a/b;o=c;p=0a.x;q=1",
        "adsync1:u:prod-1:a/b;p=0a.x;o=c",
        "adsync1:u:prod-1:a/b;o=c\n",
        "adsync1:u:prod-1:a/b ;o=c;",
    ],
)
def test_foreign_values(text: str) -> None:
    assert OwnerMark.parse(text) is None


def test_a_mark_does_not_steer_entra_connect() -> None:
    assert not owner_id("User_", "user", "a", "b").startswith(("User_", "Group_"))


def test_in_words() -> None:
    assert owner_in_words(owner_id("prod-1", "user", "team-a", "jdoe")) == "SyncedUser team-a/jdoe of cluster prod-1"
    assert owner_in_words(owner_id("prod-1", "group", "team-a", "fin")) == "SyncedGroup team-a/fin of cluster prod-1"
    assert "of cluster prod-1" in owner_in_words(owner_id("prod-1", "user", "n" * 63, "x" * 200))


def test_digests_as_text() -> None:
    assert PasswordDigest.parse(str(DIGEST)) == DIGEST
    assert PasswordDigest.parse(None) is None
    assert PasswordDigest.parse("") is None
    assert PasswordDigest.parse("nonsense") is None

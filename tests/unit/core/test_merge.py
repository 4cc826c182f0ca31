"""The three-way merge: every row of the tables in core/merge.py."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsync.core.merge import Conflict, Merged, base_from_digest, members_digest, merge, merge_members
from adsync.resources.addomain import Authority

K8S, AD = Authority.KUBERNETES, Authority.ACTIVE_DIRECTORY
BOTH = pytest.mark.parametrize("authority", [K8S, AD])


def one(base: str | None, kubernetes: str | None, directory: str, authority: Authority, **how: bool) -> Merged:
    return merge({} if base is None else {"title": base}, {"title": kubernetes}, {"title": directory}, authority, **how)


@BOTH
@pytest.mark.parametrize(
    ("base", "kubernetes", "directory", "result"),
    [
        ("x", "x", "x", "x"),
        ("x", "y", "x", "y"),
        ("x", "x", "y", "y"),
        ("x", "y", "y", "y"),
        (None, "y", "y", "y"),
        ("x", "", "x", ""),
        ("x", "x", "", ""),
        ("", "y", "", "y"),
        ("", "", "y", "y"),
    ],
)
def test_whoever_is_in_charge(authority: Authority, base: str | None, kubernetes: str, directory: str, result: str) -> None:
    made = one(base, kubernetes, directory, authority)
    assert made.values == {"title": result}
    assert made.to_resource == (("title",) if kubernetes != result else ())
    assert made.to_directory == (("title",) if directory != result else ())
    assert made.conflicts == ()


@pytest.mark.parametrize(("authority", "result"), [(K8S, "y"), (AD, "z")])
@pytest.mark.parametrize("base", ["x", "", None])
def test_both_changed(authority: Authority, result: str, base: str | None) -> None:
    made = one(base, "y", "z", authority)
    assert made.values == {"title": result}
    assert (made.to_resource, made.to_directory) == ((("title",), ()) if result == "z" else ((), ("title",)))
    assert made.conflicts == (() if base is None else (Conflict("title", "y", "z", authority),))


def test_a_conflict_names_both_values() -> None:
    (conflict,) = one("x", "y", "z", AD).conflicts
    assert str(conflict) == "title was changed on both sides: 'y' in Kubernetes, 'z' in Active Directory; ActiveDirectory wins"


@BOTH
def test_what_nobody_manages(authority: Authority) -> None:
    assert one("x", None, "y", authority) == Merged()
    imported = one("x", None, "y", authority, imported=True)
    assert (imported.values, imported.to_resource, imported.to_directory) == ({"title": "y"}, ("title",), ())
    assert one("x", None, "", authority, imported=True).to_resource == ()


@BOTH
@pytest.mark.parametrize("base", [None, "x", "y"])
def test_under_import_the_directory_wins(authority: Authority, base: str | None) -> None:
    made = one(base, "y", "z", authority, import_only=True)
    assert (made.values, made.to_resource, made.to_directory, made.conflicts) == ({"title": "z"}, ("title",), (), ())


def test_what_the_directory_does_not_tell_is_left_alone() -> None:
    assert merge({"title": "x"}, {"title": "y"}, {}, K8S) == Merged()


VALUES = st.sampled_from(["", "a", "b", "c"])
FIELDS = st.dictionaries(st.sampled_from(["title", "email", "lastName"]), VALUES)


@given(FIELDS, FIELDS, FIELDS, st.sampled_from(Authority))
def test_what_is_merged_and_carried_out_is_agreed(
    base: Mapping[str, str], kubernetes: Mapping[str, str], directory: Mapping[str, str], authority: Authority
) -> None:
    made = merge(base, kubernetes, directory, authority)
    assert made.values.keys() == kubernetes.keys() & directory.keys()
    ours = {**kubernetes, **{name: made.values[name] for name in made.to_resource}}
    theirs = {**directory, **{name: made.values[name] for name in made.to_directory}}
    again = merge({**base, **made.values}, ours, theirs, authority)
    assert (again.to_resource, again.to_directory, again.conflicts) == ((), (), ())
    assert again.values == made.values


MAYBE = st.dictionaries(st.sampled_from(["title", "email", "lastName"]), VALUES | st.none())


@given(FIELDS, MAYBE, FIELDS, st.sampled_from(Authority), st.booleans(), st.booleans())
def test_no_value_is_invented_and_what_a_side_has_is_not_written_to_it(
    base: Mapping[str, str],
    kubernetes: Mapping[str, str | None],
    directory: Mapping[str, str],
    authority: Authority,
    imported: bool,
    import_only: bool,
) -> None:
    made = merge(base, kubernetes, directory, authority, imported=imported, import_only=import_only)
    for name, value in made.values.items():
        assert value in (kubernetes[name], directory[name])
        assert (name in made.to_directory) is (value != directory[name])
        assert (name in made.to_resource) is (value != (kubernetes[name] or ""))
    assert {*made.to_resource, *made.to_directory} <= made.values.keys()
    assert not (import_only and made.to_directory), "under Import the directory is never written"


@given(FIELDS, FIELDS, FIELDS)
def test_the_authority_decides_where_both_changed_and_nowhere_else(
    base: Mapping[str, str], kubernetes: Mapping[str, str], directory: Mapping[str, str]
) -> None:
    ours, theirs = (merge(base, kubernetes, directory, authority) for authority in (K8S, AD))
    for name in ours.values:
        here, there, before = kubernetes[name], directory[name], base.get(name)
        contested = here != there and before not in (here, there)
        assert (ours.values[name], theirs.values[name]) == ((here, there) if contested else (ours.values[name],) * 2)
        told = [{conflict.field for conflict in made.conflicts} for made in (ours, theirs)]
        assert told[0] == told[1]
        assert (name in told[0]) is (contested and before is not None), "an event tells of it where both had once agreed"


@given(VALUES, st.sampled_from(Authority))
def test_a_cleared_field_is_a_change_as_any_other(value: str, authority: Authority) -> None:
    assert one(value, "", value, authority).values == {"title": ""}
    assert one(value, value, "", authority).values == {"title": ""}


# --- members --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "kubernetes", "directory", "result"),
    [
        ("a", "a", "a", "a"),
        ("a", "", "a", ""),
        ("a", "a", "", ""),
        ("", "a", "", "a"),
        ("", "", "a", "a"),
        ("", "a", "a", "a"),
        ("a", "", "", ""),
        ("ab", "bc", "ad", "cd"),
    ],
)
def test_members_merge_one_by_one(base: str, kubernetes: str, directory: str, result: str) -> None:
    assert merge_members(set(base), set(kubernetes), set(directory)) == set(result)


SETS = st.frozensets(st.sampled_from("abcdef"))


@given(SETS, SETS, SETS)
def test_merged_members_settle(base: frozenset[str], kubernetes: frozenset[str], directory: frozenset[str]) -> None:
    made = merge_members(base, kubernetes, directory)
    assert merge_members(made, made, made) == made
    assert kubernetes & directory <= made <= kubernetes | directory


@given(SETS, SETS, st.sampled_from(Authority))
def test_across_a_restart_the_side_that_did_not_move_gives_way(base: frozenset[str], moved: frozenset[str], authority: Authority) -> None:
    digest = members_digest(base)
    for kubernetes, directory in ((base, moved), (moved, base)):
        known = base_from_digest(digest, kubernetes, directory, authority)
        assert not known.conflict
        assert merge_members(known.members, kubernetes, directory) == moved


@given(SETS, SETS, SETS, st.sampled_from(Authority))
def test_across_a_restart_where_both_moved_the_authority_decides(
    base: frozenset[str], kubernetes: frozenset[str], directory: frozenset[str], authority: Authority
) -> None:
    if base in (kubernetes, directory) or kubernetes == directory:
        return
    known = base_from_digest(members_digest(base), kubernetes, directory, authority)
    assert known.conflict
    assert merge_members(known.members, kubernetes, directory) == (kubernetes if authority is K8S else directory)


@given(SETS, SETS, st.sampled_from(Authority))
def test_who_is_only_pending_does_not_make_a_side_look_moved(base: frozenset[str], moved: frozenset[str], authority: Authority) -> None:
    """A resource may name somebody for years who is not there."""
    pending = frozenset("xy")
    known = base_from_digest(members_digest(base), base, moved, authority, listed=base | pending)
    assert not known.conflict
    assert merge_members(known.members, base | pending, moved) == moved | pending


@given(SETS, SETS, st.sampled_from(Authority))
def test_nor_does_one_whose_resource_is_gone(base: frozenset[str], moved: frozenset[str], authority: Authority) -> None:
    agreed = base | {"x"}
    known = base_from_digest(members_digest(agreed), base, moved, authority, listed=agreed)
    assert not known.conflict
    assert merge_members(known.members, base, moved) == moved


@given(SETS, SETS, st.sampled_from(Authority))
def test_nor_do_both_together(base: frozenset[str], moved: frozenset[str], authority: Authority) -> None:
    """One is pending all the time, and of those who were agreed on one has gone: what the status told of the first tells them apart."""
    agreed, listed = base | {"gone"}, base | {"gone", "x"}
    known = base_from_digest(members_digest(agreed), base, moved, authority, listed=listed, pending={"x"})
    assert not known.conflict
    assert merge_members(known.members, listed, moved) == moved | {"x"}, "the one that is gone is taken off the list"


@given(SETS, SETS, st.sampled_from(Authority))
def test_at_the_first_contact_nobody_need_lose(kubernetes: frozenset[str], directory: frozenset[str], authority: Authority) -> None:
    kept = base_from_digest(None, kubernetes, directory, authority, keep_all=True)
    assert merge_members(kept.members, kubernetes, directory) == kubernetes | directory
    decided = base_from_digest(None, kubernetes, directory, authority)
    assert not decided.conflict
    assert merge_members(decided.members, kubernetes, directory) == (kubernetes if authority is K8S else directory)


def test_digests_of_members() -> None:
    assert members_digest(["b", "a"]) == members_digest({"a", "b"})
    assert len({members_digest(each) for each in ([], ["a"], ["b"], ["a", "b"], ["ab"])}) == 5

"""Who is in scope of an import: the seed's own example, cycles, what is elsewhere, and lists that are not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adsync.core.dn import DN
from adsync.core.entries import EntryKind
from adsync.core.scope import Scope, flatten, named_group, scope_of, unread_below
from adsync.sync.mirror import Mirror
from tests.unit.core.support import ROOT, entry

ROOT_DN = DN.parse(ROOT)
SCOPE = f"CN=adsync,{ROOT}"


def directory(groups: dict[str, str | None], *, elsewhere: str = "", users: str = "u1 u2 u3 u4", critical: str = "") -> Mirror:
    """`groups`: name → the names of its members, None where they have not been read. Every objectGUID is the name."""
    made = Mirror()
    for name in [*groups, *users.split()]:
        parent = "CN=Users,DC=corp,DC=example,DC=com" if name in elsewhere.split() else ROOT
        kind = EntryKind.GROUP if name in groups else EntryKind.USER
        made.put(entry(name, name, dn=f"CN={name},{parent}", kind=kind, upn="", critical=name in critical.split()))
    for name, members in groups.items():
        if members is not None:
            made.put_members(name, 1, set(members.split()))
    return made


def scope(links: Mirror, group: str = "adsync", admins: str | None = None, protected: tuple[str, ...] = ()) -> Scope:
    return scope_of(group, admins, ROOT_DN, links, protected)


def told(made: Scope) -> str:
    """Users and groups, as words."""
    return f"{' '.join(sorted(made.users))} | {' '.join(sorted(made.groups))}"


SEED: dict[str, str | None] = {"adsync": "g1", "g1": "u1 u2 g2", "g2": "u3 u4"}


@pytest.mark.parametrize("name", ["adsync", "ADSync", SCOPE, "cn=adsync, ou=people,dc=corp,dc=example,dc=com"])
def test_the_seeds_example(name: str) -> None:
    made = scope(directory(SEED, users="u1 u2 u3 u4 u5"), name)
    assert made.complete
    assert told(made) == "u1 u2 u3 u4 | g1 g2"
    assert made.elsewhere == 0
    assert "u1" in made
    assert "g2" in made
    assert "u5" not in made
    assert "adsync" not in made


def test_the_seeds_example_flattened() -> None:
    links = directory(SEED)
    outer, inner = flatten("g1", ROOT_DN, links), flatten("g2", ROOT_DN, links)
    assert (set(outer.direct), outer.nested) == ({"u1", "u2"}, {"u3": "g2", "u4": "g2"})
    assert outer.users == {"u1", "u2", "u3", "u4"}
    assert (set(inner.direct), inner.nested) == ({"u3", "u4"}, {})
    assert outer.complete
    assert inner.complete


def test_cycles_end() -> None:
    links = directory({"adsync": "g1 adsync", "g1": "u1 g2", "g2": "u2 g1 adsync"})
    made = scope(links)
    assert told(made) == "u1 u2 | g1 g2"
    assert flatten("g1", ROOT_DN, links).users == {"u1", "u2"}
    assert flatten("g2", ROOT_DN, links).nested == {"u1": "g1"}


def test_what_is_elsewhere_is_counted_and_not_imported() -> None:
    links = directory({"adsync": "u1 u2 away missing", "away": "u3"}, elsewhere="u2 away")
    made = scope(links)
    assert told(made) == "u1 | "
    assert made.elsewhere == 3
    assert made.complete
    assert flatten("adsync", ROOT_DN, links).users == {"u1"}


@pytest.mark.parametrize("unread", ["adsync", "g1", "g2"])
def test_a_list_that_is_not_known_makes_it_incomplete(unread: str) -> None:
    assert not scope(directory({**SEED, unread: None})).complete


def test_a_flat_list_is_complete_only_if_all_below_is_known() -> None:
    links = directory({**SEED, "g2": None})
    assert not flatten("g1", ROOT_DN, links).complete
    assert not flatten("g2", ROOT_DN, links).complete
    assert not flatten("unknown", ROOT_DN, links).complete
    assert unread_below("g1", links) == unread_below("g2", links) == "g2"
    assert unread_below("g1", directory(SEED)) is None


def test_no_scope_group_is_an_unknown_scope_and_not_an_empty_one() -> None:
    for links in (directory({}), directory(SEED, elsewhere="adsync"), directory({}, users="adsync")):
        made = scope(links)
        assert made.group is None
        assert not made.complete
    assert not scope_of(None, None, ROOT_DN, directory(SEED)).complete


def test_admins_are_direct_members_that_are_in_scope() -> None:
    links = directory({"adsync": "u1 u2 g1", "g1": "u3", "admins": "u1 u3 u4 g2", "g2": "u2"})
    made = scope(links, admins="admins")
    assert made.admins == {"u1", "u3"}
    assert "admins" not in made


def test_the_admins_group_itself_is_not_imported() -> None:
    made = scope(directory({"adsync": "admins", "admins": "u1"}), admins="admins")
    assert told(made) == "u1 | "


def test_groups_that_nobody_may_write_are_not_entered() -> None:
    links = directory({"adsync": "g1 g2 u1", "g1": "u2", "g2": "u3"}, critical="g2")
    made = scope(links, protected=("g1",))
    assert told(made) == "u1 | "


def test_names_of_groups() -> None:
    links = directory(SEED)
    assert named_group("u1", links) is None
    assert named_group("nobody", links) is None
    assert named_group(None, links) is None
    assert named_group("g1", links) is links.by_guid("g1")


def test_whose_primary_group_it_is_is_in_it_too() -> None:
    """Active Directory lists nobody in `member` whose primary group it is, and lets nobody take one out of it."""
    links = directory({"adsync": "u1 g1", "g1": "u2", "admins": ""})
    for rid, (name, user) in enumerate((("adsync", "u3"), ("g1", "u4"), ("admins", "u1")), 1200):
        links.put(replace(links.by_guid(name) or entry(name), sid=f"S-1-5-21-1-2-3-{rid}"))
        links.put(replace(links.by_guid(user) or entry(user), primary_group=rid))
    made = scope(links, admins="admins")
    assert told(made) == "u1 u2 u3 u4 | g1"
    assert made.admins == {"u1"}
    flat = flatten("g1", ROOT_DN, links)
    assert (set(flat.direct), flat.nested) == ({"u2"}, {"u4": "g1"})

"""Who is put into a group and who is taken out: every cell of the table in core/members.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsync.core.dn import DN
from adsync.core.members import MOST_VALUES, MembersPlan, WantedMember, member_changes, plan_members
from adsync.resources.syncedgroup import MembershipPolicy
from tests.unit.core.support import ROOT

MANAGED, EXACT, ADDITIVE = MembershipPolicy
HOME = DN.parse(f"CN=finance,{ROOT}")


def want(guid: str) -> WantedMember:
    return WantedMember(f"user-{guid}", guid)


def plan(
    wanted: list[WantedMember], present: str, policy: MembershipPolicy = MANAGED, *, ours: str = "", privileged: str = "", primary: str = ""
) -> MembersPlan:
    """Each letter is an objectGUID."""
    return plan_members(wanted, set(present), policy=policy, ours=set(ours), privileged=set(privileged), primary=set(primary))


@pytest.mark.parametrize(
    ("policy", "ours", "stranger", "privileged"),
    [(MANAGED, "goes", "stays", "stays"), (EXACT, "goes", "goes", "stays"), (ADDITIVE, "stays", "stays", "stays")],
)
def test_who_goes(policy: MembershipPolicy, ours: str, stranger: str, privileged: str) -> None:
    """w is wanted, o of ours, s a stranger, p privileged and of ours, q privileged and a stranger."""
    made = plan([want("w")], "wospq", policy, ours="op", privileged="pq")
    expected = [guid for guid, what in (("o", ours), ("s", stranger), ("p", privileged), ("q", privileged)) if what == "goes"]
    assert made.remove == tuple(expected)
    assert made.add == ()
    assert (made.desired, made.applied, made.foreign) == (1, 1, 4 - len(expected))


def test_who_comes() -> None:
    made = plan([want("a"), want("b")], "b")
    assert (made.add, made.remove, made.desired, made.applied) == (("a",), (), 2, 1)
    assert not made.done
    assert plan([want("b")], "b").done


@pytest.mark.parametrize("policy", [MANAGED, EXACT])
def test_who_waits_is_neither_added_nor_taken_out(policy: MembershipPolicy) -> None:
    waiting = [
        WantedMember("a", "a", pending="it is privileged"),
        WantedMember("b", pending="its domain is away", known="b"),
        WantedMember("c", "c", pending="not yet"),
        WantedMember("d", pending="it is not in this domain yet"),
    ]
    made = plan(waiting, "ab", policy, ours="ab")
    assert (made.add, made.remove) == ((), ())
    assert made.pending == tuple(waiting)
    assert (made.desired, made.applied) == (4, 0)


def test_primary_members_count_as_in() -> None:
    made = plan([want("a")], "", primary="a")
    assert made.done
    assert made.applied == 1
    assert plan([], "", EXACT, primary="a").done, "a primary member can't be taken out"


def test_an_empty_list_takes_out_all_of_ours() -> None:
    assert plan([], "ab", ours="ab").remove == ("a", "b")


@given(
    st.sets(st.integers(0, 9)),
    st.sets(st.integers(0, 9)),
    st.sets(st.integers(0, 9)),
    st.sets(st.integers(0, 9)),
    st.sampled_from(MembershipPolicy),
)
def test_a_plan_that_is_carried_out_is_done(
    wanted: set[int], present: set[int], ours: set[int], privileged: set[int], policy: MembershipPolicy
) -> None:
    asked = [want(str(each)) for each in wanted]
    here = {str(each) for each in present}
    facts = {"ours": {str(each) for each in ours}, "privileged": {str(each) for each in privileged}}
    first = plan_members(asked, here, policy=policy, **facts)
    after = (here | set(first.add)) - set(first.remove)
    second = plan_members(asked, after, policy=policy, **facts)
    assert second.done
    assert second.applied == second.desired == len(asked)
    assert not set(first.add) & set(first.remove)
    assert not set(first.remove) & facts["privileged"]


@pytest.mark.parametrize(("joining", "leaving"), [(0, 0), (1, 0), (0, 1), (1000, 0), (1001, 0), (600, 600), (0, 2500), (1500, 700)])
def test_as_few_operations_as_can_be(joining: int, leaving: int) -> None:
    add, remove = [f"a{at}" for at in range(joining)], [f"r{at}" for at in range(leaving)]
    changes = member_changes(add, remove, "g", HOME, str)
    assert len(changes) == -(-(joining + leaving) // MOST_VALUES)
    assert all(0 < len(change.add) + len(change.remove) <= MOST_VALUES for change in changes)
    assert [guid for change in changes for guid in change.add] == add
    assert [guid for change in changes for guid in change.remove] == remove
    assert all(len(change.verbs) == len(change.remove) for change in changes)


def test_members_in_words() -> None:
    (change,) = member_changes(["a"], ["b"], "g", HOME, lambda guid: guid.upper())
    assert str(change) == f"members of {HOME}: +A, −B"
    (change,) = member_changes([str(at) for at in range(12)], [], "g", HOME, str)
    assert str(change).endswith("+8, +9 and 2 more")

"""Whatever edits come while a look is under way, and whether or not its writes arrive: where one side alone was edited its last
edit stays, and both sides end equal with a value that somebody wrote."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from adsync.core.carried import AgreedMembers, Carried
from adsync.core.merge import merge, merge_members
from adsync.resources.addomain import Authority

FIELD = "title"
VALUES = st.sampled_from(["", "a", "b", "c"])
ARRIVES = st.booleans()
NAMES = ("u1", "u2", "u3")
SETS = st.frozensets(st.sampled_from(NAMES))
AUTHORITIES = st.sampled_from(list(Authority))


@dataclass
class Look:
    """The steps of a look, as sync.merging_users makes them: one write at the most in each, the record when nothing is left to do."""

    authority: Authority
    here: str | None
    there: str | None
    recorded: dict[str, str] = field(default_factory=dict)
    carried: Carried = field(default_factory=Carried)

    def step(self, arrives: bool = True) -> bool:
        """Whether there was something to do."""
        kubernetes, directory = {FIELD: self.here}, {FIELD: self.there or ""}
        merged = merge(self.carried.base(self.recorded, kubernetes, directory), kubernetes, directory, self.authority)
        if merged.to_directory:
            self.carried.send_to_directory(merged.values)
            self.there = merged.values[FIELD] if arrives else self.there
        elif merged.to_resource:
            self.carried.send_to_resource(merged.values)
            self.here = merged.values[FIELD] if arrives else self.here
        else:
            self.recorded, self.carried = dict(merged.values), Carried()
            return False
        return True

    def finish(self) -> None:
        for _ in range(4):
            if not self.step():
                return
        raise AssertionError("it never ends")


@settings(max_examples=300)
@given(AUTHORITIES, st.booleans(), VALUES, st.lists(st.tuples(VALUES, ARRIVES, st.booleans()), max_size=8))
def test_the_last_edit_of_the_only_side_that_was_edited_stays(
    authority: Authority, in_kubernetes: bool, first: str, edits: list[tuple[str, bool, bool]]
) -> None:
    look = Look(authority, first, first, {FIELD: first})
    for value, arrives, looked in edits:
        if in_kubernetes:
            look.here = value
        else:
            look.there = value
        if looked:
            look.step(arrives)
    look.finish()
    assert (look.here, look.there) == ((edits[-1][0] if edits else first),) * 2


@settings(max_examples=300)
@given(AUTHORITIES, VALUES, st.lists(st.tuples(st.booleans(), VALUES, ARRIVES, st.booleans()), max_size=8))
def test_both_sides_end_equal_with_what_somebody_wrote(authority: Authority, first: str, edits: list[tuple[bool, str, bool, bool]]) -> None:
    look = Look(authority, first, first, {FIELD: first})
    for in_kubernetes, value, arrives, looked in edits:
        if in_kubernetes:
            look.here = value
        else:
            look.there = value
        if looked:
            look.step(arrives)
    look.finish()
    assert look.here == look.there
    assert look.here in {first, *(value for _, value, _, _ in edits)}


@settings(max_examples=300)
@given(SETS, st.booleans(), st.lists(st.tuples(SETS, ARRIVES, st.booleans()), max_size=8))
def test_members_of_the_only_side_that_was_edited_stay(
    first: frozenset[str], in_kubernetes: bool, edits: list[tuple[frozenset[str], bool, bool]]
) -> None:
    here, there, agreed = first, first, AgreedMembers("", first)

    def step(arrives: bool = True) -> None:
        nonlocal here, there
        merged = merge_members(agreed.base(here, there), here, there)
        if merged != there:
            joining, leaving = merged - there, there - merged
            agreed.send_to_directory(joining, leaving)
            there = merged if arrives else there
        else:
            joining, leaving = merged - here, here - merged
            agreed.send_to_resource(joining, leaving)
            here = merged if arrives else here

    for members, arrives, looked in edits:
        if in_kubernetes:
            here = members
        else:
            there = members
        if looked:
            step(arrives)
    for _ in range(3):
        step()
    assert here == there == (edits[-1][0] if edits else first)

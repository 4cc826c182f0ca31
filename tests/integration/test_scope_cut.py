"""The scope group's member list is cut while it is read: half of it read is nothing read, and nobody is removed or suspended."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from lab.api import Manifest
from lab.manners import Limits
from lab.messages import Kind
from lab.samba import DomainController
from lab.strict import Fault, Strict
from tests.integration.crowd import FULL
from tests.integration.support import Operator, Site, eventually
from tests.integration.test_import import Corner

LIMITS = Limits(values=10, page=8)
USERS, IN_GROUP = 45, 25
NOTICED = "not at work"  # what the operator logs when it can't go on
LISTS = b"member;range=0-*"  # asked for in the search of all groups' members
_minutes = itertools.count(16)

# Cut: (what, how much of it still goes through), while the lists of all groups are read page by page, and within the long ones.
CUTS = [
    Fault(Kind.ENTRY, number=3, kept=0.5, asked=LISTS),
    Fault(Kind.SEARCH_DONE, number=2, asked=LISTS),
    Fault(Kind.ENTRY, number=1, kept=0.5, containing=b"member;range=10-"),
    Fault(Kind.ENTRY, number=1, kept=1.0, containing=b"member;range=20-"),
    Fault(Kind.SEARCH_DONE, number=1, asked=b"member;range=20-*"),
    Fault(Kind.SEARCH_DONE, number=1, asked=b"member;range=30-*", code=51),
]
MORE = [
    Fault(Kind.SEARCH, number=1, asked=LISTS),
    Fault(Kind.ENTRY, number=1, asked=LISTS),
    Fault(Kind.ENTRY, number=9, kept=1.0, asked=LISTS),
    Fault(Kind.SEARCH_DONE, number=1, asked=LISTS, code=3),
    Fault(Kind.SEARCH_DONE, number=3, asked=LISTS, code=4),
    *(
        Fault(Kind.SEARCH, number=1, kept=kept, asked=b"member;range=%d-*" % start)
        for start in (10, 20, 30, 40)
        for kept in (0.0, 0.5, 1.0)
    ),
    *(
        Fault(Kind.ENTRY, number=1, kept=kept, containing=b"member;range=%d-" % start)
        for start in (10, 20, 30, 40)
        for kept in (0.0, 0.3, 1.0)
    ),
    *(Fault(Kind.SEARCH_DONE, number=1, asked=b"member;range=%d-*" % start, code=code) for start in (10, 40) for code in (1, 11, 52)),
]


@pytest.fixture
def strict(dc: DomainController) -> Iterator[Strict]:
    with Strict.before(dc, LIMITS) as made:
        yield made


def everything(corner: Corner) -> dict[str, Manifest]:
    """Spec and identity of all resources; statuses tell of the outage."""
    found = {**corner.users(), **{f"group {name}": each for name, each in corner.groups().items()}}
    return {name: {"uid": each["metadata"]["uid"], "spec": each["spec"]} for name, each in found.items()}


@pytest.mark.parametrize("policy", ["Delete", "Suspend"])
def test_half_a_scope_removes_nobody(site: Site, operator: Operator, strict: Strict, policy: str) -> None:
    generous = {"maxRemovals": "100%", "minRemovals": 1000, "maxSuspensions": "100%"}  # it is not the safety limit that keeps them
    corner = Corner(site, "Import", servers=[strict.url], safety=generous, **{"import": {"onScopeRemoval": policy}})
    dns = site.dc.users(USERS, prefix=corner.name, container=site.container)
    for dn in dns:
        site.dc.replace(dn, {"userAccountControl": "544"})
    site.dc.members(corner.scope, add=[*dns, corner.group("g", dns[:IN_GROUP])])
    corner.connect()
    eventually(lambda: len(corner.users()) == USERS, 60)
    corner.await_members("g", *(dn.partition(",")[0].removeprefix(f"CN={corner.name}") for dn in dns[:IN_GROUP]))
    site.await_reason("corp", kind="ADDomain")
    before = everything(corner)
    assert [name for name, each in before.items() if each["spec"].get("suspended")] == []

    for turn, fault in enumerate([*CUTS, *(MORE if FULL else [])]):
        # Armed for more than one try, so that what is seen is not just the picture that the next try has mended.
        strict.arm(*[fault] * 3)
        fired = strict.fired
        strict.reset()
        for _ in range(2):
            ended = operator.log.count(NOTICED)
            wake(site)
            eventually(lambda: strict.fired > fired, 60, interval=0.02, what=f"{fault} happens")  # noqa: B023 - called at once
            fired = strict.fired
            # It ends the session, instead of leaving one that goes on with half a list.
            eventually(lambda: operator.log.count(NOTICED) > ended, 60, what="the operator notices the cut")  # noqa: B023
            assert everything(corner) == before, f"after {fault} ({turn})"
        strict.disarm()
    # Nor does what was read in half linger: the next whole picture is the one that was there all the time.
    wake(site)
    site.await_reason("corp", kind="ADDomain", timeout=60)
    assert everything(corner) == before
    # And somebody who really leaves is seen to leave.
    site.dc.members(corner.scope, delete=[dns[-1]])
    last = dns[-1].partition(",")[0].removeprefix(f"CN={corner.name}")
    if policy == "Delete":
        eventually(lambda: last not in corner.users())
    else:
        eventually(lambda: corner.users()[last]["spec"]["suspended"] is True)


def wake(site: Site) -> None:
    """Have the domain try again at once."""
    site.edit("corp", {"resyncInterval": f"{next(_minutes)}m"}, "ADDomain")

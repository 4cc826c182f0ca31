"""Reads that are cut at random places: what was not completely read removes nothing, and nobody reports success that is none.

The proxy hands out small pages and ranges, so that few users and groups already take many answers to read.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import partial

import pytest

from lab.manners import Limits
from lab.messages import Kind
from lab.samba import DomainController
from lab.strict import Fault, Strict
from tests.integration.crowd import scaled
from tests.integration.rosters import UNLIMITED, group, members, names, set_members, synced
from tests.integration.support import Operator, Site, account, condition, eventually, ready_reason, synced_user, unique

CUTS = int(os.environ.get("ADSYNC_TEST_CUTS", scaled(40, 200)))
TURNS = scaled(8, 50)
SEED = int(os.environ.get("ADSYNC_TEST_SEED", "4"))
LIMITS = Limits(values=10, page=15)
USERS, IN_GROUP, FOREIGN = 30, 25, 3
POLICIES = ("Managed", "Exact", "Additive")
SWEEP, LISTS = b"adminDescription", b"member;range=0-*"
CODES = (1, 3, 4, 11, 51, 52)
NOTICED = "not at work"  # what the operator logs whenever a session ends
ACCOUNTS = "(|(&(objectCategory=person)(objectClass=user))(objectClass=group))"


@pytest.fixture
def strict(dc: DomainController) -> Iterator[Strict]:
    with Strict.before(dc, LIMITS) as made:
        yield made


class Crowd:
    """Users in sync, and a group in sync for each policy; in the directory strangers are in those that bear them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.users = [unique("u") for _ in range(USERS)]
        site.api.create_many(synced_user(site.namespace, name) for name in self.users)
        for name in self.users:
            site.await_reason(name, timeout=60)
        self.inside = self.users[:IN_GROUP]
        self.groups = {policy: unique("g") for policy in POLICIES}
        self.foreign = [unique("f") for _ in range(FOREIGN)]
        strangers = [site.dc.add_user(name, container=site.container) for name in self.foreign]
        for policy, name in self.groups.items():
            group(site, name, self.inside, membershipPolicy=policy)
            synced(site, name, 60)
            self.await_names(policy, set(self.inside))
            if policy != "Exact":
                site.dc.members(f"CN={name},{site.container}", add=strangers)

    def await_names(self, policy: str, wanted: set[str], what: str = "") -> None:
        eventually(lambda: names(self.site, self.groups[policy]) == wanted, 60, what=f"the members under {policy} {what}")

    def wanted(self, policy: str) -> set[str]:
        return {*self.inside, *([] if policy == "Exact" else self.foreign)}


def places(chosen: random.Random, site: Site) -> Iterator[Fault]:
    """Random places in what is read on connecting, each before all is read: at the start, in the sweep, in the lists of members after it."""
    entries = len(site.dc.search(ACCOUNTS, ["cn"]))
    groups = len(site.dc.search("(objectClass=group)", ["cn"]))
    stages = [
        # what its requests have in them, how many entries and how many searches are in it
        (b"", 5, 8),
        (SWEEP, entries, entries // LIMITS.page),
        (LISTS, groups, groups // LIMITS.page),
    ]
    while True:
        asked, within, searches = chosen.choice(stages)
        kind, number = chosen.choice([
            (Kind.ENTRY, chosen.randint(1, within)),
            (Kind.SEARCH, chosen.randint(1, searches)),
            (Kind.SEARCH_DONE, chosen.randint(1, searches)),
        ])  # fmt: skip
        code = chosen.choice(CODES) if asked and kind is not Kind.SEARCH and chosen.random() < 0.3 else None
        yield Fault(kind, number, chosen.choice([0.0, 1.0, chosen.random()]), asked=asked, code=code)


def wake(site: Site, turn: int) -> None:
    """Have the domain try again at once."""
    site.edit("corp", {"resyncInterval": f"{15 + turn % 2}m"}, "ADDomain")


def await_cut(strict: Strict, number: int) -> None:
    eventually(lambda: strict.fired >= number, 60, interval=0.02, what=f"cut {number}")


def _noticed_since(operator: Operator, ended: int) -> bool:
    return operator.log.count(NOTICED) > ended


@pytest.mark.slow
def test_what_was_not_completely_read_removes_nothing(site: Site, operator: Operator, strict: Strict) -> None:
    site.connect(servers=[strict.url], safety=UNLIMITED, adoptionPolicy="Always")
    crowd = Crowd(site)
    eventually(lambda: all(names(site, crowd.groups[policy]) == crowd.wanted(policy) for policy in POLICIES))
    before = {name: members(site, name) for name in crowd.groups.values()}
    usn = site.dc.highest_usn()

    chosen = random.Random(SEED)
    cuts = places(chosen, site)
    strict.arm(*(next(cuts) for _ in range(CUTS + 20)))
    noticed = operator.log.count(NOTICED)
    strict.reset()
    await_cut(strict, 1)

    # While nothing can be completely read, a person asks for something of every kind.
    leaver, changed, new = crowd.inside[0], crowd.users[-1], unique("u")
    for name in crowd.groups.values():
        set_members(site, name, crowd.inside[1:])
    site.edit(changed, {"displayName": "New"})
    site.user(new)
    edited = [(changed, "SyncedUser"), (new, "SyncedUser"), *((name, "SyncedGroup") for name in crowd.groups.values())]

    for turn in range(CUTS):
        ended = operator.log.count(NOTICED)
        wake(site, turn)
        await_cut(strict, turn + 1)
        eventually(partial(_noticed_since, operator, ended), 60, what="the operator notices the cut")
        if turn % 10 == 0:
            assert {name: members(site, name) for name in before} == before
            assert [name for name, kind in edited if ready_reason(site.get(name, kind)) == "Synced"] == []
    # Nearly every one ended the work: it was not just the next that kept a mistake from being seen. Two searches that are answered with an
    # error, at the same time, end it once.
    assert operator.log.count(NOTICED) - noticed > 0.95 * strict.fired
    assert strict.armed  # the next one is coming
    assert {name: members(site, name) for name in before} == before
    assert [name for name, kind in edited if ready_reason(site.get(name, kind)) == "Synced"] == []
    assert condition(site.get("corp", "ADDomain"), "Ready")["status"] == "False"
    assert site.dc.highest_usn() == usn

    # When everything can be read again, exactly what was asked for happens.
    strict.disarm()
    wake(site, CUTS)
    for name, kind in edited:
        site.await_reason(name, kind=kind, timeout=60)
    for policy in POLICIES:
        crowd.await_names(policy, crowd.wanted(policy) - (set() if policy == "Additive" else {leaver}))
    assert account(site, changed)["displayName"] == ["New"]


@pytest.mark.slow
def test_cuts_in_the_middle_of_the_work_lose_nobody(site: Site, operator: Operator, strict: Strict) -> None:
    site.connect(servers=[strict.url], safety=UNLIMITED)
    crowd = Crowd(site)
    chosen = random.Random(SEED + 1)
    wanted = {policy: crowd.wanted(policy) for policy in POLICIES}
    kinds = (Kind.SEARCH, Kind.ENTRY, Kind.SEARCH_DONE, Kind.MODIFY, Kind.MODIFY_ANSWER)
    for turn in range(TURNS):
        kind = chosen.choice(kinds)
        most = 2 if kind in kinds[3:] else 20
        strict.arm(Fault(kind, chosen.randint(1, most), chosen.choice([0.0, 1.0, chosen.random()])))
        # In each group somebody is taken out, by a stranger, and must come back; in some somebody joins, by the resource.
        for policy, name in crowd.groups.items():
            out = chosen.choice(sorted(wanted[policy] - set(crowd.foreign)))
            site.dc.members(f"CN={name},{site.container}", delete=[f"CN={out},{site.container}"])
        if chosen.random() < 0.5:
            crowd.inside = sorted({*crowd.inside, chosen.choice(crowd.users)})
            for name in crowd.groups.values():
                set_members(site, name, crowd.inside)
        wanted = {policy: crowd.wanted(policy) for policy in POLICIES}
        for policy in POLICIES:
            crowd.await_names(policy, wanted[policy], f"after cut {turn + 1}")
        strict.disarm()
    print(f"{strict.fired} cuts")
    assert strict.fired > TURNS // 2
    for name in crowd.groups.values():
        synced(site, name, 30)

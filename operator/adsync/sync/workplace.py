"""What one domain's work goes on with while one connection lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from pydantic import SecretStr

from adsync.cluster.client import Cluster
from adsync.core.carried import AgreedMembers, Carried
from adsync.core.changes import Add, Change, Delete, Modify, ModifyMembers, Move
from adsync.core.dn import DN
from adsync.core.entries import Entry
from adsync.core.policy import PasswordPolicy
from adsync.core.rules import DomainRules
from adsync.core.users import Surroundings
from adsync.directory.directory import Directory
from adsync.directory.model import Link
from adsync.errors import DirectoryUnavailable
from adsync.metrics import Metrics
from adsync.resources.synceduser import PasswordStatus
from adsync.sync.guard import Guard
from adsync.sync.mirror import Mirror
from adsync.sync.quarrels import Quarrels
from adsync.sync.readback import ReadBack
from adsync.sync.reports import Reports
from adsync.sync.store import Key, Resource, Store
from adsync.sync.turns import Turns

_WRITES_IN_FLIGHT = 8
"""A domain controller does one after the other; these keep it busy, and a new change never waits for more than these."""

AHEAD = 48
"""How many may be got ready for their write, or be at it. More than the directory can take soon would keep the API server busy with what is
not urgent, and the one account that has to be suspended now waiting behind them."""

USUAL, NEW = range(2)
"""Who goes first where several wait for their turn: an account that is there already does not wait for those that are yet to be made."""
_LULL_SECONDS = 5.0

_VERBS = {Add: "add", Modify: "modify", Move: "move", Delete: "delete", ModifyMembers: "members"}  # in the metrics


@dataclass(slots=True)
class Unseen:
    """The names by which members have joined a group, with the objectGUID that each was to stand for; and who was in it `before`."""

    names: dict[DN, str]
    before: frozenset[str]


@dataclass(slots=True)
class Memory:
    """What outlives a connection: passwords that the directory refused, until the status tells of them, the member
    sets (by names of resources) that both sides of a group last agreed on, with the group's objectGUID, and who joined a group by name and has
    not been seen in it yet; and what has gone across between the two sides of a resource since they last agreed on everything."""

    refused: dict[Key, PasswordStatus] = field(default_factory=dict)
    members: dict[Key, AgreedMembers] = field(default_factory=dict)
    unseen: dict[Key, Unseen] = field(default_factory=dict)
    carried: dict[Key, Carried] = field(default_factory=dict)


@dataclass(slots=True)
class Workplace:
    """The callables connect what works here with the session: `members_changed` is told who came into a group or left one; `group_changed`
    which group may need its members read again, unless it is `writing` (what we change ourselves need not be read). `absence_proven` is
    False after a change of domain controller, until the new one is known to have caught up."""

    domain: Key
    store: Store
    cluster: Cluster
    reports: Reports
    metrics: Metrics
    guard: Guard
    memory: Memory
    quarrels: Quarrels
    directory: Directory
    rules: DomainRules
    policy: PasswordPolicy
    mirror: Mirror
    readback: ReadBack
    protected: dict[str, str] = field(default_factory=dict)
    absence_proven: bool = True
    members_changed: Callable[[Set[str]], None] = lambda _guids: None
    group_changed: Callable[[str], None] = lambda _guid: None
    writing: set[str] = field(default_factory=set)
    pressing: set[Key] = field(default_factory=set)  # resources whose looks have something to write, and have not written it all yet
    ahead: Turns = field(default_factory=lambda: Turns(AHEAD))
    _turns: Turns = field(default_factory=lambda: Turns(_WRITES_IN_FLIGHT))
    _writes: int = 0

    @property
    def name(self) -> str:
        """As in metrics and logs: namespace/name."""
        return f"{self.domain.namespace}/{self.domain.name}"

    @property
    def resource(self) -> Resource:
        return self.store.resources[self.domain]

    @property
    def going(self) -> bool:
        """Whether the domain itself is being deleted."""
        resource = self.store.resources.get(self.domain)
        return resource is None or resource.deleting

    def around(self) -> Surroundings:
        return Surroundings(self.mirror, self.protected, self.directory.info.account_guid)

    @property
    def writes_under_way(self) -> int:
        """How many writes are at the directory, or wait for their turn."""
        return self._writes

    @property
    def busy(self) -> bool:
        """Whether the directory is being written, or is about to be."""
        return bool(self.pressing) or self._writes > 0

    async def few_writes(self, most: int, *, at_most: float) -> None:
        """Wait, at most so many seconds, until no more than so many writes are under way."""
        loop = asyncio.get_running_loop()
        until = loop.time() + at_most
        while self._writes > most and loop.time() < until:  # noqa: ASYNC110 - many things end it
            await asyncio.sleep(0.01)

    async def lull(self, key: Key) -> None:
        """What is left of a look can wait for the writes of others, though not for long: reading a large group back, and telling of it, takes
        the processors of the API server and of the domain controller from those writes."""
        self.pressing.discard(key)
        loop = asyncio.get_running_loop()
        until = loop.time() + _LULL_SECONDS
        while self.busy and loop.time() < until:  # noqa: ASYNC110 - many things end it
            await asyncio.sleep(0.05)

    async def apply(self, change: Change, password: SecretStr | None = None) -> None:
        """Write to the directory; the one place that does. Raises what the directory says, and DirectoryUnavailable without the lease."""
        self._writes += 1
        result = "refused"
        try:
            async with self._turns.taken(NEW if isinstance(change, Add) else USUAL):
                with self.readback.writing(change):
                    await self.directory.apply(change, password)
            result = "ok"
        except DirectoryUnavailable:
            result = "unavailable"
            raise
        finally:
            self._writes -= 1
            self.metrics.changes.labels(self.name, _VERBS[type(change)], result).inc()

    async def refresh(self, guid: str) -> Entry | None:
        """Read one object again, and take over what the directory says of it, its absence included."""
        entry = await self.directory.read(guid)
        self._take(guid, entry)
        return entry

    def _take(self, guid: str, entry: Entry | None) -> None:
        if entry is None:
            self.drop(guid)
        else:
            self.mirror.put(entry)

    def drop(self, guid: str) -> Entry | None:
        """Forget an object that is gone; those who were in it are told, where it was a group."""
        members = self.mirror.members(guid)
        entry = self.mirror.drop(guid)
        if members:
            self.members_changed(members)
        return entry

    async def read_members(self, guid: str) -> list[Link]:
        """Read a group's whole member list; raises IncompleteRead rather than take a part for it."""
        entry = await self.refresh(guid)
        members = await self.directory.read_members(guid) if entry is not None else None
        if entry is not None and members is not None:
            # Read before the list, so that a change in between makes the list look old rather than current.
            self.members_changed(self.mirror.put_members(guid, entry.usn_changed, {member.guid for member in members if member.guid}))
        return members or []

    async def recheck(self, guid: str) -> Entry | None:
        """As refresh, and whether the object is privileged at this moment, before it is written."""
        entry, reason = await self.directory.read_for_write(guid)
        self._take(guid, entry)
        if reason is None:
            self.protected.pop(guid, None)
        else:
            self.protected[guid] = reason
        return entry

    async def find_names(self, sam: str, upn: str) -> bool:
        """Look for who holds a name that the directory says is taken; True where that was news."""
        found = await self.directory.find(sams=[sam] if sam else [], upns=[upn] if upn else [])
        news = [entry for entry in found if self.mirror.by_guid(entry.guid) is None]
        for entry in found:
            self.mirror.put(entry)
        return bool(news)

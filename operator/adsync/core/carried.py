"""What has gone from one side to the other since both last agreed on everything.

That is recorded (lastSynced) at the end of a look only. Until then a value that went across may be edited again where it came from, or where it
went to: measured by the recorded base, both sides would then have changed, and the authority's value, which may be our own of a moment ago,
would undo the later edit. So what went across is the base of its field from then on:

    both sides have it                                          base
    it was sent, whether or not its arrival was confirmed       base as soon as the other side is seen to have it
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field


@dataclass(slots=True)
class Carried:
    """Of one object. `guid` is its objectGUID, "" while it is being made; the dictionaries go by field, the sets are of all that was sent."""

    guid: str = ""
    arrived: dict[str, str] = field(default_factory=dict)
    to_directory: dict[str, set[str]] = field(default_factory=dict)
    to_resource: dict[str, set[str]] = field(default_factory=dict)

    def base(self, recorded: Mapping[str, str], kubernetes: Mapping[str, str | None], directory: Mapping[str, str]) -> dict[str, str]:
        """The base of a merge of what both sides have now. What both have alike is remembered as such."""
        for name, there in directory.items():
            if kubernetes.get(name) == there or there in self.to_directory.get(name, ()):
                self._settle(name, there, recorded)
            elif (here := kubernetes.get(name)) is not None and here in self.to_resource.get(name, ()):
                self._settle(name, here, recorded)
        return {**recorded, **self.arrived}

    def send_to_directory(self, values: Mapping[str, str]) -> None:
        """To be called before it is: nobody may ever say whether it arrived."""
        for name, value in values.items():
            self.to_directory.setdefault(name, set()).add(value)

    def send_to_resource(self, values: Mapping[str, str]) -> None:
        """As send_to_directory."""
        for name, value in values.items():
            self.to_resource.setdefault(name, set()).add(value)

    def _settle(self, name: str, value: str, recorded: Mapping[str, str]) -> None:
        if self.arrived.get(name, recorded.get(name)) != value:
            self.arrived[name] = value
        self.to_directory.pop(name, None)
        self.to_resource.pop(name, None)


@dataclass(slots=True)
class _Sent:
    """Who was sent into the set of one side, or out of it."""

    joining: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)

    def rebase(self, base: Set[str], side: Set[str], other: Set[str]) -> Set[str]:
        """The base with all that has arrived in the set of its `side`. What is no longer open is forgotten."""
        base = (base | (self.joining & side)) - (self.leaving - side)
        self.joining &= other - side
        self.leaving &= side - other
        return base


@dataclass(slots=True)
class AgreedMembers:
    """Of one group: the `members` that both sides agreed on, by the names of their resources, and who went across since, without a word."""

    guid: str
    members: frozenset[str] = frozenset()
    _to_directory: _Sent = field(default_factory=_Sent)
    _to_resource: _Sent = field(default_factory=_Sent)

    def base(self, kubernetes: Set[str], directory: Set[str]) -> frozenset[str]:
        """The base of a merge of what both sides have now. Whom both have, or neither has, is remembered as agreed on."""
        base = self._to_directory.rebase(self.members, directory, kubernetes)
        base = self._to_resource.rebase(base, kubernetes, directory)
        self.members = frozenset((kubernetes & directory) | (base & (kubernetes ^ directory)))
        return self.members

    def send_to_directory(self, joining: Set[str], leaving: Set[str]) -> None:
        """To be called before it is: nobody may ever say whether it arrived."""
        self._to_directory.joining |= joining
        self._to_directory.leaving |= leaving

    def send_to_resource(self, joining: Set[str], leaving: Set[str]) -> None:
        """As send_to_directory."""
        self._to_resource.joining |= joining
        self._to_resource.leaving |= leaving

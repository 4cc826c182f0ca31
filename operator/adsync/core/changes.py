"""The changes that a plan is made of. Each is one LDAP operation, is safe to repeat, and can say in words what it does.

None carries a password: a change says *which* password goes along, and the value is fetched at the moment of writing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from adsync.core.dn import DN


class PasswordSource(StrEnum):
    NONE = "none"
    SECRET = "secret"  # noqa: S105 - the name of a source, not a password
    RANDOM = "random"


class Verb(StrEnum):
    """What the safety limits count. Other changes are counted as nothing."""

    DELETE = "delete"
    DISABLE = "disable"
    SUSPEND = "suspend"  # a disable that the resource asks for explicitly
    REMOVE_MEMBER = "removeMember"
    CLEAR_ATTRIBUTE = "clearAttribute"


@dataclass(frozen=True, slots=True)
class Edit:
    """One attribute from `old` to `new`; None stands for absent.

    Where `exact` is set, the old value is part of the operation: the server refuses it (ValueMismatch) if the value has changed meanwhile.
    """

    attribute: str
    old: str | None
    new: str | None
    exact: bool = False

    def __str__(self) -> str:
        told = f"{self.attribute}: {'(none)' if self.old is None else self.old} → {'(none)' if self.new is None else self.new}"
        return f"{told} ({'disabled' if _disabled(self.new) else 'enabled'})" if self._switches else told

    @property
    def _switches(self) -> bool:
        """Whether it disables or enables the account: few people know the flags of userAccountControl by heart."""
        return self.attribute == "userAccountControl" and _disabled(self.old) is not _disabled(self.new)


@dataclass(frozen=True, slots=True)
class Add:
    """Create an object in one operation, its password and owner mark included. `attributes` includes objectClass's companions but not objectClass.

    `members` are the objectGUIDs of a new group's first members, at most 1,000; `names` as in ModifyMembers.
    """

    dn: DN
    object_class: str  # "user" or "group"
    attributes: Mapping[str, str]
    password: PasswordSource = PasswordSource.NONE
    members: tuple[str, ...] = ()
    names: tuple[DN, ...] = ()

    def __str__(self) -> str:
        return f"create {self.object_class} {self.dn}" + (f" with {len(self.members)} members" if self.members else "")


@dataclass(frozen=True, slots=True)
class Modify:
    """Change attributes, and with them the password where `password` says so, in one operation."""

    guid: str
    dn: DN
    edits: tuple[Edit, ...]
    password: PasswordSource = PasswordSource.NONE
    verbs: tuple[Verb, ...] = ()

    def __str__(self) -> str:
        told = [str(edit) for edit in self.edits]
        if self.password is not PasswordSource.NONE:
            told.insert(0, "set the password")
        return "; ".join(told)


@dataclass(frozen=True, slots=True)
class Move:
    """Change the RDN, the parent or both (one modifyDN)."""

    guid: str
    dn: DN
    new_dn: DN

    def __str__(self) -> str:
        return f"move {self.dn} → {self.new_dn}"


@dataclass(frozen=True, slots=True)
class Delete:
    guid: str
    dn: DN
    verbs: tuple[Verb, ...] = (Verb.DELETE,)

    def __str__(self) -> str:
        return f"delete {self.dn}"


@dataclass(frozen=True, slots=True)
class ModifyMembers:
    """Add and remove values of a group's `member`, permissively; at most 1,000 values together.

    Members are named by objectGUID, so that one that is renamed or moved meanwhile is still meant. Where `names` are given, those who join go
    by these instead, in the same order: that costs the directory less, and whoever asks for it makes sure of who joined (sync/joining.py).
    """

    guid: str
    dn: DN
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    told: str = ""  # the members by name, as far as a person wants to read them
    names: tuple[DN, ...] = ()

    @property
    def verbs(self) -> tuple[Verb, ...]:
        return (Verb.REMOVE_MEMBER,) * len(self.remove)

    def __str__(self) -> str:
        return f"members of {self.dn}: {self.told or f'+{len(self.add)} −{len(self.remove)}'}"


@dataclass(frozen=True, slots=True)
class DropResource:
    """Delete an imported resource whose object has left the scope. Nothing is written to the directory, but the safety limits count it."""

    guid: str
    dn: str
    why: str
    verbs: tuple[Verb, ...] = (Verb.DELETE,)

    def __str__(self) -> str:
        return f"delete the imported resource of {self.dn}: {self.why}"


Change: TypeAlias = Add | Modify | Move | Delete | ModifyMembers


def past(change: Change) -> str:
    """A change that has been made, in words: `str(change)` tells of one that is wanted."""
    match change:
        case Add():
            return f"created {str(change).removeprefix('create ')}"
        case Move():
            verb = "renamed" if change.dn.parent == change.new_dn.parent else "moved"
            return f"{verb} {change.dn} → {change.new_dn}"
        case Delete():
            return f"deleted {change.dn}"
        case Modify() if Verb.DISABLE in change.verbs:
            return f"disabled {change.dn}"
        case _:
            return str(change)


def _disabled(flags: str | None) -> bool:
    return bool(int(flags) & 2) if flags and flags.lstrip("-").isdigit() else False

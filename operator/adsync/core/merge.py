"""The three-way merge of both directions, field by field. "" stands for absent; a base of None says that both sides never agreed on the field.

    base    Kubernetes   directory   result
    x       x            x           x
    x       y            x           y: goes to the directory           a changed side is followed, and "" is a change as any other
    x       x            y           y: goes to the resource
    x       y            y           y: both came to the same
    x       y            z           the authority's, with a conflict
    none    y            y           y
    none    y            z           the authority's, without a conflict: nobody has changed anything yet
    any     unmanaged    any         the field is nobody's business; not in the result
    any     unmanaged    y           y, where the resource is an imported one: it tells all that the directory has

Under `direction: Import` the directory's value wins always. Members merge one by one, as sets:

    in base    Kubernetes    directory    result
    yes        out           in           out     taken out in Kubernetes
    yes        in            out          out     taken out in the directory
    no         in            out          in      added in Kubernetes
    no         out           in           in      added in the directory

so two changed sides never contradict each other. Where only the base's digest is left (after a restart), the side that still has that digest
has not moved, and the other's set is taken whole; where both have moved, the authority's is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from adsync.resources.addomain import Authority


@dataclass(frozen=True, slots=True)
class Conflict:
    """Both sides changed a field. `winner` is the side whose value stays."""

    field: str
    kubernetes: str
    directory: str
    winner: Authority

    def __str__(self) -> str:
        return (
            f"{self.field} was changed on both sides: {self.kubernetes!r} in Kubernetes, {self.directory!r} in Active Directory; "
            f"{self.winner} wins"
        )


@dataclass(frozen=True, slots=True)
class Merged:
    """`values` are what both sides shall have; `to_resource` and `to_directory` name the fields that a side has to change."""

    values: Mapping[str, str] = field(default_factory=dict)
    to_resource: tuple[str, ...] = ()
    to_directory: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


def merge(
    base: Mapping[str, str],
    kubernetes: Mapping[str, str | None],
    directory: Mapping[str, str],
    authority: Authority,
    *,
    imported: bool = False,
    import_only: bool = False,
) -> Merged:
    """Merge the fields of `kubernetes` (None: the spec does not name it) that `directory` has a value or "" for."""
    values: dict[str, str] = {}
    to_resource: list[str] = []
    to_directory: list[str] = []
    conflicts: list[Conflict] = []
    for name, wanted in kubernetes.items():
        if name not in directory:
            continue
        there = directory[name]
        if wanted is None:
            if imported:
                values[name] = there
                if there:
                    to_resource.append(name)
            continue
        values[name], conflict = (there, None) if import_only else _merge_one(name, base.get(name), wanted, there, authority)
        if conflict is not None:
            conflicts.append(conflict)
        if values[name] != wanted:
            to_resource.append(name)
        if values[name] != there:
            to_directory.append(name)
    return Merged(values, tuple(to_resource), tuple(to_directory), tuple(conflicts))


def _merge_one(name: str, base: str | None, wanted: str, there: str, authority: Authority) -> tuple[str, Conflict | None]:
    if wanted == there:
        return wanted, None
    if base is not None and base == there:
        return wanted, None
    if base is not None and base == wanted:
        return there, None
    value = wanted if authority is Authority.KUBERNETES else there
    return value, Conflict(name, wanted, there, authority) if base is not None else None


def merge_members(base: Set[str], kubernetes: Set[str], directory: Set[str]) -> frozenset[str]:
    """The members that both sides shall have."""
    return frozenset((kubernetes & directory) | ((kubernetes ^ directory) - base))


@dataclass(frozen=True, slots=True)
class Base:
    """A base for merge_members. `conflict`: both sides had moved, and the authority was asked."""

    members: frozenset[str]
    conflict: bool = False


def base_from_digest(
    digest: str | None,
    kubernetes: Set[str],
    directory: Set[str],
    authority: Authority,
    *,
    listed: Set[str] | None = None,
    pending: Set[str] = frozenset(),
    keep_all: bool = False,
) -> Base:
    """The base that gives what the rules above say where only its digest is known, or (None) there was none. `keep_all`: at the first contact
    nobody is taken out on either side.

    `kubernetes` are those who can be members, `listed` all that the resource names: who is only pending was never agreed on, and does not
    make the resource's side look as if it had moved; nor does one who was agreed on and whose resource is gone. `pending` are those of whom
    the status said so when the digest was made: what is listed without them is what was agreed on, whoever has come or gone since.
    """
    k, d = frozenset(kubernetes), frozenset(directory)
    if digest is not None and listed is not None and members_digest(agreed := listed - pending) == digest:
        return Base(frozenset(agreed))
    if k == d:
        return Base(k)
    if digest is None and keep_all:
        return Base(k & d)
    if digest is not None and digest in (members_digest(k), members_digest(k if listed is None else listed)):
        return Base(k)
    if digest is not None and members_digest(d) == digest:
        return Base(d)
    return Base(d if authority is Authority.KUBERNETES else k, conflict=digest is not None)


def members_digest(members: Iterable[str]) -> str:
    """The same for the same set, in whatever order."""
    return hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()[:32]

"""Which account in the directory is a resource's: found by recorded objectGUID, then by owner mark, then by name.

found by   its mark                the account is
link       ours, or none           ours: an imported resource names its object's GUID in a label, and is written by the operator itself
link       another resource's      Conflict, unless that resource gives way (it is gone, or nothing is written under `direction: Import`)
GUID       ours                    ours
GUID       a foreign value         ours: the attribute was in use before us, so identity rests on the status
GUID       empty                   not believed (a status can be forged): looked for further
mark       ours                    ours, the status was lost
name       another resource's      Conflict, unless that is the imported twin, which gives way
name       empty or foreign        a stranger's: adopted as the policy says, or AdoptionRefused
nothing    –                       to be created
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from adsync.core.dn import DN, fold_case
from adsync.core.entries import Entry, EntryKind
from adsync.core.owner import OwnerMark, owner_in_words
from adsync.resources.addomain import AdoptionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import Origin

_FIRST_ORDINARY_RID = 1000
"""RIDs below are the built-in accounts of a domain (MS-ADTS 6.1.1.6)."""

_BUILT_IN_RIDS = {500: "the built-in Administrator", 501: "the built-in Guest", 502: "krbtgt", 503: "the built-in DefaultAccount"}


class Lookup(Protocol):
    """What is known of the directory, by every name that an object goes by."""

    def by_guid(self, guid: str) -> Entry | None: ...
    def by_owner(self, owner: str) -> Sequence[Entry]: ...
    def by_sam(self, sam: str) -> Entry | None: ...
    def by_upn(self, upn: str) -> Entry | None: ...
    def by_dn(self, dn: DN) -> Entry | None: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reason of `Ready`, and the text that the user reads."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What is looked for. `guid` is the one the status records; `name` is the sAMAccountName or, with `by_upn`, the userPrincipalName."""

    owner: str
    kind: EntryKind
    guid: str
    name: str
    by_upn: bool = False
    origin: Origin | None = None  # as the status records it
    linked: str = ""  # an objectGUID that is believed without a mark
    yields: Collection[str] = ()  # owners whose mark gives way to this resource


@dataclass(frozen=True, slots=True)
class Found:
    """`entry` is None where an account is to be created. `origin` says how it came, or is to come, to be ours. `mark` is None where
        ours is not there: it is then `unmarkable` (a foreign value stands in its place) or yet to be written. `linked`: it need not be written for
    its own sake."""

    entry: Entry | None
    origin: Origin
    mark: OwnerMark | None = None
    unmarkable: bool = False
    adopting: bool = False
    linked: bool = False


def find(claim: Claim, lookup: Lookup) -> Found | Verdict:
    """Apply the table above. An account of the name that belongs to a stranger comes back as `adopting`: whether that may be is `may_adopt`'s."""
    linked = lookup.by_guid(claim.linked) if claim.linked else None
    if linked is not None and linked.kind is claim.kind:
        return _linked(linked, claim)
    recorded = lookup.by_guid(claim.guid) if claim.guid else None
    if recorded is not None and recorded.kind is claim.kind:
        mark = OwnerMark.parse(recorded.mark)
        if mark is not None and mark.owner == claim.owner:
            return _ours(recorded, mark, claim)
        if mark is None and recorded.mark:
            return Found(recorded, claim.origin or Origin.ADOPTED, unmarkable=True)
    marked = [entry for entry in lookup.by_owner(claim.owner) if entry.kind is claim.kind]
    if len(marked) > 1:
        where = " and ".join(sorted(str(entry.dn) for entry in marked)[:3])
        return Verdict(Reason.CONFLICT, f"{len(marked)} accounts carry this resource's owner mark ({where}); clear the mark of all but one")
    if marked:
        return _ours(marked[0], OwnerMark.parse(marked[0].mark), claim)
    named = lookup.by_upn(claim.name) if claim.by_upn else lookup.by_sam(claim.name)
    if named is None:
        return Found(None, Origin.CREATED)
    return _stranger(named, claim)


def _linked(entry: Entry, claim: Claim) -> Found | Verdict:
    mark = OwnerMark.parse(entry.mark)
    if mark is not None and mark.owner == claim.owner:
        return _ours(entry, mark, claim)
    if mark is None or mark.owner in claim.yields:
        return Found(entry, claim.origin or Origin.IMPORTED, unmarkable=mark is None and bool(entry.mark), linked=True)
    return _belongs(entry, mark)


def _ours(entry: Entry, mark: OwnerMark | None, claim: Claim) -> Found:
    return Found(entry, (mark.origin if mark else None) or claim.origin or Origin.ADOPTED, mark)


def _stranger(entry: Entry, claim: Claim) -> Found | Verdict:
    if entry.kind is not claim.kind:
        return Verdict(Reason.CONFLICT, f"the name {claim.name!r} is taken by the {entry.kind} {entry.dn}")
    mark = OwnerMark.parse(entry.mark)
    if mark is not None and mark.owner not in claim.yields:
        return _belongs(entry, mark)
    return Found(entry, Origin.ADOPTED, unmarkable=mark is None and bool(entry.mark), adopting=True)


def _belongs(entry: Entry, mark: OwnerMark) -> Verdict:
    return Verdict(Reason.CONFLICT, f"{entry.dn} belongs to {owner_in_words(mark.owner)}; rename this one, or clear the account's mark")


def may_adopt(entry: Entry, policy: AdoptionPolicy, *, email: str, entry_email: str, from_elsewhere: bool) -> Verdict | None:
    """None where an existing account may be taken over. `from_elsewhere`: the resource's namespace may not adopt (allowedNamespaces.mayAdopt)."""
    there = f"{entry.dn} exists and is not ours"
    if from_elsewhere:
        return Verdict(Reason.ADOPTION_REFUSED, f"{there}; the domain lets other namespaces adopt only with allowedNamespaces.mayAdopt")
    if policy is AdoptionPolicy.NEVER:
        return Verdict(Reason.ADOPTION_REFUSED, f"{there}; the domain's adoptionPolicy is Never")
    if policy is AdoptionPolicy.ALWAYS or entry.kind is EntryKind.GROUP:
        return None
    if not email or not entry_email:
        lacking = "spec.email is not set" if not email else "the account has no email"
        return Verdict(Reason.ADOPTION_REFUSED, f"{there}; adoptionPolicy MatchEmail needs the same email on both sides, and {lacking}")
    if fold_case(email) != fold_case(entry_email):
        return Verdict(Reason.ADOPTION_REFUSED, f"{there}; its email differs from spec.email, and adoptionPolicy is MatchEmail")
    return None


def privileged(entry: Entry, protected: dict[str, str], own_guid: str) -> Verdict | None:
    """Whether an object must never be written (MS-ADTS 3.1.1.6.1). `protected` gives, by GUID, why the directory's groups make it so."""
    if entry.guid == own_guid:
        why = "it is the operator's own service account"
    elif 0 < entry.rid < _FIRST_ORDINARY_RID:
        why = f"it is {_BUILT_IN_RIDS.get(entry.rid, 'built in')}"
    elif entry.admin_count == 1:
        why = "it has adminCount=1, as members of protected groups have"
    elif entry.guid in protected:
        why = protected[entry.guid]
    elif entry.critical:
        why = "it is a critical system object"
    else:
        return None
    return Verdict(Reason.PROTECTED, f"{entry.dn} is privileged and is never written: {why}")

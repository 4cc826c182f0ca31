"""The plan for one user in one domain: what differs, and the changes that mend it.

account                 resource is wanted                     resource is going
not there               Add (waits for a named Secret)         release
there, stranger's       adopt as the policy says, then below   release, untouched
there, privileged       Protected                              release, with a warning
there, elsewhere        OutOfScope                             release, with a warning
there, ours             at most a Move and one Modify          deletionPolicy, then release
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from adsync.core.changes import Add, Change, Delete, Edit, Modify, Move, PasswordSource, Verb
from adsync.core.dn import DN, fold_case
from adsync.core.entries import ACCOUNTDISABLE, NORMAL_ACCOUNT, Entry, EntryKind
from adsync.core.identity import Claim, Found, Lookup, Verdict, find, may_adopt, privileged
from adsync.core.names import CN_LIMIT, AccountNames
from adsync.core.owner import OwnerMark, PasswordDigest
from adsync.core.passwords import PasswordStep, PasswordWish, plan_first_password, plan_password
from adsync.core.report import about
from adsync.core.rules import DomainRules
from adsync.resources.common import DeletionPolicy
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import Origin, PasswordState, UserDomainStatus

SAM = "sAMAccountName"
UPN = "userPrincipalName"
UAC = "userAccountControl"
PWD_LAST_SET = "pwdLastSet"  # noqa: S105 - an attribute
LOCKOUT_TIME = "lockoutTime"
UNLOCKED = "unlockRequestedAt"


@dataclass(frozen=True, slots=True)
class UserWish:
    """What a SyncedUser asks of one domain. `attributes` are the managed ones by attribute name; "" clears."""

    owner: str
    names: AccountNames
    username: str
    attributes: Mapping[str, str]
    email: str
    suspended: bool | None
    container: DN | None
    password: PasswordWish
    recorded: UserDomainStatus
    agreed: Mapping[str, str]  # what `agreed_values` made of this wish when both sides last agreed; {} if never
    from_elsewhere: bool = False
    retry_rejected: bool = False
    just_pushed: PasswordDigest | None = None  # the password that was written since `recorded` was
    unlock: str = ""  # the annotation unlock-requested-at
    linked: str = ""  # as in Claim
    yields: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class UserPlan:
    """What to do, in order, and what is true once it is done. With `verdict` set nothing is done, and it says why."""

    found: Found | None = None
    changes: tuple[Change, ...] = ()
    password: PasswordStep | None = None
    verdict: Verdict | None = None
    drift: tuple[Edit, ...] = ()  # those edits that undo what was changed in the directory


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plan looks at besides the wish: the directory as known, and who in it must not be touched."""

    lookup: Lookup
    protected: dict[str, str]
    own_guid: str


def user_claim(wish: UserWish, rules: DomainRules) -> Claim:
    by_upn = rules.spec.user_field_mapping.username == UPN
    return Claim(
        owner=wish.owner,
        kind=EntryKind.USER,
        guid=wish.recorded.object_guid or "",
        name=wish.names.upn if by_upn else wish.names.sam,
        by_upn=by_upn,
        origin=wish.recorded.origin,
        linked=wish.linked,
        yields=wish.yields,
    )


def plan_user(wish: UserWish, rules: DomainRules, around: Surroundings) -> UserPlan:
    """The plan for a user that is wanted."""
    found = find(user_claim(wish, rules), around.lookup)
    if isinstance(found, Verdict):
        return UserPlan(verdict=found)
    if found.entry is None:
        return _plan_new(wish, rules, found, around)
    if verdict := out_of_reach(found.entry, rules, around):
        return UserPlan(found, verdict=verdict)
    if found.adopting:
        entry_email = found.entry.attributes.get(rules.fields["email"], "")
        verdict = may_adopt(
            found.entry, rules.spec.adoption_policy, email=wish.email, entry_email=entry_email, from_elsewhere=wish.from_elsewhere
        )
        if verdict is not None:
            return UserPlan(found, verdict=verdict)
    return _plan_present(of_this_account(wish, found.entry), rules, found, found.entry, around)


def of_this_account(wish: UserWish, entry: Entry) -> UserWish:
    """Without what was agreed on with another account that went by the name before."""
    recorded = about(wish.recorded, entry.guid)
    return wish if recorded is wish.recorded else replace(wish, recorded=recorded, agreed={})


def out_of_reach(entry: Entry, rules: DomainRules, around: Surroundings) -> Verdict | None:
    """Why an object may not be written at all, if so."""
    if verdict := privileged(entry, around.protected, around.own_guid):
        return verdict
    if not entry.dn.is_below(rules.container):
        return Verdict(
            Reason.OUT_OF_SCOPE, f"{entry.dn} is not below the root container {rules.container}; move it back, or release the resource"
        )
    return None


def _plan_new(wish: UserWish, rules: DomainRules, found: Found, around: Surroundings) -> UserPlan:
    if wish.password.named and wish.password.missing:
        step = PasswordStep(PasswordSource.NONE, PasswordState.PENDING, wish.password.missing, named=True)
        return UserPlan(
            found, password=step, verdict=Verdict(wish.password.reason, f"waiting before creating the account: {wish.password.missing}")
        )
    if (taken := around.lookup.by_sam(wish.names.sam)) or (taken := around.lookup.by_upn(wish.names.upn)):
        return UserPlan(found, verdict=Verdict(Reason.CONFLICT, f"the name {wish.names.sam!r} is taken by {taken.dn}"))
    dn = (wish.container or rules.container).child("CN", wish.names.cn)
    if taken := around.lookup.by_dn(dn):
        return UserPlan(found, verdict=Verdict(Reason.CONFLICT, f"{taken.dn} exists with another username, {taken.sam!r}"))
    step = plan_first_password(wish.password, wish.recorded.password, retry_rejected=wish.retry_rejected)
    attributes = {name: value for name, value in wish.attributes.items() if value}
    attributes |= {
        SAM: wish.names.sam,
        UPN: wish.names.upn,
        UAC: str(NORMAL_ACCOUNT | (ACCOUNTDISABLE if wish.suspended else 0)),
        rules.mark_attribute: str(OwnerMark(wish.owner, Origin.CREATED, step.digest)),
    }
    if rules.spec.password.must_change_at_next_logon:
        attributes[PWD_LAST_SET] = "0"
    return UserPlan(found, (Add(dn, "user", attributes, step.source),), step)


def _plan_present(wish: UserWish, rules: DomainRules, found: Found, entry: Entry, around: Surroundings) -> UserPlan:
    renaming = _name_edits(wish, rules, found, entry)
    if verdict := _name_taken(renaming, entry, around):
        return UserPlan(found, verdict=verdict)
    step = plan_password(
        wish.password,
        entry,
        found.mark,
        wish.recorded.password,
        origin=found.origin,
        on_change=rules.spec.password.on_directory_change,
        retry_rejected=wish.retry_rejected,
        just_pushed=wish.just_pushed,
    )
    edits = [*renaming, *attribute_edits(wish.attributes, entry)]
    drift = tuple(edit for edit in edits if _agreed(wish, rules, edit))
    verbs = [Verb.CLEAR_ATTRIBUTE for edit in edits if edit.new is None]
    if suspension := _suspension_edit(wish, entry):
        edits.append(suspension)
        if wish.suspended:
            verbs.append(Verb.SUSPEND)
        if wish.agreed.get("suspended") == _flag(wish.suspended):
            drift = (*drift, suspension)
    if step.source is PasswordSource.SECRET and rules.spec.password.must_change_at_next_logon:
        edits.append(Edit(PWD_LAST_SET, None, "0"))
    if wish.unlock and wish.unlock != wish.agreed.get(UNLOCKED) and entry.locked_out:
        edits.append(Edit(LOCKOUT_TIME, None, "0"))
    changes: list[Change] = []
    target = place_change(entry, found, wish.container, wish.agreed, ("username", wish.username, wish.names.cn))
    if target is not None and (verdict := place_taken(entry, target, around.lookup)):
        return UserPlan(found, verdict=verdict)
    writing = bool(edits) or target is not None or step.source is not PasswordSource.NONE
    if not found.unmarkable and (writing or not found.linked):
        mark = str(OwnerMark(wish.owner, found.origin, step.digest))
        if entry.mark != mark:
            edits.append(Edit(rules.mark_attribute, entry.mark or None, mark, exact=True))
    if target is not None:
        changes.append(Move(entry.guid, entry.dn, target))
    if edits or step.source is not PasswordSource.NONE:
        changes.append(Modify(entry.guid, entry.dn, tuple(edits), step.source, tuple(verbs)))
    return UserPlan(found, tuple(changes), step, drift=() if found.adopting else drift)


def attribute_edits(wanted: Mapping[str, str], entry: Entry) -> list[Edit]:
    """What differs among the managed plain attributes; "" wants it absent."""
    edits = []
    for name, value in wanted.items():
        there = entry.attributes.get(name)
        if (value or None) != there:
            edits.append(Edit(name, there, value or None))
    return edits


def _name_edits(wish: UserWish, rules: DomainRules, found: Found, entry: Entry) -> list[Edit]:
    """sAMAccountName and userPrincipalName. The one that is not mapped follows only where it was derived from the other before."""
    edits = []
    by_upn = rules.spec.user_field_mapping.username == UPN
    derived_upn = fold_case(entry.upn) == fold_case(f"{entry.sam.replace(' ', '_')}@{rules.upn_suffix}")
    if not by_upn and entry.sam != wish.names.sam:
        edits.append(Edit(SAM, entry.sam, wish.names.sam))
    follows = by_upn or found.origin is Origin.CREATED or derived_upn
    if follows and entry.upn != wish.names.upn:
        edits.append(Edit(UPN, entry.upn or None, wish.names.upn))
    return edits


def _name_taken(renaming: list[Edit], entry: Entry, around: Surroundings) -> Verdict | None:
    """A rename must not meet another account. Names that are not written may be anybody's."""
    for edit in renaming:
        other = (around.lookup.by_sam if edit.attribute == SAM else around.lookup.by_upn)(edit.new or "")
        if other is not None and other.guid != entry.guid:
            return Verdict(Reason.CONFLICT, f"the account can't be renamed to {edit.new!r}: that {edit.attribute} is taken by {other.dn}")
    return None


def _suspension_edit(wish: UserWish, entry: Entry) -> Edit | None:
    if wish.suspended is None or wish.suspended == entry.disabled:
        return None
    old = entry.user_account_control
    return Edit(UAC, str(old), str(old ^ ACCOUNTDISABLE), exact=True)


def _agreed(wish: UserWish, rules: DomainRules, edit: Edit) -> bool:
    """Whether both sides once agreed on the value that the edit restores: then it was the directory that moved."""
    if edit.attribute in (SAM, UPN):
        return wish.agreed.get("username") == wish.username
    field = next((field for field, attribute in rules.fields.items() if attribute == edit.attribute), edit.attribute)
    return field in wish.agreed and (wish.agreed[field] or None) == edit.new


def agreed_values(wish: UserWish, rules: DomainRules) -> dict[str, str]:
    """What both sides agree on once the plan is done, for `lastSynced`: spec fields by their name, further attributes by theirs."""
    fields = {attribute: field for field, attribute in rules.fields.items()}
    values = {"username": wish.username} | {fields.get(name, name): value for name, value in wish.attributes.items()}
    if wish.suspended is not None:
        values["suspended"] = _flag(wish.suspended)
    if wish.container is not None:
        values["container"] = str(wish.container)
    if wish.unlock:
        values[UNLOCKED] = wish.unlock
    return values


def _flag(value: bool | None) -> str:
    return "" if value is None else str(value).lower()


def place_taken(entry: Entry, target: DN, lookup: Lookup) -> Verdict | None:
    """A move must not meet another object."""
    taken = lookup.by_dn(target)
    if taken is None or taken.guid == entry.guid:
        return None
    return Verdict(Reason.CONFLICT, f"{entry.dn} can't become {target}: that is another object, {taken.sam!r}; rename or move one of them")


def place_change(entry: Entry, found: Found, container: DN | None, agreed: Mapping[str, str], renamed: tuple[str, str, str]) -> DN | None:
    """Where an object is to go, or None. `renamed` is the field of the name, its value in the spec, and the cn that it stands for.

    Where the spec's container or name was edited since both sides last agreed, the object's place and cn follow. What was changed in the
    directory is followed instead, and an adopted object stays where and as it was.
    """
    field, name, wanted_cn = renamed
    kind, cn = entry.dn.leaf[0]
    # A userPrincipalName gives its cn without the suffix; other names hold no @.
    if found.origin is Origin.CREATED and agreed.get(field, name) != name and cn == agreed[field].partition("@")[0][:CN_LIMIT]:
        cn = wanted_cn
    parent = entry.dn.parent
    if (
        container is not None and field in agreed and agreed.get("container") != str(container)
    ):  # naming one for the first time is an edit too
        parent = container
    target = DN((((kind, cn),), *parent.rdns))
    return None if target == entry.dn and cn == entry.dn.name else target


def plan_user_removal(wish: UserWish, policy: DeletionPolicy, rules: DomainRules, around: Surroundings) -> UserPlan:
    """The plan for a user that is going, or is no longer bound. No changes and no verdict: AD is as the policy wants it, and the resource may go.

    A verdict here is a warning: what we may not write, or never owned, is released as it is.
    """
    found = find(user_claim(wish, rules), around.lookup)
    if isinstance(found, Verdict):
        return UserPlan(verdict=found)
    if found.entry is None or found.adopting:
        return UserPlan(replace(found, entry=None))
    if verdict := out_of_reach(found.entry, rules, around):
        return UserPlan(found, verdict=verdict)
    return UserPlan(found, removal_changes(policy, found, found.entry, rules))


def removal_changes(policy: DeletionPolicy, found: Found, entry: Entry, rules: DomainRules) -> tuple[Change, ...]:
    """What a deletion policy does to an object of ours: Disable keeps the mark, Retain clears it, Delete deletes. A group can't be disabled."""
    if policy is DeletionPolicy.DELETE:
        return (Delete(entry.guid, entry.dn),)
    if policy is DeletionPolicy.DISABLE and entry.kind is EntryKind.USER:
        if entry.disabled:
            return ()
        old = entry.user_account_control
        edit = Edit(UAC, str(old), str(old | ACCOUNTDISABLE), exact=True)
        return (Modify(entry.guid, entry.dn, (edit,), verbs=(Verb.DISABLE,)),)
    if found.unmarkable or not entry.mark:
        return ()
    return (Modify(entry.guid, entry.dn, (Edit(rules.mark_attribute, entry.mark, None, exact=True),)),)

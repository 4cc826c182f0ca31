"""Passwords: every row of the table in core/passwords.py, digests, and what a policy is known to refuse."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from adsync.core.changes import PasswordSource
from adsync.core.entries import PASSWORD_EXPIRED, Entry
from adsync.core.filetime import to_text
from adsync.core.owner import OwnerMark, PasswordDigest
from adsync.core.passwords import (
    DigestKeys,
    PasswordWish,
    known_refusal,
    plan_first_password,
    plan_password,
    policy_in_words,
    random_password,
)
from adsync.core.policy import PasswordPolicy
from adsync.resources.addomain import OnDirectoryChange
from adsync.resources.synceduser import Origin, PasswordState, PasswordStatus
from tests.unit.core.support import KEYS, OWNER, STRANGER, TICKS, digest_of, entry, secret

NONE, SECRET, RANDOM = PasswordSource
STATE = PasswordState
NEW, OLD = digest_of("Correct-Horse-1"), digest_of("Battery-Staple-2")
SET_BY_US = to_text(TICKS)
MISSING = PasswordWish(named=True, missing="Secret pw does not exist in namespace team-a")
REPORT, ENFORCE = OnDirectoryChange


@dataclass
class Case:
    """One row: what there is, and what must come of it."""

    name: str
    wish: PasswordWish
    expect: tuple[PasswordSource, PasswordState]
    mark: PasswordDigest | None = None
    recorded: dict[str, Any] | None = None
    origin: Origin = Origin.CREATED
    pwd_last_set: int = TICKS
    computed: int = 0
    on_change: OnDirectoryChange = REPORT
    retry: bool = False
    just_pushed: PasswordDigest | None = None
    digest: PasswordDigest | None = None


def synced(digest: PasswordDigest = NEW, **more: Any) -> dict[str, Any]:
    return {"state": "Synced", "digest": str(digest), "secretVersion": "7", "lastSetInDirectory": SET_BY_US} | more


UNNAMED = PasswordWish()
LOST = PasswordDigest("dead", "x")
REJECTED = {"state": "Rejected", "digest": str(NEW), "message": "too short"}
LATER = TICKS + 5_000_000

CASES = [
    # no Secret named
    Case("no Secret, created", UNNAMED, (NONE, STATE.GENERATED)),
    Case("no Secret, adopted", UNNAMED, (NONE, STATE.PENDING), origin=Origin.ADOPTED),
    Case("no Secret, imported", UNNAMED, (NONE, STATE.UNKNOWN), origin=Origin.IMPORTED),
    Case("no Secret any more", UNNAMED, (NONE, STATE.PENDING), mark=OLD, digest=OLD),
    Case(
        "generated, then replaced by somebody",
        UNNAMED,
        (NONE, STATE.CHANGED_IN_DIRECTORY),
        recorded={"state": "Generated", "lastSetInDirectory": SET_BY_US},
        pwd_last_set=LATER,
    ),
    Case("generated, unchanged", UNNAMED, (NONE, STATE.GENERATED), recorded={"state": "Generated", "lastSetInDirectory": SET_BY_US}),
    # a Secret named, not there
    Case("Secret missing", MISSING, (NONE, STATE.PENDING)),
    Case("Secret missing, after one was pushed", MISSING, (NONE, STATE.PENDING), mark=OLD, digest=OLD),
    # none pushed yet, or of another value
    Case("first value", secret(), (SECRET, STATE.SYNCED), digest=NEW),
    Case("first value for an adopted account", secret(), (SECRET, STATE.SYNCED), origin=Origin.ADOPTED, digest=NEW),
    Case("new value", secret(), (SECRET, STATE.SYNCED), mark=OLD, recorded=synced(OLD), digest=NEW),
    Case("new value, status lost", secret(), (SECRET, STATE.SYNCED), mark=OLD, digest=NEW),
    Case("old value in the status, this one in the mark", secret(), (NONE, STATE.SYNCED), mark=NEW, recorded=synced(OLD), digest=NEW),
    Case("this value in the status, an old one in the mark", secret(), (SECRET, STATE.SYNCED), mark=OLD, recorded=synced(NEW), digest=NEW),
    # this value
    Case("pushed", secret(), (NONE, STATE.SYNCED), mark=NEW, recorded=synced(), digest=NEW),
    Case("pushed, status lost", secret(), (NONE, STATE.SYNCED), mark=NEW, digest=NEW),
    Case("pushed, no mark possible", secret(), (NONE, STATE.SYNCED), recorded=synced(), digest=NEW),
    Case("just pushed, no mark possible", secret(), (NONE, STATE.SYNCED), just_pushed=NEW, digest=NEW),
    Case("just pushed, no mark possible, another value now", secret(), (SECRET, STATE.SYNCED), just_pushed=OLD, digest=NEW),
    Case("just pushed after a refusal", secret(), (NONE, STATE.SYNCED), mark=NEW, recorded=REJECTED, just_pushed=NEW, digest=NEW),
    Case("pushed, Secret relabelled", secret(version="8"), (NONE, STATE.SYNCED), mark=NEW, recorded=synced(), digest=NEW),
    Case("pushed, expired", secret(), (NONE, STATE.EXPIRED), mark=NEW, recorded=synced(), computed=PASSWORD_EXPIRED, digest=NEW),
    Case(
        "pushed, must change at next logon",
        secret(),
        (NONE, STATE.SYNCED),
        mark=NEW,
        recorded=synced(lastSetInDirectory=None, mustChange=True),
        pwd_last_set=0,
        computed=PASSWORD_EXPIRED,
        digest=NEW,
    ),
    # changed in the directory
    Case("changed, Report", secret(), (NONE, STATE.CHANGED_IN_DIRECTORY), mark=NEW, recorded=synced(), pwd_last_set=LATER, digest=NEW),
    Case(
        "changed at the first logon, as asked for",
        secret(),
        (NONE, STATE.CHANGED_IN_DIRECTORY),
        mark=NEW,
        recorded=synced(lastSetInDirectory=None, mustChange=True),
        digest=NEW,
    ),
    Case(
        "changed, Enforce", secret(), (SECRET, STATE.SYNCED), mark=NEW, recorded=synced(), pwd_last_set=LATER, on_change=ENFORCE, digest=NEW
    ),
    Case(
        "changed, Enforce, just sent again",
        secret(),
        (NONE, STATE.SYNCED),
        mark=NEW,
        recorded=synced(),
        pwd_last_set=LATER,
        on_change=ENFORCE,
        just_pushed=NEW,
        digest=NEW,
    ),
    Case("unchanged, Enforce", secret(), (NONE, STATE.SYNCED), mark=NEW, recorded=synced(), on_change=ENFORCE, digest=NEW),
    Case(
        "Enforce, the push of this value not recorded yet",
        secret(),
        (NONE, STATE.SYNCED),
        mark=NEW,
        recorded=synced(OLD),
        pwd_last_set=LATER,
        on_change=ENFORCE,
        digest=NEW,
    ),
    Case(
        "changed, then a new value in the Secret",
        secret(),
        (SECRET, STATE.SYNCED),
        mark=OLD,
        recorded=synced(OLD, state="ChangedInDirectory"),
        pwd_last_set=LATER,
        digest=NEW,
    ),
    # the key of the digest
    Case("an older key recognises", secret(), (NONE, STATE.SYNCED), mark=digest_of("Correct-Horse-1", "0b"), digest=NEW),
    Case("an older key, another value", secret(), (SECRET, STATE.SYNCED), mark=digest_of("Battery-Staple-2", "0b"), digest=NEW),
    Case("lost key, same version", secret(), (NONE, STATE.SYNCED), mark=LOST, recorded=synced(LOST), digest=NEW),
    Case("lost key, other version", secret(version="8"), (SECRET, STATE.SYNCED), mark=LOST, recorded=synced(LOST), digest=NEW),
    Case("lost key, no record", secret(), (SECRET, STATE.SYNCED), mark=LOST, digest=NEW),
    Case(
        "lost key, same version, changed since",
        secret(),
        (NONE, STATE.CHANGED_IN_DIRECTORY),
        mark=LOST,
        recorded=synced(LOST),
        pwd_last_set=LATER,
        digest=NEW,
    ),
    # refused before
    Case("refused, unchanged", secret(), (NONE, STATE.REJECTED), mark=OLD, recorded=REJECTED, digest=OLD),
    Case("refused at creation, unchanged", secret(), (NONE, STATE.REJECTED), recorded=REJECTED),
    Case("refused, asked for again", secret(), (SECRET, STATE.SYNCED), mark=OLD, recorded=REJECTED, retry=True, digest=NEW),
    Case("refused, another value now", secret("Other-Value-3"), (SECRET, STATE.SYNCED), recorded=REJECTED, digest=digest_of("Other-Value-3")),
    Case("refused once, back to the pushed value", secret(), (NONE, STATE.SYNCED), mark=NEW, recorded=REJECTED | {"digest": str(OLD)}, digest=NEW),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_table(case: Case) -> None:
    account = entry(pwd_last_set=case.pwd_last_set, computed_control=case.computed)
    mark = OwnerMark(OWNER, case.origin, case.mark) if "no mark possible" not in case.name else None
    status = None if case.recorded is None else PasswordStatus.model_validate(case.recorded)
    how: dict[str, Any] = {"origin": case.origin, "on_change": case.on_change, "retry_rejected": case.retry}
    step = plan_password(case.wish, account, mark, status, **how, just_pushed=case.just_pushed)
    assert (step.source, step.state) == case.expect
    assert step.digest == case.digest
    if step.state in (STATE.PENDING, STATE.REJECTED, STATE.CHANGED_IN_DIRECTORY, STATE.EXPIRED, STATE.GENERATED):
        assert step.message
    # What we did not set must never be recorded as set by us, or a later change would go unseen.
    if step.state is STATE.CHANGED_IN_DIRECTORY:
        assert not step.of_ours


def test_the_messages_of_what_is_waited_for() -> None:
    step = plan_password(MISSING, entry(), None, None, origin=Origin.CREATED, on_change=REPORT)
    assert (step.message, step.named) == (MISSING.missing, True)
    step = plan_password(UNNAMED, entry(), None, None, origin=Origin.ADOPTED, on_change=REPORT)
    assert ("passwordSecretRef" in step.message, step.named) == (True, False)


@pytest.mark.parametrize(
    ("wish", "recorded", "retry", "expect"),
    [
        (UNNAMED, None, False, (RANDOM, STATE.GENERATED, None)),
        (secret(), None, False, (SECRET, STATE.SYNCED, NEW)),
        (secret(), synced(OLD), False, (SECRET, STATE.SYNCED, NEW)),
        (secret(), REJECTED, False, (RANDOM, STATE.REJECTED, None)),
        (secret(), REJECTED, True, (SECRET, STATE.SYNCED, NEW)),
        (secret("Other-Value-3"), REJECTED, False, (SECRET, STATE.SYNCED, digest_of("Other-Value-3"))),
    ],
)
def test_first_password(wish: PasswordWish, recorded: dict[str, Any] | None, retry: bool, expect: tuple[object, ...]) -> None:
    status = None if recorded is None else PasswordStatus.model_validate(recorded)
    step = plan_first_password(wish, status, retry_rejected=retry)
    assert (step.source, step.state, step.digest) == expect


# --- digests --------------------------------------------------------------------------------------------------------------------------------


def test_digests_are_bound_to_their_owner() -> None:
    assert secret().digest != secret(owner=STRANGER).digest
    assert secret(owner=STRANGER).matches(NEW) is False


def test_digests_recognise() -> None:
    wish = secret()
    assert wish.digest == NEW
    assert wish.matches(NEW) is True
    assert wish.matches(digest_of("Correct-Horse-1", "0b")) is True
    assert wish.matches(OLD) is False
    assert wish.matches(LOST) is None


def test_a_key_that_is_gone_makes_no_digest() -> None:
    kept = KEYS.of_value(b"x")
    assert DigestKeys("aa", {"aa": b"a" * 32}).bound(OWNER, kept).keys() == {"aa"}


def test_nothing_of_the_value_or_the_key_shows() -> None:
    shown = f"{KEYS!r} {secret()!r} {KEYS.bound(OWNER, KEYS.of_value(b'Correct-Horse-1'))}"
    assert "Correct-Horse-1" not in shown
    assert "aaaaaaaa" not in shown


# --- policy ---------------------------------------------------------------------------------------------------------------------------------

POLICY = PasswordPolicy(min_length=7, complexity=True)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("Abcdef1", ""),
        ("abcdef1!", ""),
        ("ABCDEF1!", ""),
        ("ABCdef!", ""),
        ("Abcdef ", ""),
        ("Abcdef漢", ""),
        ("漢字漢字1!x", ""),
        ("Abc1!", "at least 7 characters"),
        ("", "is empty"),
        ("abcdefg", "three of"),
        ("Abcdefg", "three of"),
        ("abcdef1", "three of"),
        ("1234567!", "three of"),
        ("xxJDoexx1!A", "contains the username"),
        ("xxjdoe1!A", "contains the username"),
        ("Montgomery-1", "part of the display name"),
        ("xELIZABETHx1", "part of the display name"),
        ("Al-secret-1", ""),  # two characters do not count
        ("Abcdef1!" * 32, ""),
        ("Abcdef1!" * 32 + "x", "longer than 256 characters"),
        ("Aa1!" + "😀" * 127, "longer than 256 characters"),  # two units of UTF-16 each
        ("Abcdef1!\n", "line break"),
        ("Abc\0def1!", "control character"),
        (b"Abcd\xe9f1!".decode("utf-8", "replace"), "is not UTF-8 text"),
    ],
)
def test_known_refusal(password: str, said: str) -> None:
    refused = known_refusal(password, POLICY, sam="jdoe", display_name="Al Elizabeth_Montgomery,#x")
    assert (said in refused) if said else not refused
    assert not password or password not in refused


def test_a_short_username_may_be_contained() -> None:
    assert not known_refusal("Albert-1", POLICY, sam="al", display_name="")


def test_without_complexity_only_the_length_counts() -> None:
    policy = replace(POLICY, complexity=False)
    assert not known_refusal("jdoejdoe", policy, sam="jdoe", display_name="jdoejdoe")
    assert known_refusal("jdoe", policy, sam="jdoe", display_name="")


@pytest.mark.parametrize("length", [0, 7, 14, 40, 127, 255])
def test_a_random_password_satisfies_the_policy(length: int) -> None:
    policy = PasswordPolicy(min_length=length, complexity=True)
    made = {random_password(bytes([number]) * 32, policy) for number in range(50)}
    assert len(made) == 50
    for password in made:
        assert len(password) >= max(length, 40)
        assert not known_refusal(password, policy, sam="somebody.else", display_name="Jane Montgomery")
        assert any(map(str.isupper, password))
        assert any(map(str.islower, password))
        assert any(map(str.isdigit, password))
        assert not password.isalnum()


def test_a_random_password_has_no_part_that_is_always_the_same() -> None:
    """An account named like it could never be created."""
    made = [random_password(bytes([number]) * 32, POLICY) for number in range(200)]
    tails = [password[at:][:3] for password in made for at in (-4, -3)]
    assert max(map(tails.count, set(tails))) < 20
    for sam in ("aZ7", "aZ7!", "Z7!"):
        assert any(not known_refusal(password, POLICY, sam=sam, display_name="") for password in made)


def test_the_policy_in_words() -> None:
    assert policy_in_words(PasswordPolicy(8, True, 24)) == (
        "at least 8 characters, three of upper case, lower case, digits and others, without the user's names, none of the last 24"
    )
    assert policy_in_words(PasswordPolicy(8)) == "at least 8 characters"


def test_entries_of_accounts_that_were_never_given_a_password() -> None:
    account: Entry = entry(pwd_last_set=0)
    step = plan_password(UNNAMED, account, None, PasswordStatus(state=STATE.GENERATED), origin=Origin.CREATED, on_change=REPORT)
    assert step.state is STATE.GENERATED

"""Which password to set, and what to say about it. Values stay outside: decisions go by keyed digests.

named Secret  found  digest in the mark         → sent    state
no            –      –                            –       Generated (created), Pending (adopted)
yes           no     –                            –       Pending; a new account waits for it
yes           yes    none, or of another value    Secret  Synced
yes           yes    of this value                –       Synced; ChangedInDirectory where pwdLastSet is not ours (Enforce: sent)
yes           yes    of a key that was lost       –       the Secret's recorded version decides
yes           yes    refused before, unchanged    –       Rejected
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field

from adsync.core.changes import PasswordSource
from adsync.core.entries import PASSWORD_EXPIRED, Entry
from adsync.core.filetime import to_text
from adsync.core.owner import OwnerMark, PasswordDigest
from adsync.core.policy import UNKNOWN, PasswordPolicy
from adsync.resources.addomain import OnDirectoryChange
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import Origin, PasswordState, PasswordStatus

_RANDOM_LENGTH = 40
_CATEGORIES = (string.ascii_uppercase, string.ascii_lowercase, string.digits, "!#$%*+-=?@")
_TOKENS = re.compile(r"[,.\-_ #\t]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_TEXT = "\ufffd"
"""What stands in a password where the Secret's octets are not UTF-8 (U+FFFD, Unicode 3.9)."""

PASSWORD_LIMIT = 256
"""The longest password of an account, in units of UTF-16 (MS-SAMR 2.2.6.21). A much longer one can bring a domain controller to a halt."""


@dataclass(frozen=True, slots=True)
class DigestKeys:
    """The operator's HMAC keys by id. New digests are made with the current one; older ones only recognise."""

    current_id: str
    keys: Mapping[str, bytes] = field(repr=False)

    @property
    def current(self) -> bytes:
        return self.keys[self.current_id]

    def of_value(self, value: bytes) -> dict[str, bytes]:
        """Per key id the HMAC-SHA256 of a value: what may be kept in memory in the value's stead."""
        return {key_id: hmac.digest(key, value, "sha256") for key_id, key in self.keys.items()}

    def bound(self, owner: str, of_value: Mapping[str, bytes]) -> dict[str, str]:
        """The digests bound to an owner, so that two accounts with one password show different digests (128 bits, base64url)."""
        return {
            key_id: base64.urlsafe_b64encode(hmac.digest(self.keys[key_id], owner.encode() + b"\0" + digest, "sha256")[:16])
            .rstrip(b"=")
            .decode()
            for key_id, digest in of_value.items()
            if key_id in self.keys
        }


@dataclass(frozen=True, slots=True)
class PasswordWish:
    """What the resource says of the password.

    `missing` is set, with the reason in words, where a Secret is named and has no usable value; `refused` where we may not look whether it
    has. `digests` are the bound ones.
    """

    named: bool = False
    missing: str = ""
    version: str = ""  # the Secret's resourceVersion
    current_key: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    refused: bool = False

    @property
    def digest(self) -> PasswordDigest | None:
        value = self.digests.get(self.current_key)
        return PasswordDigest(self.current_key, value) if value else None

    @property
    def reason(self) -> Reason:
        """What waiting for the Secret is called: it takes a Secret, or somebody's decision."""
        return Reason.INSUFFICIENT_RIGHTS if self.refused else Reason.PASSWORD_PENDING

    def matches(self, digest: PasswordDigest) -> bool | None:
        """Whether `digest` is of this value; None where its key is not known any more."""
        if digest.key_id not in self.digests:
            return None
        return hmac.compare_digest(self.digests[digest.key_id], digest.value)


@dataclass(frozen=True, slots=True)
class PasswordStep:
    """`source` is what goes along with the next write; `state` and `message` are the truth once that is done.

    `digest` is what the mark shall hold.
    """

    source: PasswordSource
    state: PasswordState
    message: str = ""
    digest: PasswordDigest | None = None
    named: bool = False  # a Secret is named
    of_ours: bool = False  # pwdLastSet as it is now is of our own setting, and may be recorded as that


def plan_password(
    wish: PasswordWish,
    entry: Entry,
    mark: OwnerMark | None,
    recorded: PasswordStatus | None,
    *,
    origin: Origin,
    on_change: OnDirectoryChange,
    retry_rejected: bool = False,
    just_pushed: PasswordDigest | None = None,
) -> PasswordStep:
    """The step for an account that exists. `mark` is ours or None; where it is None, the recorded digest stands in for it.

    `just_pushed` is what was written since the status was: that pwdLastSet has moved is our own doing, and no mark may be there to tell.
    """
    recorded = recorded or PasswordStatus()
    told = PasswordDigest.parse(recorded.digest) if recorded.state is not PasswordState.REJECTED else None
    pushed = (mark.password if mark else None) or just_pushed or told
    if not wish.named:
        return _unnamed(entry, pushed, recorded, origin)
    if wish.missing or wish.digest is None:
        return PasswordStep(PasswordSource.NONE, PasswordState.PENDING, wish.missing, pushed, named=True)
    send = PasswordStep(PasswordSource.SECRET, PasswordState.SYNCED, "", wish.digest)
    if recorded.state is PasswordState.REJECTED and not retry_rejected and just_pushed is None:
        refused = PasswordDigest.parse(recorded.digest)
        if refused and wish.matches(refused):
            return PasswordStep(PasswordSource.NONE, PasswordState.REJECTED, recorded.message or "", pushed)
    if pushed is None:
        return send
    same = wish.matches(pushed)
    if same is None:
        if not recorded.secret_version or recorded.secret_version != wish.version:
            return send
    elif not same:
        return send
    about_this = recorded.digest in (str(pushed), str(wish.digest)) and recorded.state is not PasswordState.REJECTED
    if about_this and just_pushed is None and changed_in_directory(entry, recorded):
        if on_change is OnDirectoryChange.ENFORCE:
            return send
        said = f"the password was set in the directory at {to_text(entry.pwd_last_set) or 'an unknown time'}, after our own"
        return PasswordStep(PasswordSource.NONE, PasswordState.CHANGED_IN_DIRECTORY, said, wish.digest)
    if expired(entry):
        return PasswordStep(PasswordSource.NONE, PasswordState.EXPIRED, "the password has expired", wish.digest, of_ours=True)
    return PasswordStep(PasswordSource.NONE, PasswordState.SYNCED, "", wish.digest, of_ours=True)


def plan_first_password(wish: PasswordWish, recorded: PasswordStatus | None, *, retry_rejected: bool = False) -> PasswordStep:
    """The step for an account that is to be created: from the Secret if one is named, else, or where that was refused, random."""
    if not wish.named or wish.digest is None:
        return PasswordStep(PasswordSource.RANDOM, PasswordState.GENERATED)
    refused = PasswordDigest.parse(recorded.digest) if recorded and recorded.state is PasswordState.REJECTED else None
    if recorded and refused and wish.matches(refused) and not retry_rejected:
        return PasswordStep(PasswordSource.RANDOM, PasswordState.REJECTED, recorded.message or "")
    return PasswordStep(PasswordSource.SECRET, PasswordState.SYNCED, "", wish.digest)


def _unnamed(entry: Entry, pushed: PasswordDigest | None, recorded: PasswordStatus, origin: Origin) -> PasswordStep:
    if origin is Origin.IMPORTED and pushed is None:
        state, said = PasswordState.UNKNOWN, "passwords are never imported; set spec.passwordSecretRef to have it managed"
        return PasswordStep(PasswordSource.NONE, state, said)
    if origin is not Origin.CREATED or pushed is not None:
        state, said = PasswordState.PENDING, "no Secret names a password; set spec.passwordSecretRef to have it managed"
        return PasswordStep(PasswordSource.NONE, state, said, pushed)
    if changed_in_directory(entry, recorded):
        return PasswordStep(PasswordSource.NONE, PasswordState.CHANGED_IN_DIRECTORY, "the generated password was replaced in the directory")
    return PasswordStep(PasswordSource.NONE, PasswordState.GENERATED, "random, known to nobody; set spec.passwordSecretRef", of_ours=True)


def changed_in_directory(entry: Entry, recorded: PasswordStatus) -> bool:
    """Whether pwdLastSet is not the one that our own setting left. Without a record of that, nothing is known to have changed."""
    if recorded.last_set_in_directory is None and not recorded.must_change:
        return False
    return to_text(entry.pwd_last_set) != recorded.last_set_in_directory


def expired(entry: Entry) -> bool:
    """UF_PASSWORD_EXPIRED of the computed flags; a password that must be changed at the next logon (pwdLastSet 0) is not called expired."""
    return bool(entry.computed_control & PASSWORD_EXPIRED) and entry.pwd_last_set != 0


def known_refusal(password: str, policy: PasswordPolicy, *, sam: str, display_name: str) -> str:
    """What the policy is known to refuse about a password, or could never be typed, in words; "" where nothing is.

    Length and complexity as MS-SAMR 3.1.1.7.2 has them: three of five character categories, and neither the account name nor a part of
    the display name of three characters or more. History and minimum age are the server's own business: a reset passes them.
    """
    if not password:
        return "the Secret's value is empty"
    if len(password.encode("utf-16-le", "surrogatepass")) > 2 * PASSWORD_LIMIT:
        return f"the Secret's value is longer than {PASSWORD_LIMIT} characters, the most that Active Directory takes"
    if _NO_TEXT in password:
        return "the Secret's value is not UTF-8 text"
    if _CONTROL.search(password):
        return "the Secret's value has a line break or another control character, which nobody can type: store it without (printf, echo -n)"
    if len(password) < policy.min_length:
        return f"the domain's policy asks for at least {policy.min_length} characters"
    if not policy.complexity:
        return ""
    categories = (
        any(char.isupper() for char in password),
        any(char.islower() for char in password),
        any(char.isdecimal() and char.isascii() for char in password),
        any(char.isascii() and not char.isalnum() for char in password),
        any(char.isalpha() and not char.isupper() and not char.islower() for char in password),
    )
    if sum(categories) < 3:
        return "the domain's policy asks for three of: upper case, lower case, digits, other characters"
    return names_within(password, sam=sam, display_name=display_name)


def names_within(password: str, *, sam: str, display_name: str) -> str:
    """What complexity refuses about the user's own names in a password, in words; "" where nothing is."""
    lowered = password.lower()
    if len(sam) >= 3 and sam.lower() in lowered:
        return "the domain's policy refuses a password that contains the username"
    if any(len(token) >= 3 and token in lowered for token in _TOKENS.split(display_name.lower())):
        return "the domain's policy refuses a password that contains a part of the display name"
    return ""


def random_password(entropy: bytes, policy: PasswordPolicy) -> str:
    """A password that satisfies any usual policy, from at least 32 bytes of the caller's entropy.

    No part of it is the same every time: an account that is named like that part could never be created.
    """
    length = min(PASSWORD_LIMIT, max(_RANDOM_LENGTH, policy.min_length + 8))
    stream = b"".join(hashlib.sha512(entropy + bytes([block])).digest() for block in range(1 + length // 64))
    each = "".join(characters[byte % len(characters)] for characters, byte in zip(_CATEGORIES, stream[:4], strict=True))
    return base64.b85encode(stream[4:]).decode()[: length - len(each)] + each


def policy_in_words(policy: PasswordPolicy) -> str:
    if policy == UNKNOWN:
        return "what a fine-grained policy says, which the service account can't read"
    parts = [f"at least {policy.min_length} characters"]
    if policy.complexity:
        parts.append("three of upper case, lower case, digits and others, without the user's names")
    if policy.history_length:
        parts.append(f"none of the last {policy.history_length}")
    return ", ".join(parts)

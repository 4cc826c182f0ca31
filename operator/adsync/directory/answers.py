"""From result codes and AD's diagnostic texts to the project's errors, in words that say what to do.

AD begins a diagnostic with a Windows error code in hexadecimal ("0000052D: ..."), and it is more telling than the LDAP code, which
differs between Windows and Samba for the same trouble (MS-ADTS 3.1.1.3.1.9, [MS-ERREF] 2.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from adsync.directory.wire import Answer
from adsync.errors import (
    AlreadyExists,
    CredentialsRejected,
    DirectoryError,
    DirectoryUnavailable,
    IncompleteRead,
    InsufficientRights,
    NoSuchObject,
    PasswordRefused,
    ValueMismatch,
    ValueRefused,
)

SUCCESS = 0
SIZE_LIMIT_EXCEEDED = 4
NO_SUCH_OBJECT = 32

_WIN32 = re.compile(r"\s*(?:LDAP error \d+ LDAP_\w+ -\s*)?<?([0-9A-Fa-f]{8})[:>]")
_SUB_CODE = re.compile(r"\bdata ([0-9a-fA-F]+)", re.IGNORECASE)

_NAMES: Mapping[int, str] = {
    1: "operationsError", 2: "protocolError", 3: "timeLimitExceeded", 4: "sizeLimitExceeded", 7: "authMethodNotSupported",
    8: "strongerAuthRequired", 10: "referral", 11: "adminLimitExceeded", 12: "unavailableCriticalExtension",
    13: "confidentialityRequired", 16: "noSuchAttribute", 17: "undefinedAttributeType", 18: "inappropriateMatching",
    19: "constraintViolation", 20: "attributeOrValueExists",
    21: "invalidAttributeSyntax", 32: "noSuchObject", 34: "invalidDNSyntax", 49: "invalidCredentials", 50: "insufficientAccessRights",
    51: "busy", 52: "unavailable", 53: "unwillingToPerform", 54: "loopDetect", 64: "namingViolation", 65: "objectClassViolation",
    66: "notAllowedOnNonLeaf", 67: "notAllowedOnRDN", 68: "entryAlreadyExists", 69: "objectClassModsProhibited", 71: "affectsMultipleDSAs",
    80: "other",
}  # fmt: skip

# The sub-codes of a refused bind are Win32 errors (525 is 1317, ERROR_NO_SUCH_USER, and so on).
_BIND: Mapping[str, str] = {
    "525": "there is no such account: correct the user name in the credentials Secret",
    "52e": "the user name or the password is wrong: correct the credentials Secret",
    "52f": "account restrictions forbid the sign-in: look at the service account's restrictions",
    "530": "the account may not sign in at this time: widen its logon hours",
    "531": "the account may not sign in from this machine: widen its list of workstations",
    "532": "its password has expired: set a new one, and one that does not expire for a service account",
    "533": "the account is disabled: enable it",
    "569": "the account may not sign in over the network here: grant it that right",
    "701": "the account itself has expired: extend it",
    "773": "its password must be changed at the next sign-in: set a password without that flag",
    "775": "the account is locked out: unlock it, and look for whoever tries wrong passwords",
}

_RIGHTS = frozenset({"00002098", "00000005"})  # ERROR_DS_INSUFF_ACCESS_RIGHTS, ERROR_ACCESS_DENIED
_EXISTS = frozenset({"00000524", "00000526", "00002071", "000021C7", "000021C8"})
"""ERROR_USER_EXISTS, ERROR_GROUP_EXISTS, ERROR_DS_OBJ_STRING_NAME_EXISTS, ERROR_DS_SPN_VALUE_NOT_UNIQUE_IN_FOREST, and that for UPNs."""


_UNKNOWN_ATTRIBUTE = "00000057"
"""ERROR_INVALID_PARAMETER: Windows says it, with noSuchAttribute, of an attribute that the schema lacks or a value not of its syntax."""


def win32_code(diagnostic: str) -> str:
    """The eight hexadecimal digits that AD's text begins with, in upper case, or ""."""
    found = _WIN32.match(diagnostic)
    return found.group(1).upper() if found else ""


def refused_bind(answer: Answer, name: str) -> DirectoryError:
    """The error for a bind that did not succeed."""
    if answer.code != 49:
        return refused(answer, f"sign in as {name}")
    found = _SUB_CODE.search(answer.diagnostic)
    sub_code = found.group(1).lower() if found else ""
    reason = _BIND.get(sub_code, "the directory gave no known reason: check the credentials Secret and the service account")
    told = f" (data {sub_code})" if sub_code else ""
    return CredentialsRejected(f"the directory refused to sign in {name}: {reason}{told}", sub_code=sub_code, diagnostic=answer.diagnostic)


def refused(answer: Answer, doing: str, *, secret: str = "") -> DirectoryError:
    """The error for an answer other than success. `doing` completes "the directory refused to ..."; `secret` is kept out of the text."""
    diagnostic = answer.diagnostic.replace(secret, "•••") if secret else answer.diagnostic
    code, win32 = answer.code, win32_code(diagnostic)
    told = f"{_NAMES.get(code, 'result')} {code}" + (f", {diagnostic}" if diagnostic else "")
    kind, message = _judge(code, win32, diagnostic, doing)
    return kind(f"{message} ({told})", code=code, diagnostic=diagnostic)


def _judge(code: int, win32: str, diagnostic: str, doing: str) -> tuple[type[DirectoryError], str]:
    kind: type[DirectoryError] = DirectoryError
    message = f"the directory refused to {doing}"
    if win32 == "0000052D":
        kind, message = PasswordRefused, f"the domain's password policy refused the password, to {doing}"
    elif code in (51, 52) or (code == 80 and not win32):
        kind, message = DirectoryUnavailable, f"the directory is busy or shutting down, and did not {doing}; it will be tried again"
    elif code == 50 or win32 in _RIGHTS:
        kind, message = InsufficientRights, f"the service account may not {doing}: delegate that right to it"
    elif code == 68 or win32 in _EXISTS or (code == 19 and "already in use" in diagnostic):
        kind, message = AlreadyExists, f"the directory can't {doing}: an object of this name, or another value that must be unique, exists"
    elif code == NO_SUCH_OBJECT:
        kind, message = NoSuchObject, f"the directory can't {doing}: there is no such object"
    elif code in (17, 19, 21, 34, 64) or (code == 16 and (win32 == _UNKNOWN_ATTRIBUTE or "schema" in diagnostic)):
        kind, message = ValueRefused, f"the directory can't hold what it was given, to {doing}: shorten or correct the value that it names"
    elif code in (16, 20) and "schema" not in diagnostic:
        kind, message = ValueMismatch, f"the directory did not {doing}: the value has changed meanwhile"
    elif code in (3, 4, 11):
        kind, message = IncompleteRead, f"the directory stopped at one of its limits before it was done, to {doing}"
    elif code == 10:
        message = f"the directory points elsewhere instead of doing what it was asked, to {doing}; referrals are never followed"
    return kind, message

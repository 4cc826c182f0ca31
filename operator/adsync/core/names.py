"""Names that the directory accepts, and what a username becomes in it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from adsync.core.dn import DN
from adsync.errors import InvalidSpec

SAM_USER_LIMIT = 20
"""Longest sAMAccountName of a user (MS-ADTS 3.1.1.6, SAM rules of MS-SAMR 3.1.1.6)."""

SAM_GROUP_LIMIT = 256
CN_LIMIT = 64
_SAM_FORBIDDEN = re.compile(r'["/\\\[\]:;|=,+*?<>@\x00-\x1f\x7f]')
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of control and format characters: with them a name looks like another's (Unicode TR 36), and AD leaves some out of comparisons."""

_DN_LIMIT = 1024
"""The longest DN of a container, which the status has to hold as well."""

_UPN_FORBIDDEN = re.compile(r'["/\\\[\]:;|=,+*?<>\s\x00-\x1f\x7f]')


@dataclass(frozen=True, slots=True)
class AccountNames:
    """What a user's `spec.username` stands for in one domain."""

    cn: str
    sam: str
    upn: str


def account_names(username: str, field: str, upn_suffix: str) -> AccountNames:
    """The names of a user's account. `field` is the attribute that the domain maps the username to.

    Raises InvalidSpec where the directory would refuse the name. Mapped to userPrincipalName, the sAMAccountName is the local part,
    without what may not stand in it, cut to 20 characters.
    """
    if field == "userPrincipalName":
        local, at, suffix = username.partition("@")
        if not local or _UPN_FORBIDDEN.search(username) or "@" in suffix or (at and not suffix):
            raise InvalidSpec(
                f"spec.username {username!r} is not a userPrincipalName: write it as name or name@suffix, without spaces or quotes"
            )
        _check_seen(local, "spec.username")
        sam = _SAM_FORBIDDEN.sub("_", local)[:SAM_USER_LIMIT].rstrip(". ") or "_"
        return AccountNames(cn=_cn(local), sam=sam, upn=username if at else f"{username}@{upn_suffix}")
    check_sam(username, SAM_USER_LIMIT, "spec.username")
    return AccountNames(cn=_cn(username), sam=username, upn=f"{username.replace(' ', '_')}@{upn_suffix}")


def check_sam(name: str, limit: int, where: str) -> None:
    """Raise InvalidSpec where `name` can't be a sAMAccountName of at most `limit` characters."""
    if len(name) > limit:
        raise InvalidSpec(f"{where} {name!r} has {len(name)} characters; Active Directory takes at most {limit} in a sAMAccountName")
    _check_seen(name, where)
    if match := _SAM_FORBIDDEN.search(name):
        raise InvalidSpec(f"{where} {name!r} contains {match.group()!r}, which a sAMAccountName may not")
    if not name.strip(". ") or name.endswith(".") or name != name.strip(" "):
        raise InvalidSpec(f"{where} {name!r} must not end with a dot, nor begin or end with a space, nor be empty")


def _check_seen(name: str, where: str) -> None:
    if unseen := next((char for char in name if unicodedata.category(char) in _UNSEEN), ""):
        raise InvalidSpec(f"{where} contains the character U+{ord(unseen):04X}, which can't be seen: write the name without it")


def container_dn(text: str, root: DN, where: str) -> DN:
    """Parse a container and make sure that it is the root container or below it; InvalidSpec otherwise."""
    try:
        container = DN.parse(text)
    except InvalidSpec as error:
        raise InvalidSpec(f"{where}: {error}") from None
    if not container.within(root):
        raise InvalidSpec(f"{where} {text!r} is not below the domain's root container {root}")
    if len(str(container)) > _DN_LIMIT:
        raise InvalidSpec(f"{where} is longer than {_DN_LIMIT} characters")
    if any(len(rdn) > 1 for rdn in container.rdns):
        raise InvalidSpec(f"{where} {text!r} joins names with +, which Active Directory has not: write a + in a name as \\+")
    return container


def _cn(name: str) -> str:
    return name[:CN_LIMIT]

"""The owner mark: who owns an account, written into the account itself.

    adsync1:<u or g>:<cluster>:<namespace>/<name>;o=<origin>;p=<key id>.<digest>

It answers three questions without any state of ours: is this account ours, which resource's is it, and which password did we last
set. It travels in the same LDAP operation as the account's creation or its password, so that no crash can come between the two.
The mark begins with neither `User_` nor `Group_`, which would steer Entra Connect's filter in adminDescription.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from adsync.resources.synceduser import Origin

PREFIX = "adsync1:"
MARK_LIMIT = 256
"""The longest value that adminDescription takes (rangeUpper in MS-ADA1)."""

_OWNER_LIMIT = 200  # leaves room for the origin and the digest below MARK_LIMIT
_MARK = re.compile(r"(?P<owner>adsync1:[ug]:[^:;]+:[^:;]+)(?:;o=(?P<origin>[cai]))?(?:;p=(?P<key>[0-9a-f]+)\.(?P<digest>[\w-]+))?\Z")
_ORIGINS = {"c": Origin.CREATED, "a": Origin.ADOPTED, "i": Origin.IMPORTED}
_LETTERS = {origin: letter for letter, origin in _ORIGINS.items()}


@dataclass(frozen=True, slots=True)
class PasswordDigest:
    """An HMAC of a password, and which key made it. Says whether a value was pushed, and nothing of the value."""

    key_id: str
    value: str

    @classmethod
    def parse(cls, text: str | None) -> PasswordDigest | None:
        key, colon, value = (text or "").partition(":")
        return cls(key, value) if colon else None

    def __str__(self) -> str:
        return f"{self.key_id}:{self.value}"


@dataclass(frozen=True, slots=True)
class OwnerMark:
    """A parsed mark. `owner` is what `owner_id` makes, and is compared as a whole."""

    owner: str
    origin: Origin | None = None
    password: PasswordDigest | None = None

    @classmethod
    def parse(cls, text: str) -> OwnerMark | None:
        """None where the text is not a mark of ours, whatever else it is."""
        match = _MARK.match(text)
        if match is None:
            return None
        digest = PasswordDigest(match["key"], match["digest"]) if match["key"] else None
        return cls(match["owner"], _ORIGINS.get(match["origin"] or ""), digest)

    def __str__(self) -> str:
        origin = f";o={_LETTERS[self.origin]}" if self.origin else ""
        password = f";p={self.password.key_id}.{self.password.value}" if self.password else ""
        return f"{self.owner}{origin}{password}"


def owner_id(cluster: str, kind: str, namespace: str, name: str) -> str:
    """The part of a mark that names the owner. `kind` is "user" or "group". A name too long for the attribute goes in as its hash."""
    owner = f"{PREFIX}{kind[0]}:{cluster}:{namespace}/{name}"
    if len(owner) <= _OWNER_LIMIT:
        return owner
    hashed = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:40]
    return f"{PREFIX}{kind[0]}:{cluster}:~{hashed}"


def owner_in_words(owner: str) -> str:
    """For messages: "SyncedUser team-a/jdoe of cluster prod-1"."""
    _, kind, cluster, path = owner.split(":", 3)
    return f"{'SyncedUser' if kind == 'u' else 'SyncedGroup'} {path} of cluster {cluster}"

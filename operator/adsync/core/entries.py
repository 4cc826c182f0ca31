"""What the operator knows of an object in the directory: one compact record each, the same for users and groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from adsync.core.dn import DN

# userAccountControl and msDS-User-Account-Control-Computed, MS-ADTS 2.2.16 and 3.1.1.4.5.17.
ACCOUNTDISABLE = 0x0002
LOCKOUT = 0x0010
PASSWD_NOTREQD = 0x0020
NORMAL_ACCOUNT = 0x0200
DONT_EXPIRE_PASSWORD = 0x10000
PASSWORD_EXPIRED = 0x800000

NEVER = 0x7FFFFFFFFFFFFFFF
"""The FILETIME that means "never" (MS-ADTS 3.1.1.4.5.31)."""


class EntryKind(StrEnum):
    USER = "user"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Entry:
    """One user or group as the directory last told it.

    `guid` is the objectGUID in lower-case 8-4-4-4-12 form. Times are FILETIMEs: 100 ns since 1601-01-01 UTC, 0 for never set.
    `attributes` holds the plain string attributes that the domain maps or allows, by their name in the domain's spec; an absent attribute is absent.
    """

    guid: str
    dn: DN
    kind: EntryKind
    sam: str
    sid: str
    usn_changed: int
    cn: str = ""
    upn: str = ""
    mark: str = ""  # the raw value of the ownership attribute
    attributes: Mapping[str, str] = field(default_factory=dict)
    user_account_control: int = 0
    computed_control: int = 0  # msDS-User-Account-Control-Computed
    pwd_last_set: int = 0
    password_expires: int = 0  # msDS-UserPasswordExpiryTimeComputed; 0 or NEVER: it does not expire
    admin_count: int = 0
    primary_group: int = 0  # RID
    group_type: int = 0
    critical: bool = False  # isCriticalSystemObject

    @property
    def disabled(self) -> bool:
        return bool(self.user_account_control & ACCOUNTDISABLE)

    @property
    def locked_out(self) -> bool:
        return bool(self.computed_control & LOCKOUT)

    def with_constructed_of(self, other: Entry) -> Entry:
        """With what the directory works out, as `other` has it: for one that was read without, and has not changed since `other` was read."""
        return replace(self, computed_control=other.computed_control, password_expires=other.password_expires)

    def turns_by_itself(self, now: int) -> bool:
        """Whether what the directory works out of this object may be another at `now` (FILETIME) though nobody has changed the object: a
        lockout that ends (MS-ADTS 3.1.1.4.5.17), a password that has grown too old."""
        expiring = 0 < self.password_expires <= now and not self.computed_control & PASSWORD_EXPIRED
        return self.locked_out or expiring

    @property
    def rid(self) -> int:
        """The last part of the SID, or 0 where there is no SID."""
        return int(self.sid.rpartition("-")[2] or 0)

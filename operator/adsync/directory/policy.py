"""Password policies as the directory has them: the domain's (MS-ADTS 3.1.1.3.1.5), and password settings objects where they can be read."""

from __future__ import annotations

from adsync.core.policy import PasswordPolicy
from adsync.directory import codec, search
from adsync.directory.connection import LdapConnection
from adsync.directory.wire import RawEntry
from adsync.errors import InsufficientRights

_COMPLEX = 0x1  # DOMAIN_PASSWORD_COMPLEX, MS-SAMR 2.2.3.18
_DOMAIN = {
    "min_length": "minPwdLength", "history_length": "pwdHistoryLength", "min_age": "minPwdAge", "max_age": "maxPwdAge",
    "lockout_threshold": "lockoutThreshold", "lockout_window": "lockOutObservationWindow",
}  # fmt: skip
_PSO = {
    "min_length": "msDS-MinimumPasswordLength", "history_length": "msDS-PasswordHistoryLength", "min_age": "msDS-MinimumPasswordAge",
    "max_age": "msDS-MaximumPasswordAge", "lockout_threshold": "msDS-LockoutThreshold", "lockout_window": "msDS-LockoutObservationWindow",
}  # fmt: skip
_NEVER = -0x8000000000000000


async def read_domain(connection: LdapConnection, base: str) -> PasswordPolicy:
    entry = await search.one(connection, base, [*_DOMAIN.values(), "pwdProperties"])
    if entry is None or not entry[1].get("minpwdlength"):
        raise InsufficientRights(f"the service account can't read the password policy of {base}: grant it to read that object")
    return _policy(entry, _DOMAIN, complexity=bool(codec.number(entry, "pwdProperties") & _COMPLEX))


async def read_pso(connection: LdapConnection, dn: str) -> PasswordPolicy | None:
    """A password settings object; None where it can't be read (by default only administrators may)."""
    entry = await search.one(connection, dn, [*_PSO.values(), "msDS-PasswordComplexityEnabled"])
    if entry is None or not entry[1].get("msds-minimumpasswordlength"):
        return None
    return _policy(entry, _PSO, complexity=codec.text(entry, "msDS-PasswordComplexityEnabled") == "TRUE")


def _policy(entry: RawEntry, names: dict[str, str], *, complexity: bool) -> PasswordPolicy:
    number = {field: codec.number(entry, attribute) for field, attribute in names.items()}
    return PasswordPolicy(
        min_length=number["min_length"],
        complexity=complexity,
        history_length=number["history_length"],
        min_age=_seconds(number["min_age"]),
        max_age=_seconds(number["max_age"]),
        lockout_threshold=number["lockout_threshold"],
        lockout_window=_seconds(number["lockout_window"]),
    )


def _seconds(duration: int) -> int:
    """AD counts durations downwards, in 100 ns; its lowest number means never, here 0."""
    return 0 if duration == _NEVER else -duration // 10_000_000

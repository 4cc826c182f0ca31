"""What a domain, or a fine-grained policy in it, asks of a password."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """The password policy of a domain (MS-ADTS 3.1.1.3.1.5) or of a password settings object. Durations are seconds."""

    min_length: int = 0
    complexity: bool = False
    history_length: int = 0
    min_age: int = 0
    max_age: int = 0  # 0: passwords do not expire
    lockout_threshold: int = 0  # 0: accounts are not locked out
    lockout_window: int = 0


UNKNOWN = PasswordPolicy()
"""That of which nothing is known: it refuses nothing beforehand."""

"""Conditions: their types, the reasons of Ready, and what each reason means for kstatus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field, ValidationError

from adsync.resources.common import Model, Timestamp


class ConditionType(StrEnum):
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    # ADDomain
    CONNECTED = "Connected"
    CREDENTIALS_VALID = "CredentialsValid"
    RIGHTS_SUFFICIENT = "RightsSufficient"
    SCOPE_FOUND = "ScopeFound"
    WITHIN_SAFETY_LIMIT = "WithinSafetyLimit"
    ENTRA_CONNECT_DETECTED = "EntraConnectDetected"
    # SyncedUser
    ACCOUNT_SUSPENDED = "AccountSuspended"
    PASSWORD_SYNCED = "PasswordSynced"  # noqa: S105 - a condition's name
    # SyncedGroup
    MEMBERSHIP_SYNCED = "MembershipSynced"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """The reasons of Ready, and of each entry in a status's domains."""

    SYNCED = "Synced"
    PROGRESSING = "Progressing"
    PASSWORD_PENDING = "PasswordPending"  # noqa: S105
    PASSWORD_REJECTED = "PasswordRejected"  # noqa: S105
    PROTECTED = "Protected"
    OUT_OF_SCOPE = "OutOfScope"
    ADOPTION_REFUSED = "AdoptionRefused"
    CONFLICT = "Conflict"
    INVALID_SPEC = "InvalidSpec"
    INSUFFICIENT_RIGHTS = "InsufficientRights"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    DOMAIN_NOT_FOUND = "DomainNotFound"
    DOMAIN_UNAVAILABLE = "DomainUnavailable"
    CREDENTIALS_REJECTED = "CredentialsRejected"
    CERTIFICATE_REJECTED = "CertificateRejected"
    SAFETY_LIMIT = "SafetyLimit"
    OBSERVING = "Observing"
    PAUSED = "Paused"
    DIRECTORY_ERROR = "DirectoryError"
    CONTESTED = "Contested"


class Readiness(NamedTuple):
    """What the three kstatus conditions say. Reconciling and Stalled are there only while they are true."""

    ready: bool
    reconciling: bool
    stalled: bool


_DONE: Final = Readiness(ready=True, reconciling=False, stalled=False)
_UNDER_WAY: Final = Readiness(ready=False, reconciling=True, stalled=False)
_STUCK: Final = Readiness(ready=False, reconciling=False, stalled=True)

READINESS: Final[Mapping[Reason, Readiness]] = {
    Reason.SYNCED: _DONE,
    # These pass by themselves, or when something outside the resource is put right.
    Reason.PROGRESSING: _UNDER_WAY,
    Reason.PASSWORD_PENDING: _UNDER_WAY,
    Reason.DOMAIN_UNAVAILABLE: _UNDER_WAY,
    Reason.DIRECTORY_ERROR: _UNDER_WAY,
    Reason.CONTESTED: _UNDER_WAY,
    # These need a decision by a person.
    Reason.PASSWORD_REJECTED: _STUCK,
    Reason.PROTECTED: _STUCK,
    Reason.OUT_OF_SCOPE: _STUCK,
    Reason.ADOPTION_REFUSED: _STUCK,
    Reason.CONFLICT: _STUCK,
    Reason.INVALID_SPEC: _STUCK,
    Reason.INSUFFICIENT_RIGHTS: _STUCK,
    Reason.NAMESPACE_NOT_ALLOWED: _STUCK,
    Reason.DOMAIN_NOT_FOUND: _STUCK,
    Reason.CREDENTIALS_REJECTED: _STUCK,
    Reason.CERTIFICATE_REJECTED: _STUCK,
    Reason.SAFETY_LIMIT: _STUCK,
    Reason.OBSERVING: _STUCK,
    Reason.PAUSED: _STUCK,
}


class Condition(Model):
    """One aspect of a resource's state."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """The aspect, in CamelCase."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """Why it has this status, in one CamelCase word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """The same for people: what is wrong, and what to do."""
    last_transition_time: Timestamp
    """When the status last changed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The metadata.generation that the condition was worked out for."""


Conditions = Annotated[
    list[Condition],
    Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
"""A status's conditions, one of each type."""


def read(raw: Iterable[Any]) -> list[Condition]:
    """The conditions of a status as the API server has it. What can't be understood is left out, and so told anew."""
    found = []
    for each in raw:
        with suppress(ValidationError):
            found.append(Condition.model_validate(each))
    return found


def put(conditions: Iterable[Condition], new: Condition) -> list[Condition]:
    """The conditions with `new` in the place of the one of its type. Its lastTransitionTime stays the old one while the status does."""
    out = list(conditions)
    for index, old in enumerate(out):
        if old.type == new.type:
            since = old.last_transition_time if old.status == new.status else new.last_transition_time
            out[index] = new.model_copy(update={"last_transition_time": since})
            return out
    return [*out, new]


def drop(conditions: Iterable[Condition], kind: ConditionType) -> list[Condition]:
    """The conditions without the one of this type."""
    return [condition for condition in conditions if condition.type != kind]


def with_reason(conditions: Iterable[Condition], reason: Reason, message: str, *, generation: int, now: datetime) -> list[Condition]:
    """Ready, Reconciling and Stalled as READINESS has it. A false Reconciling or Stalled is left out (for kstatus, absent is false)."""
    readiness = READINESS[reason]
    out = list(conditions)
    for kind, true in zip((ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED), readiness, strict=True):
        if kind is not ConditionType.READY and not true:
            out = drop(out, kind)
            continue
        status = ConditionStatus.TRUE if true else ConditionStatus.FALSE
        new = Condition(type=kind, status=status, reason=reason, message=message, last_transition_time=now, observed_generation=generation)
        out = put(out, new)
    return out


def find(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """The condition of this type, if there is one."""
    return next((condition for condition in conditions if condition.type == kind), None)

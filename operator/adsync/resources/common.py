"""What the three kinds share: the base model, rules that hold on both sides, value types, references and selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about an object, told twice: in CEL for the API server, in Python for objects that came past an older schema.

    `holds` is None where only the API server can judge (it knows the old object). `field` is the JSON name of the field to blame.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    field: str = ""


class Model(BaseModel):
    """The base of all models: camelCase in JSON, snake_case in Python, unknown fields of newer versions are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", use_attribute_docstrings=True)

    rules: ClassVar[tuple[Rule, ...]] = ()

    def _keep_rules(self) -> Model:
        for rule in self.rules:
            if rule.holds is not None and not rule.holds(self):
                raise ValueError(f"{rule.field}: {rule.message}" if rule.field else rule.message)
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """A thousand members of a group, which have no rules, are not to be asked for them one by one."""
        schema = handler(source)
        return no_info_after_validator_function(cls._keep_rules, schema) if cls.rules else schema

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.rules:
            schema["x-kubernetes-validations"] = [
                {"rule": rule.cel, "message": rule.message, **({"fieldPath": f".{rule.field}"} if rule.field else {})} for rule in cls.rules
            ]
        return schema

    def to_json(self) -> dict[str, Any]:
        """The JSON form: camelCase, times and durations as strings, absent for None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


SpecT = TypeVar("SpecT", bound="Spec")


class Spec(Model):
    """The base of what people write. A spec is never changed once read."""

    model_config = ConfigDict(frozen=True)


@lru_cache(1 << 16)
def one_of_each(spec: SpecT) -> SpecT:
    """The first that was equal, for parts that many resources have alike: ten thousand members of fifty groups, and the domain of them all.
    A spec is never changed, so they can be one object."""
    return spec


# --- values -----------------------------------------------------------------------------------------------------------------------------

_DURATION = re.compile(r"(?:\d{1,9}[dhms])+")
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_PERCENT = re.compile(r"(100|[0-9]{1,2})%")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def parse_duration(value: object) -> object:
    """Read "1h30m" (days, hours, minutes, seconds) as a timedelta. Other types are left to pydantic."""
    if not isinstance(value, str):
        return value
    if not _DURATION.fullmatch(value):
        raise ValueError(f"{value!r} is not a duration: write it like 90s, 15m or 1h30m")
    try:
        return timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", value)))
    except OverflowError:
        raise ValueError(f"{value!r} is too long a duration") from None


def format_duration(value: timedelta) -> str:
    """Write a duration as parse_duration reads it, in whole seconds and without units that are zero: 90 min → "1h30m"."""
    rest, out = int(value.total_seconds()), ""
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        out += f"{count}{unit}" if count else ""
    return out or "0s"


def parse_percent(value: object) -> object:
    """Read "10%" as 10. Other types are left to pydantic."""
    if not isinstance(value, str):
        return value
    match = _PERCENT.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is not a share: write a whole number from 0% to 100%")
    return int(match.group(1))


def parse_timestamp(value: object) -> object:
    """Read RFC 3339 in whole seconds of UTC, as the API server itself keeps times."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time needs a time zone")
        return value.astimezone(UTC).replace(microsecond=0)
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]{1,9}[dhms])+$", "maxLength": 32}),
]
"""A timedelta; "1h30m" in JSON."""

Percent = Annotated[
    int,
    BeforeValidator(parse_percent),
    Field(ge=0, le=100),
    PlainSerializer(lambda value: f"{value}%", return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(100|[0-9]{1,2})%$", "maxLength": 4}),
]
"""A whole number of per cent, 0 to 100; "10%" in JSON."""

Timestamp = Annotated[
    datetime,
    BeforeValidator(parse_timestamp),
    PlainSerializer(lambda value: value.strftime("%Y-%m-%dT%H:%M:%SZ"), return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64}),
]
"""A moment in whole seconds of UTC."""

MicroTime = Annotated[str, Field(max_length=64), WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64})]
"""A moment with microseconds, kept as text: two settings of a password within one second must not look like one."""

DNS_NAME = r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
Name = Annotated[str, Field(min_length=1, max_length=253, pattern=NAME_PATTERN)]
"""The name of a Kubernetes object (RFC 1123 subdomain)."""

Namespace = Annotated[str, Field(max_length=63, pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$")]
"""A namespace, or "" for that of the resource itself."""

Key = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
"""A key in a Secret or ConfigMap."""

DNText = Annotated[str, Field(min_length=1, max_length=2048)]
"""A distinguished name as written; what it says is judged when reconciled."""

Value = Annotated[str, Field(max_length=1024)]
"""The value of a directory attribute; "" clears it."""

ObjectGUID = Annotated[str, Field(max_length=36, pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""An objectGUID in lower case."""

Text = Annotated[str, Field(max_length=4096)]
"""A sentence in a status."""

Count = Annotated[int, Field(ge=0)]

Word = Annotated[str, Field(max_length=1024)]
"""A single item in a status."""


def check_labels(value: Mapping[str, str]) -> Mapping[str, str]:
    """Refuse what the API server would refuse as labels, before an object is made of them."""
    for key, text in value.items():
        prefix, slash, name = key.rpartition("/")
        if not _LABEL.fullmatch(name) or (slash and not _LABEL_PREFIX.fullmatch(prefix)):
            raise ValueError(f"{key!r} is not a label name")
        if text and not _LABEL.fullmatch(text):
            raise ValueError(f"{text!r} is not a label value")
    return value


# sAMAccountName: none of these, no control characters, no spaces at its ends, no full stop at its end (MS-SAMR 3.1.1.8.4).
FORBIDDEN_IN_NAMES = '"/\\[]:;|=,+*?<>@'
_OUT = r'"/\\\[\]:;|=,+*?<>@\x00-\x1f\x7f'
ACCOUNT_NAME = rf"^[^{_OUT} .]$|^[^{_OUT} ][^{_OUT}]*[^{_OUT} .]$"
_ACCOUNT_NAME = re.compile(ACCOUNT_NAME)


def is_account_name(value: str) -> bool:
    """Whether the characters may stand in a sAMAccountName. Its length is another matter: 20 for users, 256 for groups."""
    return _ACCOUNT_NAME.fullmatch(value) is not None


def account_name_rule(field: str) -> Rule:
    """The rule for the field (a single word, the same in JSON and Python) that holds a sAMAccountName."""
    return Rule(
        cel=f"self.{field}.matches(r'{ACCOUNT_NAME}')",
        message=f"must not contain any of {FORBIDDEN_IN_NAMES} or control characters, begin or end with a space, or end with a full stop",
        holds=lambda spec: is_account_name(getattr(spec, field)),
        field=field,
    )


# --- references and selectors -------------------------------------------------------------------------------------------------------------


class DeletionPolicy(StrEnum):
    """What deleting a resource does to its object in the directory."""

    RETAIN = "Retain"
    DISABLE = "Disable"
    DELETE = "Delete"


class Operator(StrEnum):
    """How a label selector's requirement compares."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Spec):
    """One requirement of a label selector."""

    key: Annotated[str, Field(min_length=1, max_length=317)]
    """The label that the requirement is about."""
    operator: Operator
    """How the label's value is compared with values."""
    values: Annotated[tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=64)] = ()
    """What the label's value is compared with; empty for Exists and DoesNotExist."""

    rules: ClassVar = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            message="In and NotIn need values, Exists and DoesNotExist take none",
            holds=lambda r: (r.operator in (Operator.IN, Operator.NOT_IN)) == bool(r.values),
        ),
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


class LabelSelector(Spec):
    """A label selector, as elsewhere in Kubernetes: all of it must match, and an empty one matches everything."""

    match_labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)] = {}
    """Labels with exactly these values."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=32)] = ()
    """Further requirements."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        exact = all(labels.get(key) == value for key, value in self.match_labels.items())
        return exact and all(requirement.matches(labels) for requirement in self.match_expressions)

    @property
    def empty(self) -> bool:
        return not self.match_labels and not self.match_expressions


class SecretKeyRef(Spec):
    """A key in a Secret of the same namespace."""

    name: Name
    """The Secret's name."""
    key: Key
    """The key in the Secret."""


MOST_DOMAINS = 64
"""How many domains a status has room for."""


class DomainRef(Spec):
    """An ADDomain that a user or group is bound to."""

    name: Name
    """The ADDomain's name."""
    namespace: Namespace = ""
    """The ADDomain's namespace. Empty: the namespace of this resource."""
    container: DNText | None = None
    """The DN of the container to be in, below the domain's rootUserContainer. Omitted: the rootUserContainer itself for what is created, and wherever it is for what exists. Changing it moves the object."""  # noqa: E501

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


SharedDomainRef = Annotated[DomainRef, AfterValidator(one_of_each)]


class Metadata(Model):
    """The parts of an object's metadata that matter here."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []

    @field_validator("labels", "annotations", "finalizers", mode="before")
    @classmethod
    def _absent_is_empty(cls, value: object, info: Any) -> object:
        return ([] if info.field_name == "finalizers" else {}) if value is None else value

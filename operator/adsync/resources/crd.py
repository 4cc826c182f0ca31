"""The CustomResourceDefinitions, generated from the models.

Pydantic's JSON schema becomes a structural OpenAPI v3 schema as the API server wants it: no references, no titles, no null (an absent field
is an omitted one), integers as int64, defaults that the API server fills in. `python -m adsync.resources.crd DIRECTORY` writes the files.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from adsync.resources.addomain import ADDomainSpec
from adsync.resources.addomain_status import ADDomainStatus
from adsync.resources.common import Model
from adsync.resources.names import AD_DOMAIN, CATEGORY, GROUP, SYNCED_GROUP, SYNCED_USER, VERSION, Kind
from adsync.resources.syncedgroup import SyncedGroupSpec, SyncedGroupStatus
from adsync.resources.synceduser import SyncedUserSpec, SyncedUserStatus

Schema = dict[str, Any]


class Column(NamedTuple):
    """A column of `kubectl get`. Those of priority 1 show with `-o wide` only."""

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0

    def to_json(self) -> Schema:
        column = {"name": self.name, "type": self.type, "jsonPath": self.json_path}
        return {**column, "priority": self.priority} if self.priority else column


class Definition(NamedTuple):
    """What makes a CRD."""

    kind: Kind
    description: str
    spec: type[Model]
    status: type[Model]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()


_READY: Final = Column("Ready", '.status.conditions[?(@.type=="Ready")].status')
_REASON: Final = Column("Reason", '.status.conditions[?(@.type=="Ready")].reason')

DEFINITIONS: Final = (
    Definition(
        AD_DOMAIN,
        "ADDomain is one Active Directory domain, and how to work with it.",
        ADDomainSpec,
        ADDomainStatus,
        (
            Column("Domain", ".spec.domainName"),
            Column("Mode", ".spec.mode"),
            Column("Direction", ".spec.direction"),
            _READY,
            _REASON,
            Column("Users", ".status.users.total", "integer"),
            Column("Groups", ".status.groups.total", "integer"),
            Column("Last Sync", ".status.lastSyncTime", "date", 1),
            Column("Age", ".metadata.creationTimestamp", "date", 1),
        ),
    ),
    Definition(
        SYNCED_USER,
        "SyncedUser is one person, bound to one or more Active Directory domains.",
        SyncedUserSpec,
        SyncedUserStatus,
        (
            Column("Username", ".spec.username"),
            Column("Account", ".status.account"),
            Column("Password", ".status.password"),
            Column("Groups", ".status.groupCount", "integer"),
            _READY,
            _REASON,
            Column("Last Sync", ".status.lastSyncTime", "date"),
        ),
        (".spec.username",),
    ),
    Definition(
        SYNCED_GROUP,
        "SyncedGroup is one group and its members, bound to one or more Active Directory domains.",
        SyncedGroupSpec,
        SyncedGroupStatus,
        (
            Column("Group", ".spec.name"),
            Column("Members", ".status.memberCount", "integer"),
            Column("Pending", ".status.pendingCount", "integer"),
            _READY,
            _REASON,
            Column("Last Sync", ".status.lastSyncTime", "date"),
        ),
    ),
)


class _Defaults(GenerateJsonSchema):
    """Defaults as they are written in JSON ("15m"), which pydantic does for output schemas only."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        out = super().default_schema(schema)
        serialization: Mapping[str, Any] = schema["schema"].get("serialization") or {}
        if out.get("default") is not None and "function" in serialization:
            out["default"] = serialization["function"](schema["default"])
        return out


def structural(model: type[Model]) -> Schema:
    """The model's structural schema (apiextensions.k8s.io/v1), with every reference resolved."""
    schema = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_Defaults)
    return _clean(schema, schema.get("$defs", {}))


def _clean(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    flat = _resolve(schema, definitions)
    out: Schema = {}
    for key in ("description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"):
        if key in flat:
            out[key] = flat[key]
    if out.get("type") == "integer":
        out["format"] = "int64"
    if flat.get("type") == "object":
        properties = {name: _clean(child, definitions) for name, child in flat.get("properties", {}).items()}
        if properties:
            out["properties"] = properties
        elif isinstance(flat.get("additionalProperties"), Mapping):
            out["additionalProperties"] = _clean(flat["additionalProperties"], definitions)
        if "maxProperties" in flat:
            out["maxProperties"] = flat["maxProperties"]
        if flat.get("required"):
            out["required"] = flat["required"]
    if "items" in flat:
        out["items"] = _clean(flat["items"], definitions)
    out.update({key: value for key, value in flat.items() if key.startswith("x-kubernetes-")})
    default = _default(flat, out)
    if default is not None:
        out["default"] = default
    return out


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Schema]) -> Schema:
    """Follow references, and take the null out of `X | None`. What stands beside a reference (a description, a default) wins."""
    flat = dict(schema)
    while "$ref" in flat or "anyOf" in flat:
        if "$ref" in flat:
            target = definitions[flat.pop("$ref").removeprefix("#/$defs/")]
        else:
            (target,) = (choice for choice in flat.pop("anyOf") if choice.get("type") != "null")
        flat = {**target, **flat}
    return flat


def _default(flat: Mapping[str, Any], out: Schema) -> Any:
    """The default for the API server to fill in. Empty lists and maps are left absent.

    That of an object holds its fields' defaults: the API server judges it by the CEL rules before it would fill them in.
    """
    default = flat.get("default")
    if isinstance(default, Mapping):
        default = {name: child["default"] for name, child in out.get("properties", {}).items() if "default" in child} or None
    return None if default == [] else default


def crd(definition: Definition) -> Schema:
    """The CustomResourceDefinition as JSON."""
    kind = definition.kind
    spec = structural(definition.spec)
    status = structural(definition.status)
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.to_json() for column in definition.columns],
        "schema": {
            "openAPIV3Schema": {
                "description": definition.description,
                "type": "object",
                "required": ["spec"],
                "properties": {
                    "apiVersion": {"type": "string", "description": "The version of the API: adsync.dev/v1alpha1."},
                    "kind": {"type": "string", "description": f"The kind: {kind.kind}."},
                    "metadata": {"type": "object"},
                    "spec": spec,
                    "status": status,
                },
            }
        },
    }
    if definition.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in definition.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "singular": kind.singular,
                "plural": kind.plural,
                "shortNames": [kind.short],
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


class _Dumper(yaml.SafeDumper):
    """YAML without anchors, for people and for tools that cannot follow them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's own signature
        return True


def to_yaml(document: Schema) -> str:
    """YAML as it stands in crds/: keys in their order, lines unbroken."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)


def files() -> dict[str, str]:
    """The content of each file in crds/, by its name."""
    head = "# Generated from the models by `make crds`; changes made here are lost.\n"
    return {f"{GROUP}_{definition.kind.plural}.yaml": head + to_yaml(crd(definition)) for definition in DEFINITIONS}


def manifest() -> str:
    """All CRDs as one YAML stream."""
    return "---\n".join(files().values())


def write(directory: Path) -> None:
    """Write the files into `directory`, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (directory / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

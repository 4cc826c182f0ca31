"""The generated CRDs: their form, and that every field says what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from adsync.resources.crd import DEFINITIONS, Definition, crd, files, manifest, write


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below this one, with where it is."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def schema_of(definition: Definition) -> dict[str, Any]:
    schema: dict[str, Any] = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.kind.kind)
def test_schemas_are_structural_bounded_and_described(definition: Definition) -> None:
    for path, schema in nodes(schema_of(definition)):
        assert schema["type"] in {"object", "array", "string", "integer", "boolean"}, path
        assert not {"$ref", "anyOf", "allOf", "title", "const", "nullable"} & schema.keys(), path
        if path.startswith((".spec", ".status")) and not path.endswith("[]"):
            assert schema["description"].endswith("."), path
        if schema["type"] == "string" and path not in {".apiVersion", ".kind"}:
            assert "maxLength" in schema or "enum" in schema, path
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.kind.kind)
def test_keys_of_list_maps_are_required_or_have_a_default(definition: Definition) -> None:
    found = 0
    for path, schema in nodes(schema_of(definition)):
        for key in schema.get("x-kubernetes-list-map-keys", []):
            item = schema["items"]
            assert key in item["required"] or "default" in item["properties"][key], f"{path}.{key}"
            found += 1
    assert found


def test_names() -> None:
    names = {crd(definition)["metadata"]["name"]: crd(definition)["spec"]["names"] for definition in DEFINITIONS}
    assert {name: spec["shortNames"] for name, spec in names.items()} == {
        "addomains.adsync.dev": ["addom"],
        "syncedusers.adsync.dev": ["suser"],
        "syncedgroups.adsync.dev": ["sgroup"],
    }
    assert all(spec["categories"] == ["adsync"] for spec in names.values())


def test_no_more_than_seven_columns_without_asking() -> None:
    for definition in DEFINITIONS:
        assert sum(column.priority == 0 for column in definition.columns) <= 7


def test_the_manifest_is_all_of_the_files(tmp_path: Any) -> None:
    write(tmp_path / "crds")
    written = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((tmp_path / "crds").iterdir())]
    assert len(written) == len(files()) == 3
    assert sorted(yaml.safe_load_all(manifest()), key=lambda document: document["metadata"]["name"]) == written

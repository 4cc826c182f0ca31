"""The manifests in examples/ are good ones, and they fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from adsync.resources import ADDomainSpec, SyncedGroupSpec, SyncedUserSpec, parse_spec
from adsync.resources.common import Spec
from adsync.resources.names import API_VERSION

EXAMPLES = Path(__file__).parents[2] / "examples"
MODELS: dict[str, type[Spec]] = {"ADDomain": ADDomainSpec, "SyncedUser": SyncedUserSpec, "SyncedGroup": SyncedGroupSpec}


def documents() -> list[dict[str, Any]]:
    """Every document, in the order in which `kubectl apply -f examples/` takes them."""
    return [document for path in sorted(EXAMPLES.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def test_every_spec_is_understood_to_its_last_field() -> None:
    ours = [document for document in documents() if document["apiVersion"] == API_VERSION]
    assert {document["kind"] for document in ours} == set(MODELS)
    for document in ours:
        written = parse_spec(MODELS[document["kind"]], document["spec"]).to_json()
        assert document["spec"].keys() <= written.keys(), f"{document['metadata']['name']} has a field that the kind has not"


def test_the_namespace_comes_first_and_everything_is_in_it() -> None:
    first, *others = documents()
    assert first["kind"] == "Namespace"
    assert {document["metadata"]["namespace"] for document in others} == {first["metadata"]["name"]}


def test_whatever_is_named_is_there() -> None:
    names = {(document["kind"], document["metadata"]["name"]) for document in documents()}
    for document in documents():
        spec = document.get("spec", {})
        for key in ("credentialsSecretRef", "passwordSecretRef"):
            if key in spec:
                assert ("Secret", spec[key]["name"]) in names
        for domain in spec.get("domains", []):
            assert ("ADDomain", domain["name"]) in names
        for member in spec.get("members", []):
            assert ("SyncedUser", member["name"]) in names


def test_users_set_only_the_attributes_that_the_domain_lists() -> None:
    (domain,) = (document["spec"] for document in documents() if document["kind"] == "ADDomain")
    for document in documents():
        if document["kind"] == "SyncedUser":
            assert document["spec"].get("attributes", {}).keys() <= set(domain["extraAttributes"])

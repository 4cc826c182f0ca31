"""What is applied to a spec, so that others keep what is theirs."""

from __future__ import annotations

import json
from typing import Any

from adsync.cluster.ownership import spec_to_apply


def written_by(manager: str, *members: str, operation: str = "Apply", **fields: Any) -> dict[str, Any]:
    keys: dict[str, Any] = {f"k:{json.dumps({'name': name}, separators=(',', ':'))}": {} for name in members}
    spec = {f"f:{name}": value for name, value in fields.items()} | ({"f:members": keys} if members else {})
    return {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": spec}}


def group(*members: str, managed: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"managedFields": managed}, "spec": {"members": named(*members), **spec}}


def named(*members: str) -> list[dict[str, str]]:
    return [{"name": name} for name in members]


def test_members_that_others_have_written_stay_theirs_alone() -> None:
    there = group("a", "b", managed=[written_by("git", "a", "b")])
    assert spec_to_apply(there, {"members": named("a", "b", "c")}, "adsync") == {"members": named("c")}


def test_what_we_own_beside_others_is_given_up() -> None:
    there = group("a", "b", managed=[written_by("git", "a"), written_by("adsync", "a", "b")])
    assert spec_to_apply(there, {"members": named("a", "b")}, "adsync") == {"members": named("b")}
    assert spec_to_apply(there, {"email": "x"}, "adsync") == {"members": named("b"), "email": "x"}


def test_nothing_is_asked_of_a_list_that_is_all_others() -> None:
    there = group("a", "b", managed=[written_by("git", "a", "b", operation="Update")])
    assert spec_to_apply(there, {"members": named("a")}, "adsync") == {}
    assert spec_to_apply(there, {"members": []}, "adsync") == {"members": []}


def test_what_was_applied_before_is_applied_along() -> None:
    managed = [written_by("adsync", attributes={"f:title": {}}, email={}), {**written_by("adsync", status={}), "subresource": "status"}]
    there = group(managed=managed, attributes={"title": "T", "room": "1"}, email="old")
    wanted = {"attributes": {"title": "T", "desk": "2"}, "email": "new"}
    assert spec_to_apply(there, {"attributes": {"desk": "2"}, "email": "new"}, "adsync") == wanted

"""What to apply, so that everybody who writes to a spec keeps what is theirs (FieldsV1 of KEP-555).

scalar            the new value, and what we have applied before, as leaving it out would give it up
list, an item     ours, or nobody's         applied
                  somebody else's           left out: with us as an owner beside them they could never take it out again
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]
_ItemKey: TypeAlias = tuple[tuple[str, Any], ...]


def spec_to_apply(obj: Object, spec: Object, manager: str) -> Object:
    """The part of a spec to apply as `manager`, so that the fields of `spec` come to `obj`."""
    ours: Object = {}
    others: list[Object] = []
    for entry in obj["metadata"].get("managedFields") or ():
        fields = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if entry.get("subresource"):
            continue
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            ours = fields
        else:
            others.append(fields)
    applied: Object = {}
    for field, below in ours.items():
        name = field.removeprefix("f:")
        value = obj["spec"].get(name)
        if isinstance(value, dict):
            inner = {each.removeprefix("f:") for each in below}
            applied[name] = {key: each for key, each in value.items() if key in inner}
        elif value is not None:
            applied[name] = value
    for name, value in spec.items():
        applied[name] = {**applied.get(name, {}), **value} if isinstance(value, dict) else value
    for name, value in list(applied.items()):
        if isinstance(value, list) and value:
            theirs = [keys for fields in others if (keys := _item_keys(fields.get(f"f:{name}") or {}))]
            applied[name] = [item for item in value if not any(_is_among(item, keys) for keys in theirs)]
            if not applied[name]:
                del applied[name]  # an empty list would be a wish of its own
    return applied


def same_items(left: Sequence[Object] | None, right: Sequence[Object]) -> bool:
    """Whether two list-maps have the same items, in whatever order."""
    return sorted(map(repr, left or ())) == sorted(map(repr, right))


def _item_keys(below: Mapping[str, Any]) -> set[_ItemKey]:
    """The keys of a list's items that somebody has written: `k:{"name":"a"}` each."""
    return {tuple(sorted(json.loads(each[2:]).items())) for each in below if each.startswith("k:")}


def _is_among(item: Object, keys: set[_ItemKey]) -> bool:
    names = [name for name, _ in next(iter(keys))]
    return tuple((name, item.get(name)) for name in names) in keys

"""Reading what the API server delivers: a spec strictly, with an answer fit for its author, and a status leniently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from adsync.errors import InvalidSpec
from adsync.resources.common import Model, Spec

SpecT = TypeVar("SpecT", bound=Spec)
StatusT = TypeVar("StatusT", bound=Model)


def parse_spec(model: type[SpecT], raw: object) -> SpecT:
    """Read a spec as the API server delivered it. Raises InvalidSpec, which names each field and says what would be right."""
    try:
        return model.model_validate(raw or {})
    except ValidationError as error:
        raise InvalidSpec("; ".join(_told(detail) for detail in error.errors(include_url=False, include_context=True))) from None


def _told(detail: ErrorDetails) -> str:
    path = "spec"
    for part in detail["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    match detail["type"]:
        case "missing":
            return f"{path} is missing"
        case "enum":
            return f"{path} is {detail['input']!r}; it must be one of {detail['ctx']['expected']}"
        case "value_error":
            text = str(detail["ctx"]["error"])
            field, colon, message = text.partition(": ")
            return f"{path}.{field}: {message}" if colon and field.isidentifier() else f"{path}: {text}"
        case _:
            return f"{path}: {detail['msg']}"


def read_status(model: type[StatusT], raw: object) -> StatusT:
    """Read a status leniently: what cannot be understood (a newer version's value, a forged one) is left out, the rest is kept."""
    kept: Any = raw
    for _ in range(8):
        try:
            return model.model_validate(kept or {})
        except ValidationError as error:
            bad = {detail["loc"] for detail in error.errors(include_url=False, include_context=False, include_input=False)}
            kept = _without(kept, bad)
    return model()


def _without(value: Any, paths: set[tuple[int | str, ...]]) -> Any:
    """A copy of `value` without what the paths lead to. A path that leads nowhere (a missing key) takes its parent out."""
    if () in paths:
        return None
    here: dict[int | str, set[tuple[int | str, ...]]] = {}
    for path in paths:
        here.setdefault(path[0], set()).add(path[1:])
    if isinstance(value, Mapping):
        if not here.keys() <= value.keys():
            return None
        copy = {key: _without(item, here[key]) if key in here else item for key, item in value.items()}
        return {key: item for key, item in copy.items() if not (key in here and item is None)}
    if isinstance(value, list):
        items = [_without(item, here[index]) if index in here else item for index, item in enumerate(value)]
        return [item for index, item in enumerate(items) if not (index in here and item is None)]
    return None

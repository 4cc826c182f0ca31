"""The content of a Secret, which no `repr` shows."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from adsync.errors import InvalidSpec


@dataclass(frozen=True)
class SecretData:
    """One Secret as read at one moment. `data` is decoded; hold the object no longer than the use of it takes."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    data: Mapping[str, bytes] = field(repr=False)
    deleting: bool = False

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> SecretData:
        """From the raw object. A value that is no base64 (the API server lets none through) counts as absent."""
        meta = obj["metadata"]
        data: dict[str, bytes] = {}
        for key, value in (obj.get("data") or {}).items():
            try:
                data[key] = base64.b64decode(value or "", validate=True)
            except (binascii.Error, ValueError):
                continue
        return cls(
            meta["namespace"],
            meta["name"],
            meta.get("uid", ""),
            meta.get("resourceVersion", ""),
            data,
            deleting="deletionTimestamp" in meta,
        )

    def text(self, key: str) -> SecretStr | None:
        """The value under `key`; None where there is no such key. Raises InvalidSpec where it is not UTF-8."""
        value = self.data.get(key)
        if value is None:
            return None
        try:
            return SecretStr(value.decode("utf-8"))
        except UnicodeDecodeError:
            # Without the cause: it would carry the bytes into tracebacks.
            raise InvalidSpec(f"The key {key} of Secret {self.namespace}/{self.name} is not UTF-8 text. Store text there.") from None

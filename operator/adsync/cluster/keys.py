"""The keys of the password digests, in a Secret of the operator's own.

Losing this Secret pushes no password again (the owner mark's version of the Secret decides then), but a digest made with a lost key can't
be compared any more. So it is made once, never overwritten, and not part of the chart, whose removal would take it along.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from adsync.cluster.secrets import SecretData
from adsync.core.passwords import DigestKeys
from adsync.errors import ClusterError

if TYPE_CHECKING:
    from adsync.cluster.client import Cluster

NAME = "adsync-password-digests"
_CURRENT = "current"
_KEY_BYTES = 32  # as long as SHA-256's output: more gains nothing (RFC 2104 section 3)
_ATTEMPTS = 5


async def ensure_digest_keys(cluster: Cluster) -> DigestKeys:
    """Reads the Secret, or makes it; where several operators do so at once, the first one's keys hold for all. Raises ClusterError."""
    namespace = cluster.operator_namespace
    for _ in range(_ATTEMPTS):
        secret = await cluster.get_secret(namespace, NAME)
        if secret is not None:
            keys = _read(secret)
            if keys is not None:
                return keys
            # Keys that can be read are kept; only what is missing is added, to exactly this version.
            await _conflict_is_fine(cluster.patch("Secret", namespace, NAME, _fresh(), resource_version=secret.resource_version))
        else:
            await _create(cluster, namespace)
    raise ClusterError(f"Secret {namespace}/{NAME} can't be made ready: somebody else keeps changing or deleting it. Leave it to adsync.")


async def _create(cluster: Cluster, namespace: str) -> None:
    labels = {"app.kubernetes.io/name": "adsync", "app.kubernetes.io/managed-by": "adsync"}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": NAME, "namespace": namespace, "labels": labels}, **_fresh()}
    try:
        await _conflict_is_fine(cluster.create("Secret", body))
    except ClusterError as error:
        if error.status != 404:
            raise
        # The namespace is missing: the operator runs outside the cluster, for development or a demo.
        await _conflict_is_fine(cluster.create("Namespace", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))


async def _conflict_is_fine(call: Awaitable[object]) -> None:
    """At a conflict somebody else was first, and what they wrote is read next."""
    try:
        await call
    except ClusterError as error:
        if error.status != 409:
            raise


def _fresh() -> dict[str, Any]:
    key_id = secrets.token_hex(4)
    return {
        "data": {
            _CURRENT: base64.b64encode(key_id.encode()).decode(),
            key_id: base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode(),
        }
    }


def _read(secret: SecretData) -> DigestKeys | None:
    """The keys, or None where the Secret is not whole."""
    keys = {key: value for key, value in secret.data.items() if key != _CURRENT and len(value) == _KEY_BYTES}
    current = secret.data.get(_CURRENT, b"").decode("ascii", "replace")
    return DigestKeys(current, keys) if current in keys else None

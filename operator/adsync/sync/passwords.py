"""Passwords at the moment of use: fetched, compared with what was planned, handed on, forgotten."""

from __future__ import annotations

import secrets

from pydantic import SecretStr

from adsync.core.passwords import random_password
from adsync.core.policy import PasswordPolicy
from adsync.core.users import UserWish
from adsync.sync.store import Resource, SecretView
from adsync.sync.workplace import Workplace


async def fetch_password(place: Workplace, resource: Resource, wish: UserWish) -> SecretStr | None:
    """The value that the plan was made for; None where the Secret has changed meanwhile, which the store then knows. Raises ClusterError."""
    store, ref, namespace = place.store, resource.spec.password_secret_ref, resource.key.namespace
    if ref is None:
        return None
    secret = await place.cluster.get_secret(namespace, ref.name)
    if secret is None:
        store.remove_secret(namespace, ref.name)
        return None
    view = SecretView(secret.resource_version, {name: store.keys.of_value(value) for name, value in secret.data.items()})
    if ref.key in view.digests and wish.password.digest is not None:
        bound = store.keys.bound(wish.owner, view.digests[ref.key])
        if bound.get(store.keys.current_id) == wish.password.digest.value:
            # What is no UTF-8 is marked as that by its replacement, and refused for it.
            return SecretStr(secret.data[ref.key].decode("utf-8", "replace"))
    store.secrets[namespace, ref.name] = view
    return None


def random_secret(policy: PasswordPolicy) -> SecretStr:
    """A password that nobody knows."""
    return SecretStr(random_password(secrets.token_bytes(32), policy))

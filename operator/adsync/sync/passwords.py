"""Passwords at the moment of use: fetched, compared with what was planned, handed on, forgotten."""

from __future__ import annotations

import secrets

from pydantic import SecretStr

from adsync.cluster.secrets import SecretData
from adsync.core.entries import Entry
from adsync.core.passwords import DigestKeys, known_refusal, names_within, policy_in_words, random_password
from adsync.core.policy import UNKNOWN, PasswordPolicy
from adsync.core.rules import DISPLAY_NAME
from adsync.core.users import UserWish
from adsync.sync.store import Resource, SecretView
from adsync.sync.workplace import Workplace


async def fetch_password(place: Workplace, resource: Resource, wish: UserWish) -> SecretStr | None:
    """The value that the plan was made for; None where the Secret has changed meanwhile, which the store then knows. Raises ClusterError."""
    store, ref, namespace = place.store, resource.spec.password_secret_ref, resource.key.namespace
    if ref is None:
        return None
    secret: SecretData | None = None
    # The plan's digest tells whether an answer is the right one, so the server's cache, which mostly has it, is asked first.
    for maybe_old in (True, False):
        secret = await place.cluster.get_secret(namespace, ref.name, maybe_old=maybe_old)
        if secret is not None and _is_planned(secret, ref.key, store.keys, wish):
            # What is no UTF-8 is marked as that by its replacement, and refused for it.
            return SecretStr(secret.data[ref.key].decode("utf-8", "replace"))
    if secret is None:
        store.remove_secret(namespace, ref.name)
    else:
        digests = {name: store.keys.of_value(value) for name, value in secret.data.items()}
        store.secrets[namespace, ref.name] = SecretView(secret.resource_version, digests)
    return None


def _is_planned(secret: SecretData, key: str, keys: DigestKeys, wish: UserWish) -> bool:
    """Whether a Secret's value is the one whose digest the plan has."""
    value, digest = secret.data.get(key), wish.password.digest
    return value is not None and digest is not None and keys.bound(wish.owner, keys.of_value(value)).get(keys.current_id) == digest.value


async def refused_beforehand(place: Workplace, wish: UserWish, entry: Entry | None, password: SecretStr) -> str:
    """What is certain to be refused, and why; "" where it is not. A fine-grained policy goes before the domain's, and where one may be hidden
    from us, whoever asks for another try has the domain controller decide."""

    value, sam, display_name = password.get_secret_value(), wish.names.sam, wish.attributes.get(DISPLAY_NAME, "")

    def judge(policy: PasswordPolicy) -> str:
        return known_refusal(value, policy, sam=sam, display_name=display_name)

    refusal = judge(place.policy)
    if refusal and wish.retry_rejected:
        named = names_within(value, sam=sam, display_name=display_name) if place.policy.complexity else ""
        return judge(UNKNOWN) or named
    fine = await place.directory.policy_for(entry.guid) if refusal and entry is not None else None
    return refusal if fine is None else judge(fine)


async def asked_for(place: Workplace, entry: Entry | None) -> str:
    """What the policy asks of an account's password, in words."""
    fine = await place.directory.policy_for(entry.guid) if entry is not None else None
    return policy_in_words(fine or place.policy)


def random_secret(policy: PasswordPolicy) -> SecretStr:
    """A password that nobody knows."""
    return SecretStr(random_password(secrets.token_bytes(32), policy))

"""From an ADDomain to a target that can be connected to: rules, credentials, CA. Whatever is missing is a halt with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import SecretStr

from adsync.cluster.client import Cluster
from adsync.cluster.secrets import SecretData
from adsync.core.identity import Verdict
from adsync.core.rules import DomainRules
from adsync.directory.model import Target
from adsync.errors import ClusterError, InvalidSpec
from adsync.resources.addomain import Direction
from adsync.resources.conditions import ConditionType, Reason
from adsync.sync.store import Resource, Store

_CREDENTIALS = "credentials"
T = TypeVar("T")


class Halt(Exception):
    """The domain can't be worked on. `condition` is the one that is false because of it; `retry` is in seconds, None: when something changes."""

    def __init__(self, verdict: Verdict, condition: ConditionType | None = None, *, retry: float | None = None) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict
        self.condition = condition
        self.retry = retry


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that a session is opened with. `fingerprint` differs when any of it does; `credentials` is a keyed digest of those alone,
    and `account` names the service account."""

    rules: DomainRules
    target: Target
    credentials: str
    account: str
    fingerprint: str


async def set_up(resource: Resource, store: Store, cluster: Cluster, cluster_uid: str, resolvers: tuple[str, ...]) -> Setup:
    """Raises Halt, or ClusterError where the API server can't be asked."""
    if resource.problem:
        raise Halt(Verdict(Reason.INVALID_SPEC, resource.problem))
    spec = resource.spec
    if spec.paused:
        raise Halt(Verdict(Reason.PAUSED, "spec.paused is true: nothing is read or written"))
    if spec.direction is not Direction.EXPORT and not spec.scope_group:
        said = f"spec.direction {spec.direction} needs spec.scopeGroup: the group whose members are imported"
        raise Halt(Verdict(Reason.INVALID_SPEC, said), ConditionType.SCOPE_FOUND)
    try:
        rules = DomainRules.resolve(spec, cluster_uid)
    except InvalidSpec as error:
        raise Halt(Verdict(Reason.INVALID_SPEC, str(error))) from None
    username, password = await _credentials(resource, store, cluster)
    ca = await _ca(resource, store, cluster)
    target = Target(
        domain_name=spec.domain_name,
        username=username,
        password=password,
        servers=spec.servers,
        nameservers=resolvers,
        ca_pem=ca,
        server_name=spec.tls.server_name,
        attributes=rules.attributes,
        ownership_attribute=rules.mark_attribute,
    )
    # Bound to the directory's name and not to the resource, so that two domains with one account know of each other's refusals.
    digests = store.keys.of_value(f"{username}\0{password.get_secret_value()}".encode())
    bound = store.keys.bound(f"{_CREDENTIALS}:{spec.domain_name.lower()}", digests)
    credentials = f"{store.keys.current_id}:{bound[store.keys.current_id]}"
    parts = (str(resource.generation), credentials, hashlib.sha256(ca or b"").hexdigest())
    return Setup(rules, target, credentials, f"{username} {spec.domain_name}".lower(), "|".join(parts))


async def _credentials(resource: Resource, store: Store, cluster: Cluster) -> tuple[str, SecretStr]:
    ref = resource.spec.credentials_secret_ref
    secret = await _secret(resource, store, cluster, ref.name, ConditionType.CREDENTIALS_VALID)
    if secret is None:
        raise _missing(
            ConditionType.CREDENTIALS_VALID,
            Reason.CREDENTIALS_REJECTED,
            f"Secret {ref.name} does not exist in namespace {resource.key.namespace}",
        )
    values = []
    for key in (ref.username_key, ref.password_key):
        if not secret.data.get(key):
            raise _missing(
                ConditionType.CREDENTIALS_VALID, Reason.CREDENTIALS_REJECTED, f"Secret {ref.name} has no key {key!r}, or it is empty"
            )
        try:
            values.append(secret.data[key].decode())
        except UnicodeDecodeError:
            raise _missing(
                ConditionType.CREDENTIALS_VALID, Reason.CREDENTIALS_REJECTED, f"Secret {ref.name}: {key!r} is not text"
            ) from None
    return values[0].strip(), SecretStr(values[1].rstrip("\r\n"))


async def _ca(resource: Resource, store: Store, cluster: Cluster) -> bytes | None:
    tls, namespace = resource.spec.tls, resource.key.namespace
    if tls.ca_secret_ref is not None:
        kind, ref = "Secret", tls.ca_secret_ref
        secret = await _secret(resource, store, cluster, ref.name, ConditionType.CONNECTED)
        found, content = secret is not None, secret.data.get(ref.key) if secret else None
    elif tls.ca_config_map_ref is not None:
        kind, ref = "ConfigMap", tls.ca_config_map_ref
        config = await _readable(resource, store, cluster.get_configmap(namespace, ref.name), ConditionType.CONNECTED)
        text = (config.get("data") or {}).get(ref.key) if config else None
        found, content = config is not None, text.encode() if text else None
    else:
        return None
    if not found:
        raise _missing(
            ConditionType.CONNECTED, Reason.CERTIFICATE_REJECTED, f"{kind} {ref.name} with the CA does not exist in namespace {namespace}"
        )
    if not content:
        raise _missing(ConditionType.CONNECTED, Reason.CERTIFICATE_REJECTED, f"{kind} {ref.name} has no key {ref.key!r} with a CA in it")
    return content


async def _secret(resource: Resource, store: Store, cluster: Cluster, name: str, condition: ConditionType) -> SecretData | None:
    namespace = resource.key.namespace
    if not store.secrets_within_reach(namespace):
        raise Halt(Verdict(Reason.INSUFFICIENT_RIGHTS, store.secrets_refused(namespace)), condition)
    return await _readable(resource, store, cluster.get_secret(namespace, name), condition)


async def _readable(resource: Resource, store: Store, reading: Awaitable[T], condition: ConditionType) -> T:
    """What is read, or a Halt where the API server refuses it."""
    try:
        return await reading
    except ClusterError as error:
        # A domain that is being deleted gives up what it can't go on with: not for a refusal that may pass, as while an API server starts.
        if error.status != 403 or (resource.deleting and resource.key.namespace not in store.terminating):
            raise
        raise Halt(Verdict(Reason.INSUFFICIENT_RIGHTS, str(error)), condition, retry=30.0) from None


def _missing(condition: ConditionType, reason: Reason, message: str) -> Halt:
    # A missing reference is looked for again by itself as well: where Secrets can't be watched, no event tells that it is there now.
    return Halt(Verdict(reason, message), condition, retry=30.0)

"""From a resource and its binding to what it asks of one domain."""

from __future__ import annotations

from collections.abc import Collection

from adsync.core.dn import DN
from adsync.core.groups import GroupWish, group_attributes
from adsync.core.names import container_dn
from adsync.core.owner import PasswordDigest, owner_id
from adsync.core.passwords import PasswordWish
from adsync.core.rules import DomainRules
from adsync.core.users import UserWish
from adsync.resources import names
from adsync.resources.syncedgroup import GroupDomainStatus, GroupScope
from adsync.resources.synceduser import UserDomainStatus
from adsync.sync.store import USER, Binding, Key, Resource, Store


def user_wish(
    resource: Resource,
    domain: Resource,
    binding: Binding,
    rules: DomainRules,
    store: Store,
    recorded: UserDomainStatus,
    *,
    retry_rejected: bool,
    just_pushed: PasswordDigest | None = None,
    linked: str = "",
    yields: Collection[str] = (),
) -> UserWish:
    """Raises InvalidSpec where the spec asks for what can't be."""
    spec = resource.spec
    owner = owner_of(resource.key, rules)
    return UserWish(
        owner=owner,
        names=rules.names(spec.username),
        username=spec.username,
        attributes=rules.wanted_attributes(spec),
        email=spec.email or "",
        suspended=spec.suspended,
        container=container_of(binding, rules),
        password=password_wish(resource, store, owner),
        recorded=recorded,
        agreed=recorded.last_synced or {},
        from_elsewhere=may_not_adopt(resource, domain),
        retry_rejected=retry_rejected,
        just_pushed=just_pushed,
        unlock=resource.annotations.get(names.UNLOCK_REQUESTED_AT, ""),
        linked=linked,
        yields=yields,
    )


def group_wish(resource: Resource, domain: Resource, binding: Binding, rules: DomainRules, recorded: GroupDomainStatus) -> GroupWish:
    """Raises InvalidSpec where the spec asks for what can't be."""
    return GroupWish(
        owner=owner_of(resource.key, rules),
        name=resource.spec.name,
        attributes=group_attributes(resource.spec, rules),
        scope=resource.spec.group_scope,
        container=container_of(binding, rules),
        recorded=recorded,
        agreed=recorded.last_synced.model_dump(exclude_none=True) if recorded.last_synced else {},
        from_elsewhere=may_not_adopt(resource, domain),
    )


def bare_group_wish(resource: Resource, rules: DomainRules, recorded: GroupDomainStatus) -> GroupWish:
    """Enough to find what is ours: nothing is looked for by name when a resource goes."""
    return GroupWish(owner_of(resource.key, rules), "", {}, GroupScope.GLOBAL, None, recorded, {})


def owner_of(key: Key, rules: DomainRules) -> str:
    return owner_id(rules.cluster, "user" if key.kind == USER else "group", key.namespace, key.name)


def container_of(binding: Binding, rules: DomainRules) -> DN | None:
    return container_dn(binding.container, rules.container, "spec.domains[].container") if binding.container else None


def may_not_adopt(resource: Resource, domain: Resource) -> bool:
    return resource.key.namespace != domain.key.namespace and not domain.spec.allowed_namespaces.may_adopt


def password_wish(resource: Resource, store: Store, owner: str) -> PasswordWish:
    if resource.spec.password_secret_ref is None:
        return PasswordWish()
    if refused := store.secrets_refused(resource.key.namespace):
        return PasswordWish(named=True, missing=refused, refused=True)
    view, name, key = store.secret_of(resource)
    if view is None:
        return PasswordWish(named=True, missing=f"Secret {name} does not exist in namespace {resource.key.namespace}")
    if key not in view.digests:
        return PasswordWish(named=True, missing=f"Secret {name} has no key {key!r}")
    digests = store.keys.bound(owner, view.digests[key])
    return PasswordWish(named=True, version=view.version, current_key=store.keys.current_id, digests=digests)

"""The cluster's side as the operator knows it: resources, which domains they are bound to, and what refers to what.

Fed by the initial list and by watch events; nothing here decides or waits. Every change returns which (domain, resource) pairs it concerns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from adsync.core.dn import fold_case
from adsync.core.passwords import DigestKeys
from adsync.resources.common import MOST_DOMAINS
from adsync.sync.resource import DOMAIN, GROUP, USER, Key, Resource

__all__ = ["DOMAIN", "GROUP", "USER", "Binding", "Dirty", "Key", "Resource", "SecretView", "Store", "differs"]

Dirty: TypeAlias = set[tuple[Key, Key]]
"""Pairs of a domain and a resource that must be looked at in it."""


@dataclass(frozen=True, slots=True)
class Binding:
    """How a resource is bound to a domain. Not `wanted`: it was, and the deletion policy is still to be applied there."""

    container: str | None
    wanted: bool


@dataclass(frozen=True, slots=True)
class SecretView:
    """What is kept of a Secret: its version, and per key the keyed digests of the value."""

    version: str
    digests: Mapping[str, Mapping[str, bytes]] = field(repr=False)


class Store:
    """Everything the operator knows of the cluster, with the indexes to find who is concerned by what.

    `secret_namespaces`: those in which Secrets may be read; none: all.
    """

    def __init__(self, keys: DigestKeys, secret_namespaces: Collection[str] = ()) -> None:
        self.keys = keys
        self.revision = 0  # another one whenever a resource came, went, or more of it changed than its status
        self._secret_namespaces = frozenset(secret_namespaces)
        self._refusing: set[str] = set()  # of these, where the API server refuses it all the same
        self.resources: dict[Key, Resource] = {}
        self.secrets: dict[tuple[str, str], SecretView] = {}
        self.namespaces: dict[str, dict[str, str]] = {}
        self.terminating: set[str] = set()
        self.bindings: dict[Key, dict[Key, Binding]] = {}  # resource → domain → binding
        self._bound: defaultdict[Key, set[Key]] = defaultdict(set)  # domain → resources
        self._secret_users: defaultdict[tuple[str, str], set[Key]] = defaultdict(set)
        self._claims: defaultdict[tuple[str, str], set[Key]] = defaultdict(set)  # (kind, folded name) → resources
        self._users: defaultdict[str, set[Key]] = defaultdict(set)  # namespace → users
        self._listed_in: defaultdict[tuple[str, str], set[Key]] = defaultdict(set)  # (namespace, user's name) → groups
        self._selecting: defaultdict[str, set[Key]] = defaultdict(set)  # namespace → groups with a selector
        self._domains: dict[Key, None] = {}  # found without a walk through ten thousand users, for each of them
        self._imported: defaultdict[tuple[Key, str], set[Key]] = defaultdict(set)  # (domain, objectGUID) → imported resources

    # --- what is asked ---

    def domains(self) -> list[Resource]:
        return [self.resources[key] for key in self._domains]

    def of_kind(self, kind: str) -> list[Resource]:
        return [resource for key, resource in self.resources.items() if key.kind == kind]

    def bound_to(self, domain: Key) -> set[Key]:
        return self._bound.get(domain, set())

    def claimants(self, kind: str, name: str) -> set[Key]:
        return self._claims.get((kind, fold_case(name)), set())

    def users_in(self, namespace: str) -> list[Resource]:
        return [self.resources[key] for key in self._users.get(namespace, ())]

    def imported(self, domain: Key, guid: str) -> set[Key]:
        """The imported resources of an object."""
        return self._imported.get((domain, guid), set())

    def groups_wanting(self, user: Resource) -> set[Key]:
        """The groups that list a user by name, or whose selector matches it."""
        selecting = {
            key
            for key in self._selecting.get(user.key.namespace, ())
            if (spec := self.resources[key].spec) is not None and spec.member_selector.matches(user.labels)
        }
        return selecting | self._listed_in.get((user.key.namespace, user.key.name), set())

    def secret_of(self, resource: Resource) -> tuple[SecretView | None, str, str]:
        """The Secret that a user's password comes from: what is known of it, its name and the key in it."""
        ref = resource.spec.password_secret_ref
        return self.secrets.get((resource.key.namespace, ref.name)), ref.name, ref.key

    def secrets_within_reach(self, namespace: str) -> bool:
        """Whether a namespace is among those in which Secrets may be read at all."""
        return not self._secret_namespaces or namespace in self._secret_namespaces

    def secrets_refused(self, namespace: str) -> str:
        """Why Secrets may not be read in a namespace, in words; "" where they may."""
        if not self.secrets_within_reach(namespace):
            return (
                f"adsync may not read Secrets in namespace {namespace}, which is not among its secret namespaces "
                "(secretNamespaces in the chart's values, --secret-namespace)"
            )
        if namespace in self._refusing:
            return f"adsync is refused to read Secrets in namespace {namespace}; grant it get, list and watch of secrets there, by a Role"
        return ""

    def rivals(self, resource: Resource, domain: Key, name: str) -> list[Resource]:
        """The other resources that ask for the same name in the same domain, and may.

        What was imported claims no name: it goes by its object, and gives way to what somebody wrote.
        """
        return [
            rival
            for key in self.claimants(resource.key.kind, name)
            if key != resource.key
            and not (rival := self.resources[key]).deleting
            and self.is_wanted(key, domain)
            and self._is_let_in(rival, domain)
            and not any(each.imported_from is not None and each.imported_from[0] == domain for each in (rival, resource))
        ]

    def older_claimant(self, resource: Resource, domain: Key, name: str) -> Resource | None:
        """The oldest of the rivals, if it is older than this resource."""
        older = [rival for rival in self.rivals(resource, domain, name) if rival.age < resource.age]
        return min(older, key=lambda rival: rival.age, default=None)

    def _is_let_in(self, resource: Resource, domain: Key) -> bool:
        """Whether a domain takes any notice of a resource: who is refused must not keep a name from others."""
        known = self.resources.get(domain)
        return known is None or known.spec is None or self.namespace_allowed(known, resource.key.namespace)

    def is_wanted(self, key: Key, domain: Key) -> bool:
        binding = self.bindings.get(key, {}).get(domain)
        return binding is not None and binding.wanted

    # --- what arrives ---

    def put(self, kind: str, raw: Mapping[str, Any]) -> Dirty:
        """Take over an object. Nothing is concerned where it is not newer than what is known, or only its status moved."""
        meta = raw["metadata"]
        key = Key(kind, meta["namespace"], meta["name"])
        known = self.resources.get(key)
        if known is not None and known.version == meta.get("resourceVersion"):
            return set()
        if known is not None and known.uid == meta["uid"] and _older(meta.get("resourceVersion", ""), known.version):
            return set()
        new = Resource.read(kind, raw, known)
        before = self.bindings.get(key, {})
        # Most events are echoes of statuses: a thousand members need not be indexed again for each of those.
        indexed = known is not None and known.spec is new.spec and known.labels == new.labels
        if not indexed:
            self.revision += 1
            self._unindex(known)
        self.resources[key] = new
        if kind == DOMAIN:
            self._domains[key] = None
            return self._rebind_all(key) if known is None or known.generation != new.generation else set()
        if indexed:
            self._rebind(key)
        else:
            self._index(new)
        after = self.bindings[key]
        if known is not None and not differs(known, new):
            # A status that tells of a domain that was let go of meanwhile, or no more of one that is bound, has to be mended.
            lost = _told_domains(known) - _told_domains(new)
            return {(domain, key) for domain in after if domain not in before or domain in lost}
        dirty: Dirty = {(domain, key) for domain in (*before, *after)}
        return dirty | self._rivals(known, new, rebound=_wanted(before) != _wanted(after)) | self._groups_of(known, new)

    def remove(self, kind: str, namespace: str, name: str) -> Dirty:
        key = Key(kind, namespace, name)
        known = self.resources.pop(key, None)
        if known is None:
            return set()
        self.revision += 1
        if kind == DOMAIN:
            self._domains.pop(key, None)
            return self._rebind_all(key)
        before = set(self.bindings.get(key, {}))
        self._unindex(known)
        return {(domain, key) for domain in before} | self._rivals(known, None) | self._groups_of(known, None)

    def put_secret(self, raw: Mapping[str, Any], data: Mapping[str, bytes]) -> Dirty:
        """Keep a Secret's digests. Nobody is concerned where no value changed, whatever else did."""
        place = (raw["metadata"]["namespace"], raw["metadata"]["name"])
        view = SecretView(raw["metadata"].get("resourceVersion", ""), {name: self.keys.of_value(value) for name, value in data.items()})
        known = self.secrets.get(place)
        self.secrets[place] = view
        return set() if known is not None and known.digests == view.digests else self._users_of(place)

    def remove_secret(self, namespace: str, name: str) -> Dirty:
        return self._users_of((namespace, name)) if self.secrets.pop((namespace, name), None) else set()

    def put_secrets_refused(self, namespace: str, refused: bool) -> Dirty:
        """Whether the API server refuses to have Secrets of a namespace read."""
        if refused == (namespace in self._refusing):
            return set()
        (self._refusing.add if refused else self._refusing.discard)(namespace)
        return {pair for place in list(self._secret_users) if place[0] == namespace for pair in self._users_of(place)}

    def put_namespace(self, name: str, labels: dict[str, str], *, terminating: bool) -> Dirty:
        if terminating:
            self.terminating.add(name)
        else:
            self.terminating.discard(name)
        if self.namespaces.get(name) == labels:
            return set()
        self.namespaces[name] = labels
        concerned = [key for key in self.bindings if key.namespace == name]
        dirty = {(domain, key) for key in concerned for domain in self._rebind(key)}
        # Who may claim a name now, or may no more, matters to the others that do.
        return dirty.union(*(self._rivals(self.resources[key], None) for key in concerned))

    # --- bindings ---

    def namespace_allowed(self, domain: Resource, namespace: str) -> bool:
        """Whether a domain lets the resources of a namespace bind to it (allowedNamespaces)."""
        if namespace == domain.key.namespace:
            return True
        allowed = domain.spec.allowed_namespaces
        if allowed.from_ == "All":
            return True
        return allowed.from_ == "Selector" and allowed.selector is not None and allowed.selector.matches(self.namespaces.get(namespace, {}))

    def _bindings_of(self, resource: Resource) -> dict[Key, Binding]:
        """From the spec, from the domains' own selectors, and from the status where a domain still has to let go.

        A spec that can't be read asks nobody to let go: it stays bound to where it was, and is told what is wrong with it there.
        """
        found: dict[Key, Binding] = {}
        for entry in resource.status.get("domains") or ():
            domain = _domain_key(resource, entry.get("namespace") or "", entry.get("name") or "")
            found[domain] = Binding(None, wanted=bool(resource.problem))
        named = {_domain_key(resource, ref.namespace, ref.name): Binding(ref.container, wanted=True) for ref in resource.refs}
        selecting = [other for other in self.domains() if other.key not in named and self._selects(other, resource)]
        # A status has room for so many, those named by the resource before all; the youngest of the others have come too late.
        room = max(0, MOST_DOMAINS - len(named.keys() | found.keys() - {other.key for other in selecting}))
        for other in sorted(selecting, key=lambda each: each.age)[:room] if len(selecting) > room else selecting:
            found[other.key] = Binding(None, wanted=True)
        return found | named

    def _selects(self, domain: Resource, resource: Resource) -> bool:
        """Whether a domain binds a resource from its own side."""
        selector = domain.spec and (domain.spec.bind.user_selector if resource.key.kind == USER else domain.spec.bind.group_selector)
        return bool(selector and selector.matches(resource.labels) and self.namespace_allowed(domain, resource.key.namespace))

    def _rebind(self, key: Key) -> set[Key]:
        """Work the bindings out again; returns every domain that is or was concerned."""
        before = self.bindings.get(key, {})
        after = self._bindings_of(self.resources[key])
        for domain in before.keys() - after.keys():
            self._bound[domain].discard(key)
        for domain in after:
            self._bound[domain].add(key)
        self.bindings[key] = after
        return set(before) | set(after)

    def _rebind_all(self, domain: Key) -> Dirty:
        """A domain came, went or changed: its selectors may bind others now."""
        concerned = set(self._bound.get(domain, ()))
        for key in [key for key in self.resources if key.kind != DOMAIN]:
            if domain in self._rebind(key):
                concerned.add(key)
        return {(domain, key) for key in concerned}

    def _index(self, resource: Resource) -> None:
        self._rebind(resource.key)
        if resource.key.kind == USER:
            self._users[resource.key.namespace].add(resource.key)
        if (source := resource.imported_from) is not None:
            self._imported[source].add(resource.key)
        if resource.spec is None:
            return
        if resource.key.kind == GROUP:
            self._index_members(resource)
        if resource.key.kind == USER and resource.spec.password_secret_ref:
            self._secret_users[resource.key.namespace, resource.spec.password_secret_ref.name].add(resource.key)
        self._claims[_claim(resource)].add(resource.key)

    def _unindex(self, resource: Resource | None) -> None:
        if resource is None or resource.key.kind == DOMAIN:
            return
        key = resource.key
        if key not in self.resources:
            for domain in self.bindings.pop(key, {}):
                self._bound[domain].discard(key)
            self._users[key.namespace].discard(key)
        if (source := resource.imported_from) is not None:
            self._imported[source].discard(key)
            if not self._imported[source]:
                del self._imported[source]
        if resource.spec is None:
            return
        if key.kind == GROUP:
            for member in resource.spec.members or ():
                self._listed_in[key.namespace, member.name].discard(key)
            self._selecting[key.namespace].discard(key)
        if key.kind == USER and resource.spec.password_secret_ref:
            self._secret_users[key.namespace, resource.spec.password_secret_ref.name].discard(key)
        self._claims[_claim(resource)].discard(key)

    def _index_members(self, group: Resource) -> None:
        for member in group.spec.members or ():
            self._listed_in[group.key.namespace, member.name].add(group.key)
        if group.spec.member_selector is not None:
            self._selecting[group.key.namespace].add(group.key)

    def _groups_of(self, known: Resource | None, new: Resource | None) -> Dirty:
        """The groups that may gain or lose a user."""
        users = [each for each in (known, new) if each is not None and each.key.kind == USER]
        groups = {group for user in users for group in self.groups_wanting(user)}
        return {(domain, group) for group in groups for domain in self.bindings.get(group, {})}

    def _rivals(self, known: Resource | None, new: Resource | None, *, rebound: bool = False) -> Dirty:
        """Those who may get, or lose, a name that this resource let go of, or took."""
        claims = {_claim(each) for each in (known, new) if each is not None and each.spec is not None}
        if known is not None and new is not None and len(claims) == 1 and not new.deleting and not rebound:
            return set()
        return {(domain, rival) for claim in claims for rival in self._claims.get(claim, ()) for domain in self.bindings.get(rival, {})}

    def _users_of(self, place: tuple[str, str]) -> Dirty:
        return {(domain, key) for key in self._secret_users.get(place, ()) for domain in self.bindings.get(key, {})}


def _wanted(bindings: Mapping[Key, Binding]) -> set[Key]:
    return {domain for domain, binding in bindings.items() if binding.wanted}


def _told_domains(resource: Resource) -> set[Key]:
    """The domains that a status has an entry for."""
    entries = resource.status.get("domains") or ()
    return {_domain_key(resource, entry.get("namespace") or "", entry.get("name") or "") for entry in entries}


def _claim(resource: Resource) -> tuple[str, str]:
    name = resource.spec.username if resource.key.kind == USER else resource.spec.name
    return resource.key.kind, fold_case(name)


def _domain_key(resource: Resource, namespace: str, name: str) -> Key:
    return Key(DOMAIN, namespace or resource.key.namespace, name)


def differs(known: Resource, new: Resource) -> bool:
    """Whether more than the status, or somebody else's metadata, moved."""
    return (
        known.uid != new.uid
        or known.generation != new.generation
        or known.deleting != new.deleting
        or known.labels != new.labels
        or known.annotations != new.annotations
    )


def _older(version: str, known: str) -> bool:
    """Whether a resourceVersion is older: they are comparable as numbers since Kubernetes 1.35 (KEP-5504)."""
    return version.isdecimal() and known.isdecimal() and int(version) < int(known)

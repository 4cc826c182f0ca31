"""Whatever order things arrive in, the store ends up knowing what it would know had it met only what there is in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adsync.sync.store import DOMAIN, GROUP, USER, Key, Store
from tests.unit.core.support import KEYS
from tests.unit.sync.support import domain, next_version, obj, secret, user

NAMES = st.sampled_from(["a", "b"])
NAMESPACES = st.sampled_from(["team-a", "team-b"])
REFS = st.lists(st.sampled_from([{"name": "corp"}, {"name": "lab"}, {"name": "corp", "namespace": "team-a"}]), max_size=2, unique_by=str)
LABELS = st.sampled_from([{}, {"team": "a"}])
SELECTORS = st.sampled_from([None, {}, {"matchLabels": {"team": "a"}}])
STATUSES = st.sampled_from([None, {"domains": [{"name": "corp", "namespace": ""}]}, {"domains": [{"name": "lab", "namespace": "team-b"}]}])
META = st.fixed_dictionaries({"labels": LABELS}, optional={"deletionTimestamp": st.just("2026-01-01T00:00:00Z")})
USERS = st.builds(
    lambda name, namespace, refs, status, meta, extra: user(name, namespace, status=status, meta=dict(meta), domains=refs, **extra),
    NAMES,
    NAMESPACES,
    REFS,
    STATUSES,
    META,
    st.sampled_from([{}, {"username": "Same"}, {"username": "a/b"}, {"passwordSecretRef": {"name": "pw"}}]),
)
GROUPS = st.builds(
    lambda name, namespace, refs, extra: obj(GROUP, name, {"name": name, "domains": refs, **extra}, namespace),
    NAMES,
    NAMESPACES,
    REFS,
    st.sampled_from([{}, {"members": [{"name": "a"}]}, {"memberSelector": {"matchLabels": {"team": "a"}}}, {"name": "a,b"}]),
)
DOMAINS = st.builds(
    lambda name, namespace, users, allowed, extra: domain(
        name, namespace, bind={"userSelector": users}, allowedNamespaces={"from": allowed}, **extra
    ),
    st.sampled_from(["corp", "lab"]),
    NAMESPACES,
    SELECTORS,
    st.sampled_from(["Same", "All"]),
    st.sampled_from([{}, {"paused": True}, {"servers": ["ldap://x"]}]),
)
REMOVALS = st.tuples(st.sampled_from([USER, GROUP, DOMAIN]), NAMESPACES, st.sampled_from(["a", "b", "corp", "lab"]))
EVENTS = st.lists(st.one_of(USERS, USERS, GROUPS, DOMAINS, REMOVALS), max_size=12)


def fresh(event: Mapping[str, Any], generation: int) -> dict[str, Any]:
    """The same object, as a newer version of it."""
    return {**event, "metadata": {**event["metadata"], "resourceVersion": next_version(), "generation": generation}}


def knowledge(store: Store) -> dict[str, Any]:
    """All that can be asked of a store."""
    names = ["a", "b", "same", "a/b"]
    users = [resource for resource in store.of_kind(USER) if resource.spec is not None]
    return {
        "resources": {key: (resource.spec, resource.problem, resource.deleting) for key, resource in store.resources.items()},
        "bindings": store.bindings,
        "bound": {
            key: set(store.bound_to(Key(DOMAIN, *key))) for key in ((ns, name) for ns in ("team-a", "team-b") for name in ("corp", "lab"))
        },
        "claims": {(kind, name): set(store.claimants(kind, name)) for kind in (USER, GROUP) for name in names},
        "secrets": {ns: store.put_secret(secret("pw", ns), {"password": b"x"}) for ns in ("team-a", "team-b")},
        "groups": {user.key: store.groups_wanting(user) for user in users},
        "users": {ns: {user.key for user in store.users_in(ns)} for ns in ("team-a", "team-b")},
    }


@given(EVENTS)
def test_the_way_there_makes_no_difference(events: list[Any]) -> None:
    walked, last, generation = Store(KEYS), dict[Key, dict[str, Any]](), 0
    for event in events:
        if isinstance(event, tuple):
            walked.remove(*event)
            last.pop(Key(*event), None)
            continue
        generation += 1
        new = fresh(event, generation)
        dirty = walked.put(new["kind"], new)
        key = Key(new["kind"], new["metadata"]["namespace"], new["metadata"]["name"])
        last[key] = new
        if key.kind != DOMAIN:
            assert {(bound, key) for bound in walked.bindings[key]} <= dirty, "somebody who is bound did not hear of it"
    direct = Store(KEYS)
    for new in last.values():
        direct.put(new["kind"], new)
    assert knowledge(walked) == knowledge(direct)

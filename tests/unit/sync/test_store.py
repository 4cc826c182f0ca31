"""The store: what is bound to what, and who must look when something arrives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adsync.sync.store import DOMAIN, GROUP, USER, Binding, Store
from tests.unit.core.support import KEYS, ROOT
from tests.unit.sync.support import CORP, JDOE, domain, domain_key, entry_of, group_key, obj, secret, store, user, user_key

PW: dict[str, Any] = {"passwordSecretRef": {"name": "pw"}}
SELECTOR = {"matchLabels": {"team": "a"}}

# --- bindings -------------------------------------------------------------------------------------------------------------------------------


def test_bound_by_the_spec() -> None:
    made = store(user(domains=[{"name": "corp", "container": f"OU=Sales,{ROOT}"}, {"name": "corp", "namespace": "team-b"}]))
    assert made.bindings[JDOE] == {CORP: Binding(f"OU=Sales,{ROOT}", True), domain_key(namespace="team-b"): Binding(None, True)}
    assert made.bound_to(CORP) == {JDOE}


def test_an_empty_namespace_is_the_resources_own() -> None:
    one = store(user(domains=[{"name": "corp", "namespace": ""}]))
    other = store(user(domains=[{"name": "corp", "namespace": "team-a"}]))
    assert one.bindings == other.bindings


def test_bound_by_the_domains_selector() -> None:
    labelled = user(domains=[], meta={"labels": {"team": "a"}})
    made = store(labelled, user("other", domains=[]), domain(bind={"userSelector": SELECTOR}))
    assert made.bindings == {JDOE: {CORP: Binding(None, True)}, user_key("other"): {}}
    assert made.put(DOMAIN, domain(meta={"generation": 2})) == {(CORP, JDOE)}
    assert made.bindings[JDOE] == {}


def test_an_empty_selector_binds_all_of_its_kind() -> None:
    made = store(user(domains=[]), obj(GROUP, "finance", {"name": "finance"}), domain(bind={"userSelector": {}}))
    assert made.bindings == {JDOE: {CORP: Binding(None, True)}, group_key(): {}}


def test_the_spec_says_the_container_also_where_a_selector_binds() -> None:
    made = store(domain(bind={"userSelector": {}}), user(domains=[{"name": "corp", "container": ROOT}]))
    assert made.bindings[JDOE] == {CORP: Binding(ROOT, True)}


@pytest.mark.parametrize(
    ("allowed", "labels", "bound"),
    [
        ({"from": "Same"}, {}, False),
        ({"from": "All"}, {}, True),
        ({"from": "Selector", "selector": SELECTOR}, {}, False),
        ({"from": "Selector", "selector": SELECTOR}, {"team": "a"}, True),
        ({"from": "Selector", "selector": SELECTOR}, {"team": "b"}, False),
    ],
)
def test_a_selector_binds_only_from_allowed_namespaces(allowed: dict[str, Any], labels: dict[str, str], bound: bool) -> None:
    made = store(domain(bind={"userSelector": {}}, allowedNamespaces=allowed), user("jdoe", "team-b", domains=[]))
    made.put_namespace("team-b", labels, terminating=False)
    assert made.namespace_allowed(made.resources[CORP], "team-b") is bound
    assert bool(made.bindings[user_key("jdoe", "team-b")]) is bound
    assert made.namespace_allowed(made.resources[CORP], "team-a")


def test_no_more_domains_bind_a_user_than_its_status_has_room_for() -> None:
    every = [
        domain(f"d{n}", bind={"userSelector": {}}, meta={"creationTimestamp": f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z"})
        for n in range(99)
    ]
    made = store(*reversed(every), user(domains=[{"name": "corp"}, {"name": "d98"}]))
    expected = {CORP, domain_key("d98"), *(domain_key(f"d{n}") for n in range(62))}
    assert made.bindings[JDOE].keys() == expected
    told = entry_of("d0")
    told["domains"] += [entry_of(f"d{n}")["domains"][0] for n in range(1, 62)]
    made.put(USER, user(domains=[{"name": "corp"}, {"name": "d98"}], status=told))
    assert made.bindings[JDOE].keys() == expected


def test_a_domain_off_the_list_is_unwanted_until_its_entry_is_gone() -> None:
    made = store(user(), user(domains=[], status=entry_of(), meta={"generation": 2}))
    assert made.bindings[JDOE] == {CORP: Binding(None, False)}
    assert not made.is_wanted(JDOE, CORP)
    made.put(USER, user(domains=[], meta={"generation": 2}))
    assert made.bindings[JDOE] == {}
    assert made.bound_to(CORP) == set()


def test_a_status_entry_of_another_namespace() -> None:
    made = store(user(domains=[], status=entry_of(namespace="team-b")))
    assert made.bindings[JDOE] == {domain_key(namespace="team-b"): Binding(None, False)}


def test_a_spec_that_cannot_be_read_lets_nobody_go() -> None:
    """Objects may have come past an older schema: their accounts must not be disabled for that."""
    made = store(user(username="a/b", status=entry_of()))
    assert "spec.username" in made.resources[JDOE].problem
    assert made.is_wanted(JDOE, CORP)
    assert store(user(username="a/b", domains=[], status=entry_of())).is_wanted(JDOE, CORP)


def test_a_spec_that_cannot_be_read_is_told_so_by_the_domains_that_it_names() -> None:
    made = store(user(username="a/b", domains=[{"name": "corp"}, {"nonsense": 1}, "nonsense"]))
    assert made.bindings[JDOE] == {CORP: Binding(None, True)}
    assert store(user(username="a/b", domains="nonsense")).bindings[JDOE] == {}


def test_a_domain_that_cannot_be_read_binds_nobody_and_harms_nobody() -> None:
    made = store(user(domains=[]), domain(servers=["ldap://x"], bind={"userSelector": {}}))
    assert "ldaps" in made.resources[CORP].problem
    assert made.bindings[JDOE] == {}


# --- who must look --------------------------------------------------------------------------------------------------------------------------


def test_something_new_must_be_looked_at() -> None:
    assert store().put(USER, user()) == {(CORP, JDOE)}


@pytest.mark.parametrize(
    "change",
    [
        {"meta": {"generation": 2}},
        {"meta": {"labels": {"a": "b"}}},
        {"meta": {"annotations": {"adsync.dev/reconcile-requested-at": "now"}}},
        {"meta": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
        {"meta": {"uid": "another"}},
    ],
)
def test_what_matters(change: dict[str, Any]) -> None:
    assert store(user()).put(USER, user(**change)) == {(CORP, JDOE)}


@pytest.mark.parametrize(
    "change",
    [
        {"status": entry_of(ready=True)},
        {"meta": {"finalizers": []}},
        {"meta": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}},
        {"meta": {"managedFields": [{}]}},
    ],
)
def test_what_does_not(change: dict[str, Any]) -> None:
    """A status above all, or every look would call for the next one."""
    made = store(user())
    new = user(**change)
    assert made.put(USER, new) == set()
    assert made.resources[JDOE].version == new["metadata"]["resourceVersion"]


def test_a_status_that_loses_an_entry_or_gets_a_stray_one_is_looked_at() -> None:
    made = store(user(status=entry_of()))
    assert made.put(USER, user(status=entry_of(reason="Synced"))) == set()
    assert made.put(USER, user(status={"domains": []})) == {(CORP, JDOE)}
    assert made.put(USER, user(status=entry_of())) == set()
    assert made.put(USER, user(status={"domains": [*entry_of()["domains"], *entry_of("let-go-of")["domains"]]})) == {
        (domain_key("let-go-of"), JDOE)
    }


def test_what_is_known_already_or_older_is_not_taken() -> None:
    first, second = user(), user(email="a@b", meta={"generation": 2})
    made = store(first, second)
    assert made.put(USER, first) == set()
    assert made.put(USER, second) == set()
    assert made.resources[JDOE].spec.email == "a@b"


def test_an_edited_list_concerns_the_domains_of_before_and_after() -> None:
    made = store(user(domains=[{"name": "a"}, {"name": "b"}]))
    changed = made.put(USER, user(domains=[{"name": "b"}, {"name": "c"}], meta={"generation": 2}))
    assert changed == {(domain_key(name), JDOE) for name in "abc"}


def test_a_resource_that_is_gone_concerns_its_domains() -> None:
    made = store(user(**PW))
    assert made.remove(USER, "team-a", "jdoe") == {(CORP, JDOE)}
    assert made.remove(USER, "team-a", "jdoe") == set()
    assert made.bound_to(CORP) == set()
    assert made.claimants(USER, "jdoe") == set()
    assert made.put_secret(secret(), {"password": b"x"}) == set()


def test_a_domain_concerns_all_that_are_bound_to_it() -> None:
    made = store(user(), user("other", domains=[{"name": "elsewhere"}]))
    assert made.put(DOMAIN, domain()) == {(CORP, JDOE)}
    assert made.put(DOMAIN, domain()) == set()
    assert made.put(DOMAIN, domain(meta={"generation": 2}, paused=True)) == {(CORP, JDOE)}
    assert made.remove(DOMAIN, "team-a", "corp") == {(CORP, JDOE)}


def test_a_namespaces_labels_concern_all_that_are_in_it() -> None:
    made = store(user(), user("other", "team-b"))
    assert made.put_namespace("team-a", {"a": "b"}, terminating=False) == {(CORP, JDOE)}
    assert made.put_namespace("team-a", {"a": "b"}, terminating=True) == set()
    assert made.terminating == {"team-a"}
    made.put_namespace("team-a", {"a": "b"}, terminating=False)
    assert made.terminating == set()


# --- names that several claim ---------------------------------------------------------------------------------------------------------------

OLD, YOUNG = {"creationTimestamp": "2026-01-01T00:00:00Z"}, {"creationTimestamp": "2026-01-02T00:00:00Z"}


def claim(name: str, meta: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return user(name, **{"username": "JDoe", **spec}, meta=meta)


def test_the_older_one_keeps_the_name() -> None:
    made = store(claim("z", OLD), claim("a", YOUNG, username="jdoe"))
    older, younger = made.resources[user_key("z")], made.resources[user_key("a")]
    assert made.claimants(USER, "jDOE") == {older.key, younger.key}
    assert made.older_claimant(younger, CORP, "jdoe") is older
    assert made.older_claimant(older, CORP, "jdoe") is None
    assert made.older_claimant(younger, domain_key("elsewhere"), "jdoe") is None


def test_among_those_of_one_second_the_name_decides() -> None:
    made = store(claim("b", OLD), claim("a", OLD))
    assert made.older_claimant(made.resources[user_key("b")], CORP, "jdoe") is made.resources[user_key("a")]


@pytest.mark.parametrize(
    "older",
    [
        claim("z", OLD | {"deletionTimestamp": "2026-01-03T00:00:00Z"}),
        claim("z", OLD, domains=[]),
        claim("z", OLD, username="other"),
        claim("z", OLD, domains=[{"name": "elsewhere"}]),
    ],
)
def test_who_no_longer_claims_it(older: dict[str, Any]) -> None:
    made = store(older, claim("a", YOUNG))
    assert made.older_claimant(made.resources[user_key("a")], CORP, "jdoe") is None


def test_who_is_not_let_in_keeps_no_name_from_anybody() -> None:
    made = store(domain(allowedNamespaces={"from": "Selector", "selector": SELECTOR}))
    made.put(USER, user("z", "team-b", username="jdoe", domains=[{"name": "corp", "namespace": "team-a"}], meta=OLD))
    made.put(USER, claim("a", YOUNG))
    younger = made.resources[user_key("a")]
    assert made.older_claimant(younger, CORP, "jdoe") is None
    assert (CORP, younger.key) in made.put_namespace("team-b", {"team": "a"}, terminating=False)
    assert made.older_claimant(younger, CORP, "jdoe") is made.resources[user_key("z", "team-b")]
    assert (CORP, younger.key) in made.put_namespace("team-b", {}, terminating=False)


def test_a_group_is_no_rival_of_a_user() -> None:
    made = store(obj(GROUP, "z", {"name": "jdoe", "domains": [{"name": "corp"}]}, meta=OLD), claim("a", YOUNG))
    assert made.older_claimant(made.resources[user_key("a")], CORP, "jdoe") is None


@pytest.mark.parametrize(
    "change",
    [
        claim("z", OLD | {"generation": 2}, username="other"),
        claim("z", OLD | {"deletionTimestamp": "2026-01-03T00:00:00Z"}),
        claim("z", OLD | {"generation": 2}, domains=[]),
    ],
)
def test_a_name_that_is_let_go_of_concerns_who_waits_for_it(change: dict[str, Any]) -> None:
    made = store(claim("z", OLD), claim("a", YOUNG))
    change["metadata"]["resourceVersion"] = "99999"
    assert (CORP, user_key("a")) in made.put(USER, change)


def test_a_rival_that_is_gone_concerns_who_waits_for_it() -> None:
    made = store(claim("z", OLD), claim("a", YOUNG))
    assert (CORP, user_key("a")) in made.remove(USER, "team-a", "z")


def test_a_change_of_something_else_does_not_concern_the_rivals() -> None:
    made = store(claim("z", OLD), claim("a", YOUNG))
    assert made.put(USER, claim("z", OLD | {"generation": 2}, email="a@b")) == {(CORP, user_key("z"))}


# --- Secrets --------------------------------------------------------------------------------------------------------------------------------


def test_a_secrets_new_value_concerns_who_names_it() -> None:
    made = store(user(**PW), user("other"), user("jdoe", "team-b", **PW))
    assert made.put_secret(secret(), {"password": b"one"}) == {(CORP, JDOE)}
    assert made.put_secret(secret(), {"password": b"two"}) == {(CORP, JDOE)}
    assert made.put_secret(secret(), {"password": b"two", "more": b"x"}) == {(CORP, JDOE)}
    assert made.remove_secret("team-a", "pw") == {(CORP, JDOE)}
    assert made.remove_secret("team-a", "pw") == set()


def test_a_relabelled_secret_concerns_nobody() -> None:
    made = store(user(**PW))
    made.put_secret(secret(), {"password": b"one"})
    relabelled = secret()
    assert made.put_secret(relabelled, {"password": b"one"}) == set()
    view, name, key = made.secret_of(made.resources[JDOE])
    assert (name, key) == ("pw", "password")
    assert view is not None
    assert view.version == relabelled["metadata"]["resourceVersion"]
    assert view.digests == {"password": KEYS.of_value(b"one")}


def test_no_value_of_a_secret_is_kept() -> None:
    made = store(user(**PW))
    made.put_secret(secret(), {"password": b"Correct-Horse-1"})
    assert "Correct-Horse-1" not in repr(made.secrets) + repr(vars(made)) + repr(made.secret_of(made.resources[JDOE]))


def test_where_secrets_may_be_read() -> None:
    assert store().secrets_refused("anywhere") == ""
    made = Store(KEYS, ["team-a"])
    for raw in (user(**PW), user("jdoe", "team-b", **PW)):
        made.put(USER, raw)
    assert made.secrets_refused("team-a") == ""
    assert "namespace team-b, which is not among" in made.secrets_refused("team-b")
    assert made.put_secrets_refused("team-a", True) == {(CORP, JDOE)}
    assert made.put_secrets_refused("team-a", True) == set()
    assert "is refused to read Secrets in namespace team-a" in made.secrets_refused("team-a")
    assert made.put_secrets_refused("team-a", False) == {(CORP, JDOE)}
    assert made.secrets_refused("team-a") == ""


def test_who_names_another_secret_now() -> None:
    made = store(user(**PW))
    made.put(USER, user(passwordSecretRef={"name": "pw2", "key": "k"}, meta={"generation": 2}))
    assert made.put_secret(secret(), {"password": b"one"}) == set()
    assert made.put_secret(secret("pw2"), {"k": b"one"}) == {(CORP, JDOE)}


# --- groups' members ------------------------------------------------------------------------------------------------------------------------

FINANCE = (CORP, group_key())


def group(**spec: Any) -> dict[str, Any]:
    meta = spec.pop("meta", {})
    return obj(GROUP, "finance", {"name": "finance", "domains": [{"name": "corp"}], **spec}, meta=meta)


def test_a_user_concerns_the_groups_that_list_it() -> None:
    made = store(group(members=[{"name": "jdoe"}]))
    assert made.put(USER, user()) == {(CORP, JDOE), FINANCE}
    assert FINANCE not in made.put(USER, user("other"))
    assert FINANCE in made.remove(USER, "team-a", "jdoe")
    assert made.put(USER, user("jdoe", "team-b")) == {(domain_key(namespace="team-b"), user_key("jdoe", "team-b"))}


def test_a_user_concerns_the_groups_whose_selector_matches_or_matched() -> None:
    made = store(group(memberSelector=SELECTOR), user())
    assert FINANCE in made.put(USER, user(meta={"labels": {"team": "a"}}))
    assert made.groups_wanting(made.resources[JDOE]) == {group_key()}
    assert FINANCE in made.put(USER, user())
    assert made.groups_wanting(made.resources[JDOE]) == set()
    assert FINANCE not in made.put(USER, user(meta={"generation": 2}))


def test_a_group_that_no_longer_lists_anybody() -> None:
    made = store(group(members=[{"name": "jdoe"}], memberSelector=SELECTOR), group(meta={"generation": 2}))
    assert FINANCE not in made.put(USER, user(meta={"labels": {"team": "a"}}))


def test_an_echo_of_a_status_changes_nothing_of_who_is_listed_or_imported() -> None:
    spec = {"name": "finance", "domains": [{"name": "corp"}], "members": [{"name": "jdoe"}]}
    made = store(user(), domain(), obj(GROUP, "finance", spec))
    assert made.put(GROUP, obj(GROUP, "finance", spec, status={"memberCount": 1})) == set()
    assert made.groups_wanting(made.resources[JDOE]) == {group_key()}
    labels = {"adsync.dev/imported": "true", "adsync.dev/domain": "corp", "adsync.dev/object-guid": "g-1"}
    made.put(GROUP, obj(GROUP, "finance", spec, meta={"labels": labels}))
    assert made.imported(CORP, "g-1") == {group_key()}
    made.put(GROUP, obj(GROUP, "finance", spec))
    assert made.imported(CORP, "g-1") == set()
    made.put(GROUP, obj(GROUP, "finance", {**spec, "members": []}, meta={"generation": 2}))
    assert made.groups_wanting(made.resources[JDOE]) == set()


def test_statuses_share_what_they_have_in_common() -> None:
    """Ten thousand statuses, each with strings of its own, take more memory than all else."""
    texts = [json.dumps(user(name, status=entry_of(message="x" * 200, conditions=[{"reason": "Synced", "ok": True}]))) for name in "ab"]
    known = store(domain(), *map(json.loads, texts))
    one, two = (known.resources[user_key(name)].status["domains"][0] for name in "ab")
    assert one == two == json.loads(texts[0])["status"]["domains"][0]
    assert one["conditions"][0]["reason"] is two["conditions"][0]["reason"]
    assert [id(name) for name in one] == [id(name) for name in two]

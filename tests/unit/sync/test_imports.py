"""Names of imported resources, what links a resource to its object, and who gives way to whom."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adsync.core.both import is_importable, names_for, user_attributes, user_in_directory, user_in_spec, user_spec, username_in
from adsync.core.entries import ACCOUNTDISABLE, NORMAL_ACCOUNT
from adsync.resources import SyncedUserSpec, parse_spec
from adsync.sync.imports import resource_name
from adsync.sync.store import USER
from tests.unit.core.support import GUID, entry, rules
from tests.unit.sync.support import CORP, domain, store, user, user_key

RFC_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABELS = {"adsync.dev/imported": "true", "adsync.dev/domain": "corp", "adsync.dev/object-guid": GUID}


@pytest.mark.parametrize(
    ("name", "made"),
    [("jdoe", "jdoe"), ("J.Doe", "j.doe"), ("O'Neil #1", "o-neil-1"), ("-a.-.b_", "a.b"), ("Ä", "synced"), ("...", "user")],
)
def test_names(name: str, made: str) -> None:
    assert resource_name(name, USER) == ("user" if made == "synced" else made)


@given(st.text(max_size=256))
def test_every_name_becomes_a_valid_one(name: str) -> None:
    made = resource_name(name, USER)
    assert RFC_1123.fullmatch(made)
    assert len(made) <= 253
    assert resource_name(made, USER) == made


def test_a_label_links_only_to_a_domain_of_the_same_namespace() -> None:
    known = store(domain(), user(meta={"labels": LABELS}), user("other", "team-b", meta={"labels": LABELS}))
    assert known.imported(CORP, GUID) == {user_key()}
    assert known.resources[user_key()].imported_from == (CORP, GUID)
    known.remove(USER, "team-a", "jdoe")
    assert known.imported(CORP, GUID) == set()


def test_what_is_imported_claims_no_name() -> None:
    older = {"creationTimestamp": "2020-01-01T00:00:00Z", "labels": LABELS}
    known = store(domain(), user("twin", username="jdoe", meta=older), user("jdoe"))
    assert known.older_claimant(known.resources[user_key("jdoe")], CORP, "jdoe") is None
    assert known.older_claimant(known.resources[user_key("twin")], CORP, "jdoe") is None


def test_a_user_there_and_back() -> None:
    """What the directory says, written to a spec, asks the directory for exactly that."""
    domain_rules = rules()
    account = entry(attributes={"mail": "j@example.com", "department": "Finance"}, user_account_control=NORMAL_ACCOUNT | ACCOUNTDISABLE)
    values = user_in_directory(account, domain_rules)
    assert values["suspended"] == "true"
    spec = user_spec(values, [name for name in values if values[name]], domain_rules)
    assert spec == {"username": "jdoe", "email": "j@example.com", "suspended": True, "attributes": {"department": "Finance"}}
    said = user_in_spec(parse_spec(SyncedUserSpec, spec), domain_rules)
    assert {name: value or "" for name, value in said.items()} == values
    assert user_attributes(values, domain_rules)["mail"] == "j@example.com"


def test_names_that_the_directory_has_are_kept_as_they_are() -> None:
    account = entry(sam="jdoe", upn="jane@elsewhere.example")
    kept = names_for("jdoe", account, rules())
    assert (kept.sam, kept.upn) == ("jdoe", "jane@elsewhere.example")
    assert names_for("jroe", account, rules()).sam == "jroe"


@pytest.mark.parametrize(
    ("upn", "username"),
    [("jane@corp.example.com", "jane"), ("jane@Corp.Example.COM", "jane"), ("jane@other.example", "jdoe"), ("", "jdoe")],
)
def test_usernames_from_principal_names(upn: str, username: str) -> None:
    by_upn = rules(userFieldMapping={"username": "userPrincipalName"})
    assert username_in(entry(upn=upn), by_upn) == username
    assert username_in(entry(upn=upn), rules()) == "jdoe"
    assert is_importable(entry(upn=upn), by_upn)


def test_what_the_schema_can_t_hold_is_nobody_s_business() -> None:
    assert "email" not in user_in_directory(entry(attributes={"mail": "x" * 257}), rules())

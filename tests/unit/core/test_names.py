"""What a username becomes in the directory, and what a domain's spec means."""

from __future__ import annotations

from typing import Any

import pytest

from adsync.core.dn import DN
from adsync.core.names import account_names, check_sam, container_dn
from adsync.errors import InvalidSpec
from adsync.resources import SyncedUserSpec, parse_spec
from adsync.resources.common import FORBIDDEN_IN_NAMES
from tests.unit.core.support import ROOT, rules

SUFFIX = "corp.example.com"


def names(username: str, field: str = "sAMAccountName") -> tuple[str, str, str]:
    made = account_names(username, field, SUFFIX)
    return made.cn, made.sam, made.upn


@pytest.mark.parametrize(
    ("username", "made"),
    [
        ("jdoe", ("jdoe", "jdoe", "jdoe@corp.example.com")),
        ("x" * 20, ("x" * 20, "x" * 20, "x" * 20 + "@corp.example.com")),
        ("Jane Doe", ("Jane Doe", "Jane Doe", "Jane_Doe@corp.example.com")),
        ("o'neil.é$", ("o'neil.é$", "o'neil.é$", "o'neil.é$@corp.example.com")),
        (".jdoe", (".jdoe", ".jdoe", ".jdoe@corp.example.com")),
    ],
)
def test_names_by_sam(username: str, made: tuple[str, str, str]) -> None:
    assert names(username) == made


@pytest.mark.parametrize(
    "username", [*(f"a{char}b" for char in FORBIDDEN_IN_NAMES + "\x00\n\x1f\x7f"), "", " ", ".", "a.", " a", "a ", ". ."]
)
def test_no_sam(username: str) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.username"):
        names(username)


@pytest.mark.parametrize("field", ["sAMAccountName", "userPrincipalName"])
@pytest.mark.parametrize("unseen", ["\u200b", "\u202e", "\u0085", "\ufeff", "\u2028"])
def test_a_name_with_a_character_that_cannot_be_seen(unseen: str, field: str) -> None:
    with pytest.raises(InvalidSpec, match=r"^spec\.username"):
        names(f"jd{unseen}oe", field)


def test_twenty_characters_and_no_more() -> None:
    with pytest.raises(InvalidSpec, match="has 21 characters; Active Directory takes at most 20"):
        names("x" * 21)
    check_sam("x" * 21, 256, "spec.name")
    with pytest.raises(InvalidSpec, match=r"spec\.name .* at most 256"):
        check_sam("x" * 257, 256, "spec.name")


@pytest.mark.parametrize(
    ("username", "made"),
    [
        ("jane.doe", ("jane.doe", "jane.doe", "jane.doe@corp.example.com")),
        ("jane@other.example", ("jane", "jane", "jane@other.example")),
        ("jane.elizabeth.montgomery", ("jane.elizabeth.montgomery", "jane.elizabeth.montg", "jane.elizabeth.montgomery@corp.example.com")),
        ("abcdefghijklmnopqrs.t", ("abcdefghijklmnopqrs.t", "abcdefghijklmnopqrs", "abcdefghijklmnopqrs.t@corp.example.com")),
        ("y" * 70, ("y" * 64, "y" * 20, "y" * 70 + "@corp.example.com")),
        ("...", ("...", "_", "...@corp.example.com")),
    ],
)
def test_names_by_upn(username: str, made: tuple[str, str, str]) -> None:
    assert names(username, "userPrincipalName") == made


@pytest.mark.parametrize("username", ["", "@corp", "a@", "a@b@c", "a b", "a\tb", "a\nb", "a,b", 'a"b', "a\\b", "a@b c"])
def test_no_upn(username: str) -> None:
    with pytest.raises(InvalidSpec, match="is not a userPrincipalName"):
        names(username, "userPrincipalName")


def test_a_container_is_the_root_or_below_it() -> None:
    root = DN.parse(ROOT)
    assert container_dn(ROOT.lower(), root, "spec.c") == root
    assert container_dn(f"OU=a, {ROOT}", root, "spec.c").is_below(root)
    for outside in ("OU=a,DC=corp,DC=example,DC=com", "DC=corp,DC=example,DC=com", rf"OU=a\,{ROOT}", "OU=People"):
        with pytest.raises(InvalidSpec, match=r"^spec\.c .* is not below the domain's root container"):
            container_dn(outside, root, "spec.c")
    with pytest.raises(InvalidSpec, match=r"^spec\.c .* joins names with \+"):
        container_dn(f"OU=a+OU=b,{ROOT}", root, "spec.c")
    with pytest.raises(InvalidSpec, match=r"^spec\.c is longer than 1024 characters"):
        container_dn("OU=a," * 250 + ROOT, root, "spec.c")
    with pytest.raises(InvalidSpec, match=r"^spec\.c: .* is not a DN"):
        container_dn("People", root, "spec.c")


# --- the domain's spec ----------------------------------------------------------------------------------------------------------------------


def test_what_a_spec_means() -> None:
    domain = rules(rootUserContainer=f"ou=people,{ROOT.partition(',')[2]}", userFieldMapping={"email": "extensionAttribute1"})
    assert domain.base == DN.parse("DC=corp,DC=example,DC=com")
    assert domain.container == DN.parse(ROOT)
    assert (domain.cluster, domain.upn_suffix, domain.mark_attribute) == ("prod-1", SUFFIX, "adminDescription")
    assert domain.attributes == ("extensionAttribute1", "givenName", "sn", "displayName", "department", "title", "description")


def test_what_an_empty_spec_means() -> None:
    domain = rules(rootUserContainer=None, clusterName=None, userPrincipalNameSuffix="corp.test")
    assert domain.container == DN.parse("CN=Users,DC=corp,DC=example,DC=com")
    assert domain.cluster == "uid-of-kube-system"
    assert domain.names("jdoe").upn == "jdoe@corp.test"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rootUserContainer": "OU=People,DC=elsewhere,DC=com"}, r"spec\.rootUserContainer .* is not below"),
        ({"rootUserContainer": "DC=corp,DC=example,DC=com"}, r"spec\.rootUserContainer is the whole domain"),
        ({"rootUserContainer": "People"}, r"spec\.rootUserContainer: .* is not a DN"),
        ({"scopeGroup": "CN=adsync,DC=corp,DC=example,DC=com"}, r"spec\.scopeGroup .* is not below"),
    ],
)
def test_what_a_spec_may_not_say(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec, match=said):
        rules(**change)


def test_managed_attributes() -> None:
    spec = parse_spec(
        SyncedUserSpec, {"username": "jdoe", "email": "j@example.com", "lastName": "", "attributes": {"Department": "Finance", "title": ""}}
    )
    assert rules().wanted_attributes(spec) == {"mail": "j@example.com", "sn": "", "department": "Finance", "title": ""}
    assert rules().wanted_attributes(parse_spec(SyncedUserSpec, {"username": "jdoe"})) == {}


@pytest.mark.parametrize("name", ["description", "memberOf", "unicodePwd", "adminDescription", "mail", "userAccountControl"])
def test_an_attribute_that_the_domain_does_not_allow(name: str) -> None:
    spec = parse_spec(SyncedUserSpec, {"username": "jdoe", "attributes": {name: "x"}})
    with pytest.raises(InvalidSpec, match=f"does not allow '{name}'; its extraAttributes lists department, title"):
        rules().wanted_attributes(spec)

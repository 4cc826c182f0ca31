"""The models: what they read and write, and that they judge as the API server does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adsync.errors import InvalidSpec
from adsync.resources import ADDomainSpec, ADDomainStatus, SyncedGroupSpec, SyncedUserSpec, SyncedUserStatus, parse_spec, read_status
from adsync.resources.addomain import Mode
from adsync.resources.attributes import OWNERSHIP, PLAIN
from adsync.resources.common import LabelSelector, Metadata, Spec, format_duration, parse_duration
from tests.specs import ACCEPTED, DOMAIN, REFUSED, USER, spec_of

MODELS: dict[str, type[Spec]] = {"ADDomain": ADDomainSpec, "SyncedUser": SyncedUserSpec, "SyncedGroup": SyncedGroupSpec}

# That a list holds nothing twice is the API server's business alone.
JUDGED = [case for case in REFUSED if not case[2].endswith("[1]")]


@pytest.mark.parametrize(("kind", "change", "reason"), JUDGED)
def test_refused_as_the_api_server_does(kind: str, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(MODELS[kind], spec_of(kind, change))
    assert reason in str(caught.value)


@pytest.mark.parametrize(("kind", "change"), ACCEPTED)
def test_accepted_as_the_api_server_does(kind: str, change: dict[str, Any]) -> None:
    spec = parse_spec(MODELS[kind], spec_of(kind, change))
    written = spec.to_json()
    for name, value in change.items():
        if not isinstance(value, dict) and name != "domains":
            assert written[name] == value
    assert parse_spec(MODELS[kind], written) == spec


def test_all_faults_are_told_at_once_each_with_its_field() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(ADDomainSpec, {"mode": "Watch", "safety": {"window": "soon"}, "credentialsSecretRef": {"name": "a"}})
    assert str(caught.value) == (
        "spec.domainName is missing; spec.mode is 'Watch'; it must be one of 'Apply' or 'Observe'; "
        "spec.safety.window: 'soon' is not a duration: write it like 90s, 15m or 1h30m"
    )


@pytest.mark.parametrize("raw", [None, "text", 5, ["a"]])
def test_what_is_no_spec_at_all_is_refused(raw: object) -> None:
    with pytest.raises(InvalidSpec, match="spec"):
        parse_spec(SyncedUserSpec, raw)


def test_fields_of_newer_versions_are_ignored() -> None:
    spec = parse_spec(ADDomainSpec, {**DOMAIN, "future": {"a": 1}, "tls": {"minVersion": "1.4"}})
    assert "future" not in spec.to_json()


def test_an_omitted_field_is_unmanaged_and_an_empty_one_clears() -> None:
    spec = parse_spec(SyncedUserSpec, {**USER, "email": "", "firstName": None})
    assert spec.email == ""
    assert spec.first_name is None
    assert spec.suspended is None
    assert spec.to_json() == {"username": "jdoe", "email": "", "attributes": {}, "domains": []}


def test_members_omitted_and_members_empty_are_not_the_same() -> None:
    assert not parse_spec(SyncedGroupSpec, {"name": "a"}).manages_membership
    assert parse_spec(SyncedGroupSpec, {"name": "a", "members": []}).manages_membership
    assert parse_spec(SyncedGroupSpec, {"name": "a", "memberSelector": {"matchLabels": {"a": "b"}}}).manages_membership


def test_a_spec_is_never_changed_once_read() -> None:
    spec = parse_spec(ADDomainSpec, DOMAIN)
    with pytest.raises(ValueError, match="frozen"):
        spec.mode = Mode.OBSERVE  # type: ignore[misc]


def test_fields_named_like_python_keywords() -> None:
    spec = parse_spec(ADDomainSpec, {**DOMAIN, "import": {"onScopeRemoval": "Retain"}, "allowedNamespaces": {"from": "All"}})
    assert spec.import_.on_scope_removal == "Retain"
    assert spec.allowed_namespaces.from_ == "All"
    assert spec.to_json()["import"] == {"onScopeRemoval": "Retain", "labels": {}}
    assert spec.to_json()["allowedNamespaces"] == {"from": "All", "mayAdopt": False}


@pytest.mark.parametrize("labels", [{"a b": "c"}, {"": "c"}, {"/a": "c"}, {"a": "c d"}, {"UP/a": "c"}])
def test_labels_of_imported_resources_must_be_labels(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.import\.labels"):
        parse_spec(ADDomainSpec, {**DOMAIN, "import": {"labels": labels}})


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [("90s", 90, "1m30s"), ("15m", 900, "15m"), ("1h", 3600, "1h"), ("1h30m", 5400, "1h30m"), ("42d", 3628800, "42d"), ("0s", 0, "0s")],
)
def test_durations(text: str, seconds: int, written: str) -> None:
    duration = parse_duration(text)
    assert duration == timedelta(seconds=seconds)
    assert format_duration(timedelta(seconds=seconds)) == written


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "1h ", "1w", "1 h", "999999999d999999999d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_shares_are_whole_numbers_of_per_cent() -> None:
    spec = parse_spec(ADDomainSpec, {**DOMAIN, "safety": {"maxRemovals": "25%"}})
    assert spec.safety.max_removals == 25
    assert spec.safety.max_suspensions == 30
    assert spec.safety.to_json()["maxRemovals"] == "25%"


def test_times_are_whole_seconds_of_utc() -> None:
    status = ADDomainStatus(last_sync_time=datetime(2026, 5, 1, 12, 0, 0, 987654, tzinfo=UTC))
    assert status.to_json() == {"lastSyncTime": "2026-05-01T12:00:00Z", "conditions": []}
    assert ADDomainStatus.model_validate({"lastSyncTime": "2026-05-01T14:00:00.5+02:00"}) == status
    with pytest.raises(ValueError, match="time zone"):
        ADDomainStatus(last_sync_time=datetime(2026, 5, 1))  # noqa: DTZ001 - that is what must be refused


def test_a_status_keeps_what_can_be_understood() -> None:
    raw = {
        "account": "Frozen",
        "groupCount": 4,
        "domains": [
            {"name": "corp", "namespace": "a", "reason": "FromTheFuture", "objectGUID": "00000000-0000-0000-0000-000000000001"},
            {"namespace": "no name"},
            {"name": "lab", "suspension": {"account": "Enabled", "requested": "perhaps"}},
        ],
        "conditions": None,
    }
    status = read_status(SyncedUserStatus, raw)
    assert status.to_json() == {
        "groupCount": 4,
        "conditions": [],
        "domains": [
            {"name": "corp", "namespace": "a", "objectGUID": "00000000-0000-0000-0000-000000000001"},
            {"name": "lab", "namespace": "", "suspension": {"account": "Enabled"}},
        ],
    }
    assert raw["account"] == "Frozen"


@pytest.mark.parametrize("raw", [None, {}, "text", [1], {"domains": "none"}, {"domains": [None, 1]}])
def test_a_status_that_is_none_at_all_reads_as_empty(raw: object) -> None:
    assert read_status(SyncedUserStatus, raw) == SyncedUserStatus()


def test_names_in_a_status_are_those_of_the_api() -> None:
    raw = {"domainController": {"url": "u", "dsServiceName": "d", "invocationId": "i", "highestCommittedUSN": 5}, "conditions": []}
    assert read_status(ADDomainStatus, raw).to_json() == raw


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1", "b": "2"}}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
    ],
)
def test_selectors_match_as_in_kubernetes(selector: dict[str, Any], labels: dict[str, str], matches: bool) -> None:
    assert LabelSelector.model_validate(selector).matches(labels) is matches


def test_metadata_with_nothing_in_it() -> None:
    metadata = Metadata.model_validate({"name": "a", "labels": None, "annotations": None, "finalizers": None, "managedFields": []})
    assert (metadata.labels, metadata.annotations, metadata.finalizers) == ({}, {}, [])
    assert Metadata.model_validate({"deletionTimestamp": "2026-05-01T12:00:00Z"}).deletion_timestamp == datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_attributes_that_steer_something_are_on_no_list() -> None:
    dangerous = {
        "userAccountControl", "unicodePwd", "sAMAccountName", "userPrincipalName", "servicePrincipalName", "memberOf", "primaryGroupID",
        "scriptPath", "profilePath", "homeDirectory", "manager", "description", "displayName", "cn", "name", "adminCount", "sIDHistory",
        "altSecurityIdentities", "msDS-KeyCredentialLink", "loginShell", "unixHomeDirectory", "uid",
    }  # fmt: skip
    assert not dangerous & set(PLAIN)
    assert set(OWNERSHIP) <= set(PLAIN)
    assert len(set(PLAIN)) == len(PLAIN)


def test_what_many_resources_have_alike_is_kept_once() -> None:
    """Fifty thousand memberships of ten thousand users took 26 MiB, a member at a time."""
    first, second = (
        parse_spec(SyncedGroupSpec, {"name": name, "domains": [{"name": "corp"}], "members": [{"name": "anna"}, {"name": name}]})
        for name in ("a", "b")
    )
    assert first.members is not None
    assert second.members is not None
    assert first.members[0] is second.members[0]
    assert first.members[1] != second.members[1]
    assert first.domains[0] is second.domains[0]

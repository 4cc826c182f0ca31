"""Labels of imported resources: set, followed, and taken away where they are ours."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adsync.core.labels import given_labels, labels_patch, remembered

MEMO, ADMIN = "adsync.dev/import-labels", "adsync.dev/admin"
label_sets = st.dictionaries(st.sampled_from(["from", "team", "tier"]), st.sampled_from(["a", "b"]), max_size=3)


def after(
    labels: dict[str, str], annotations: dict[str, str], patch: dict[str, dict[str, str | None]]
) -> tuple[dict[str, str], dict[str, str]]:
    """As the API server merges (RFC 7386)."""

    def merged(old: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
        return {name: value for name, value in {**old, **changes}.items() if value is not None}

    return merged(labels, patch.get("labels", {})), merged(annotations, patch.get("annotations", {}))


@given(label_sets, label_sets, label_sets)
def test_they_follow_the_domain_and_leave_others_alone(first: dict[str, str], second: dict[str, str], others: dict[str, str]) -> None:
    foreign = {f"their-{name}": value for name, value in others.items()}
    labels, annotations = after(foreign, {}, labels_patch(foreign, {}, first, admin=False))
    assert labels == foreign | first
    labels, annotations = after(labels, annotations, labels_patch(labels, annotations, second, admin=True))
    assert labels == foreign | second | {ADMIN: "true"}
    assert labels_patch(labels, annotations, second, admin=True) == {}
    labels, annotations = after(labels, annotations, labels_patch(labels, annotations, {}, admin=False))
    assert (labels, annotations) == (foreign, {})


def test_what_was_made_with_them_needs_nothing() -> None:
    configured = {"from": "corp", "adsync.dev/imported": "no"}
    assert given_labels(configured) == {"from": "corp"}
    assert labels_patch({"from": "corp", "x": "y"}, remembered(configured), configured, admin=False) == {}
    assert labels_patch({"x": "y"}, {}, {}, admin=False) == {}
    assert remembered({}) == {}


def test_a_label_that_somebody_has_made_his_own_stays() -> None:
    annotations = remembered({"team": "blue"})
    assert labels_patch({"team": "red"}, annotations, {}, admin=False) == {"annotations": {MEMO: None}}
    assert labels_patch({"team": "red"}, annotations, {"team": "blue"}, admin=False) == {"labels": {"team": "blue"}}
    assert labels_patch({"team": "blue"}, {MEMO: "[not ours"}, {}, admin=False) == {"annotations": {MEMO: None}}
    assert labels_patch({"a": "1"}, {MEMO: '{"adsync.dev/imported":"true"}'}, {}, admin=False) == {"annotations": {MEMO: None}}

"""The labels of imported resources: those that `import.labels` names and, on users, the one that tells who is an admin.

    in import.labels    on the resource                  what is done
    yes                 another value, or none           set
    no                  as we set it                     taken off
    no                  changed since, or not ours       left: it is somebody else's

What we set is remembered in an annotation, so that another process, later, knows which labels may go. Labels of adsync's own are not
`import.labels`' to give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from adsync.resources import names

_OWN = f"{names.GROUP}/"


def given_labels(configured: Mapping[str, str]) -> dict[str, str]:
    """What an imported resource gets of `import.labels`."""
    return {name: value for name, value in configured.items() if not name.startswith(_OWN)}


def remembered(configured: Mapping[str, str]) -> dict[str, str]:
    """The annotation that says which labels were set; {} where there are none."""
    given = given_labels(configured)
    return {names.IMPORT_LABELS: json.dumps(given, sort_keys=True, separators=(",", ":"))} if given else {}


def labels_patch(
    labels: Mapping[str, str], annotations: Mapping[str, str], configured: Mapping[str, str], *, admin: bool
) -> dict[str, dict[str, str | None]]:
    """The metadata to merge into a resource's (None takes away); {} where it is as it should be."""
    wanted = given_labels(configured) | ({names.ADMIN_LABEL: "true"} if admin else {})
    changes: dict[str, str | None] = {name: value for name, value in wanted.items() if labels.get(name) != value}
    ours = _read(annotations.get(names.IMPORT_LABELS, "")) | {names.ADMIN_LABEL: labels.get(names.ADMIN_LABEL)}
    changes |= {name: None for name, value in ours.items() if name not in wanted and name in labels and labels[name] == value}
    told: dict[str, str | None] = {**remembered(configured)} or {names.IMPORT_LABELS: None}
    patch = {"labels": changes} if changes else {}
    if annotations.get(names.IMPORT_LABELS) != told[names.IMPORT_LABELS]:
        patch["annotations"] = told
    return patch


def _read(text: str) -> dict[str, str | None]:
    """What the annotation says; nothing where somebody has made something else of it."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return {name: value for name, value in found.items() if not name.startswith(_OWN)} if isinstance(found, dict) else {}

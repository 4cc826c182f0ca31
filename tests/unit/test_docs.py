"""The documentation: its links lead somewhere, and what it lists is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adsync.resources.conditions import ConditionType, Reason
from adsync.settings import Settings
from lab.operator import REPOSITORY

DOCS = REPOSITORY / "docs"
GENERATED = {"benchmarks.md"}  # by `make bench`
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md"))]


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists() or found.name in GENERATED, f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(found), f"{page.name}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in DOCS.glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name


def test_every_reason_and_condition_is_explained() -> None:
    told = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    for reason in Reason:
        assert f"| `{reason}` |" in told, reason
    for condition in ConditionType:
        assert f"`{condition}`" in told, condition


def test_every_option_is_told() -> None:
    told = (DOCS / "getting-started.md").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        option = {"namespaces": "namespace", "secret_namespaces": "secret_namespace", "resolvers": "resolver"}.get(name, name)
        assert f"`--{option.replace('_', '-')}" in told, name
        assert f"`ADSYNC_{option.upper()}`" in told, name

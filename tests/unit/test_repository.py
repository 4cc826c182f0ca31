"""What must stay true of the repository itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from adsync.resources.crd import files

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-image.txt", "requirements-dashboards.txt")


def tracked() -> list[str]:
    """The files that git knows."""
    return subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_operator_is_a_source_root_and_not_a_package() -> None:
    # As a package it would hide the standard library's module of the same name.
    assert not (ROOT / "operator" / "__init__.py").exists()


@pytest.mark.parametrize("directory", ["crds", "helm/adsync/files/crds"])
def test_crds_are_those_that_the_models_make(directory: str) -> None:
    where = ROOT / directory
    found = {path.name: path.read_text(encoding="utf-8") for path in where.iterdir()}
    assert found == files(), "run `make crds`"


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_neither_registries_nor_places(lock: str) -> None:
    for number, line in enumerate((ROOT / lock).read_text(encoding="utf-8").splitlines(), 1):
        assert re.fullmatch(r"[A-Za-z0-9._-]+==\S+( ; .*)?( \\)?|    --hash=sha256:[0-9a-f]{64}( \\)?", line), f"{lock}:{number}: {line}"


def test_every_runtime_requirement_is_the_same_in_both_locks() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^[A-Za-z0-9._-]+==\S+", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))

    assert pins("requirements.txt") <= pins("requirements-dev.txt")


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_grows_out_of_hand() -> None:
    for name in tracked():
        if name.startswith("operator/") and name.endswith(".py") and (ROOT / name).exists():
            lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
            limit = 150 if name.endswith("/handlers.py") else 400
            assert lines <= limit, f"{name} has {lines} lines: give some of it a module of its own"


def test_nothing_that_is_built_or_secret_is_kept() -> None:
    for name in tracked():
        assert not re.search(r"(^|/)(\.venv|__pycache__|\.cache|node_modules)/|\.(pyc|pem|key|kubeconfig)$", name), name


def test_nothing_waits_in_a_way_that_loses_a_cancellation() -> None:
    """Before Python 3.12 asyncio.wait_for does, and its task goes on for ever; adsync.sync.waiting and asyncio.timeout do not."""
    found = [path for path in sorted((ROOT / "operator").rglob("*.py")) if "asyncio.wait_for(" in path.read_text()]
    assert found == []

"""What `adsync run` imports on its way to the API server: the modules that it does without must not come back unnoticed."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

UNNEEDED = (
    "charset_normalizer", "oauthlib", "pygments", "requests", "requests_oauthlib", "rich.console", "urllib3", "websocket",
    "kubernetes.client.api", "kubernetes.config.kube_config", "kubernetes.dynamic.client", "kubernetes.informer.informer",
    "kubernetes.aio.client.api", "kubernetes.aio.dynamic.client", "adsync.resources.crd",
)  # fmt: skip


@cache
def imported(*arguments: str) -> frozenset[str]:
    """Every module that the program loads, up to the point where it finds no cluster."""
    source = str(Path(__file__).parents[2] / "operator")
    environment = {**os.environ, "PYTHONPATH": source, "KUBECONFIG": "/nonexistent/kubeconfig"}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "adsync", *arguments], capture_output=True, text=True, check=False, env=environment
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    if arguments[0] == "run":
        assert "/nonexistent/kubeconfig" in done.stderr.splitlines()[-1]
    return frozenset(line.rpartition("|")[2].strip() for line in lines)


@pytest.mark.parametrize("unneeded", UNNEEDED)
def test_the_operator_starts_without(unneeded: str) -> None:
    loaded = imported("run")
    assert {"adsync.process", "kopf", "kubernetes.aio.client.rest"} <= loaded
    assert not [each for each in loaded if each == unneeded or each.startswith(f"{unneeded}.")]


def test_other_commands_do_without_the_operator() -> None:
    loaded = imported("version")
    assert "adsync.cli" in loaded
    assert not {"adsync.process", "aiohttp", "kopf", "kubernetes", "ldap3"} & loaded


def test_what_was_put_off_is_there_for_who_asks() -> None:
    """And what was held to be absent is found again afterwards."""
    code = (
        "import gc, sys\n"
        "from adsync.lean import lean_imports\n"
        "with lean_imports():\n"
        "    import adsync.process\n"
        "assert 'requests_oauthlib' not in sys.modules and gc.isenabled()\n"
        "import kubernetes, rich\n"
        "assert callable(kubernetes.config.load_kube_config) and callable(kubernetes.watch.Watch)\n"
    )
    source = str(Path(__file__).parents[2] / "operator")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": source}
    )
    assert done.returncode == 0, done.stderr

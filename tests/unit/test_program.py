"""The program's face: settings, what is said of mistakes, logs without secrets, health and metrics."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
import yaml
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretBytes, SecretStr, ValidationError

from adsync import logs
from adsync.health import Heartbeats, Server, text
from adsync.metrics import Metrics
from adsync.settings import Settings, parse_resolver, split_address
from adsync.version import VERSION


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("ADSYNC_", "POD_")):
            monkeypatch.delenv(name)


# ---- settings


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings()
    assert (settings.namespaces, settings.metrics_address, settings.health_address) == ((), ":9090", ":8080")
    assert (settings.leader_elect, settings.log_format, settings.log_level) == (False, "json", "info")
    assert settings.operator_namespace == "adsync-system"


def test_everything_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"NAMESPACE": "a, b,a", "METRICS_ADDRESS": "[::1]:1", "HEALTH_ADDRESS": "127.0.0.1:2", "LEADER_ELECT": "true"}
    given |= {"LOG_FORMAT": "console", "LOG_LEVEL": "debug", "OPERATOR_NAMESPACE": "own", "RESOLVER": "10.0.0.1,[fd00::1]:5353"}
    for name, value in given.items():
        monkeypatch.setenv(f"ADSYNC_{name}", value)
    settings = Settings()
    assert settings.namespaces == ("a", "b")
    assert (settings.metrics_address, settings.health_address) == ("[::1]:1", "127.0.0.1:2")
    assert (settings.leader_elect, settings.log_format, settings.log_level) == (True, "console", "debug")
    assert settings.operator_namespace == "own"
    assert settings.nameservers == (("10.0.0.1", 53), ("fd00::1", 5353))


def test_an_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADSYNC_NAMESPACE", "a")
    monkeypatch.setenv("ADSYNC_LOG_LEVEL", "debug")
    settings = Settings(namespaces=("b",), log_level="error")
    assert (settings.namespaces, settings.log_level) == (("b",), "error")


def test_the_own_namespace_is_the_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "pods")
    assert Settings().operator_namespace == "pods"


@pytest.mark.parametrize(
    "wrong",
    [
        {"namespaces": ("A",)}, {"namespaces": ("a/b",)}, {"namespaces": ("x" * 64,)}, {"operator_namespace": ""}, {"metrics_address": "9090"},
        {"metrics_address": ":0"}, {"health_address": ":65536"}, {"health_address": "::1:80"}, {"log_format": "xml"}, {"log_level": "loud"},
        {"resolvers": ("dns.example.com",)}, {"resolvers": ("10.0.0.1:0",)}, {"unknown": 1},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_addresses() -> None:
    assert split_address(":8080") == ("", 8080)
    assert split_address("[::]:80") == ("::", 80)
    assert parse_resolver("fd00::1") == ("fd00::1", 53)


# ---- the command line


def adsync(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ADSYNC_", "KUBE"))}
    return subprocess.run(
        [sys.executable, "-m", "adsync", *arguments], capture_output=True, text=True, timeout=60, env=inherited | environment, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--log-level", "loud"], "--log-level"),
        (["run", "--namespace", "A_b"], "'A_b' is no name of a namespace"),
        (["run", "--metrics-address", "here"], "write host:port"),
        (["run", "--bogus"], "--bogus"),
        (["bogus"], "bogus"),
        ([], "Missing command"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], said: str) -> None:
    done = adsync(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr


def test_a_mistake_in_the_environment_is_named_as_such() -> None:
    done = adsync("run", ADSYNC_LOG_FORMAT="xml")
    assert done.returncode == 2
    assert "ADSYNC_LOG_FORMAT" in done.stderr


def test_a_cluster_that_is_not_there_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    missing = adsync("run", KUBECONFIG=str(nowhere))
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(config), encoding="utf-8")
    away = adsync("run", KUBECONFIG=str(path))
    for done, said in ((missing, str(nowhere)), (away, "http://127.0.0.1:1")):
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert said in done.stderr


@pytest.mark.parametrize("way", ["version", "--version"])
def test_the_version_is_told(way: str) -> None:
    done = adsync(way)
    assert (done.returncode, done.stdout.strip()) == (0, VERSION)


def test_the_crds_are_printed() -> None:
    kinds = {document["spec"]["names"]["kind"] for document in yaml.safe_load_all(adsync("crds").stdout)}
    assert kinds == {"ADDomain", "SyncedUser", "SyncedGroup"}


def test_the_reader_of_the_crds_may_leave() -> None:
    program = f"{sys.executable} -m adsync crds | head -1"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


# ---- logs


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    out = io.StringIO()
    yield out
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    structlog.reset_defaults()


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_no_secret_is_logged(log: io.StringIO, fmt: Any) -> None:
    logs.configure("debug", fmt, log)
    secret = "hunter2"  # by name in the call below: a traceback shows the source
    logger = structlog.stdlib.get_logger("adsync.test")
    logger.info(
        "plain",
        secret=SecretStr("hunter2"),
        listed=[SecretBytes(b"hunter2")],
        nested={"data": {"password": "hunter2"}, "deep": [{"token": "hunter2"}]},
        password="hunter2",
        raw=b"hunter2",
        obj={"stringData": {"x": "hunter2"}},
        authorization="hunter2",
    )
    logger.info("interpolated %s", SecretStr("hunter2"))
    logging.getLogger("kopf.objects").debug("whole object: hunter2")
    logging.getLogger("ldap3").error("message: hunter2")

    def fails(password: str) -> None:
        raise ValueError(f"{len(password)} characters are wrong")

    try:
        fails(secret)
    except ValueError:
        logger.exception("with the stack")
    assert "hunter2" not in log.getvalue()
    assert "7 characters" in log.getvalue()
    assert "plain" in log.getvalue()


def test_json_lines_carry_time_level_logger_and_message(log: io.StringIO) -> None:
    logs.configure("info", "json", log)
    structlog.stdlib.get_logger("adsync.test").debug("not this")
    logging.getLogger("adsync.other").warning("a %s", "b")
    line = json.loads(log.getvalue())
    assert (line["message"], line["level"], line["logger"]) == ("a b", "warning", "adsync.other")
    assert line["timestamp"].endswith("Z")


def test_an_api_server_that_is_away_does_not_fill_the_log(log: io.StringIO) -> None:
    logs.configure("info", "json", log)
    for message in (f"Request attempt #{number} failed; will retry: GET" for number in range(1, 101)):
        logging.getLogger("kopf._cogs.clients.watching").error(message)
    assert len(log.getvalue().splitlines()) == 6


# ---- health and metrics


def test_a_loop_that_stands_still_is_late() -> None:
    now = 0.0
    heartbeats = Heartbeats(lambda: now)
    quick = heartbeats.register("domain apps/corp", max_age=10)
    heartbeats.register("slow", max_age=100)
    assert heartbeats.late() == {}
    now = 11.0
    assert heartbeats.late() == {"domain apps/corp": "no progress for 11 s"}
    quick.beat()
    assert heartbeats.late() == {}
    now = 30.0
    quick.close()
    quick.close()
    assert heartbeats.late() == {}


async def test_addresses_may_be_shared_or_not() -> None:
    metrics = Metrics()
    metrics.resources.labels("SyncedUser", "apps/corp", "synced", "Synced").set(3)

    async def sick() -> tuple[int, str, bytes]:
        return text(503, {"domain apps/corp": "no progress for 99 s"})

    shared, other = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    server = Server((shared, {"/metrics": metrics.exposition}), (shared, {"/healthz": sick}), (other, {"/readyz": sick}))
    await server.start()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{shared}/metrics") as answer:
            families = {family.name: family for family in text_string_to_metric_families(await answer.text())}
        async with session.get(f"http://{shared}/healthz") as answer:
            assert answer.status == 503
            assert await answer.text() == "domain apps/corp: no progress for 99 s\n"
        async with session.get(f"http://{other}/readyz") as answer:
            assert answer.status == 503
        async with session.get(f"http://{other}/metrics") as answer:
            assert answer.status == 404
    assert families["adsync_resources"].samples[0].value == 3
    assert "adsync_build_info" in families
    taken = Server((shared, {"/x": sick}))
    with pytest.raises(OSError, match="address already in use"):
        await taken.start()
    await taken.stop()
    await server.stop()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_domain_that_is_gone_leaves_no_gauge() -> None:
    metrics = Metrics()
    for domain in ("apps/corp", "apps/lab"):
        metrics.resources.labels("SyncedUser", domain, "synced", "Synced").set(1)
        metrics.domain_connected.labels(domain).set(1)
        metrics.password_pushes.labels(domain, "ok").inc()
    metrics.forget_domain("apps/corp")
    shown = asyncio.run(metrics.exposition())[2].decode()
    assert 'adsync_domain_connected{domain="apps/corp"}' not in shown
    assert 'adsync_domain_connected{domain="apps/lab"}' in shown
    assert 'adsync_password_pushes_total{domain="apps/corp",result="ok"} 1.0' in shown


def test_every_metric_is_documented_and_prefixed() -> None:
    for family in Metrics().registry.collect():
        assert family.documentation
        assert family.name.startswith(("adsync_", "process_", "python_"))

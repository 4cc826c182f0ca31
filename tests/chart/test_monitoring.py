"""A real Prometheus scrapes a real operator: every query of the dashboard and every alert's expression is answered with data.

What counts faults needs one: a password that is refused, drift, removals over the limit, and credentials that are wrong are provoked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.api import KubeApi
from lab.kube import ControlPlane
from lab.operator import REPOSITORY, Operator
from lab.processes import Processes, free_ports
from lab.samba import DomainController
from tests.chart.support import CHART
from tests.integration.support import Site, credentials, eventually, new_container, new_namespace, synced_group, unique

DASHBOARD = CHART / "files" / "dashboards" / "adsync.json"
RULES = CHART / "files" / "alerts" / "adsync.rules.yaml"
# No data without a fault that this test does not make: no standby, no DC to go to, no API server in trouble.
QUIET = {"adsync_domain_failovers_total", "adsync_events_dropped_total"}


def queries() -> list[tuple[str, str]]:
    """(title, expression) of every panel, with the dashboard's variables filled in."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            found.append(
                (panel["title"], target["expr"].replace("$domain", ".*").replace("$__rate_interval", "1m").replace("[1h]", "[1m]"))
            )
    return found


def alerts() -> dict[str, str]:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule["expr"] for rule in rules}


class Prometheus:
    def __init__(self, processes: Processes, target: str) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        state = processes.state / "prometheus"
        state.mkdir()
        (state / "prometheus.yml").write_text(yaml.safe_dump({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "adsync", "static_configs": [{"targets": [target]}]}],
        }))  # fmt: skip
        options = [
            f"--config.file={state / 'prometheus.yml'}",
            f"--storage.tsdb.path={state / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        processes.start("prometheus", ["prometheus", *options])
        processes.wait_ready("prometheus", lambda: self.get("/-/ready") is not None)

    def get(self, path: str, **query: str) -> bytes | None:
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=5) as answer:  # noqa: S310 - our own
                content: bytes = answer.read()
                return content
        except OSError:
            return None

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query; an invalid one fails."""
        answer = self.get("/api/v1/query", query=expression)
        assert answer is not None, f"refused: {expression}"
        result: list[dict[str, Any]] = json.loads(answer)["data"]["result"]
        return result


@pytest.fixture(scope="module")
def site(control_plane: ControlPlane, dc: DomainController) -> Iterator[Site]:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(REPOSITORY / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(REPOSITORY / "crds"))
    api = KubeApi(control_plane)
    with new_namespace(api) as namespace, new_container(dc) as container:
        yield Site(api, control_plane, dc, namespace, container)
    api.close()


@pytest.fixture(scope="module")
def prometheus(site: Site, processes: Processes, control_plane: ControlPlane) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("there is no Prometheus (Debian's package prometheus)")
    operator = Operator(processes, control_plane, [site.namespace])
    operator.start()
    made = Prometheus(processes, operator.metrics_url.split("/")[2])
    live(site)
    yield made
    processes.kill("prometheus")
    operator.kill()


def live(site: Site) -> None:
    """An ordinary hour, and some trouble."""
    site.connect(safety={"maxRemovals": "1%", "minRemovals": 1, "window": "1h"})
    names = [unique("u") for _ in range(6)]
    site.password("weak", "weak")
    for name in names[:5]:
        site.user(name, deletionPolicy="Delete")
    site.user(names[5], passwordSecretRef={"name": "weak"})
    group = unique("g")
    site.api.create(synced_group(site.namespace, group, members=[{"name": names[0]}]))
    for name in names[:5]:
        site.await_reason(name)
    site.await_reason(names[5], "PasswordRejected")
    site.await_reason(group, kind="SyncedGroup")
    site.edit(names[0], {"displayName": "Right"})
    eventually(lambda: site.dc.find(names[0], ["displayName"]).get("displayName"))  # type: ignore[union-attr]
    site.dc.replace(f"CN={names[0]},{site.container}", {"displayName": "Wrong"})  # drift
    for name in names[1:5]:
        site.api.delete("SyncedUser", site.namespace, name)  # more than the limit allows
    site.user(unique("u"), passwordSecretRef={"name": "missing"})  # waits
    # Another domain, whose service account is refused.
    site.api.create(credentials(site.dc, site.namespace, "wrong", password="Not-The-Password-1"))
    site.api.create({
        "apiVersion": "adsync.dev/v1alpha1", "kind": "ADDomain", "metadata": {"name": "wrong", "namespace": site.namespace},
        "spec": {
            "domainName": site.dc.domain, "servers": [site.dc.url], "tls": {"caSecretRef": {"name": "corp-ad", "key": "ca.crt"}},
            "credentialsSecretRef": {"name": "wrong"}, "rootUserContainer": site.container, "clusterName": "wrong",
        },
    })  # fmt: skip
    site.await_reason("wrong", "CredentialsRejected", kind="ADDomain")


@pytest.mark.parametrize(("title", "expression"), queries(), ids=[f"{title}-{number}" for number, (title, _) in enumerate(queries())])
def test_every_panel_has_data(prometheus: Prometheus, title: str, expression: str) -> None:
    if any(name in expression for name in QUIET):
        prometheus.ask(expression)
        return
    eventually(lambda: prometheus.ask(expression), timeout=40, interval=0.5, what=f"data for {title}: {expression}")


@pytest.mark.parametrize(
    "alert",
    [
        "AdsyncDomainDisconnected",
        "AdsyncChangesHeld",
        "AdsyncResourcesFailing",
        "AdsyncResourcesWaiting",
        "AdsyncBindRefused",
        "AdsyncPasswordsRejected",
    ],
)
def test_the_provoked_faults_meet_their_alerts_expression(prometheus: Prometheus, alert: str) -> None:
    eventually(lambda: prometheus.ask(alerts()[alert]), timeout=30, interval=0.5, what=alert)


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_every_alerts_expression_is_over_metrics_that_there_are(prometheus: Prometheus, alert: str) -> None:
    """Also those that are quiet: a metric that is misspelt would be quiet for ever."""
    prometheus.ask(alerts()[alert])
    described = prometheus.get("/api/v1/targets/metadata", limit="1000")
    assert described is not None
    known = {entry["metric"].removesuffix("_total") for entry in json.loads(described)["data"]}
    named = {word for word in _words(alerts()[alert]) if word.startswith(("adsync_", "process_"))}
    assert named
    for word in named:
        assert word.removesuffix("_total").removesuffix("_bucket").removesuffix("_count") in known, word


def _words(expression: str) -> set[str]:
    return set("".join(character if character.isalnum() or character == "_" else " " for character in expression).split())


def test_alerts_are_loaded_and_pending_or_firing(prometheus: Prometheus) -> None:
    """Prometheus itself has taken the rules, and sees the refused bind, which fires without delay."""
    answer = prometheus.get("/api/v1/rules")
    assert answer is not None
    (group,) = json.loads(answer)["data"]["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}

    def active() -> set[str]:
        return {each["metric"]["alertname"] for each in prometheus.ask('ALERTS{alertstate=~"pending|firing"}')}

    eventually(lambda: {"AdsyncDomainDisconnected", "AdsyncChangesHeld", "AdsyncResourcesFailing"} <= active(), timeout=30, interval=0.5)
    assert prometheus.ask('ALERTS{alertname="AdsyncBindRefused",alertstate="firing"}')


def test_a_picture_can_be_drawn(prometheus: Prometheus, tmp_path: Path) -> None:
    """Kept as `$ADSYNC_DASHBOARD_PICTURE`, if that is set."""
    target = Path(os.environ.get("ADSYNC_DASHBOARD_PICTURE") or tmp_path / "dashboard.png").absolute()
    options = ["run", "--quiet", "--no-project", "--isolated", "--with-requirements", "requirements-dashboards.txt"]
    uv = [str(Path(sys.executable).with_name("uv")), *options, "python"]
    if subprocess.run([*uv, "-c", "import matplotlib"], cwd=REPOSITORY, capture_output=True, check=False).returncode:
        pytest.skip("matplotlib can't be installed here")
    done = subprocess.run(
        [*uv, "dashboards/picture.py", prometheus.url, str(target), "3"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert target.read_bytes().startswith(b"\x89PNG")

"""What is contributed for other tools: Argo CD's health check in a real Lua, k9s's files against its own schemas' rules, the alerts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from adsync.resources.crd import DEFINITIONS

ROOT = Path(__file__).parents[2]
RULES = ROOT / "helm" / "adsync" / "files" / "alerts" / "adsync.rules.yaml"
CONTRIB = ROOT / "contrib"


def lua(value: Any) -> str:
    """JSON as a Lua table."""
    if isinstance(value, dict):
        return "{" + ",".join(f"[{json.dumps(key)}]={lua(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ",".join(map(lua, value)) + "}"
    return "nil" if value is None else json.dumps(value)


def health(resource: dict[str, Any]) -> tuple[str, str]:
    interpreter = shutil.which("lua5.4") or shutil.which("lua5.3") or shutil.which("lua5.1") or shutil.which("lua")
    if interpreter is None:
        pytest.skip("there is no Lua interpreter")
    check = (CONTRIB / "argocd" / "health.lua").read_text()
    program = f"obj = {lua(resource)}\nlocal hs = (function()\n{check}\nend)()\nprint(hs.status)\nprint(hs.message)"
    done = subprocess.run([interpreter, "-"], input=program, capture_output=True, text=True, check=True)
    status, message = done.stdout.rstrip("\n").split("\n", 1)
    return status, message


def resource(ready: str, reason: str, *, stalled: bool = False, generation: int = 2, observed: int = 2, **metadata: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "reason": reason, "message": "why", "observedGeneration": observed}]
    if stalled:
        conditions.append({"type": "Stalled", "status": "True", "reason": reason, "message": "why"})
    return {"metadata": {"generation": generation, **metadata}, "status": {"observedGeneration": observed, "conditions": conditions}}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"metadata": {"generation": 1}}, "Progressing"),
        ({"metadata": {"generation": 1}, "status": {"users": {"total": 1}}}, "Progressing"),
        (resource("True", "Synced"), "Healthy"),
        (resource("True", "Synced", generation=3), "Progressing"),
        (resource("True", "Synced", deletionTimestamp="2026-01-01T00:00:00Z"), "Progressing"),
        (resource("False", "PasswordPending"), "Progressing"),
        (resource("False", "InvalidSpec", stalled=True), "Degraded"),
        (resource("False", "Paused", stalled=True), "Suspended"),
        (resource("False", "SafetyLimit", stalled=True), "Suspended"),
    ],
)
def test_argo_cds_health(given: dict[str, Any], status: str) -> None:
    said, message = health(given)
    assert said == status
    assert message


def test_k9s_columns_are_those_of_the_crds() -> None:
    views = yaml.safe_load((CONTRIB / "k9s" / "views.yaml").read_text())["views"]
    assert len(views) == len(DEFINITIONS)
    for definition in DEFINITIONS:
        view = views[f"adsync.dev/v1alpha1/{definition.kind.plural}"]
        there = {column.name.upper() for column in definition.columns} | {"NAMESPACE", "NAME", "AGE"}
        for column in view["columns"]:
            assert column.partition("|")[0] in there, column
        assert sum("|W" not in column for column in view["columns"]) <= 10


def test_k9s_plugins_name_our_kinds_and_annotations() -> None:
    plugins = yaml.safe_load((CONTRIB / "k9s" / "plugins.yaml").read_text())["plugins"]
    plurals = {definition.kind.plural for definition in DEFINITIONS}
    keys = [plugin["shortCut"] for plugin in plugins.values()]
    assert len(set(keys)) == len(keys)
    for plugin in plugins.values():
        assert set(plugin["scopes"]) <= plurals
        assert {"shortCut", "description", "scopes", "command", "args"} <= set(plugin)


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_every_alert_has_a_runbook() -> None:
    headings = {
        line.removeprefix("## ").strip() for line in (ROOT / "docs" / "runbooks.md").read_text().splitlines() if line.startswith("## ")
    }
    assert headings == {alert["alert"] for alert in alerts()}
    for alert in alerts():
        assert alert["annotations"]["runbook_url"] == f"RUNBOOK_URL#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in ("critical", "warning", "info")


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool (Debian's package prometheus)")
    tests = Path(__file__).with_name("alerts.test.yaml")
    tested = {check["alertname"] for test in yaml.safe_load(tests.read_text())["tests"] for check in test["alert_rule_test"]}
    assert tested == {alert["alert"] for alert in alerts()}
    (tmp_path / "adsync.rules.yaml").write_text(RULES.read_text())
    (tmp_path / "alerts.test.yaml").write_text(tests.read_text())
    done = subprocess.run(["promtool", "test", "rules", "alerts.test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

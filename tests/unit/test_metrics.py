"""The metrics: each is set by something, so that no dashboard waits for one in vain, and none has a person's name in a label."""

from __future__ import annotations

import re

from prometheus_client.metrics import MetricWrapperBase

from adsync.metrics import Metrics
from lab.operator import REPOSITORY

OWN = REPOSITORY / "operator" / "adsync" / "metrics.py"


def metrics() -> dict[str, MetricWrapperBase]:
    return {name: metric for name, metric in vars(Metrics()).items() if isinstance(metric, MetricWrapperBase)}


def test_each_is_set_somewhere() -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in OWN.parent.rglob("*.py") if file != OWN)
    own = OWN.read_text(encoding="utf-8")
    found = metrics()
    assert len(found) > 10
    for name in found:
        assert re.search(rf"metrics\.{name}\b", sources) or f"self.{name}.labels(" in own, name


def test_labels_are_few_and_name_nobody() -> None:
    allowed = {
        "cause", "domain", "kind", "method", "operation", "reason", "resource", "result", "state", "status", "type", "verb", "version",
    }  # fmt: skip
    for name, metric in metrics().items():
        assert set(metric._labelnames) <= allowed, name

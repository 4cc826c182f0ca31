"""Draws the dashboard's panels from a Prometheus, for those who have no Grafana at hand: picture.py http://127.0.0.1:9090 OUT.png [MINUTES]"""

from __future__ import annotations

import json
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

DASHBOARD = Path(__file__).parents[1] / "helm" / "adsync" / "files" / "dashboards" / "adsync.json"


def ask(url: str, path: str, **query: Any) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:  # noqa: S310 - as given
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result


def main(url: str, target: str, minutes: str = "5") -> None:
    end, panels = time.time(), [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel.get("targets")]
    numbers, graphs = [p for p in panels if p["type"] == "stat"], [p for p in panels if p["type"] == "timeseries"]
    figure = plt.figure(figsize=(16, 3.2 * (len(graphs) + 2) / 2), layout="constrained")
    grid = figure.add_gridspec((len(graphs) + 1) // 2 + 1, 2 * len(numbers))
    for column, panel in enumerate(numbers):
        found = ask(url, "query", query=filled(panel["targets"][0]["expr"]))
        axes = figure.add_subplot(grid[0, 2 * column : 2 * column + 2])
        axes.axis("off")
        axes.set_title(panel["title"], fontsize=10)
        axes.text(0.5, 0.4, f"{float(found[0]['value'][1]):.3g}" if found else "–", ha="center", va="center", fontsize=26)
    for number, panel in enumerate(graphs):
        half = len(numbers)
        axes = figure.add_subplot(grid[1 + number // 2, (number % 2) * half : (number % 2 + 1) * half])
        axes.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults'].get('unit', '')})", fontsize=10)
        for wanted in panel["targets"]:
            span = {"start": end - 60 * float(minutes), "end": end, "step": 2}
            for series in ask(url, "query_range", query=filled(wanted["expr"]), **span):
                legend = wanted["legendFormat"]
                for label, value in series["metric"].items():
                    legend = legend.replace("{{" + label + "}}", value)
                points = [(float(at) - end, float(value)) for at, value in series["values"]]
                axes.plot(*zip(*points, strict=True), label=legend, linewidth=1)
        axes.set_xlabel("s", fontsize=7)
        axes.tick_params(labelsize=7)
        if axes.lines:
            axes.legend(fontsize=5, loc="upper left", ncols=2)
    figure.savefig(target, dpi=70)


def filled(expression: str) -> str:
    return expression.replace("$domain", ".*").replace("$__rate_interval", "30s")


if __name__ == "__main__":
    main(*sys.argv[1:])

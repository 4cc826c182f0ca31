"""Runs the measurements one after the other, prints a table, and keeps the results."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from rich.console import Console

from benchmarks import groups, import_, measure, report, startup
from benchmarks.site import lab as started_lab
from lab.build import kubernetes_version
from lab.processes import LabError
from lab.provision import samba_version

NAMES = ("startup", "latency", "push", "groups", "restart", "import")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="measure only this, and keep the rest as it was; may be repeated")
    parser.add_argument("--push-users", type=int, default=400)
    parser.add_argument("--push-rounds", type=int, default=3)
    parser.add_argument("--group-users", type=int, default=1000)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--restart-users", type=int, default=2000)
    parser.add_argument("--import-users", type=int, default=10000)
    parser.add_argument("--import-groups", type=int, default=100)
    parser.add_argument("--import-members", type=int, default=500)
    parser.add_argument("--startup-users", type=int, default=10)
    parser.add_argument("--startup-starts", type=int, default=15)
    parser.add_argument("--latency-users", type=int, default=200)
    parser.add_argument("--latency-samples", type=int, default=30)
    arguments = parser.parse_args()
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140)
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        return run(arguments, console)
    except LabError as error:
        console.print(f"✗ {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; everything that was started is stopped.")
        return 130


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(arguments: argparse.Namespace, console: Console) -> int:
    results: dict[str, Any] = report.kept() if arguments.only else {}
    results["machine"] = {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "kubernetes": kubernetes_version(),
        "samba": samba_version().replace("Version", "Samba"),
    }
    with started_lab(console) as lab:
        todo: dict[str, Callable[[], dict[str, Any]]] = {
            "startup": lambda: startup.startup(lab, arguments.startup_users, arguments.startup_starts),
            "latency": lambda: measure.latency(lab, arguments.latency_users, arguments.latency_samples),
            "push": lambda: measure.push(lab, arguments.push_users, arguments.push_rounds),
            "groups": lambda: groups.memberships(lab, arguments.group_users, arguments.groups),
            "restart": lambda: measure.restart(lab, arguments.restart_users),
            "import": lambda: import_.imported(lab, arguments.import_users, arguments.import_groups, arguments.import_members),
        }
        for name in arguments.only or NAMES:
            at, before = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), os.getloadavg()[0]
            with console.status(f"Measuring: {name} …"):
                results[name] = {**todo[name](), "at": at, "load": [before, os.getloadavg()[0]]}
            report.keep(results)  # at once: what fails later shall not take it along
            console.print(f"[green]✓[/] {name}")
    report.show(console, results)
    console.print(f"Kept in {report.LATEST} and {report.PAGE}", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())

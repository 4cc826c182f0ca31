"""How the results are judged, shown and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
LATEST = HERE / "results" / "latest.json"
PAGE = HERE.parent / "docs" / "benchmarks.md"

_STAGES = {"begins": "reaches the API server", "answers": "/readyz answers", "leads": "leads", "ready": "has read the resources"}


class Row(NamedTuple):
    """One line of the table. `good` is None where there is no goal."""

    what: str
    value: str
    goal: str = ""
    good: bool | None = None


def _load(result: Mapping[str, Any]) -> Row:
    """A load average near the number of processors, or above, means that others were at work too, and that times say little."""
    before, after = result["load"]
    return Row("the same, measured at; load average before and after", f"{result['at']}; {before:.1f} → {after:.1f}")


def rows(results: Mapping[str, Any]) -> Iterator[Row]:
    if push := results.get("push"):
        ratio = push["ratio"]
        yield Row(
            f"push of {push['users']} new users with passwords, to Ready: share of ldapadd's rate", f"{ratio:.2f}", "≥ 0.90", ratio >= 0.9
        )
        yield Row("the same, users a second: adsync / ldapadd", f"{push['adsync_per_second']:.1f} / {push['ldapadd_per_second']:.1f}")
        yield Row("the same, each round's share", ", ".join(f"{each['ratio']:.2f}" for each in push["rounds"]))
        yield Row("the same, where the domain controller's process does not come before all others", f"{push['alike']['ratio']:.2f}")
        yield Row("the same, processor time of the domain controller: times ldapadd's", f"{push['domain_controller']:.2f}")
        yield _load(push)
    if groups := results.get("groups"):
        ratio, count = groups["ratio"], groups["users"] * groups["groups"]
        yield Row(
            f"{groups['groups']} new groups of {groups['users']} members each, to the last write: share of ldapmodify's rate", f"{ratio:.2f}",
            "≥ 0.80", ratio >= 0.8,
        )  # fmt: skip
        reference = sum(groups["ldapmodify"]) / 2
        yield Row("the same, memberships a second: adsync / ldapmodify", f"{count / groups['adsync']:.0f} / {count / reference:.0f}")
        yield Row("the same, until all groups, and all users, tell of it", f"{groups['groups_told']:.1f} s, {groups['users_told']:.1f} s")
        silent = groups["usn_moved"], groups["rewritten"]
        yield Row(
            "the same, restart after that: writes to the directory, resources rewritten",
            f"{silent[0]}, {silent[1]}",
            "0, 0",
            not any(silent),
        )
        yield _load(groups)
    if restart := results.get("restart"):
        users = restart["users"]
        yield Row(f"restart with {users} users in sync, until all are compared", f"{restart['settled_seconds']:.1f} s")
        yield Row("the same, processor time of the operator until then", f"{restart['operator_processor_seconds']:.1f} s")
        operations = ", ".join(f"{name} {count}" for name, count in sorted(restart["ldap_operations"].items()))
        yield Row("the same, LDAP operations", f"{restart['ldap_operations_total']} ({operations})")
        yield Row("the same, writes to the directory (highestCommittedUSN)", str(restart["usn_moved"]), "0", not restart["usn_moved"])
        yield Row("the same, users rewritten (resourceVersion)", str(restart["users_rewritten"]), "0", not restart["users_rewritten"])
        yield Row("the same, memory", f"{restart['memory_mib']:.0f} MiB", "< 150 MiB", restart["memory_mib"] < 150)
        yield Row("the same, memory at its peak", f"{restart['memory_peak_mib']:.0f} MiB")
        yield _load(restart)
    if imported := results.get("import"):
        yield from _import_rows(imported)
    if startup := results.get("startup"):
        ready = startup["ready"]
        yield Row("start, from exec of `adsync run` to /readyz saying ok, leading: median", f"{ready / 1000:.2f} s", "< 2 s", ready < 2000)
        slowest = max(each["ready"] for each in startup["starts"])
        yield Row(f"the same, the slowest of {len(startup['starts'])}", f"{slowest / 1000:.2f} s", "< 2 s", slowest < 2000)
        stages = ", ".join(f"{what} {startup[name] / 1000:.2f} s" for name, what in _STAGES.items())
        yield Row("the same, when it did what: medians", stages)
        yield Row("the same, processor time of the operator", f"{startup['processor_seconds']:.2f} s")
        yield _load(startup)
    if latency := results.get("latency"):
        for key, what, goal in (
            ("to_directory_ms", "from a patched spec to the directory", 500),
            ("correction_ms", "from a change in the directory to its correction", 1000),
        ):
            numbers = latency[key]
            yield Row(
                f"{what}, {latency['users']} users present: median", f"{numbers['median']:.0f} ms", f"< {goal} ms", numbers["median"] < goal
            )
            yield Row("the same, 95 of 100 take at most", f"{numbers['p95']:.0f} ms")
        yield _load(latency)


def _import_rows(imported: Mapping[str, Any]) -> Iterator[Row]:
    told = f"import of {imported['users']} users, and {imported['memberships']} memberships in {imported['groups']} groups"
    ratio, minute = imported["ratio"], imported["users"] / imported["seconds"] * 60
    yield Row(f"{told}: share of a bare loop's rate", f"{ratio:.2f}", "≥ 0.60", ratio >= 0.6)
    yield Row("the same, users a second: adsync / bare loop", f"{imported['per_second']:.0f} / {imported['bare_per_second']:.0f}")
    yield Row("the same, users and memberships a minute", f"{minute:.0f}, {imported['memberships'] / imported['groups_seconds'] * 60:.0f}")
    peak = imported["memory_peak_mib"]
    yield Row("the same, memory at its peak", f"{peak:.0f} MiB", "< 300 MiB", peak < 300)
    seconds = ", ".join(f"{name} {spent}" for name, spent in imported["processor_seconds"].items())
    yield Row("the same, processor seconds", seconds)
    took = imported["compared_seconds"]
    yield Row(f"a full comparison of {imported['users']} imported users in step", f"{took:.1f} s", "< 3 s", took < 3)
    silent = imported["usn_moved"], imported["rewritten"]
    yield Row("the same, writes to the directory, resources rewritten", f"{silent[0]}, {silent[1]}", "0, 0", not any(silent))
    for key, way in (("to_directory_ms", "from a patched spec to the directory"), ("to_resource_ms", "from the directory to the spec")):
        yield Row(f"one change with the imported users there, {way}: median", f"{imported[key]:.0f} ms", "< 1000 ms", imported[key] < 1000)
    yield Row("restart after that, until all are compared", f"{imported['restart_seconds']:.1f} s")
    silent = imported["restart_usn_moved"], imported["restart_rewritten"]
    yield Row("the same, writes to the directory, resources rewritten", f"{silent[0]}, {silent[1]}", "0, 0", not any(silent))
    requests = ", ".join(f"{name} {count}" for name, count in sorted(imported["requests"].items()) if count > 10)
    yield Row("the import's requests to the API server", requests)
    yield _load(imported)


def show(console: Console, results: Mapping[str, Any]) -> None:
    table = Table(title="adsync benchmarks", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("goal", justify="right")
    for row in rows(results):
        style = {True: "green", False: "bold red", None: ""}[row.good]
        table.add_row(row.what, f"[{style}]{row.value}[/]" if style else row.value, row.goal)
    console.print(table)
    console.print(about(results), style="dim")


def about(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    return f"{machine['processors']} processors, Python {machine['python']}, Kubernetes {machine['kubernetes']}, {machine['samba']}."


def kept() -> dict[str, Any]:
    """What the last run has left; {} where there was none."""
    try:
        found: dict[str, Any] = json.loads(LATEST.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def keep(results: Mapping[str, Any]) -> None:
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")


def page(results: Mapping[str, Any]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`, which measures against a real API server and a real domain controller (Samba) on one machine, together with the",
        "operator and the measuring program. Ratios say more than rates: a domain controller that serialises its writes is the limit, so the push is",
        "compared with OpenLDAP's `ldapadd` of the same entries on the same domain controller, right before and right after.",
        "Elsewhere a domain controller has a machine of its own. Here its process comes before all others (SCHED_RR) unless a line says otherwise.",
        "",
        "| what | measured | goal |",
        "| --- | ---: | ---: |",
        *(f"| {row.what} | {row.value} | {row.goal} |" for row in rows(results)),
        "",
        about(results),
        "",
        "How each number is taken is told in [`benchmarks/measure.py`](../benchmarks/measure.py); all of them are in",
        "[`benchmarks/results/latest.json`](../benchmarks/results/latest.json).",
    ]
    return "\n".join(lines) + "\n"

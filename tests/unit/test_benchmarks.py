"""How benchmark results are judged and written down; they are measured by `make bench`, never by a test."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import report
from benchmarks.report import Row, page, rows

MACHINE = {"processors": 2, "python": "3.11.2", "kubernetes": "v1.37.2", "samba": "Samba 4.17"}
AT: dict[str, Any] = {"at": "2026-01-01 00:00 UTC", "load": [0.1, 1.2]}


def results(ratio: float = 0.95, median: float = 40.0, moved: int = 0) -> dict[str, Any]:
    latency = {"median": median, "p95": 90.0, "max": 100.0}
    return {
        "machine": MACHINE,
        "push": {
            "users": 400, "rounds": [{"ratio": ratio}], "ratio": ratio, "adsync_per_second": 38.0, "ldapadd_per_second": 40.0,
            "domain_controller": 1.05, "alike": {"ratio": 0.8}, **AT,
        },
        "restart": {
            "users": 2000, "settled_seconds": 3.0, "ldap_operations": {"search": 50, "bind": 1}, "ldap_operations_total": 51,
            "usn_moved": moved, "users_rewritten": 0, "memory_mib": 120.0, "operator_processor_seconds": 2.5, "memory_peak_mib": 130.0, **AT,
        },
        "groups": {
            "users": 1000, "groups": 20, "adsync": 6.0, "ldapmodify": [5.0, 7.0], "ratio": ratio, "groups_told": 8.0, "users_told": 12.0,
            "usn_moved": moved, "rewritten": 0, **AT,
        },
        "latency": {"users": 200, "to_directory_ms": latency, "correction_ms": latency, **AT},
    }  # fmt: skip


def judged(found: dict[str, Any]) -> dict[str, bool | None]:
    return {row.what: row.good for row in rows(found) if row.goal}


def test_all_goals_are_reached() -> None:
    assert all(judged(results()).values())
    assert len(judged(results())) == 8


@pytest.mark.parametrize(("change", "missed"), [({"ratio": 0.89}, 1), ({"median": 1000.0}, 2), ({"moved": 1}, 2), ({"ratio": 0.7}, 2)])
def test_missed_goals_show(change: dict[str, Any], missed: int) -> None:
    assert list(judged(results(**change)).values()).count(False) == missed


def test_a_part_can_be_shown_alone() -> None:
    only = {"machine": MACHINE, "push": results()["push"]}
    assert all(isinstance(row, Row) for row in rows(only))
    assert "restart" not in page(only)


def test_the_page_is_a_table(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LATEST", tmp_path / "results" / "latest.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "benchmarks.md")
    assert report.kept() == {}
    report.keep(results())
    assert report.kept() == results()
    lines = (tmp_path / "benchmarks.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(list(rows(results())))
    assert {line.count("|") for line in table} == {4}

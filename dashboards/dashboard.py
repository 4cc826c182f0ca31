"""The Grafana dashboard, from code: `make dashboard` writes helm/adsync/files/dashboards/adsync.json, which the chart ships.

Every panel's query is written once, here; the tests take them from the JSON and ask a real Prometheus.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueColorMode, TimeZoneBrowser
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode

TARGET = Path(__file__).parents[1] / "helm" / "adsync" / "files" / "dashboards" / "adsync.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
D = '{domain=~"$domain"}'


def query(expression: str, legend: str = "", *, instant: bool = False) -> prometheus.Dataquery:
    made = prometheus.Dataquery().expr(expression).legend_format(legend or "__auto").datasource(SOURCE)
    return made.instant() if instant else made.range()


def thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(value, colour) for value, colour in steps])


def number(title: str, expression: str, description: str, unit: str = "short", *steps: tuple[float | None, str]) -> stat.Panel:
    panel = stat.Panel().title(title).description(description).unit(unit).datasource(SOURCE).height(4).span(4)
    panel.color_mode(BigValueColorMode.BACKGROUND).thresholds(thresholds(*(steps or ((None, "blue"),))))
    return panel.with_target(query(expression, instant=True))


def graph(title: str, description: str, unit: str, *queries: tuple[str, str], span: int = 12) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).description(description).unit(unit).datasource(SOURCE).height(8).span(span).fill_opacity(10)
    for expression, legend in queries:
        panel.with_target(query(expression, legend))
    return panel


def build() -> dashboard.Dashboard:
    made = dashboard.Dashboard("adsync").uid("adsync").tags(["adsync", "active-directory"]).refresh("30s").time("now-6h", "now")
    made.timezone(TimeZoneBrowser).tooltip(1).description("Users, passwords and groups of Active Directory, kept in step with Kubernetes.")
    made.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    made.with_variable(
        dashboard.QueryVariable("domain").label("Domain").datasource(SOURCE).query("label_values(adsync_domain_connected, domain)")
        .include_all(True).multi(True).refresh(2)
    )  # fmt: skip
    bad, good = ((None, "green"), (1, "red")), ((None, "red"), (1, "green"))
    made.with_row(dashboard.Row("At a glance"))
    made.with_panel(number("At work", "sum(adsync_leader)", "Operators that hold the lease: always 1.", "short", *good))
    made.with_panel(
        number("Domains away", f"count(adsync_domain_connected{D} == 0) or vector(0)", "Domains without a connection.", "short", *bad)
    )
    made.with_panel(number("In step", 'sum(adsync_resources{domain=~"$domain",state="synced"})', "Users and groups that AD agrees with."))
    made.with_panel(
        number(
            "Failing",
            'sum(adsync_resources{domain=~"$domain",state="failed"}) or vector(0)',
            "They need somebody's attention.",
            "short",
            *bad,
        )
    )
    made.with_panel(
        number(
            "Held removals",
            f'sum(adsync_held_changes{D}) or sum(adsync_resources{{domain=~"$domain",reason="SafetyLimit"}}) or vector(0)',
            "Held by the safety limit until somebody approves.",
            "short",
            *bad,
        )
    )
    made.with_panel(
        number(
            "Reaches AD in",
            f"histogram_quantile(0.95, sum by (le) (rate(adsync_sync_seconds_bucket{D}[$__rate_interval])))",
            "Nineteen of twenty changes are confirmed by AD within this time.",
            "s",
            (None, "green"),
            (10, "orange"),
            (60, "red"),
        )
    )

    made.with_row(dashboard.Row("Resources"))
    made.with_panel(
        graph(
            "Not in step, by reason",
            "Users and groups whose Ready condition is not True.",
            "short",
            ('sum by (domain, kind, reason) (adsync_resources{domain=~"$domain",state!="synced"})', "{{domain}} {{kind}} {{reason}}"),
        )
    )
    made.with_panel(
        table.Panel().title("Now").description("How many users and groups there are in each state.").datasource(SOURCE).height(8).span(12)
        .with_target(query(f"sum by (domain, kind, state, reason) (adsync_resources{D}) > 0", instant=True).format("table"))
    )  # fmt: skip
    made.with_row(dashboard.Row("Changes"))
    made.with_panel(
        graph(
            "From event to AD",
            "How long a change takes until AD confirms it.",
            "s",
            (f"histogram_quantile(0.5, sum by (domain, le) (rate(adsync_sync_seconds_bucket{D}[$__rate_interval])))", "{{domain}} median"),
            (f"histogram_quantile(0.99, sum by (domain, le) (rate(adsync_sync_seconds_bucket{D}[$__rate_interval])))", "{{domain}} 99 %"),
        )
    )
    made.with_panel(
        graph(
            "Passwords and drift",
            "Passwords sent, and values that somebody else changed in AD and adsync set back.",
            "ops",
            (f"sum by (domain, result) (rate(adsync_password_pushes_total{D}[$__rate_interval]))", "{{domain}} passwords {{result}}"),
            (f"sum by (domain) (rate(adsync_drift_reverted_total{D}[$__rate_interval]))", "{{domain}} drift"),
        )
    )
    made.with_row(dashboard.Row("Directory"))
    made.with_panel(
        graph(
            "LDAP operations",
            "By kind and result code; 0 is success.",
            "ops",
            (
                f"sum by (operation, result) (rate(adsync_ldap_operation_duration_seconds_count{D}[$__rate_interval]))",
                "{{operation}} {{result}}",
            ),
        )
    )
    made.with_panel(
        graph(
            "LDAP latency, 99 %",
            "From sending an operation to the end of its answer.",
            "s",
            (
                f"histogram_quantile(0.99, sum by (operation, le) (rate(adsync_ldap_operation_duration_seconds_bucket{D}[$__rate_interval])))",
                "{{operation}}",
            ),
        )
    )
    made.with_panel(
        graph(
            "Feed lag",
            "How long ago the change feed was last read to its end.",
            "s",
            (f"max by (domain) (adsync_feed_lag_seconds{D})", "{{domain}}"),
            span=8,
        )
    )
    made.with_panel(
        graph(
            "Connections",
            "1: connected.",
            "short",
            (f"max by (domain) (adsync_domain_connected{D})", "{{domain}}"),
            (f"sum by (domain) (increase(adsync_domain_failovers_total{D}[$__rate_interval]))", "{{domain}} changes of DC"),
            (f"sum by (domain) (increase(adsync_bind_failures_total{D}[$__rate_interval]))", "{{domain}} refused binds"),
            span=8,
        )
    )
    made.with_panel(
        graph(
            "Full comparison",
            "How long a comparison of everything takes.",
            "s",
            (f"histogram_quantile(0.95, sum by (domain, le) (rate(adsync_full_sync_duration_seconds_bucket{D}[1h])))", "{{domain}}"),
            span=8,
        )
    )
    made.with_row(dashboard.Row("Operator"))
    made.with_panel(
        graph(
            "Kubernetes API",
            "Requests by method, resource and status.",
            "ops",
            (
                "sum by (method, resource, status) (rate(adsync_api_request_duration_seconds_count[$__rate_interval]))",
                "{{method}} {{resource}} {{status}}",
            ),
            span=8,
        )
    )
    made.with_panel(
        graph(
            "Status and events",
            "Statuses written, and events left out.",
            "ops",
            ("sum by (kind, result) (rate(adsync_status_writes_total[$__rate_interval]))", "{{kind}} {{result}}"),
            ("sum by (cause) (rate(adsync_events_dropped_total[$__rate_interval]))", "events {{cause}}"),
            span=8,
        )
    )
    made.with_panel(
        graph(
            "Memory",
            "Resident memory of each replica.",
            "bytes",
            ("process_resident_memory_bytes * on (job, instance) group_left () adsync_build_info", "{{instance}}"),
            span=8,
        )
    )
    return made


def main() -> None:
    text = JSONEncoder(sort_keys=True, indent=1).encode(build().build()) + "\n"
    if "--check" in sys.argv:
        if TARGET.read_text() != text:
            sys.exit("the dashboard is not the one that dashboards/dashboard.py makes: run `make dashboard`")
        return
    TARGET.write_text(text)


if __name__ == "__main__":
    main()

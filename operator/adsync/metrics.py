"""The operator's metrics, all in one place. `domain` is "namespace/name" of the ADDomain; all durations are in seconds.

No label ever holds a user's or a group's name: that would make a series for each person.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from adsync.version import VERSION

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900)


class Metrics:
    """One set of metrics in a registry of its own, so that two can live in one process (tests)."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        self.build_info = Gauge("adsync_build_info", "Always 1; the version is in the label.", ["version"], registry=registry)
        self.build_info.labels(VERSION).set(1)
        self.leader = Gauge("adsync_leader", "1 where this process does the work, 0 while it stands by.", registry=registry)

        # Resources
        self.resources = Gauge(
            "adsync_resources",
            "Resources bound to a domain, by kind, state (synced, pending, failed) and the reason of their Ready condition.",
            ["kind", "domain", "state", "reason"],
            registry=registry,
        )
        self.sync_seconds = Histogram(
            "adsync_sync_seconds",
            "From an event of Kubernetes to its effect confirmed by a read from the directory.",
            ["domain", "kind"],
            buckets=_SLOW,
            registry=registry,
        )
        self.held_changes = Gauge("adsync_held_changes", "Changes held back by the safety limit.", ["domain"], registry=registry)
        self.changes = Counter(
            "adsync_changes",
            "Changes sent to the directory, by verb (add, modify, move, delete, members) and result (ok, refused, unavailable).",
            ["domain", "verb", "result"],
            registry=registry,
        )
        self.drift_reverted = Counter(
            "adsync_drift_reverted", "Values changed in the directory by somebody else and set back.", ["domain"], registry=registry
        )
        self.password_pushes = Counter(
            "adsync_password_pushes",
            "Passwords sent to a directory, by result (ok, rejected, failed).",
            ["domain", "result"],
            registry=registry,
        )

        # Directory
        self.domain_connected = Gauge(
            "adsync_domain_connected", "1 while there is a connection to a domain controller of the domain.", ["domain"], registry=registry
        )
        self.ldap_operation_seconds = Histogram(
            "adsync_ldap_operation_duration_seconds",
            "One LDAP operation, from sending it to the end of its answer.",
            ["domain", "operation", "result"],
            buckets=_FAST,
            registry=registry,
        )
        self.feed_lag_seconds = Gauge(
            "adsync_feed_lag_seconds",
            "How long ago the domain's change feed was last known to be read to its end.",
            ["domain"],
            registry=registry,
        )
        self.full_sync_seconds = Histogram(
            "adsync_full_sync_duration_seconds", "One full comparison of a domain.", ["domain"], buckets=_SLOW, registry=registry
        )
        self.failovers = Counter("adsync_domain_failovers", "Changes of the domain controller.", ["domain"], registry=registry)
        self.bind_failures = Counter(
            "adsync_bind_failures",
            "Refused binds of the service account. Each may count towards its lockout.",
            ["domain"],
            registry=registry,
        )

        # Kubernetes
        self.status_writes = Counter(
            "adsync_status_writes",
            "Attempts to write a status, by result (written, unchanged, gone, conflict, retried, refused).",
            ["kind", "result"],
            registry=registry,
        )
        self.status_pending = Gauge("adsync_status_pending", "Resources whose status waits to be written.", registry=registry)
        self.events_posted = Counter("adsync_events_posted", "Kubernetes events posted.", ["type"], registry=registry)
        self.events_dropped = Counter(
            "adsync_events_dropped",
            "Kubernetes events left out, by cause (repeated, overflow, refused).",
            ["cause"],
            registry=registry,
        )
        self.api_request_seconds = Histogram(
            "adsync_api_request_duration_seconds",
            "One request to the Kubernetes API, by method, resource and HTTP status (0: no answer). Watches are not in it.",
            ["method", "resource", "status"],
            buckets=_FAST,
            registry=registry,
        )
        self.missing_rights = Gauge(
            "adsync_missing_rights",
            "In how many namespaces (all of them: 1) the operator may not list or watch a resource, and so misses changes.",
            ["verb", "resource"],
            registry=registry,
        )
        self.watch_events = Counter("adsync_watch_events", "Events received from the Kubernetes API.", ["kind", "type"], registry=registry)

    def observe_request(self, method: str, resource: str, status: int, seconds: float) -> None:
        """For `Cluster.connect`."""
        self.api_request_seconds.labels(method, resource, str(status)).observe(seconds)

    def show_missing_rights(self, counts: Mapping[tuple[str, str], int]) -> None:
        """By verb and resource; 0 where none is missing."""
        for (verb, resource), number in counts.items():
            self.missing_rights.labels(verb, resource).set(number)

    def count_status_write(self, kind: str, result: str) -> None:
        """For `StatusWriter`."""
        self.status_writes.labels(kind, result).inc()

    def count_posted_event(self, type_: str) -> None:
        """For `EventRecorder`."""
        self.events_posted.labels(type_).inc()

    def count_dropped_event(self, cause: str) -> None:
        """For `EventRecorder`."""
        self.events_dropped.labels(cause).inc()

    def expect_domain(self, domain: str) -> None:
        """Makes the series that alerts are about, before there is anything to tell: what never was can neither be 0 nor increase."""
        self.domain_connected.labels(domain).set(0)
        self.bind_failures.labels(domain)
        for result in ("ok", "rejected", "failed"):
            self.password_pushes.labels(domain, result)

    def forget_domain(self, domain: str) -> None:
        """Removes the gauges of a domain that is gone; its counters stay, as rates over them must not jump."""
        for gauge in (self.resources, self.held_changes, self.domain_connected, self.feed_lag_seconds):
            gauge.remove_by_labels({"domain": domain})

    async def exposition(self) -> tuple[int, str, bytes]:
        """The answer to GET /metrics (Prometheus text format 0.0.4)."""
        return 200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self.registry)

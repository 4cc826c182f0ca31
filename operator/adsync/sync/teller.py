"""What a domain tells of itself: its facts gathered and written into the ADDomain's status, at most once a second, and into the metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from adsync.core.domain_report import DomainFacts, Finding, count_reasons, domain_status
from adsync.core.identity import Verdict
from adsync.core.safety import digest_of
from adsync.core.scope import Scope
from adsync.metrics import Metrics
from adsync.resources import names
from adsync.resources.addomain import Mode
from adsync.resources.addomain_status import DomainController, GroupCounts, PlannedChanges, ScopeGroupStatus, UserCounts
from adsync.resources.conditions import ConditionType, Reason
from adsync.sync.guard import Guard
from adsync.sync.reports import Reports, Standing
from adsync.sync.session import Session
from adsync.sync.store import GROUP, USER, Key, Resource, Store

_PAUSE_SECONDS = 1.0
_SAMPLE = 20
_GROWING_LOOKS = 10  # so often at most is the set of held changes waited for, a second each time, while it becomes larger


class Teller:
    """`facts` is changed by whoever knows better; `tell` has it written soon. `session` is set while there is one."""

    def __init__(self, key: Key, store: Store, reports: Reports, metrics: Metrics) -> None:
        self.key = key
        self.name = f"{key.namespace}/{key.name}"
        self.facts = DomainFacts(Verdict(Reason.PROGRESSING, "connecting"), 0)
        self.session: Session | None = None
        self.guard: Guard | None = None
        self.controller: DomainController | None = None
        self.requested = ""  # the value of reconcile-requested-at that a comparison is for which is due, under way, or done
        self.requested_since = float("-inf")  # by the loop's clock
        self._store = store
        self._reports = reports
        self._metrics = metrics
        self._timer: asyncio.TimerHandle | None = None
        self._unseen, self._looks = 0, 0
        self._told_at = 0.0

    def tell(self) -> None:
        """Have the status written soon."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, self._told_at + _PAUSE_SECONDS - loop.time()), self._tell_now)

    def close(self) -> None:
        """The domain is gone: tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._metrics.forget_domain(self.name)

    def _tell_now(self) -> None:
        self._timer = None
        self._told_at = asyncio.get_running_loop().time()
        resource = self._store.resources.get(self.key)
        if resource is None:
            return
        self._gather(resource)
        facts = self.facts
        self._reports.writer.submit(*self.key, resource.uid, lambda status: domain_status(status, facts, datetime.now(UTC)), part="domain")

    def _gather(self, resource: Resource) -> None:
        facts = self.facts
        standings = self._reports.standings(self.key)
        by_kind = {kind: [standing for key, standing in standings.items() if key.kind == kind] for kind in (USER, GROUP)}
        reasons = {kind: Counter(standing.reason for standing in by_kind[kind]) for kind in by_kind}
        imported = {kind: sum(standing.imported for standing in by_kind[kind]) for kind in by_kind}
        suspended = sum(standing.suspended for standing in by_kind[USER])
        facts.users = UserCounts(**count_reasons(reasons[USER]), imported=imported[USER], suspended=suspended)
        facts.groups = GroupCounts(**count_reasons(reasons[GROUP]), imported=imported[GROUP])
        self._measure(reasons)
        self._gather_safety(resource)
        if self.session is not None:
            self._gather_session(self.session, resource, standings)

    def _gather_safety(self, resource: Resource) -> None:
        facts = self.facts
        if (guard := self.guard) is None:
            return
        # Showing a set freezes it. Whoever deletes thirty users should not have to approve two, and then the other twenty-eight.
        growing, unseen = guard.unseen > self._unseen and self._looks < _GROWING_LOOKS, guard.unseen
        self._unseen, self._looks = (unseen, self._looks + 1) if growing else (0, 0)
        planned = None if growing else guard.planned()
        facts.safety, facts.planned = guard.status(), planned
        self._metrics.held_changes.labels(self.name).set(facts.safety.held or 0 if facts.safety else 0)
        finding = Finding(True, "WithinLimit")
        if planned is not None:
            said = f"{_held(planned.count)}; approve them with annotation {names.APPROVE}={planned.digest}"
            more = f"; {guard.later} that came later form the next set" if guard.later else ""
            finding = Finding(False, "ChangesHeld", said + more)
            if unseen:
                shown = f"{_held(planned.count)}; status.plannedChanges shows what, with the digest to approve"
                self._reports.event(resource, str(Reason.SAFETY_LIMIT), shown, warning=True)
        elif growing:
            finding = Finding(False, "ChangesHeld", f"{_held(unseen)}; the digest to approve follows when no more are coming")
            self.tell()
        facts.findings[ConditionType.WITHIN_SAFETY_LIMIT] = finding

    def _gather_session(self, session: Session, resource: Resource, standings: Mapping[Key, Standing]) -> None:
        facts = self.facts
        facts.generation = resource.generation
        facts.refused = ""
        facts.full_sync, facts.seen, facts.policy = session.full_at, datetime.now(UTC), session.place.policy
        facts.controller = self.controller
        if session.imports.active and session.full_at is not None:
            self._gather_scope(session.imports.scope, resource)
        if session.feed is not None and self.controller is not None:
            self.controller.highest_committed_usn = max(self.controller.highest_committed_usn or 0, session.feed.mark)
            self._metrics.feed_lag_seconds.labels(self.name).set(session.feed.lag)
        if session.full_at is None:
            facts.verdict = Verdict(Reason.PROGRESSING, "reading the directory")
            return
        if session.compared_from >= self.requested_since:
            facts.requested_at = self.requested
        facts.verdict = Verdict(Reason.SYNCED, "")
        if (within := facts.findings.get(ConditionType.WITHIN_SAFETY_LIMIT)) is not None and within.status is False:
            facts.verdict = Verdict(Reason.SAFETY_LIMIT, within.message)
        elif resource.spec is not None and resource.spec.mode is Mode.OBSERVE:
            said = "mode Observe: changes are planned and reported, nothing is written to the directory"
            facts.verdict, facts.planned = Verdict(Reason.OBSERVING, said), _planned(standings)
        elif session.imports.complaint:
            facts.verdict = Verdict(Reason.PROGRESSING, f"not everybody in scope is imported yet: {session.imports.complaint}")

    def _gather_scope(self, scope: Scope, resource: Resource) -> None:
        facts, named = self.facts, resource.spec.scope_group if resource.spec is not None else ""
        if scope.group is None:
            missing = (
                f"spec.scopeGroup {named!r} is not below the root container, or can't be read; nobody is imported or removed meanwhile"
            )
            facts.findings[ConditionType.SCOPE_FOUND] = Finding(False, "GroupNotFound", missing)
            return
        unread = "the members of a group in scope can't be read; nobody is removed meanwhile"
        facts.findings[ConditionType.SCOPE_FOUND] = Finding(True, "Found") if scope.complete else Finding(False, "MembersUnknown", unread)
        facts.scope_group = ScopeGroupStatus(
            distinguished_name=str(scope.group.dn), members=len(scope.users) + len(scope.groups), elsewhere=scope.elsewhere
        )

    def _measure(self, reasons: Mapping[str, Counter[Reason | None]]) -> None:
        gauge = self._metrics.resources
        gauge.remove_by_labels({"domain": self.name})
        for kind, counts in reasons.items():
            for reason, number in counts.items():
                (state,) = (name for name, count in count_reasons({reason: 1}).items() if count and name != "total")
                gauge.labels(kind, self.name, state, str(reason)).set(number)


def _held(count: int | None) -> str:
    return f"{count or 0} change{' is' if count == 1 else 's are'} held"


def _planned(standings: Mapping[Key, Standing]) -> PlannedChanges | None:
    """What would be done, were the mode not Observe."""
    planned = {str(key): "; ".join(standing.planned) for key, standing in standings.items() if standing.planned}
    if not planned:
        return None
    sample = [f"{key}: {changes}"[:1024] for key, changes in sorted(planned.items())[:_SAMPLE]]
    return PlannedChanges(count=len(planned), digest=digest_of(planned), sample=sample)

"""One domain's loop: set up, connect, work until something ends it, say why, begin again. It ends when the ADDomain is gone.

spec invalid, paused, something missing   halt until it changes
credentials refused                       halt until they change, or an hour is over: the account must not be locked out
no server, certificate refused            halt, tried again after a growing pause, and at once when the CA or the spec changes
connected                                 a session, until the connection or the set-up ends it
being deleted                             the session lets go of everything, then the ADDomain goes
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from adsync.cluster.client import Cluster
from adsync.core.dn import DN
from adsync.core.domain_report import DomainFacts, Finding, count_reasons, domain_status
from adsync.core.entries import Entry
from adsync.core.identity import Verdict
from adsync.core.safety import digest_of
from adsync.directory.directory import Directory
from adsync.directory.model import DomainInfo
from adsync.errors import (
    CertificateRejected,
    ClusterError,
    CredentialsRejected,
    DirectoryError,
    DirectoryUnavailable,
    InvalidSpec,
    NoSuchObject,
)
from adsync.health import Beat
from adsync.metrics import Metrics
from adsync.resources import names
from adsync.resources.addomain import Mode
from adsync.resources.addomain_status import ADDomainStatus, DomainController, GroupCounts, PlannedChanges, PreviousController, UserCounts
from adsync.resources.conditions import ConditionType, Reason
from adsync.resources.reading import read_status
from adsync.sync.dirty import DirtySet
from adsync.sync.guard import Guard
from adsync.sync.mirror import Mirror
from adsync.sync.offline import Offline
from adsync.sync.readback import ReadBack
from adsync.sync.reports import Reports, Standing, as_object
from adsync.sync.session import Session
from adsync.sync.setup import Halt, Setup, set_up
from adsync.sync.store import GROUP, USER, Key, Resource, Store
from adsync.sync.workplace import Memory, Workplace

_log = structlog.get_logger(__name__)

_BACKOFF = (0.5, 30.0)
_REFUSED_SECONDS = 3600.0
_CAUGHT_UP_GRACE = timedelta(hours=1)
_CATCH_UP_SECONDS = 15.0
_STATUS_SECONDS = 1.0
_CHECK_SECONDS = 300.0
_SAMPLE = 20
_LEAVING, _USERS, _NEW_USERS, _GROUPS = range(4)
_GROUPS_WAIT_SECONDS = 2.0  # for users that are under way, so that they join their groups together


@dataclass(slots=True)
class Shared:
    """What the domains have in common. `refused` remembers credentials that a directory refused: their digest → until when (loop time)."""

    store: Store
    cluster: Cluster
    reports: Reports
    metrics: Metrics
    cluster_uid: str
    resolvers: tuple[str, ...]
    may_write: Callable[[], bool]
    refused: dict[str, float] = field(default_factory=dict)


class DomainLoop:
    """`mark` says that a resource needs a look in this domain, `changed` that the domain itself, or what it refers to, may be another."""

    def __init__(self, key: Key, shared: Shared, beat: Beat) -> None:
        self.key = key
        self.shared = shared
        self._beat = beat
        self.dirty: DirtySet[Key] = DirtySet(self._rank, {_GROUPS: _GROUPS_WAIT_SECONDS})
        self._changed = asyncio.Event()
        self._memory = Memory()
        self._failures = 0
        self._controller: DomainController | None = None
        self._session: Session | None = None
        self._setup: Setup | None = None
        self._facts = DomainFacts(Verdict(Reason.PROGRESSING, "connecting"), 0)
        self._told_at = 0.0
        self._teller: asyncio.TimerHandle | None = None
        self._guard: Guard | None = None
        self._requested = ""
        self._name = f"{key.namespace}/{key.name}"

    @property
    def resource(self) -> Resource | None:
        return self.shared.store.resources.get(self.key)

    def mark(self, key: Key) -> None:
        self.dirty.add(key)

    def changed(self) -> None:
        self._changed.set()

    def _rank(self, key: Key) -> int:
        """Those who are leaving first (a domain that is going serves them before it lets go of the rest), then users, then groups."""
        resource = self.shared.store.resources.get(key)
        if resource is not None and resource.deleting:
            return _LEAVING
        if key.kind != USER:
            return _GROUPS
        # A suspension must not wait for the ten thousand accounts that are just being made.
        return _USERS if resource is not None and resource.status.get("domains") else _NEW_USERS

    # --- life ---

    async def run(self) -> None:
        """Returns when the ADDomain is gone."""
        try:
            while (resource := self.resource) is not None:
                self._changed.clear()
                self._beat.beat()
                try:
                    await self._serve(resource)
                except Halt as halt:
                    await self._rest(halt)
                except ClusterError as error:
                    _log.warning("the API server can't be asked", domain=self._name, error=str(error))
                    await self._pause(self._backoff())
        finally:
            self.shared.reports.forget_domain(self.key)
            self.shared.metrics.forget_domain(self._name)
            self._beat.close()
            if self._teller is not None:
                self._teller.cancel()

    async def _serve(self, resource: Resource) -> None:
        """One set-up, one connection, one session. Raises Halt when it can't go on."""
        if not resource.held and not resource.deleting:
            obj = await self.shared.cluster.add_finalizer(as_object(resource), names.FINALIZER)
            if obj is None:
                await self._pause(_BACKOFF[0])
                return
            self.shared.reports.taken(resource.key.kind, obj)
        setup = await self._set_up(resource)
        if self.shared.refused.get(setup.credentials, 0.0) > asyncio.get_running_loop().time():
            raise self._refused(
                setup, "the directory refused these credentials before; they are tried again when the Secret changes, or in an hour"
            )
        try:
            directory = await Directory.connect(setup.target, self._observe)
        except CredentialsRejected as error:
            self.shared.metrics.bind_failures.labels(self._name).inc()
            self.shared.refused[setup.credentials] = asyncio.get_running_loop().time() + _REFUSED_SECONDS
            raise self._refused(setup, str(error)) from None
        except CertificateRejected as error:
            raise Halt(Verdict(Reason.CERTIFICATE_REJECTED, str(error)), ConditionType.CONNECTED, retry=self._backoff()) from None
        except InvalidSpec as error:
            raise Halt(Verdict(Reason.INVALID_SPEC, str(error)), ConditionType.CONNECTED, retry=self._backoff()) from None
        except DirectoryError as error:
            raise self._unavailable(error) from None
        try:
            await self._work(resource, setup, directory)
        except DirectoryUnavailable as error:
            raise self._unavailable(error) from None
        except DirectoryError as error:
            verdict = Verdict(Reason.DIRECTORY_ERROR, str(error))
            raise Halt(verdict, ConditionType.CONNECTED, retry=self._backoff()) from None
        finally:
            self._session = None
            self.shared.metrics.domain_connected.labels(self._name).set(0)
            await directory.close()

    async def _set_up(self, resource: Resource) -> Setup:
        """As set_up; a domain that is being deleted works with what it remembers where the Secrets have gone before it."""
        try:
            self._setup = await set_up(resource, self.shared.store, self.shared.cluster, self.shared.cluster_uid, self.shared.resolvers)
        except Halt:
            if not resource.deleting:
                raise
            if self._setup is None:
                await self._give_up(resource)
                raise
        assert self._setup is not None
        return self._setup

    async def _work(self, resource: Resource, setup: Setup, directory: Directory) -> None:
        place = await self._prepare(resource, setup, directory)
        session = self._session = Session(place, self.dirty, self._beat.beat, self._tell)
        self._failures = 0
        self.shared.refused.pop(setup.credentials, None)
        _log.info("connected", domain=self._name, server=directory.info.url)
        work = asyncio.create_task(session.run(), name=f"session {self._name}")
        watch = asyncio.create_task(self._watch(setup, place), name=f"watch {self._name}")
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            for task in (work, watch):
                if task.done():
                    task.result()
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.wait((work, watch))

    async def _watch(self, setup: Setup, place: Workplace) -> None:
        """Returns when the session must end: another set-up, or the domain is gone."""
        checked = asyncio.get_running_loop().time()
        catch_up = 0.0
        while True:
            loop = asyncio.get_running_loop()
            resource = self.resource
            if resource is None:
                return
            if resource.deleting and await self._finish_deletion(resource):
                return
            if not place.absence_proven and loop.time() >= catch_up:
                place.absence_proven = await self._has_caught_up(place.directory)
                catch_up = loop.time() + _CATCH_UP_SECONDS
                if place.absence_proven and self._session:
                    self._session.compare_all()
            if loop.time() - checked > _CHECK_SECONDS:
                checked = loop.time()
                await self._check(place)
            pause = 0.2 if resource.deleting else _CATCH_UP_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)
            if not self._changed.is_set():
                self._tell()
                continue
            self._changed.clear()
            if (resource := self.resource) is None:
                return
            self._handle_annotations(resource, place)
            if not resource.deleting:
                try:
                    now = await set_up(resource, self.shared.store, self.shared.cluster, self.shared.cluster_uid, self.shared.resolvers)
                except ClusterError:
                    self._changed.set()
                    await asyncio.sleep(_BACKOFF[0])
                    continue
                if now.fingerprint != setup.fingerprint:
                    return

    def _handle_annotations(self, resource: Resource, place: Workplace) -> None:
        if resource.requested and resource.requested != self._requested and self._session is not None:
            self._requested = resource.requested
            self._session.compare_all()
        if digest := resource.annotations.get(names.APPROVE, ""):
            approved = set(place.guard.approve(digest))
            for key in place.store.bound_to(self.key):
                if str(key) in approved:
                    self.dirty.add(key)
            if approved:
                self.shared.reports.event(resource, "Approved", f"{len(approved)} held changes with digest {digest} were let through")

    # --- preparing a session ---

    async def _prepare(self, resource: Resource, setup: Setup, directory: Directory) -> Workplace:
        shared, spec, rules = self.shared, resource.spec, setup.rules
        recorded = read_status(ADDomainStatus, resource.status)
        if self._guard is None:
            self._guard = Guard(spec.safety, recorded.safety)
        self._guard.update(spec.safety)
        await self._require_container(rules.container, directory)
        policy = await directory.read_policy()
        mirror = Mirror()

        place = Workplace(
            domain=self.key,
            store=shared.store,
            cluster=shared.cluster,
            reports=shared.reports,
            metrics=shared.metrics,
            guard=self._guard,
            memory=self._memory,
            directory=directory,
            rules=rules,
            policy=policy,
            mirror=mirror,
            readback=ReadBack(directory, self._read_back, lambda: self._session.place.writes_under_way if self._session else 0),
            may_write=shared.may_write,
        )
        self._controller = self._next_controller(recorded.domain_controller, directory.info)
        place.absence_proven = self._controller.previous is None or await self._has_caught_up(directory)
        self._facts = DomainFacts(self._verdict(spec.mode), resource.generation, policy=policy, controller=self._controller)
        self._facts.findings[ConditionType.CONNECTED] = Finding(True, "Connected", f"signed in at {directory.info.url}")
        self._facts.findings[ConditionType.CREDENTIALS_VALID] = Finding(True, "Accepted")
        shared.metrics.domain_connected.labels(self._name).set(1)
        await self._check(place)
        return place

    def _read_back(self, entry: Entry) -> None:
        if self._session is not None and self._session.feed is not None:
            self._session.feed.take(entry)

    async def _require_container(self, container: DN, directory: Directory) -> None:
        if not await directory.exists(container):
            said = f"spec.rootUserContainer {container} does not exist, or can't be read by the service account; create it, or correct the spec"
            raise Halt(Verdict(Reason.INVALID_SPEC, said), ConditionType.SCOPE_FOUND, retry=self._backoff())

    async def _check(self, place: Workplace) -> None:
        """What is looked at now and then besides the accounts: the container, rights, the scope group, traces of Entra Connect."""
        findings, directory = self._facts.findings, place.directory
        await self._require_container(place.rules.container, directory)
        try:
            rights = await directory.read_rights(place.rules.container)
        except NoSuchObject:
            return
        self._facts.missing_rights, self._facts.excess_rights = rights.missing, rights.excess
        lacking = f"the service account lacks: {', '.join(rights.missing)}"
        findings[ConditionType.RIGHTS_SUFFICIENT] = (
            Finding(False, "RightsMissing", lacking) if rights.missing else Finding(True, "Sufficient", _excess(rights.excess))
        )
        traces = await directory.detect_entra()
        warning = "two password authorities may be at work; traces: " + ", ".join(traces)
        findings[ConditionType.ENTRA_CONNECT_DETECTED] = Finding(True, "TracesFound", warning) if traces else Finding(False, "NoTraces")
        if scope := place.rules.spec.scope_group:
            found = (
                await directory.exists(DN.parse(scope))
                if "=" in scope
                else bool(await directory.find(sams=[scope], base=place.rules.container))
            )
            missing = f"spec.scopeGroup {scope!r} is not below {place.rules.container}"
            findings[ConditionType.SCOPE_FOUND] = Finding(True, "Found") if found else Finding(False, "GroupNotFound", missing)
        else:
            findings[ConditionType.SCOPE_FOUND] = Finding(True, "ContainerFound", "no scope group is named")

    # --- which domain controller, and whether its absences count ---

    def _next_controller(self, recorded: DomainController | None, info: DomainInfo) -> DomainController:
        """Another server, or another copy of the database on the same one, knows nothing of what the last one had and it has not yet."""
        last = self._controller or recorded
        controller = DomainController(
            url=info.url,
            ds_service_name=info.ds_service_name,
            invocation_id=info.invocation_id or None,
            highest_committed_usn=info.highest_committed_usn,
        )
        if last is None or not last.ds_service_name:
            return controller
        if last.ds_service_name == info.ds_service_name and (last.invocation_id or "") == info.invocation_id:
            controller.previous = last.previous
        else:
            self.shared.metrics.failovers.labels(self._name).inc()
            controller.previous = PreviousController(
                ds_service_name=last.ds_service_name,
                invocation_id=last.invocation_id,
                highest_committed_usn=last.highest_committed_usn,
                since=datetime.now(UTC),
            )
        return controller

    async def _has_caught_up(self, directory: Directory) -> bool:
        """Whether this server is known to have all that the previous one had: by its replication cursor, or because long enough has passed."""
        assert self._controller is not None
        previous = self._controller.previous
        if previous is None:
            return True
        cursor = await directory.replication_cursor(previous.invocation_id) if previous.invocation_id else None
        caught_up = cursor is not None and cursor >= (previous.highest_committed_usn or 0)
        waited = previous.since is None or datetime.now(UTC) - previous.since > _CAUGHT_UP_GRACE
        if caught_up or (cursor is None and waited):
            self._controller.previous = None
            return True
        return False

    # --- halting ---

    def _refused(self, setup: Setup, message: str) -> Halt:
        self._facts.refused = setup.credentials
        return Halt(Verdict(Reason.CREDENTIALS_REJECTED, message), ConditionType.CREDENTIALS_VALID, retry=_REFUSED_SECONDS)

    def _unavailable(self, error: DirectoryError) -> Halt:
        return Halt(Verdict(Reason.DOMAIN_UNAVAILABLE, str(error)), ConditionType.CONNECTED, retry=self._backoff())

    def _backoff(self) -> float:
        self._failures += 1
        return min(_BACKOFF[1], _BACKOFF[0] * 2.0 ** min(self._failures - 1, 10))

    async def _rest(self, halt: Halt) -> None:
        """Say why nothing goes on, to whoever asks for something meanwhile, until something changes or the time is over."""
        resource = self.resource
        if resource is None:
            return
        _log.warning("not at work", domain=self._name, reason=str(halt.verdict.reason), message=halt.verdict.message)
        if self._facts.verdict != halt.verdict:
            self.shared.reports.event(resource, str(halt.verdict.reason), halt.verdict.message, warning=True)
        self._facts.verdict, self._facts.generation = halt.verdict, resource.generation
        findings = self._facts.findings
        if halt.condition is not None:
            findings[halt.condition] = Finding(False, str(halt.verdict.reason), halt.verdict.message)
        if halt.condition is ConditionType.CREDENTIALS_VALID:
            findings[ConditionType.CONNECTED] = Finding(False, str(halt.verdict.reason), "not signed in")
        if halt.verdict.reason is not Reason.CREDENTIALS_REJECTED:
            self._facts.refused = ""
        self._tell()
        offline = Offline(self.key, self.shared.store, self.shared.reports, halt.verdict)
        await self._pause(halt.retry, offline)

    async def _pause(self, seconds: float | None, offline: Offline | None = None) -> None:
        """Wait until something changes or the time is over; the beat goes on, and resources get their answer."""
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        while not self._changed.is_set() and (until is None or loop.time() < until) and self.resource is not None:
            self._beat.beat()
            while offline is not None and (taken := self.dirty.take_nowait()) is not None:
                self.dirty.done(taken[0])
                await offline.look(taken[0])
            rest = 1.0 if until is None else min(1.0, until - loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), max(0.01, min(rest, 0.2 if offline else 1.0)))

    # --- going ---

    async def _finish_deletion(self, resource: Resource) -> bool:
        """Let the ADDomain go once everything that was bound to it has been let go of. Resources of a namespace that is going are waited for."""
        reports, store = self.shared.reports, self.shared.store
        for key in store.bound_to(self.key):
            other = store.resources.get(key)
            if other is None or reports.has_released(key, self.key):
                continue
            if key not in self.dirty and not (other.key.namespace in store.terminating and not other.deleting):
                self.dirty.add(key)
            return False
        await self.shared.cluster.remove_finalizer(as_object(resource), names.FINALIZER)
        return True

    async def _give_up(self, resource: Resource) -> None:
        """Being deleted, with credentials that are gone for good: nothing more can be done in the directory, so everything is let go of."""
        said = f"ADDomain {self._name} is being deleted and its credentials are gone: the account stays in the directory as it is"
        for key in list(self.shared.store.bound_to(self.key)):
            other = self.shared.store.resources.get(key)
            if other is not None and (other.deleting or other.key.namespace not in self.shared.store.terminating):
                if other.held:
                    self.shared.reports.event(other, "Released", said, warning=True)
                await self.shared.reports.release(other, self.key)
        await self._finish_deletion(resource)

    # --- telling ---

    def _observe(self, operation: str, seconds: float, code: int) -> None:
        self.shared.metrics.ldap_operation_seconds.labels(self._name, operation, str(code)).observe(seconds)

    def _verdict(self, mode: Mode) -> Verdict:
        if mode is Mode.OBSERVE:
            return Verdict(Reason.OBSERVING, "mode Observe: changes are planned and reported, nothing is written to the directory")
        return Verdict(Reason.SYNCED, "")

    def _tell(self) -> None:
        """Have the domain's status written soon: at most once a second, whatever happens."""
        if self._teller is None:
            loop = asyncio.get_running_loop()
            delay = max(0.0, self._told_at + _STATUS_SECONDS - loop.time())
            self._teller = loop.call_later(delay, self._tell_now)

    def _tell_now(self) -> None:
        self._teller = None
        loop = asyncio.get_running_loop()
        self._told_at = loop.time()
        resource = self.resource
        if resource is None:
            return
        facts = self._gather(resource)
        self.shared.reports.writer.submit(
            *self.key, resource.uid, lambda status: domain_status(status, facts, datetime.now(UTC)), part="domain"
        )

    def _gather(self, resource: Resource) -> DomainFacts:
        facts, session = self._facts, self._session
        standings = self.shared.reports.standings(self.key)
        by_kind = {kind: [standing for key, standing in standings.items() if key.kind == kind] for kind in (USER, GROUP)}
        users, groups = (Counter(standing.reason for standing in by_kind[kind]) for kind in (USER, GROUP))
        imported = {kind: sum(standing.imported for standing in by_kind[kind]) for kind in (USER, GROUP)}
        suspended = sum(standing.suspended for standing in by_kind[USER])
        facts.users = UserCounts(**count_reasons(users), imported=imported[USER], suspended=suspended)
        facts.groups = GroupCounts(**count_reasons(groups), imported=imported[GROUP])
        self._count(users, groups)
        if self._guard is not None:
            facts.safety, facts.planned = self._guard.status(), self._guard.planned()
            held = facts.planned is not None
            said = (
                f"{facts.planned.count} changes are held; approve them with annotation {names.APPROVE}={facts.planned.digest}"
                if facts.planned
                else ""
            )
            facts.findings[ConditionType.WITHIN_SAFETY_LIMIT] = (
                Finding(False, "ChangesHeld", said) if held else Finding(True, "WithinLimit")
            )
        if session is not None:
            facts.generation = resource.generation
            facts.refused = ""
            facts.full_sync, facts.seen = session.full_at, datetime.now(UTC)
            facts.controller = self._controller
            if session.feed is not None and self._controller is not None:
                self._controller.highest_committed_usn = max(self._controller.highest_committed_usn or 0, session.feed.mark)
                self.shared.metrics.feed_lag_seconds.labels(self._name).set(session.feed.lag)
            facts.verdict = self._verdict(resource.spec.mode) if resource.spec is not None else facts.verdict
            if session.full_at is None:
                facts.verdict = Verdict(Reason.PROGRESSING, "reading the directory")
            elif facts.planned is not None:
                facts.verdict = Verdict(Reason.SAFETY_LIMIT, facts.findings[ConditionType.WITHIN_SAFETY_LIMIT].message)
            elif facts.verdict.reason is Reason.OBSERVING:
                facts.planned = _planned(standings)
            if session.full_at is not None:
                facts.requested_at = self._requested or resource.requested
        return facts

    def _count(self, users: Counter[Reason | None], groups: Counter[Reason | None]) -> None:
        gauge = self.shared.metrics.resources
        gauge.remove_by_labels({"domain": self._name})
        for kind, counts in ((USER, users), (GROUP, groups)):
            for reason, number in counts.items():
                (state,) = (name for name, count in count_reasons({reason: 1}).items() if count and name != "total")
                gauge.labels(kind, self._name, state, str(reason)).set(number)


def _planned(standings: Mapping[Key, Standing]) -> PlannedChanges | None:
    """What would be done, were the mode not Observe."""
    planned = {str(key): "; ".join(standing.planned) for key, standing in standings.items() if standing.planned}
    if not planned:
        return None
    sample = [f"{key}: {changes}"[:1024] for key, changes in sorted(planned.items())[:_SAMPLE]]
    return PlannedChanges(count=len(planned), digest=digest_of(planned), sample=sample)


def _excess(excess: list[str]) -> str:
    return f"more than needed: {', '.join(excess)}" if excess else ""

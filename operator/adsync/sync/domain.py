"""One domain's loop: set up, connect, work until something ends it, say why, begin again. It ends when the ADDomain is gone.

spec invalid, paused, something missing   halt until it changes
credentials refused                       halt until they change, or an hour is over: the account must not be locked out
no server, certificate refused            halt, tried again after a growing pause, and at once when the CA or the spec changes
connected                                 a session, until the connection or the set-up ends it
being deleted                             the session lets go of everything, then the ADDomain goes
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from adsync.cluster.client import Cluster
from adsync.core.domain_report import DomainFacts, Finding
from adsync.core.entries import Entry
from adsync.core.identity import Verdict
from adsync.directory.directory import Directory
from adsync.errors import CertificateRejected, ClusterError, CredentialsRejected, DirectoryError, DirectoryUnavailable, InvalidSpec
from adsync.health import Beat
from adsync.metrics import Metrics
from adsync.resources import names
from adsync.resources.addomain_status import ADDomainStatus
from adsync.resources.conditions import ConditionType, Reason
from adsync.resources.reading import read_status
from adsync.sync.checks import check, require_container
from adsync.sync.controllers import controller_after, has_caught_up
from adsync.sync.dirty import DirtySet
from adsync.sync.guard import Guard
from adsync.sync.leaving import finish_deletion, give_up
from adsync.sync.mirror import Mirror
from adsync.sync.offline import Offline
from adsync.sync.quarrels import Quarrels
from adsync.sync.readback import ReadBack
from adsync.sync.refusals import REFUSED_SECONDS, Refusals
from adsync.sync.reports import Reports, as_object
from adsync.sync.session import Session
from adsync.sync.setup import Halt, Setup, set_up
from adsync.sync.store import USER, Key, Resource, Store
from adsync.sync.teller import Teller
from adsync.sync.waiting import woken
from adsync.sync.workplace import Memory, Workplace

_log = structlog.get_logger(__name__)

_BACKOFF = (0.5, 30.0)
_TICK_SECONDS, _GOING_TICK_SECONDS = 15.0, 0.2
_CHECK_SECONDS = 300.0
_UNFORESEEN_SECONDS = 30.0
_MEMORY_SECONDS = 8.0  # with which a domain that is going may try what it remembers, when the Secrets have gone before it
_LEAVING, _USERS, _NEW_USERS, _GROUPS = range(4)
_GROUPS_WAIT_SECONDS = 2.0  # for users that are under way, so that they join their groups together


@dataclass(slots=True)
class Shared:
    """What the domains have in common."""

    store: Store
    cluster: Cluster
    reports: Reports
    metrics: Metrics
    cluster_uid: str
    resolvers: tuple[str, ...]
    may_write: Callable[[], bool]
    refusals: Refusals


class DomainLoop:
    """`mark` says that a resource needs a look in this domain, `changed` that the domain itself, or what it refers to, may be another."""

    def __init__(self, key: Key, shared: Shared, beat: Beat) -> None:
        self.key = key
        self.shared = shared
        self._beat = beat
        self.dirty: DirtySet[Key] = DirtySet(self._rank, {_GROUPS: _GROUPS_WAIT_SECONDS})
        self._changed = asyncio.Event()
        self._memory = Memory()
        self._quarrels = Quarrels(asyncio.get_running_loop().time)
        self._failures = 0
        self._stray = ""  # the digest that was told of last as being of nothing
        self._session: Session | None = None
        self._setup: Setup | None = None
        self._from_memory_since: float | None = None  # being deleted, and what it was set up with can't be read any more (loop time)
        self._recalled = False  # whether the status has been asked for credentials that were refused before this process began
        self._teller = Teller(key, shared.store, shared.reports, shared.metrics)
        self._name = self._teller.name

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
        self.shared.metrics.expect_domain(self._name)
        try:
            while (resource := self.resource) is not None:
                self._changed.clear()
                self._beat.beat()
                try:
                    await self._serve_or_rest(resource)
                except ClusterError as error:
                    _log.warning("the API server can't be asked", domain=self._name, error=str(error))
                    await self._pause(self._backoff())
                except Exception as error:  # noqa: BLE001 - one domain that trips over a defect must not stop the others, nor the operator for ever
                    _log.exception("unforeseen error; the domain begins anew", domain=self._name)
                    said = f"an unforeseen error ({type(error).__name__}), which the operator's log tells of; please report it"
                    await self._rest(Halt(Verdict(Reason.DIRECTORY_ERROR, said), ConditionType.CONNECTED, retry=_UNFORESEEN_SECONDS))
        finally:
            self.shared.reports.forget_domain(self.key)
            self._teller.close()
            self._beat.close()

    async def _serve_or_rest(self, resource: Resource) -> None:
        try:
            await self._serve(resource)
        except Halt as halt:
            if self._is_hopeless(halt):
                await give_up(resource, self.shared.store, self.shared.reports, self.dirty)
                await self._pause(_BACKOFF[0])
            else:
                await self._rest(halt)

    async def _serve(self, resource: Resource) -> None:
        """One set-up, one connection, one session. Raises Halt when it can't go on."""
        if not resource.held and not resource.deleting:
            obj = await self.shared.cluster.add_finalizer(as_object(resource), names.FINALIZER)
            if obj is None:
                await self._pause(_BACKOFF[0])
                return
            self.shared.reports.taken(resource.key.kind, obj)
        setup = await self._set_up(resource)
        self._recall(resource, setup)
        refusals = self.shared.refusals
        if refusals.is_refused(setup.credentials):
            raise self._refused(
                setup, "the directory refused these credentials before; they are tried again when the Secret changes, or in an hour"
            )
        if pause := refusals.pause(setup.credentials, setup.account):
            said = "others were refused for this account shortly before; these are tried in a while, so that it is not locked out"
            raise Halt(Verdict(Reason.CREDENTIALS_REJECTED, said), ConditionType.CREDENTIALS_VALID, retry=pause)
        try:
            directory = await Directory.connect(setup.target, self._observe, may_write=self.shared.may_write)
        except CredentialsRejected as error:
            self.shared.metrics.bind_failures.labels(self._name).inc()
            refusals.refuse(setup.credentials, setup.account)
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
            self._session = self._teller.session = None
            self.shared.metrics.domain_connected.labels(self._name).set(0)
            await directory.close()

    async def _set_up(self, resource: Resource) -> Setup:
        """As set_up; a domain that is being deleted works with what it remembers where the Secrets have gone before it."""
        try:
            self._setup = await set_up(resource, self.shared.store, self.shared.cluster, self.shared.cluster_uid, self.shared.resolvers)
            self._from_memory_since = None
        except Halt as halt:
            if not resource.deleting or self._setup is None:
                raise
            # A Secret that is missing, here, or may not be read any more.
            if halt.verdict.reason in (Reason.CREDENTIALS_REJECTED, Reason.CERTIFICATE_REJECTED, Reason.INSUFFICIENT_RIGHTS):
                self._from_memory_since = self._from_memory_since or asyncio.get_running_loop().time()
        return self._setup

    def _is_hopeless(self, halt: Halt) -> bool:
        """Whether a domain that is being deleted can't be worked on and never will be: what it needs is gone with its namespace or before it.

        With what it remembers it goes on for a while; refused credentials, or a server that stays away, end that.
        """
        resource = self.resource
        if resource is None or not resource.deleting:
            return False
        if self._setup is None:
            return True
        since = self._from_memory_since
        refused = halt.verdict.reason in (Reason.CREDENTIALS_REJECTED, Reason.CERTIFICATE_REJECTED)
        return since is not None and (refused or asyncio.get_running_loop().time() - since > _MEMORY_SECONDS)

    async def _work(self, resource: Resource, setup: Setup, directory: Directory) -> None:
        place = await self._prepare(resource, setup, directory)
        session = self._session = self._teller.session = Session(place, self.dirty, self._beat.beat, self._teller.tell)
        self._failures, self._from_memory_since = 0, None
        self.shared.refusals.accept(setup.credentials, setup.account)
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
            for task in (work, watch):
                if not task.cancelled():
                    task.exception()  # it has been told, or the whole loop is ending: nothing is to be logged about it

    async def _watch(self, setup: Setup, place: Workplace) -> None:
        """Returns when the session must end: another set-up, or the domain is gone."""
        loop = asyncio.get_running_loop()
        checked, caught_up = loop.time(), 0.0
        while (resource := self.resource) is not None:
            if resource.deleting and await finish_deletion(resource, self.shared.store, self.shared.reports, self.dirty):
                return
            if not place.absence_proven and loop.time() >= caught_up:
                caught_up = loop.time() + _TICK_SECONDS
                await self._ask_whether_caught_up(place)
            if self._handle_annotations(resource, place) or loop.time() - checked > _CHECK_SECONDS:
                checked = loop.time()
                await check(place.rules, place.directory, self._teller.facts)
            self._teller.tell()
            if await woken(self._changed, _GOING_TICK_SECONDS if resource.deleting else _TICK_SECONDS):
                self._changed.clear()
                if await self._is_another(setup):
                    return

    async def _is_another(self, setup: Setup) -> bool:
        """Whether the set-up has changed. Raises Halt where it can't be worked with any more."""
        resource = self.resource
        if resource is None or resource.deleting:
            return False
        try:
            shared = self.shared
            now = await set_up(resource, shared.store, shared.cluster, shared.cluster_uid, shared.resolvers)
        except ClusterError:
            asyncio.get_running_loop().call_later(_BACKOFF[0], self._changed.set)
            return False
        return now.fingerprint != setup.fingerprint

    async def _ask_whether_caught_up(self, place: Workplace) -> None:
        assert self._teller.controller is not None
        place.absence_proven = await has_caught_up(self._teller.controller, place.directory)
        if place.absence_proven and self._session is not None:
            self._session.compare_all()

    def _handle_annotations(self, resource: Resource, place: Workplace) -> bool:
        """Returns whether everything is to be looked at anew."""
        asked = False
        if resource.requested and resource.requested != self._teller.requested and self._session is not None:
            first = not self._teller.requested
            self._teller.requested = resource.requested
            if not first or resource.requested != resource.status.get("lastHandledReconcileAt"):
                self._teller.requested_since = asyncio.get_running_loop().time()
                self._session.compare_all()
                asked = True
        if digest := resource.annotations.get(names.APPROVE, ""):
            approved = set(place.guard.approve(digest))
            for key in place.store.bound_to(self.key):
                if str(key) in approved:
                    self.dirty.add(key)
            if approved:
                self.shared.reports.event(resource, "Approved", f"{len(approved)} held changes with digest {digest} were let through")
            elif digest != self._stray and (stray := place.guard.stray(digest)):
                self.shared.reports.event(resource, "ApprovalUnknown", stray, warning=True)
                self._stray = digest
        return asked

    async def _prepare(self, resource: Resource, setup: Setup, directory: Directory) -> Workplace:
        """Everything that a session works with, and the first findings."""
        shared, spec, rules, teller = self.shared, resource.spec, setup.rules, self._teller
        recorded = read_status(ADDomainStatus, resource.status)
        guard = teller.guard = teller.guard or Guard(spec.safety, recorded.safety)
        guard.update(spec.safety)
        await require_container(rules, directory)
        policy = await directory.read_policy()
        last = teller.controller or recorded.domain_controller
        controller = teller.controller = controller_after(last, directory.info, datetime.now(UTC))
        if last is not None and controller.previous is not None and controller.previous != last.previous:
            shared.metrics.failovers.labels(self._name).inc()
        facts = teller.facts = DomainFacts(Verdict(Reason.PROGRESSING, "reading the directory"), resource.generation, policy=policy)
        facts.controller = controller
        facts.findings[ConditionType.CONNECTED] = Finding(True, "Connected", f"signed in at {directory.info.url}")
        facts.findings[ConditionType.CREDENTIALS_VALID] = Finding(True, "Accepted")
        shared.metrics.domain_connected.labels(self._name).set(1)
        await check(rules, directory, facts)
        return Workplace(
            domain=self.key,
            store=shared.store,
            cluster=shared.cluster,
            reports=shared.reports,
            metrics=shared.metrics,
            guard=guard,
            memory=self._memory,
            quarrels=self._quarrels,
            directory=directory,
            rules=rules,
            policy=policy,
            mirror=Mirror(),
            readback=ReadBack(directory, self._read_back, lambda: self._session.place.writes_under_way if self._session else 0),
            absence_proven=await has_caught_up(controller, directory),
        )

    def _read_back(self, entry: Entry) -> None:
        if self._session is not None and self._session.feed is not None:
            self._session.feed.take(entry)

    def _observe(self, operation: str, seconds: float, code: int) -> None:
        self.shared.metrics.ldap_operation_seconds.labels(self._name, operation, str(code)).observe(seconds)

    # --- halting ---

    def _recall(self, resource: Resource, setup: Setup) -> None:
        """What was refused before a restart is still refused: the status says so."""
        if not self._recalled and resource.status.get("refusedCredentials") == setup.credentials:
            self.shared.refusals.recall(setup.credentials)
        self._recalled = True

    def _refused(self, setup: Setup, message: str) -> Halt:
        self._teller.facts.refused = setup.credentials
        return Halt(Verdict(Reason.CREDENTIALS_REJECTED, message), ConditionType.CREDENTIALS_VALID, retry=REFUSED_SECONDS)

    def _unavailable(self, error: DirectoryError) -> Halt:
        return Halt(Verdict(Reason.DOMAIN_UNAVAILABLE, str(error)), ConditionType.CONNECTED, retry=self._backoff())

    def _backoff(self) -> float:
        if self._from_memory_since is not None:
            return _BACKOFF[0]  # it is for a few seconds only
        self._failures += 1
        return min(_BACKOFF[1], _BACKOFF[0] * 2.0 ** min(self._failures - 1, 10))

    async def _rest(self, halt: Halt) -> None:
        """Say why nothing goes on, to whoever asks for something meanwhile, until something changes or the time is over."""
        resource = self.resource
        if resource is None:
            return
        _log.warning("not at work", domain=self._name, reason=str(halt.verdict.reason), detail=halt.verdict.message)
        facts = self._teller.facts
        if facts.verdict != halt.verdict:
            self.shared.reports.event(resource, str(halt.verdict.reason), halt.verdict.message, warning=True)
        facts.verdict, facts.generation = halt.verdict, resource.generation
        findings = facts.findings
        if halt.condition is not None:
            findings[halt.condition] = Finding(False, str(halt.verdict.reason), halt.verdict.message)
        if halt.condition is ConditionType.CREDENTIALS_VALID:
            findings[ConditionType.CONNECTED] = Finding(False, str(halt.verdict.reason), "not signed in")
        if halt.verdict.reason is not Reason.CREDENTIALS_REJECTED:
            facts.refused = ""
        self._teller.tell()
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
            await woken(self._changed, max(0.01, min(rest, 0.2 if offline else 1.0)))

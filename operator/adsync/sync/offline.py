"""What resources are told while their domain can't be worked on: only those that ask for something. The others are as they last were."""

from __future__ import annotations

from datetime import UTC, datetime

from adsync.core.identity import Verdict
from adsync.core.report import UserFacts, settle, user_entry
from adsync.errors import ClusterError
from adsync.resources.conditions import Reason
from adsync.resources.synceduser import UserDomainStatus
from adsync.sync.reports import Reports
from adsync.sync.store import Key, Resource, Store

# A user's reason is the domain's own where that names the trouble as it is; what is wrong with the domain's spec is not wrong with the user's.
_SHARED = frozenset({Reason.CREDENTIALS_REJECTED, Reason.CERTIFICATE_REJECTED, Reason.PAUSED, Reason.DOMAIN_NOT_FOUND})


class Offline:
    """Answers in the stead of a session. `verdict` is what is wrong with the domain."""

    def __init__(self, domain: Key, store: Store, reports: Reports, verdict: Verdict) -> None:
        self.domain = domain
        self.store = store
        self.reports = reports
        reason = verdict.reason if verdict.reason in _SHARED else Reason.DOMAIN_UNAVAILABLE
        said = verdict.message if reason is Reason.DOMAIN_NOT_FOUND else f"ADDomain {domain.namespace}/{domain.name}: {verdict.message}"
        self.verdict = Verdict(reason, said)

    async def look(self, key: Key) -> None:
        """Report on one resource, if it asks for what can't be done now; let it go if nothing of it can be in the directory."""
        resource = self.store.resources.get(key)
        binding = self.store.bindings.get(key, {}).get(self.domain)
        if resource is None or binding is None:
            self.reports.forget(key)
            return
        domain = self.store.resources.get(self.domain)
        unknown = domain is None
        refused = domain is not None and domain.spec is not None and not self.store.namespace_allowed(domain, key.namespace)
        if (resource.deleting or not binding.wanted) and (unknown or refused):
            if resource.held:
                why = "there is no such ADDomain" if unknown else "the domain does not allow this namespace"
                self.reports.event(resource, str(self.verdict.reason), f"released as it is: {why}", warning=True)
            await self._release(resource)
            return
        if refused and domain is not None:
            said = f"the domain does not allow namespace {key.namespace}; see allowedNamespaces of ADDomain {domain.key.namespace}/{domain.key.name}"
            self._report(resource, Verdict(Reason.NAMESPACE_NOT_ALLOWED, said))
        elif resource.problem:
            self._report(resource, Verdict(Reason.INVALID_SPEC, resource.problem))
        elif not self._settled(resource):
            self._report(resource, self.verdict)
        else:
            self.reports.recount(resource, self.domain)

    def _settled(self, resource: Resource) -> bool:
        """Whether the status still tells the truth: in step when last looked at, and nothing has been asked since."""
        if self.domain not in self.store.resources or resource.deleting:
            return False
        entry = self.reports.recorded(resource, self.domain)
        return bool(entry.ready) and resource.status.get("observedGeneration") == resource.generation

    def _report(self, resource: Resource, verdict: Verdict) -> None:
        recorded = self.reports.recorded(resource, self.domain)
        now = datetime.now(UTC)
        if isinstance(recorded, UserDomainStatus):
            self.reports.put(resource, self.domain, user_entry(recorded, UserFacts(verdict), now))
        else:
            self.reports.put(resource, self.domain, settle(recorded, verdict, (), equal=False, wrote=False, now=now))

    async def _release(self, resource: Resource) -> None:
        try:
            await self.reports.release(resource, self.domain)
        except ClusterError:
            return  # the periodic list brings it again

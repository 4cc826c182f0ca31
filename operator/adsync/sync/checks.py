"""What is looked at in a domain when connecting, and now and then, besides its accounts: container, rights, scope group, Entra Connect."""

from __future__ import annotations

from adsync.core.dn import DN
from adsync.core.domain_report import DomainFacts, Finding
from adsync.core.identity import Verdict
from adsync.core.rules import DomainRules
from adsync.directory.directory import Directory
from adsync.errors import NoSuchObject
from adsync.resources.conditions import ConditionType, Reason
from adsync.sync.setup import Halt

_RETRY_SECONDS = 15.0


async def require_container(rules: DomainRules, directory: Directory) -> None:
    """Raises Halt where the root container is not there: nothing can be decided without it."""
    if not await directory.exists(rules.container):
        said = f"spec.rootUserContainer {rules.container} does not exist, or can't be read by the service account; create it, or correct the spec"
        raise Halt(Verdict(Reason.INVALID_SPEC, said), ConditionType.SCOPE_FOUND, retry=_RETRY_SECONDS)


async def check(rules: DomainRules, directory: Directory, facts: DomainFacts) -> None:
    """Bring the findings up to date. Raises Halt as require_container does."""
    await require_container(rules, directory)
    try:
        rights = await directory.read_rights(rules.container)
    except NoSuchObject:
        return
    facts.missing_rights, facts.excess_rights = rights.missing, rights.excess
    lacking = f"the service account lacks: {', '.join(rights.missing)}"
    excess = f"more than needed: {', '.join(rights.excess)}" if rights.excess else ""
    sufficient = Finding(False, "RightsMissing", lacking) if rights.missing else Finding(True, "Sufficient", excess)
    facts.findings[ConditionType.RIGHTS_SUFFICIENT] = sufficient
    traces = await directory.detect_entra()
    warning = "two password authorities may be at work; traces: " + ", ".join(traces)
    detected = Finding(True, "TracesFound", warning) if traces else Finding(False, "NoTraces")
    facts.findings[ConditionType.ENTRA_CONNECT_DETECTED] = detected
    facts.findings[ConditionType.SCOPE_FOUND] = await _scope(rules, directory)


async def _scope(rules: DomainRules, directory: Directory) -> Finding:
    scope = rules.spec.scope_group
    if not scope:
        return Finding(True, "ContainerFound", "no scope group is named")
    if "=" in scope:
        found = await directory.exists(DN.parse(scope))
    else:
        found = bool(await directory.find(sams=[scope], base=rules.container))
    return Finding(True, "Found") if found else Finding(False, "GroupNotFound", f"spec.scopeGroup {scope!r} is not below {rules.container}")

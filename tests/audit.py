"""What the API server and the domain controller themselves say of who wrote what, and when: their audit logs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.processes import Processes
from lab.samba import DomainController

# Who asked for what; no bodies, and none of the lab's own controllers.
AUDIT = {
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts:adsync-system"]}, {"level": "None"}],
}  # fmt: skip


class Audited(Processes):
    """Processes of which the API server keeps an audit log."""

    @property
    def audit_log(self) -> Path:
        return self.state / "audit.log"

    def start(self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
        if name == "kube-apiserver":
            policy = self.state / "audit.json"
            policy.write_text(json.dumps(AUDIT))
            argv = [*argv, f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}", "--audit-log-mode=blocking-strict"]
        return super().start(name, argv, env)

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()]


def audit_changes(dc: DomainController) -> None:
    """Have a domain controller that is not running yet say of each change who made it."""
    configuration = dc.configuration.read_text()
    dc.configuration.write_text(configuration.replace("log level = 1", "log level = 1 dsdb_json_audit:5"))


class Changes:
    """The changes below a container that a domain controller has told of so far, each as Samba logs it; `new` reads what came since."""

    def __init__(self, dc: DomainController, container: str) -> None:
        self._log = dc.processes.log(dc.process)
        self._container = container.casefold()
        self._at = 0
        self.seen: list[dict[str, Any]] = []

    def new(self) -> list[dict[str, Any]]:
        with self._log.open("rb") as log:
            log.seek(self._at)
            lines = log.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._at += len(whole)
        found = [json.loads(line) for line in whole.splitlines() if line.startswith(b'{"timestamp"')]
        fresh = [
            {"timestamp": each["timestamp"], **each["dsdbChange"]}
            for each in found
            if each["type"] == "dsdbChange" and each["dsdbChange"]["dn"].casefold().endswith(self._container)
        ]
        self.seen += fresh
        return fresh

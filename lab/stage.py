"""What the demo's tour is made of: acting and measuring, looking at both sides, and showing them beside each other."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from lab.api import KubeApi, Manifest
from lab.kube import ControlPlane
from lab.lab import Lab
from lab.operator import REPOSITORY, Operator
from lab.samba import DomainController

NAME = "demo"
NAMESPACE = "people"
EXAMPLES = REPOSITORY / "examples"
PATIENCE = 30.0
SHOWN = ("cn", "displayName", "mail", "department", "title", "userAccountControl", "memberOf", "adminCount")
NARROW = 160


class Unexpected(Exception):
    """The tour saw something else than it says."""


class Stage:
    """The lab with its operator, as a tour acts on it and shows it. `timings` collects what was measured, in milliseconds."""

    api: KubeApi
    operator: Operator

    def __init__(self, console: Console, lab: Lab) -> None:
        self.console = console
        self.lab = lab
        self.timings: list[tuple[str, float]] = []
        self._number = 0

    @property
    def control_plane(self) -> ControlPlane:
        return self.lab.control_plane

    @property
    def dc(self) -> DomainController:
        return self.lab.domain("corp")

    # --- what is applied ---

    def example(self, name: str) -> list[Manifest]:
        """The manifests of a file in examples/, with this lab's address and password filled in."""
        found: list[Manifest] = list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))
        for manifest in found:
            if manifest["kind"] == "ADDomain":
                manifest["spec"]["servers"] = [self.dc.url]
            if manifest["kind"] == "Secret" and manifest["metadata"]["name"] == "corp-ad":
                manifest["stringData"] = {"username": self.dc.service.name, "password": self.dc.service.password}
        return found

    def ca(self) -> Manifest:
        data = {"ca.crt": self.dc.ca_file.read_text()}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corp-ca", "namespace": NAMESPACE}, "data": data}

    # --- doing and looking ---

    def apply(self, *manifests: Manifest) -> None:
        self.control_plane.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}))

    def switch(self, *, suspended: bool) -> float:
        """Patch Anna's `suspended`; the milliseconds until ldapsearch shows it. Then the status must tell it too."""
        took = self.timed(
            f"suspended: {str(suspended).lower()} → in the directory",
            lambda: self.api.patch("SyncedUser", NAMESPACE, "anna", {"spec": {"suspended": suspended}}),
            lambda: self.disabled("anna") is suspended,
        )
        wanted = "Disabled" if suspended else "Enabled"
        self.wait("the status says it", lambda: self.api.get("SyncedUser", NAMESPACE, "anna")["status"]["account"] == wanted)
        return took

    def timed(self, what: str, act: Callable[[], object], seen: Callable[[], object]) -> float:
        """Milliseconds from the end of `act` until `seen` says so."""
        act()
        began = time.perf_counter()
        self.wait(what, seen)
        took = (time.perf_counter() - began) * 1000
        self.timings.append((what, took))
        return took

    def wait(self, what: str, seen: Callable[[], object], patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not seen():
            if not self.operator.running:
                raise Unexpected(f"The operator has ended:\n{self.operator.tail()}")
            if time.monotonic() > deadline:
                raise Unexpected(f"Not within {patience:.0f} s: {what}")
            time.sleep(0.01)

    def await_reason(self, kind: str, name: str, reason: str) -> Manifest:
        self.wait(f"{kind} {name} is {reason}", lambda: self.reason(kind, name) == reason)
        return self.api.get(kind, NAMESPACE, name)

    def ready(self, kind: str, name: str) -> Manifest:
        """The Ready condition, if it is about the newest spec."""
        resource = self.api.get(kind, NAMESPACE, name)
        status = resource.get("status") or {}
        if status.get("observedGeneration") != resource["metadata"]["generation"]:
            return {}
        return next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})

    def reason(self, kind: str, name: str) -> str:
        return str(self.ready(kind, name).get("reason", ""))

    def all_synced(self) -> bool:
        return all(self.reason("SyncedUser", name) == "Synced" for name in ("anna", "ben", "carla"))

    def pushed_version(self, name: str) -> bool:
        """Whether the status tells of the Secret as it is now."""
        version = self.api.get("Secret", NAMESPACE, f"{name}-password")["metadata"]["resourceVersion"]
        entry = self.api.get("SyncedUser", NAMESPACE, name)["status"]["domains"][0]
        return bool(entry["password"].get("secretVersion") == version)

    def event(self, name: str, reason: str) -> str:
        events = self.api.list("Event", NAMESPACE)
        found = [each for each in events if each["involvedObject"]["name"] == name and each["reason"] == reason]
        return str(found[-1].get("message") or found[-1].get("note")) if found else ""

    def members(self, group: str) -> set[str]:
        """The cn of each, as ldapsearch shows them; empty where there is no such group."""
        found = self.dc.find(group, ["member"])
        return {dn.partition(",")[0].removeprefix("CN=") for dn in (found or {}).get("member", ())}

    def find(self, name: str) -> dict[str, list[str]]:
        found = self.dc.find(name, SHOWN)
        if found is None:
            raise Unexpected(f"There is no account {name} in the directory")
        return found

    def disabled(self, name: str) -> bool:
        return bool(int(self.find(name)["userAccountControl"][0]) & 2)

    def seen(self, password: str) -> bool:
        """Whether it is where it must never be."""
        said = [
            self.operator.log,
            json.dumps([each.get("status") for each in self.api.list("SyncedUser")]),
            json.dumps(self.api.list("Event")),
        ]
        return any(form in text for text in said for form in (password, base64.b64encode(password.encode()).decode()))

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            raise Unexpected(f"The tour says that {what}, and that is not so")

    # --- showing ---

    def head(self, title: str, told: str) -> None:
        self._number += 1
        self.console.print(Rule(f"[bold]{self._number} · {title}[/]", align="left", style="blue"))
        self.console.print(f"[italic]{told}[/]")

    def done(self, told: str) -> None:
        self.console.print(f"[bold green]✓[/] {told}\n")

    def show(self, source: str, applied: RenderableType, directory: RenderableType, status: RenderableType) -> None:
        panels = [
            Panel(applied, title=escape(source), title_align="left", border_style="blue"),
            Panel(directory, title="Active Directory says", title_align="left", border_style="magenta"),
            Panel(status, title="Kubernetes says", title_align="left", border_style="cyan"),
        ]
        if self.console.width < NARROW:
            self.console.print(*panels, sep="\n")
            return
        grid = Table.grid(expand=True)
        for ratio in (8, 10, 10):
            grid.add_column(ratio=ratio, overflow="fold")  # a DN that is cut off is of no use
        grid.add_row(*panels)
        self.console.print(grid)

    def entries(self, *names: str) -> RenderableType:
        """As ldapsearch shows them, with an empty line between two."""
        shown: list[RenderableType] = []
        for name in names:
            if shown:
                shown.append(Text(""))
            found = self.dc.find(name, SHOWN)
            if found is None:
                shown.append(Text(f"{name}: no such account", style="yellow"))
                continue
            text = Text(f"dn: {found['dn'][0]}\n", style="bold")
            for attribute in SHOWN[1:]:
                for value in found.get(attribute, ()):
                    text.append(f"{attribute}: ", style="not bold dim").append(f"{value}{_flags(attribute, value)}\n", style="not bold")
            text.rstrip()
            shown.append(text)
        return Group(*shown)

    @staticmethod
    def binds(*tries: tuple[str, str]) -> RenderableType:
        said = {"": "signed in", "52e": "wrong password (52e)", "533": "account disabled (533)"}
        lines = [Text(f"bind as anna with {what}: ").append(said.get(data, data), "green" if not data else "red") for what, data in tries]
        return Group(*lines)

    def table(self, kind: str = "suser", columns: str = "") -> RenderableType:
        """As `kubectl get` shows them, in fewer columns."""
        shown = self.control_plane.kubectl("get", kind, "-n", NAMESPACE, "-o", f"custom-columns={columns or _USER_COLUMNS}{_READY_COLUMNS}")
        return Text(shown.rstrip(), no_wrap=True, overflow="ellipsis")

    def status(self, name: str, part: str) -> RenderableType:
        status = self.api.get("SyncedUser", NAMESPACE, name)["status"]
        entry = status["domains"][0]
        hidden = {"digest"} if part == "password" else set()  # keyed, but of no interest here
        shown = {key: value for key, value in entry.get(part, {}).items() if key not in hidden}
        return yaml_of({"account": status.get("account"), "password": status.get("password"), "domains": [{"name": "corp", part: shown}]})

    def condition(self, name: str) -> RenderableType:
        return yaml_of(
            {key: value for key, value in self.ready("SyncedUser", name).items() if key in ("type", "status", "reason", "message")}
        )

    # --- the end ---

    def close(self) -> None:
        console, python = self.console, short(Path(sys.executable))
        console.print(Rule("[bold]What took how long[/]"))
        table = Table(show_edge=False, box=None, padding=(0, 2))
        table.add_column("")
        table.add_column("milliseconds", justify="right")
        for what, milliseconds in self.timings:
            table.add_row(what, f"{milliseconds:.0f}")
        console.print(table)
        console.print(
            "[dim]On this machine, with everything on it at once. Each time includes the looking: one ldapsearch or request after another.[/]\n"
        )
        lab = f"{python} -m lab"
        option = f" --name {self.lab.name}" if self.lab.name != "default" else ""
        stop_it = "make demo-stop" if self.lab.name == NAME else f"{python} -m lab.demo{option} --stop"
        lines = [
            ("in your shell", f'eval "$({lab} env{option})"'),
            ("then: people", f"kubectl get adsync -n {NAMESPACE}"),
            ("one of them", f"kubectl describe suser anna -n {NAMESPACE}"),
            ("change her", f"kubectl edit suser anna -n {NAMESPACE}"),
            ("what happened", f"kubectl events -n {NAMESPACE}"),
            ("what there is", "kubectl explain suser.spec"),
            ("the directory", f"{lab} ldapsearch{option} -b {self.dc.container} '(sAMAccountName=anna)'"),
            ("operator's log", f"tail -f {self.operator.log_file}"),
            ("its metrics", f"curl {self.operator.metrics_url}"),
            ("stop it all", stop_it),
        ]
        told = Table.grid(padding=(0, 2))
        for what, command in lines:
            told.add_row(Text(what, style="bold"), Text(command, style="cyan", overflow="fold"))
        console.print(Panel(told, title="It stays up: look for yourself", title_align="left", border_style="green"))


_USER_COLUMNS = "USERNAME:.spec.username,ACCOUNT:.status.account,PASSWORD:.status.password"
GROUP_COLUMNS = "GROUP:.spec.name,MEMBERS:.status.memberCount,PENDING:.status.pendingCount"
_READY_COLUMNS = ",READY:.status.conditions[?(@.type=='Ready')].status,REASON:.status.conditions[?(@.type=='Ready')].reason"


def yaml_of(content: Any) -> Syntax:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=60).strip()
    return Syntax(text, "yaml", background_color="default", word_wrap=True)


def _flags(attribute: str, value: str) -> str:
    if attribute != "userAccountControl":
        return ""
    return " (disabled)" if int(value) & 2 else " (enabled)"


def short(path: Path) -> str:
    """As one would type it here."""
    if shutil.which(path.name) == str(path):
        return path.name
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)

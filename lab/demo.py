"""`make demo`: brings up the lab and the operator, applies `examples/`, and shows on both sides what happens. Then it stays up.

Each step applies something with kubectl, waits until the status says that it is done, and shows side by side what was applied, what OpenLDAP's
tools find in Active Directory, and what the status says. A step whose outcome is not what the tour says it is ends the tour with exit code 1.

Interrupted, it stops and removes all that it started. `--stop` does the same later. ADSYNC_DEMO_PAUSE: seconds between the steps, or "key" to
wait for Enter (default: 2 at a terminal, else 0).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
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
from lab.ldaptools import ldif_members, ldif_replace
from lab.operator import REPOSITORY, Operator
from lab.processes import LabError
from lab.samba import DomainController

NAME = "demo"
NAMESPACE = "people"
EXAMPLES = REPOSITORY / "examples"
ANNA, NEW_PASSWORD = "Lantern-Harbour-42", "Copper-Meadow-77"
PATIENCE = 30.0
SHOWN = ("cn", "displayName", "mail", "department", "title", "userAccountControl", "memberOf", "adminCount")
NARROW = 110


class Unexpected(Exception):
    """The tour saw something else than it says."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description="The whole product on this machine, with a guided tour.")
    parser.add_argument("--name", default=NAME, help="the lab that the demo runs in (default: %(default)s)")
    parser.add_argument("--stop", action="store_true", help="end a demo that is running")
    arguments = parser.parse_args()
    console = make_console()
    signal.signal(signal.SIGTERM, _interrupted)  # `kill` is treated as Ctrl-C
    lab = Lab(arguments.name)
    try:
        if arguments.stop:
            return stop(console, lab)
        return Demo(console, lab).run()
    except LabError as error:
        console.print(f"[red]✗ {escape(str(error))}[/]")
        return 1
    except KeyboardInterrupt:
        with interruptions_ignored():
            console.print("\n[yellow]Interrupted: stopping what was started.[/]")
            lab.down()
        return 130


def make_console() -> Console:
    """Wide enough for three columns where there is no terminal to ask."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=150, soft_wrap=False)


def stop(console: Console, lab: Lab) -> int:
    if not lab.exists:
        console.print("There is no demo to stop.")
        return 0
    with console.status("Stopping the demo …"):
        lab.down()
    console.print("[green]✓[/] the demo is stopped, and its files are gone")
    return 0


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def interruptions_ignored() -> Iterator[None]:
    """A second Ctrl-C must not leave half of it running."""
    before = [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


class Demo:
    """The tour. Each step is a method; what it says is measured while it runs."""

    def __init__(self, console: Console, lab: Lab) -> None:
        self.console = console
        self.lab = lab
        self.timings: list[tuple[str, float]] = []
        self._number = 0

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        return (
            self.create, self.sign_in, self.suspend, self.resume, self.new_password, self.drift, self.privileged, self.delete,
        )  # fmt: skip

    def run(self) -> int:
        console = self.console
        console.print(Rule("[bold]adsync[/]: people in Active Directory, as Kubernetes resources"))
        if self.lab.exists:
            with console.status("An earlier demo is there: ending it first …"):
                self.lab.down()
        began = time.monotonic()
        self.lab.up(console=console)
        self.api = KubeApi(self.lab.control_plane)
        try:
            self.prepare()
            console.print(f"[dim]All of it is up after {time.monotonic() - began:.1f} s.[/]\n")
            for step in self.steps:
                step()
                self._pause()
        except (Unexpected, LabError) as error:
            console.print(f"\n[bold red]✗ {escape(str(error))}[/]\n")
            console.print(f"The demo is left running. The operator's log: {self.operator.log_file}\nEnd it with: make demo-stop")
            return 1
        self.close()
        return 0

    @property
    def control_plane(self) -> ControlPlane:
        return self.lab.control_plane

    @property
    def dc(self) -> DomainController:
        return self.lab.domain("corp")

    # --- bringing up ---

    def prepare(self) -> None:
        crds = str(REPOSITORY / "crds")
        with self.console.status("Installing the CRDs and starting the operator …"):
            self.control_plane.kubectl("apply", "--server-side", "-f", crds)
            self.control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", crds)
            self.operator = Operator(self.lab.processes, self.control_plane, name="operator", log_level="info")
            self.operator.start()
        self.console.print(f"[green]✓[/] operator (pid {self.operator.pid}), its log: {self.operator.log_file}")
        with self.console.status("Connecting it to the domain …"):
            began = time.monotonic()
            self._apply(
                *self.example("00-namespace.yaml"), self.ca(), *self.example("10-credentials.yaml"), *self.example("20-domain.yaml")
            )
            domain = self._await("ADDomain", "corp", "Synced")
        took = time.monotonic() - began
        policy = domain["status"]["passwordPolicy"]
        self.console.print(
            f"[green]✓[/] ADDomain corp is Ready after {took:.1f} s: signed in at {self.dc.url} as the delegated account "
            f"{self.dc.service.name}; the domain asks for passwords of {policy['minLength']} characters or more"
        )

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

    # --- the tour ---

    def create(self) -> None:
        self._head("Create", "Three people. Anna has a password in a Secret, Ben is on leave, Carla gets a random password.")
        manifests = self.example("30-users.yaml")
        took = self._timed(
            "three users applied → confirmed by a read from the directory", lambda: self._apply(*manifests), self._all_synced
        )
        anna = next(each for each in manifests if each["kind"] == "SyncedUser" and each["metadata"]["name"] == "anna")
        self._check(self._disabled("ben"), "Ben's account is disabled")
        self._check(not self._disabled("anna") and not self._disabled("carla"), "Anna's and Carla's accounts are enabled")
        self._show("examples/30-users.yaml", _yaml(anna["spec"]), self._entries("anna", "ben", "carla"), self._table())
        self._done(f"three accounts in Active Directory, and read back from there, {took:.0f} ms after kubectl apply returned")

    def sign_in(self) -> None:
        self._head("Sign in", "Is the password of the Secret really Anna's? Only a bind as Anna can tell.")
        right, wrong = self.dc.bind_error("anna", ANNA), self.dc.bind_error("anna", "Not-Annas-Password-1")
        self._check(right == "", "Anna signs in with the Secret's password")
        self._check(wrong == "52e", "Anna does not sign in with another password")
        self._show(
            "examples/30-users.yaml",
            _yaml({"passwordSecretRef": {"name": "anna-password"}}),
            self._binds(("the Secret's password", right), ("another password", wrong)),
            self._status("anna", "password"),
        )
        self._check(not self._seen(ANNA), "no status, event or log line has the password")
        self._done("the password works; all statuses, all events and the operator's log were searched for it: it is in none of them")

    def suspend(self) -> None:
        self._head("Suspend", "Anna leaves for a while: one field.")
        took = self._switch(suspended=True)
        answer = self.dc.bind_error("anna", ANNA)
        self._check(answer == "533", "the directory refuses Anna because her account is disabled")
        self._show(
            "kubectl patch suser anna",
            _yaml({"spec": {"suspended": True}}),
            Group(self._entries("anna"), self._binds(("her password", answer))),
            self._status("anna", "suspension"),
        )
        self._done(f"disabled {took:.0f} ms after the patch; nothing but that one bit of userAccountControl was touched")

    def resume(self) -> None:
        self._head(
            "Resume", "And back; Ben too. Leaving the field out would mean: whether the account is enabled is none of adsync's business."
        )
        took = self._switch(suspended=False)
        self.api.patch("SyncedUser", NAMESPACE, "ben", {"spec": {"suspended": False}})
        self._wait("Ben's account is enabled", lambda: not self._disabled("ben"))
        answer = self.dc.bind_error("anna", ANNA)
        self._check(answer == "", "Anna signs in again, with the password that she had")
        self._show(
            "kubectl patch suser anna",
            _yaml({"spec": {"suspended": False}}),
            Group(self._entries("anna"), self._binds(("her password", answer))),
            self._status("anna", "suspension"),
        )
        self._done(f"enabled {took:.0f} ms after the patch")

    def new_password(self) -> None:
        self._head(
            "New password", "The Secret gets a new value. It is pushed once; a keyed digest in the account's owner mark remembers that."
        )
        change = {"stringData": {"password": NEW_PASSWORD}}
        took = self._timed(
            "Secret patched → the new password works",
            lambda: self.api.patch("Secret", NAMESPACE, "anna-password", change),
            lambda: self.dc.bind_error("anna", NEW_PASSWORD) == "",
        )
        self._wait("the status tells of the new password", lambda: self._pushed_version("anna"))
        new, old = self.dc.bind_error("anna", NEW_PASSWORD), self.dc.bind_error("anna", ANNA)
        self._show(
            "kubectl patch secret anna-password",
            _yaml({"stringData": {"password": "(the new one)"}}),
            self._binds(("the new password", new), ("the old password", old)),
            self._status("anna", "password"),
        )
        self._done(f"Anna signs in with it {took:.0f} ms after the Secret changed")
        if not old:
            self.console.print("[dim]Domain controllers let the previous password pass for an hour more (OldPasswordAllowedPeriod).[/]\n")

    def drift(self) -> None:
        self._head("Drift", "An administrator edits Anna's account by hand. The domain's direction is Export: the manifest is right.")
        dn = self._find("anna")["dn"][0]
        edit = ldif_replace(dn, {"title": "Chief Pirate", "department": "Ships"})
        took = self._timed(
            "change by hand → set back in the directory",
            lambda: self.dc.modify(edit),
            lambda: self._find("anna").get("title") == ["Controller"] and self._find("anna").get("department") == ["Finance"],
        )
        self._wait("an event tells of it", lambda: self._event("anna", "DriftReverted"))
        told = self._event("anna", "DriftReverted")
        self._show("ldapmodify, as CORP\\Administrator", Syntax(edit.strip(), "yaml", background_color="default", word_wrap=True),
                   self._entries("anna"), Group(Text("Event DriftReverted:", style="dim"), Text(told)))  # fmt: skip
        self._done(f"set back {took:.0f} ms after ldapmodify returned, found by a change notification")

    def privileged(self) -> None:
        self._head("Privileged", "Olga's account is older than adsync. She is a domain administrator, by way of a group in a group.")
        dn = self.dc.add_user("olga", "Granite-Window-11", mail="olga@corp.example.com")
        group = self.dc.add_group("operations", members=[dn])
        self.dc.modify(ldif_members(f"CN=Domain Admins,CN=Users,{self.dc.base}", [group]))
        before = self._find("olga")
        spec = {"username": "olga", "email": "olga@corp.example.com", "suspended": True, "domains": [{"name": "corp"}]}
        manifest = {
            "apiVersion": "adsync.dev/v1alpha1", "kind": "SyncedUser", "metadata": {"name": "olga", "namespace": NAMESPACE}, "spec": spec,
        }  # fmt: skip
        took = self._timed(
            "privileged account named → refused", lambda: self._apply(manifest), lambda: self._reason("SyncedUser", "olga") == "Protected"
        )
        self._check(self._find("olga") == before, "nothing in Olga's account has changed")
        self._show("kubectl apply", _yaml(spec), self._entries("olga"), self._condition("olga"))
        self._done(
            f"refused after {took:.0f} ms, and nothing was written: whoever may write SyncedUsers is not thereby a domain administrator"
        )

    def delete(self) -> None:
        self._head("Delete", "Carla's resource says deletionPolicy: Delete, Ben's goes by the domain's: Disable.")
        took = self._timed(
            "two users deleted → confirmed by the directory",
            lambda: self.control_plane.kubectl("delete", "suser", "carla", "ben", "-n", NAMESPACE, "--wait=false"),
            lambda: not any(self.api.find("SyncedUser", NAMESPACE, name) for name in ("carla", "ben")),
        )
        self._check(self.dc.find("carla") is None, "Carla's account is gone")
        self._check(self._disabled("ben"), "Ben's account is there, and disabled")
        self._show("kubectl delete suser carla ben", Text(""), self._entries("carla", "ben"), self._table())
        self._done(f"the resources went {took:.0f} ms later, when the directory had confirmed it")

    def close(self) -> None:
        console, python = self.console, _short(Path(sys.executable))
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
            ("people", f"{lab} kubectl{option} get adsync -n {NAMESPACE}"),
            ("one of them", f"{lab} kubectl{option} get suser anna -n {NAMESPACE} -o yaml"),
            ("change her", f"{lab} kubectl{option} edit suser anna -n {NAMESPACE}"),
            ("what happened", f"{lab} kubectl{option} get events -n {NAMESPACE}"),
            ("the directory", f"{lab} ldapsearch{option} -b {self.dc.container} '(sAMAccountName=anna)'"),
            ("in your shell", f'eval "$({lab} env{option})"   # then kubectl, and ldapsearch -x -D … -W, as they are'),
            ("operator's log", f"tail -f {self.operator.log_file}"),
            ("its metrics", f"curl {self.operator.metrics_url}"),
            ("stop it all", stop_it),
        ]
        told = Table.grid(padding=(0, 2))
        for what, command in lines:
            told.add_row(Text(what, style="bold"), Text(command, style="cyan", overflow="fold"))
        console.print(Panel(told, title="It stays up: look for yourself", title_align="left", border_style="green"))

    # --- doing and looking ---

    def _apply(self, *manifests: Manifest) -> None:
        self.control_plane.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)}))

    def _switch(self, *, suspended: bool) -> float:
        """Patch Anna's `suspended`; the milliseconds until ldapsearch shows it. Then the status must tell it too."""
        took = self._timed(
            f"suspended: {str(suspended).lower()} → in the directory",
            lambda: self.api.patch("SyncedUser", NAMESPACE, "anna", {"spec": {"suspended": suspended}}),
            lambda: self._disabled("anna") is suspended,
        )
        wanted = "Disabled" if suspended else "Enabled"
        self._wait("the status says it", lambda: self.api.get("SyncedUser", NAMESPACE, "anna")["status"]["account"] == wanted)
        return took

    def _timed(self, what: str, act: Callable[[], object], seen: Callable[[], object]) -> float:
        """Milliseconds from the end of `act` until `seen` says so."""
        act()
        began = time.perf_counter()
        self._wait(what, seen)
        took = (time.perf_counter() - began) * 1000
        self.timings.append((what, took))
        return took

    def _wait(self, what: str, seen: Callable[[], object], patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not seen():
            if not self.operator.running:
                raise Unexpected(f"The operator has ended:\n{self.operator.tail()}")
            if time.monotonic() > deadline:
                raise Unexpected(f"Not within {patience:.0f} s: {what}")
            time.sleep(0.01)

    def _await(self, kind: str, name: str, reason: str) -> Manifest:
        self._wait(f"{kind} {name} is {reason}", lambda: self._reason(kind, name) == reason)
        return self.api.get(kind, NAMESPACE, name)

    def _ready(self, kind: str, name: str) -> Manifest:
        """The Ready condition, if it is about the newest spec."""
        resource = self.api.get(kind, NAMESPACE, name)
        status = resource.get("status") or {}
        if status.get("observedGeneration") != resource["metadata"]["generation"]:
            return {}
        return next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})

    def _reason(self, kind: str, name: str) -> str:
        return str(self._ready(kind, name).get("reason", ""))

    def _all_synced(self) -> bool:
        return all(self._reason("SyncedUser", name) == "Synced" for name in ("anna", "ben", "carla"))

    def _pushed_version(self, name: str) -> bool:
        """Whether the status tells of the Secret as it is now."""
        version = self.api.get("Secret", NAMESPACE, f"{name}-password")["metadata"]["resourceVersion"]
        entry = self.api.get("SyncedUser", NAMESPACE, name)["status"]["domains"][0]
        return bool(entry["password"].get("secretVersion") == version)

    def _event(self, name: str, reason: str) -> str:
        events = self.api.list("Event", NAMESPACE)
        found = [each for each in events if each["involvedObject"]["name"] == name and each["reason"] == reason]
        return str(found[-1].get("message") or found[-1].get("note")) if found else ""

    def _find(self, name: str) -> dict[str, list[str]]:
        found = self.dc.find(name, SHOWN)
        if found is None:
            raise Unexpected(f"There is no account {name} in the directory")
        return found

    def _disabled(self, name: str) -> bool:
        return bool(int(self._find(name)["userAccountControl"][0]) & 2)

    def _seen(self, password: str) -> bool:
        """Whether it is where it must never be."""
        said = [
            self.operator.log,
            json.dumps([each.get("status") for each in self.api.list("SyncedUser")]),
            json.dumps(self.api.list("Event")),
        ]
        return any(form in text for text in said for form in (password, base64.b64encode(password.encode()).decode()))

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            raise Unexpected(f"The tour says that {what}, and that is not so")

    # --- showing ---

    def _head(self, title: str, told: str) -> None:
        self._number += 1
        self.console.print(Rule(f"[bold]{self._number} · {title}[/]", align="left", style="blue"))
        self.console.print(f"[italic]{told}[/]")

    def _done(self, told: str) -> None:
        self.console.print(f"[bold green]✓[/] {told}\n")

    def _show(self, source: str, applied: RenderableType, directory: RenderableType, status: RenderableType) -> None:
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
            grid.add_column(ratio=ratio)
        grid.add_row(*panels)
        self.console.print(grid)

    def _entries(self, *names: str) -> RenderableType:
        """As ldapsearch shows them."""
        shown: list[RenderableType] = []
        for name in names:
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
    def _binds(*tries: tuple[str, str]) -> RenderableType:
        said = {"": "signed in", "52e": "wrong password (52e)", "533": "account disabled (533)"}
        lines = [Text(f"bind as anna with {what}: ").append(said.get(data, data), "green" if not data else "red") for what, data in tries]
        return Group(*lines)

    def _table(self) -> RenderableType:
        """As `kubectl get suser` shows them."""
        return Text(self.control_plane.kubectl("get", "suser", "-n", NAMESPACE, "-o", _COLUMNS).rstrip(), no_wrap=True, overflow="ellipsis")

    def _status(self, name: str, part: str) -> RenderableType:
        status = self.api.get("SyncedUser", NAMESPACE, name)["status"]
        entry = status["domains"][0]
        hidden = {"digest"} if part == "password" else set()  # keyed, but of no interest here
        shown = {key: value for key, value in entry.get(part, {}).items() if key not in hidden}
        return _yaml({"account": status.get("account"), "password": status.get("password"), "domains": [{"name": "corp", part: shown}]})

    def _condition(self, name: str) -> RenderableType:
        return _yaml(
            {key: value for key, value in self._ready("SyncedUser", name).items() if key in ("type", "status", "reason", "message")}
        )

    def _pause(self) -> None:
        wanted = os.environ.get("ADSYNC_DEMO_PAUSE") or ("2" if sys.stdout.isatty() else "0")
        if wanted == "key":
            if sys.stdin.isatty():
                self.console.input("[dim]Enter goes on …[/]")
            return
        with contextlib.suppress(ValueError):
            time.sleep(max(0.0, float(wanted)))


_COLUMNS = (
    "custom-columns=USERNAME:.spec.username,ACCOUNT:.status.account,PASSWORD:.status.password,"
    "READY:.status.conditions[?(@.type=='Ready')].status,REASON:.status.conditions[?(@.type=='Ready')].reason"
)


def _yaml(content: Any) -> Syntax:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=60).strip()
    return Syntax(text, "yaml", background_color="default", word_wrap=True)


def _flags(attribute: str, value: str) -> str:
    if attribute != "userAccountControl":
        return ""
    return " (disabled)" if int(value) & 2 else " (enabled)"


def _short(path: Path) -> str:
    """As one would type it here."""
    if shutil.which(path.name) == str(path):
        return path.name
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


if __name__ == "__main__":
    sys.exit(main())

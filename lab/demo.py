"""`make demo`: brings up the lab and the operator, applies `examples/`, and shows on both sides what happens. Then it stays up.

Each step applies something with kubectl, waits until the status says that it is done, and shows side by side what was applied, what OpenLDAP's
tools find in Active Directory, and what the status says. A step whose outcome is not what the tour says it is ends the tour with exit code 1.

Interrupted, it stops and removes all that it started. `--stop` does the same later. ADSYNC_DEMO_PAUSE: seconds between the steps, or "key" to
wait for Enter (default: 2 at a terminal, else 0).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

from rich.console import Console, Group
from rich.markup import escape
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

from lab.api import KubeApi
from lab.lab import Lab
from lab.ldaptools import ldif_members, ldif_replace
from lab.operator import REPOSITORY, Operator
from lab.processes import LabError
from lab.stage import GROUP_COLUMNS, NAME, NAMESPACE, Stage, Unexpected, yaml_of

STAFF = "staff"
ANNA, NEW_PASSWORD = "Lantern-Harbour-42", "Copper-Meadow-77"


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
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=160, soft_wrap=False)


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


class Demo(Stage):
    """The tour. Each step is a method; what it says is measured while it runs."""

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        return (
            self.create, self.sign_in, self.suspend, self.resume, self.new_password, self.drift, self.groups, self.privileged, self.imports,
            self.delete,
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
            self.apply(*self.example("00-namespace.yaml"), self.ca(), *self.example("10-credentials.yaml"), *self.example("20-domain.yaml"))
            domain = self.await_reason("ADDomain", "corp", "Synced")
        took = time.monotonic() - began
        policy = domain["status"]["passwordPolicy"]
        self.console.print(
            f"[green]✓[/] ADDomain corp is Ready after {took:.1f} s: signed in at {self.dc.url} as the delegated account "
            f"{self.dc.service.name}; the domain asks for passwords of {policy['minLength']} characters or more"
        )

    # --- the tour ---

    def create(self) -> None:
        self.head("Create", "Three people. Anna has a password in a Secret, Ben is on leave, Carla gets a random password.")
        manifests = self.example("30-users.yaml")
        took = self.timed("three users applied → confirmed by a read from the directory", lambda: self.apply(*manifests), self.all_synced)
        anna = next(each for each in manifests if each["kind"] == "SyncedUser" and each["metadata"]["name"] == "anna")
        self.check(self.disabled("ben"), "Ben's account is disabled")
        self.check(not self.disabled("anna") and not self.disabled("carla"), "Anna's and Carla's accounts are enabled")
        self.show("examples/30-users.yaml", yaml_of(anna["spec"]), self.entries("anna", "ben", "carla"), self.table())
        self.done(f"three accounts in Active Directory, and read back from there, {took:.0f} ms after kubectl apply returned")

    def sign_in(self) -> None:
        self.head("Sign in", "Is the password of the Secret really Anna's? Only a bind as Anna can tell.")
        right, wrong = self.dc.bind_error("anna", ANNA), self.dc.bind_error("anna", "Not-Annas-Password-1")
        self.check(right == "", "Anna signs in with the Secret's password")
        self.check(wrong == "52e", "Anna does not sign in with another password")
        self.show(
            "examples/30-users.yaml",
            yaml_of({"passwordSecretRef": {"name": "anna-password"}}),
            self.binds(("the Secret's password", right), ("another password", wrong)),
            self.status("anna", "password"),
        )
        self.check(not self.seen(ANNA), "no status, event or log line has the password")
        self.done("the password works; all statuses, all events and the operator's log were searched for it: it is in none of them")

    def suspend(self) -> None:
        self.head("Suspend", "Anna leaves for a while: one field.")
        took = self.switch(suspended=True)
        answer = self.dc.bind_error("anna", ANNA)
        self.check(answer == "533", "the directory refuses Anna because her account is disabled")
        self.show(
            "kubectl patch suser anna",
            yaml_of({"spec": {"suspended": True}}),
            Group(self.entries("anna"), self.binds(("her password", answer))),
            self.status("anna", "suspension"),
        )
        self.done(f"disabled {took:.0f} ms after the patch; nothing but that one bit of userAccountControl was touched")

    def resume(self) -> None:
        self.head(
            "Resume", "And back; Ben too. Leaving the field out would mean: whether the account is enabled is none of adsync's business."
        )
        took = self.switch(suspended=False)
        self.api.patch("SyncedUser", NAMESPACE, "ben", {"spec": {"suspended": False}})
        self.wait("Ben's account is enabled", lambda: not self.disabled("ben"))
        answer = self.dc.bind_error("anna", ANNA)
        self.check(answer == "", "Anna signs in again, with the password that she had")
        self.show(
            "kubectl patch suser anna",
            yaml_of({"spec": {"suspended": False}}),
            Group(self.entries("anna"), self.binds(("her password", answer))),
            self.status("anna", "suspension"),
        )
        self.done(f"enabled {took:.0f} ms after the patch")

    def new_password(self) -> None:
        self.head(
            "New password", "The Secret gets a new value. It is pushed once; a keyed digest in the account's owner mark remembers that."
        )
        change = {"stringData": {"password": NEW_PASSWORD}}
        took = self.timed(
            "Secret patched → the new password works",
            lambda: self.api.patch("Secret", NAMESPACE, "anna-password", change),
            lambda: self.dc.bind_error("anna", NEW_PASSWORD) == "",
        )
        self.wait("the status tells of the new password", lambda: self.pushed_version("anna"))
        new, old = self.dc.bind_error("anna", NEW_PASSWORD), self.dc.bind_error("anna", ANNA)
        self.show(
            "kubectl patch secret anna-password",
            yaml_of({"stringData": {"password": "(the new one)"}}),
            self.binds(("the new password", new), ("the old password", old)),
            self.status("anna", "password"),
        )
        self.done(f"Anna signs in with it {took:.0f} ms after the Secret changed")
        if not old:
            self.console.print("[dim]Domain controllers let the previous password pass for an hour more (OldPasswordAllowedPeriod).[/]\n")

    def drift(self) -> None:
        self.head("Drift", "An administrator edits Anna's account by hand. The domain's direction is Export: the manifest is right.")
        dn = self.find("anna")["dn"][0]
        edit = ldif_replace(dn, {"title": "Chief Pirate", "department": "Ships"})
        took = self.timed(
            "change by hand → set back in the directory",
            lambda: self.dc.modify(edit),
            lambda: self.find("anna").get("title") == ["Controller"] and self.find("anna").get("department") == ["Finance"],
        )
        self.wait("an event tells of it", lambda: self.event("anna", "DriftReverted"))
        told = self.event("anna", "DriftReverted")
        self.show("ldapmodify, as CORP\\Administrator", Syntax(edit.strip(), "yaml", background_color="default", word_wrap=True),
                   self.entries("anna"), Group(Text("Event DriftReverted:", style="dim"), Text(told)))  # fmt: skip
        self.done(f"set back {took:.0f} ms after ldapmodify returned, found by a change notification")

    def groups(self) -> None:
        self.head("Groups", "Two groups: one with a list of members, one that finds its members by their labels. Then somebody interferes.")
        manifests = self.example("40-groups.yaml")
        took = self.timed(
            "two groups applied → their members in the directory",
            lambda: self.apply(*manifests),
            lambda: self.members("finance") == {"anna"} and self.members("engineering") == {"ben", "carla"},
        )
        change = {"spec": {"members": [{"name": "anna"}, {"name": "ben"}]}}
        joined = self.timed(
            "member added to the list → in the directory",
            lambda: self.api.patch("SyncedGroup", NAMESPACE, "finance", change),
            lambda: self.members("finance") == {"anna", "ben"},
        )
        group, anna = (self.find(name)["dn"][0] for name in ("finance", "anna"))
        back = self.timed(
            "member taken out by hand → put back",
            lambda: self.dc.members(group, delete=[anna]),
            lambda: self.members("finance") == {"anna", "ben"},
        )
        self.wait(
            "the status tells of two members", lambda: self.api.get("SyncedGroup", NAMESPACE, "finance")["status"]["memberCount"] == 2
        )
        self.show(
            "kubectl patch sgroup finance",
            yaml_of(change),
            Group(*(Text(f"{name}: {', '.join(sorted(self.members(name)))}") for name in ("finance", "engineering"))),
            self.table("sgroup", GROUP_COLUMNS),
        )
        self.done(
            f"groups {took:.0f} ms after apply, Ben in one {joined:.0f} ms after the patch; Anna, taken out by hand, back after {back:.0f} ms"
        )

    def privileged(self) -> None:
        self.head("Privileged", "Olga's account is older than adsync. She is a domain administrator, by way of a group in a group.")
        dn = self.dc.add_user("olga", "Granite-Window-11", mail="olga@corp.example.com")
        group = self.dc.add_group("operations", members=[dn])
        self.dc.modify(ldif_members(f"CN=Domain Admins,CN=Users,{self.dc.base}", [group]))
        before = self.find("olga")
        spec = {"username": "olga", "email": "olga@corp.example.com", "suspended": True, "domains": [{"name": "corp"}]}
        manifest = {
            "apiVersion": "adsync.dev/v1alpha1", "kind": "SyncedUser", "metadata": {"name": "olga", "namespace": NAMESPACE}, "spec": spec,
        }  # fmt: skip
        took = self.timed(
            "privileged account named → refused", lambda: self.apply(manifest), lambda: self.reason("SyncedUser", "olga") == "Protected"
        )
        self.check(self.find("olga") == before, "nothing in Olga's account has changed")
        self.show("kubectl apply", yaml_of(spec), self.entries("olga"), self.condition("olga"))
        self.done(
            f"refused after {took:.0f} ms, and nothing was written: whoever may write SyncedUsers is not thereby a domain administrator"
        )

    def imports(self) -> None:
        self._prepare_staff()
        self.head("Import", "The other way round: who is in the scope group of the directory appears in Kubernetes, groups flattened.")
        manifest = self.example("20-domain.yaml")[0]
        manifest["metadata"] = {"name": "staff", "namespace": STAFF}
        manifest["spec"] |= {"direction": "Import", "scopeGroup": STAFF, "rootUserContainer": f"OU={STAFF},{self.dc.container}"}
        del manifest["spec"]["adminsGroup"]
        took = self.timed(
            "ADDomain with direction Import applied → users and groups there",
            lambda: self.apply(manifest),
            lambda: (
                {each["metadata"]["name"] for kind in ("SyncedUser", "SyncedGroup") for each in self.api.list(kind, STAFF)}
                == {"dora", "emil", "night-shift"}
            ),
        )
        changed = self.timed(
            "change in the directory → in the resource's spec",
            lambda: self.dc.replace(self.find("dora")["dn"][0], {"title": "Head of Nights"}),
            lambda: self.api.get("SyncedUser", STAFF, "dora")["spec"].get("attributes", {}).get("title") == "Head of Nights",
        )
        spec = self.api.get("SyncedUser", STAFF, "dora")["spec"]
        spec["domains"] = [{"name": each["name"]} for each in spec["domains"]]  # without the namespace, which is empty: the user's own
        members = self.api.get("SyncedGroup", STAFF, "night-shift")["spec"].get("members", [])
        self.show(
            "kubectl apply",
            yaml_of({"kind": "ADDomain", "spec": {key: manifest["spec"][key] for key in ("direction", "scopeGroup", "rootUserContainer")}}),
            Group(self.entries("dora", "emil"), Text(f"night-shift: {', '.join(sorted(self.members('night-shift')))}")),
            Group(yaml_of(spec), Text(f"night-shift: {', '.join(sorted(each['name'] for each in members))}")),
        )
        self.done(f"two people and their group after {took:.0f} ms; a change in the directory arrives {changed:.0f} ms later")

    def _prepare_staff(self) -> None:
        """People who are in the directory already: two of them in a group, which is in the scope group; and a namespace for them."""
        container = self.dc.add_container(STAFF)
        people = [
            self.dc.add_user(
                name, "Granite-Window-11", container=container, givenName=name.capitalize(), title="Watch", mail=f"{name}@corp.example.com"
            )
            for name in ("dora", "emil")
        ]
        group = self.dc.add_group("night-shift", container=container, members=people)
        self.dc.members(f"CN={STAFF},{container}", add=[group])
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STAFF}}
        others = [self.ca(), *self.example("10-credentials.yaml")]
        self.apply(namespace, *({**each, "metadata": {**each["metadata"], "namespace": STAFF}} for each in others))

    def delete(self) -> None:
        self.head("Delete", "Carla's resource says deletionPolicy: Delete, Ben's goes by the domain's: Disable.")
        took = self.timed(
            "two users deleted → confirmed by the directory",
            lambda: self.control_plane.kubectl("delete", "suser", "carla", "ben", "-n", NAMESPACE, "--wait=false"),
            lambda: not any(self.api.find("SyncedUser", NAMESPACE, name) for name in ("carla", "ben")),
        )
        self.check(self.dc.find("carla") is None, "Carla's account is gone")
        self.check(self.disabled("ben"), "Ben's account is there, and disabled")
        policies = {name: {"deletionPolicy": policy} for name, policy in (("SyncedUser carla", "Delete"), ("ADDomain corp", "Disable"))}
        self.show("kubectl delete suser carla ben", yaml_of(policies), self.entries("carla", "ben"), self.table())
        self.done(f"the resources went {took:.0f} ms later, when the directory had confirmed it")

    def _pause(self) -> None:
        wanted = os.environ.get("ADSYNC_DEMO_PAUSE") or ("2" if sys.stdout.isatty() else "0")
        if wanted == "key":
            if sys.stdin.isatty():
                self.console.input("[dim]Enter goes on …[/]")
            return
        with contextlib.suppress(ValueError):
            time.sleep(max(0.0, float(wanted)))


if __name__ == "__main__":
    sys.exit(main())

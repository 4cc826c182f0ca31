"""`python -m lab`: the lab for a person.

up, down, status      start, stop and show a lab
env                   shell variables for kubectl and OpenLDAP's tools: eval "$(python -m lab env)"
kubectl, helm …       run a program against it, as administrator
build, install        what `up` needs: programs (built from source, once) and Debian packages
delegation            the rights of the service account, as commands for a Windows domain controller
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

from lab import delegation
from lab.build import build
from lab.lab import DEFAULT, Lab, labs
from lab.ldaptools import password_file
from lab.processes import LabError
from lab.provision import Recipe, template

KUBERNETES_PROGRAMS = ("kubectl", "helm")
LDAP_PROGRAMS = ("ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldapmodrdn")


def main() -> int:
    console = Console(stderr=True)
    # `kill` is treated as Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, _interrupted)
    arguments, rest = _parser().parse_known_args()
    if rest and arguments.command not in (*KUBERNETES_PROGRAMS, *LDAP_PROGRAMS, "samba-tool"):
        console.print(f"[red]What is {rest[0]}?[/] See python -m lab --help")
        return 2
    try:
        return COMMANDS[arguments.command](arguments, rest)
    except LabError as error:
        console.print(f"[red]{type(error).__name__}:[/] {error}", markup=True, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return 130


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("--name", default=os.environ.get("ADSYNC_LAB", DEFAULT), help="which lab (default: $ADSYNC_LAB, else %(default)s)")
    up = commands.add_parser("up", parents=[name], help="start a lab")
    up.add_argument("--domains", type=int, default=1, help="how many domains, each with a domain controller (default: 1)")
    up.add_argument("--no-kubernetes", action="store_true", help="only the domain controllers")
    down = commands.add_parser("down", parents=[name], help="stop a lab and delete its files")
    down.add_argument("--all", action="store_true", help="all labs")
    down.add_argument("--keep", action="store_true", help="keep the files, for the next up")
    commands.add_parser("status", help="what is running")
    environment = commands.add_parser("env", parents=[name], help="shell variables for kubectl and OpenLDAP's tools")
    environment.add_argument("--domain", default="", help="which domain (default: the first)")
    for program in KUBERNETES_PROGRAMS:
        commands.add_parser(program, parents=[name], help=f"run {program} as the cluster's administrator", add_help=False)
    for program in (*LDAP_PROGRAMS, "samba-tool"):
        tool = commands.add_parser(program, parents=[name], help=f"run {program} as the domain's administrator", add_help=False)
        tool.add_argument("--domain", default="", help="which domain (default: the first)")
    commands.add_parser("build", help="build the control plane's programs and provision the first domain, into the cache")
    commands.add_parser("install", help="install the Debian packages that the lab needs (as root, or with sudo)")
    commands.add_parser("delegation", help="print the service account's rights as dsacls commands")
    return parser


def up(arguments: argparse.Namespace, _rest: list[str]) -> int:
    console = Console()
    lab = Lab(arguments.name)
    lab.up(arguments.domains, console, control_plane=not arguments.no_kubernetes)
    option = "" if lab.name == DEFAULT else f" --name {lab.name}"
    if not arguments.no_kubernetes:
        console.print(f"\n  kubectl     [cyan]python -m lab kubectl{option} get namespaces[/]", highlight=False)
    console.print(f"  directory   [cyan]python -m lab ldapsearch{option} '(objectClass=user)' cn[/]", highlight=False)
    console.print(f'  both        [cyan]eval "$(python -m lab env{option})"[/]', highlight=False)
    console.print(f"  stop it     [cyan]python -m lab down{option}[/]", highlight=False)
    return 0


def down(arguments: argparse.Namespace, _rest: list[str]) -> int:
    console = Console()
    for lab in labs() if arguments.all else [Lab(arguments.name)]:
        with console.status(f"Stopping the lab {lab.name} …"):
            lab.down(keep=arguments.keep)
        console.print(f"[green]✓[/] the lab {lab.name} is stopped")
    return 0


def status(_arguments: argparse.Namespace, _rest: list[str]) -> int:
    console = Console()
    found = labs()
    if not found:
        console.print("There is no lab. Start one with [cyan]python -m lab up[/]", highlight=False)
    for lab in found:
        table = Table(title=f"Lab {lab.name}  [dim]{lab.state}[/]", title_justify="left", show_edge=False, pad_edge=False)
        for column in ("program", "state", "pid", "memory", "where"):
            table.add_column(column, justify="right" if column in ("pid", "memory") else "left")
        where = {dc.process: f"{dc.url}  {dc.domain}" for dc in lab.domains}
        if "kube-apiserver" in lab.processes.recorded():
            where["kube-apiserver"] = lab.control_plane.server
        for name, mark in lab.processes.recorded().items():
            state = "[green]running[/]" if mark.alive else "[red]ended[/]"
            table.add_row(name, state, str(mark.pid), _memory(mark.pid) if mark.alive else "", where.get(name, ""))
        console.print(table, highlight=False)
    return 0


def _memory(pid: int) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return f"{int(line.split()[1]) // 1024} MiB"
    return ""


def env(arguments: argparse.Namespace, _rest: list[str]) -> int:
    lab = Lab(arguments.name)
    variables: dict[str, str] = {}
    if lab.control_plane.kubeconfig.exists():
        variables.update(lab.control_plane.environment())
    if lab.domains:
        dc = lab.domain(arguments.domain)
        variables.update({
            "LDAPURI": dc.url, "LDAPBASE": dc.base, "LDAPTLS_CACERT": str(dc.ca_file), "ADSYNC_LAB_CONTAINER": dc.container,
            "ADSYNC_LAB_ADMIN": dc.admin.name, "ADSYNC_LAB_SERVICE": dc.service.name,
        })  # fmt: skip
    if not variables:
        raise LabError(f"there is no lab {lab.name}: start it with `python -m lab up`")
    print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))
    return 0


def kubernetes_program(arguments: argparse.Namespace, rest: list[str]) -> int:
    control_plane = Lab(arguments.name).control_plane
    program = control_plane.binaries / arguments.command
    return subprocess.run([program, *rest], env={**os.environ, **control_plane.environment()}, check=False).returncode


def ldap_program(arguments: argparse.Namespace, rest: list[str]) -> int:
    dc = Lab(arguments.name).domain(arguments.domain)
    environment = {**os.environ, "LDAPTLS_CACERT": str(dc.ca_file), "LDAPBASE": dc.base, "LDAPCONF": "/dev/null"}
    with password_file(dc.admin.password) as handle:
        login = ["-x", "-H", dc.url, "-D", dc.admin.name, "-y", f"/proc/self/fd/{handle}"]
        shape = ["-LLL", "-o", "ldif_wrap=no"] if arguments.command == "ldapsearch" else []
        return subprocess.run([arguments.command, *login, *shape, *rest], env=environment, pass_fds=[handle], check=False).returncode


def samba_program(arguments: argparse.Namespace, rest: list[str]) -> int:
    dc = Lab(arguments.name).domain(arguments.domain)
    return subprocess.run(["samba-tool", *rest, f"--configfile={dc.configuration}"], check=False).returncode


def make(_arguments: argparse.Namespace, _rest: list[str]) -> int:
    console = Console()
    build(console)
    with console.status("Provisioning a domain …"):
        template(Recipe())
    return 0


def install(_arguments: argparse.Namespace, _rest: list[str]) -> int:
    return subprocess.run([Path(__file__).parent / "install-packages"], check=False).returncode


def show_delegation(_arguments: argparse.Namespace, _rest: list[str]) -> int:
    print("\n".join(delegation.dsacls("OU=People,DC=corp,DC=example,DC=com", "CORP\\svc-adsync")))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace, list[str]], int]] = {
    "up": up, "down": down, "status": status, "env": env, "build": make, "install": install, "delegation": show_delegation,
    "samba-tool": samba_program,
    **dict.fromkeys(KUBERNETES_PROGRAMS, kubernetes_program),
    **dict.fromkeys(LDAP_PROGRAMS, ldap_program),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

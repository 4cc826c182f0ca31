"""Processes that the lab starts, and surely ends again.

Each is recorded (pid and start time, so that a reused pid is never taken for ours) and runs in a process group of its own. In tests they
are tied to the life of the test run: the kernel kills them if it dies, however it dies. A lab started for a person is detached and outlives
the command.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


class LabError(Exception):
    """Something that the person at the keyboard can act on: the text says what."""


def cache_dir() -> Path:
    """Where built programs and provisioned domains are kept: `$ADSYNC_LAB_CACHE`, else the XDG cache directory."""
    if given := os.environ.get("ADSYNC_LAB_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adsync-lab"


def state_dir(name: str) -> Path:
    """Where the lab called `name` keeps its files: below `$ADSYNC_LAB_STATE`, else the XDG state directory."""
    if given := os.environ.get("ADSYNC_LAB_STATE"):
        return Path(given) / name
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "adsync-lab" / name


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`. The kernel gives it back when we die. `waiting` is called once if somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.fchmod(handle, mode)
        with os.fdopen(handle, "w") as out:
            out.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on at the moment."""
    sockets = []
    try:
        for _ in range(count):
            sock = socket.socket()
            sockets.append(sock)
            sock.bind((address, 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def tail(log: Path, lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Mark:
    """A process, told apart from a later one with the same pid."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Mark | None:
        started = start_time(pid)
        return None if started is None else cls(pid, started, boot_id())

    @property
    def alive(self) -> bool:
        return self.boot == boot_id() and start_time(self.pid) == self.started


class Processes:
    """The processes of one lab, recorded in `<state>/processes.json`.

    `detached` ones outlive this program; others are killed by the kernel when the thread that started them ends.
    """

    def __init__(self, state: Path, *, detached: bool = False) -> None:
        self.state = state
        self.detached = detached
        self._record = state / "processes.json"
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        state.mkdir(parents=True, exist_ok=True, mode=0o700)

    def recorded(self) -> dict[str, Mark]:
        try:
            return {name: Mark(**mark) for name, mark in json.loads(self._record.read_text()).items()}
        except FileNotFoundError:
            return {}

    def _write(self, marks: Mapping[str, Mark]) -> None:
        write_atomically(self._record, json.dumps({name: asdict(mark) for name, mark in marks.items()}, indent=1))

    def log(self, name: str) -> Path:
        return self.state / f"{name}.log"

    def alive(self, name: str) -> bool:
        mark = self.recorded().get(name)
        return mark is not None and mark.alive

    def start(self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
        """Start a program; its output goes to `<state>/<name>.log`. Returns the pid. LabError if it is running already."""
        if self.alive(name):
            raise LabError(f"{name} is running already (pid {self.recorded()[name].pid})")
        self.kill(name)  # forget one that has ended by itself
        command = [str(part) for part in argv]
        if not self.detached:
            command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})}, start_new_session=True
            )
        mark = Mark.of(child.pid)
        if mark is None:
            child.wait()
            raise LabError(f"{name} ended at once:\n{tail(self.log(name))}")
        self._children[child.pid] = child
        self._write({**self.recorded(), name: mark})
        return child.pid

    def wait_ready(self, name: str, ready: Callable[[], bool], timeout: float = 60.0) -> None:
        """Wait until `ready` says so. LabError, with the end of the log, if the process ends before, or after `timeout` seconds."""
        mark = self.recorded()[name]
        deadline = time.monotonic() + timeout
        with process_handle(mark.pid) as handle:
            while not ready():
                if handle is None or select.select([handle], [], [], 0.05)[0]:
                    trouble = "ended while starting"
                elif time.monotonic() > deadline:
                    trouble = f"is not ready after {timeout:.0f} s"
                else:
                    continue
                self.kill(name)
                raise LabError(f"{name} {trouble}. The end of {self.log(name)}:\n{tail(self.log(name))}")

    def kill(self, name: str) -> None:
        """End it without warning (SIGKILL), and wait until it is gone."""
        self.stop(name, grace=0.0)

    def stop(self, name: str, grace: float = 10.0) -> None:
        """Ask it to end, kill it after `grace` seconds, and wait until it is gone. Does nothing if it isn't there."""
        marks = self.recorded()
        mark = marks.pop(name, None)
        if mark is None:
            return
        if mark.alive:
            with process_handle(mark.pid) as handle:
                if grace > 0:
                    signal_group(mark.pid, signal.SIGTERM)
                    gone(handle, mark, grace)
                signal_group(mark.pid, signal.SIGKILL)
                if not gone(handle, mark, 10.0):
                    raise LabError(f"{name} (pid {mark.pid}) can't be killed")
        elif mark.pid in self._children:
            signal_group(mark.pid, signal.SIGKILL)  # what a leader that died has left of its group
        if child := self._children.pop(mark.pid, None):
            child.wait()
        self._write(marks)

    def give_precedence(self, name: str, *, wanted: bool = True) -> bool:
        """Let a program run before all others, as if it had a machine of its own (SCHED_RR, sched(7)), or no more; False where that is not
        allowed. It is for one that waits most of the time: nothing else gets the processor that it takes."""
        policy, priority = (os.SCHED_RR, 1) if wanted else (os.SCHED_OTHER, 0)
        try:
            os.sched_setscheduler(self.recorded()[name].pid, policy, os.sched_param(priority))
        except PermissionError:
            return False
        return True

    def stop_all(self, grace: float = 10.0) -> None:
        for name in reversed(list(self.recorded())):
            self.stop(name, grace)


@contextlib.contextmanager
def process_handle(pid: int) -> Iterator[int | None]:
    """A descriptor that becomes readable when the process ends, or None if it has."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def gone(handle: int | None, mark: Mark, timeout: float) -> bool:
    if handle is None or not mark.alive:
        return True
    return bool(select.select([handle], [], [], timeout)[0])


def signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)

"""`make demo` as a person, or CI, runs it: the tour says what it should, and nothing is left when it is stopped or interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from lab.kube import ControlPlane
from lab.lab import Lab
from lab.operator import REPOSITORY
from lab.processes import Mark
from lab.provision import Recipe, template
from tests.integration.support import unique

PROGRAMS = {"etcd", "kube-apiserver", "kube-controller-manager", "samba-corp", "operator"}


@pytest.fixture
def lab(control_plane: ControlPlane) -> Iterator[Lab]:
    """A lab of the demo's own; what it needs from the cache is there."""
    template(Recipe())
    lab = Lab(unique("demo-"))
    yield lab
    lab.down()


def demo(lab: Lab, *options: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "ADSYNC_DEMO_PAUSE"}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "lab.demo", "--name", lab.name, *options],
        cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def all_gone(marks: dict[str, Mark], lab: Lab) -> bool:
    return not any(mark.alive for mark in marks.values()) and not lab.state.exists()


def test_the_tour(lab: Lab) -> None:
    told, _ = demo(lab).communicate(timeout=400)
    assert "✗" not in told, told
    for step in ("Create", "Sign in", "Suspend", "Resume", "New password", "Drift", "Groups", "Privileged", "Import", "Delete"):
        assert re.search(rf"^\d+ · {step} ─", told, re.MULTILINE), (step, told)
    for said in (
        r"bind as anna with the Secret's password: signed in",
        r"bind as anna with another password: wrong password",
        r"userAccountControl: 514 \(disabled\)",
        r"bind as anna with her password: account disabled",
        r"bind as anna with the new password: signed in",
        r"title: Chief Pirate",
        r"set back \d+ ms after ldapmodify",
        r"finance: anna, ben",
        r"engineering: ben, carla",
        r"reason: Protected",
        r"night-shift: dora, emil(.|\n)*night-shift: dora, emil",
        r"title: Head of Nights",
        r"carla: no such account",
        r"lab\.demo --name \S+ --stop",
    ):
        assert re.search(said, told), (said, told)
    assert "\x1b" not in told, "colours without a terminal"
    assert "Lantern-Harbour-42" not in told
    marks = lab.processes.recorded()
    assert set(marks) == PROGRAMS
    assert all(mark.alive for mark in marks.values()), "it stays up"
    stop = demo(lab, "--stop")
    assert "stopped" in stop.communicate(timeout=60)[0]
    assert stop.returncode == 0
    assert all_gone(marks, lab)


def test_interrupted(lab: Lab) -> None:
    child = demo(lab)
    assert child.stdout is not None
    patience = threading.Timer(120, child.kill)
    patience.start()
    try:
        for line in child.stdout:
            if line.startswith("1 · Create"):
                break
        marks = lab.processes.recorded()
        assert set(marks) == PROGRAMS
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
        assert child.wait() == 130, rest
    finally:
        patience.cancel()
        child.kill()
        child.stdout.close()
        child.wait()
    assert all_gone(marks, lab)

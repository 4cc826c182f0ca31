"""The parts of the lab that tests rely on to be right: what they say about the directory and about processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import delegation
from lab.ldaptools import LdapError, ldif_add, parse_ldif, password_value
from lab.processes import LabError, Mark, Processes, gone, process_handle

SID = "S-1-5-21-1-2-3-1103"


def test_what_is_written_as_ldif_is_read_back() -> None:
    values = ["plain", " blank first", "blank last ", "größer", "two\nlines", ": colon", "< less"]
    record = ldif_add("CN=Jörg,DC=x", {"description": values})
    assert parse_ldif(record.replace("changetype: add\n", "")) == [{"dn": ["CN=Jörg,DC=x"], "description": values}]


def test_guids_and_sids_in_their_usual_spelling() -> None:
    guid = "objectGUID:: gH0c30g5L02/gVUV+EAkGg=="
    sid = "objectSid:: AQUAAAAAAAUVAAAAAQAAAAIAAAADAAAATwQAAA=="
    (found,) = parse_ldif(f"dn: CN=x\n{guid}\n{sid}\n\n# refldaps://elsewhere\n")
    assert found["objectSid"] == [SID]
    assert found["objectGUID"] == ["df1c7d80-3948-4d2f-bf81-5515f840241a"]


def test_a_password_is_quoted_utf_16() -> None:
    assert password_value("aé") == b'"\0a\0\xe9\0"\0'


def test_a_refused_bind_says_why() -> None:
    text = "additional info: 80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 775, v1db1"
    assert LdapError(text, 49).data == "775"
    assert LdapError("no more than this", 49).data == ""


def test_the_delegation_gives_nothing_away() -> None:
    aces = list(delegation.aces())
    assert {ace.rights for ace in aces} == {"CCDC", "CR", "RPWP"}
    assert all(ace.object_guid for ace in aces), "each entry is limited to one class, attribute or extended right"
    assert delegation.sddl(SID).count("(") == len(aces) == len(delegation.dsacls("OU=People,DC=x", "X\\svc"))


def test_a_pid_that_is_used_again_is_not_ours() -> None:
    mark = Mark.of(os.getpid())
    assert mark is not None
    assert mark.alive
    assert not Mark(mark.pid, mark.started - 1, mark.boot).alive
    assert not Mark(mark.pid, mark.started, "another boot").alive


def test_a_process_and_its_children_are_stopped(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.start("shell", ["sh", "-c", "sleep 1000 & echo $!; wait"])
    processes.wait_ready("shell", lambda: processes.log("shell").read_text().endswith("\n"))
    child = int(processes.log("shell").read_text())
    with pytest.raises(LabError, match="running already"):
        processes.start("shell", ["true"])
    processes.stop("shell")
    assert not processes.alive("shell")
    deadline = time.monotonic() + 5
    while Mark.of(child) is not None and time.monotonic() < deadline:
        time.sleep(0.01)  # killed, and yet to be taken away by whoever has inherited it
    assert Mark.of(child) is None
    assert processes.recorded() == {}


def test_one_that_ends_while_starting_is_told_with_its_words(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    with pytest.raises(LabError, match="out of luck"):  # noqa: PT012 - whichever of the two finds out first
        processes.start("shell", ["sh", "-c", "echo out of luck; exit 3"])
        processes.wait_ready("shell", lambda: False)


def test_they_die_with_us(tmp_path: Path) -> None:
    """The parent is killed; the kernel kills what it has started."""
    code = f"""
import os, signal
from pathlib import Path
from lab.processes import Processes
pid = Processes(Path({str(tmp_path)!r})).start("sleep", ["sleep", "1000"])
while Path(f"/proc/{{pid}}/comm").read_text().strip() != "sleep":
    pass  # what ties it to us is not yet that program
print(pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    pid = int(done.stdout)
    mark = Mark.of(pid)
    with process_handle(pid) as handle:
        assert mark is None or gone(handle, mark, 5.0)

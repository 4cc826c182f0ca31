"""Loopback addresses for domain controllers. Active Directory's ports are fixed, so each domain controller gets an address of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from dataclasses import asdict
from pathlib import Path

from lab.processes import LabError, Mark, locked, write_atomically

FIRST, LAST = 11, 250
PORTS = (636, 389, 3268, 3269, 88, 464)


def _directory() -> Path:
    directory = Path(tempfile.gettempdir()) / f"adsync-lab-addresses-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def _held(reservation: Path) -> bool:
    try:
        content = json.loads(reservation.read_text())
    except (OSError, ValueError):
        return False
    if not Path(content["state"]).exists():
        return False
    return content["owner"] is None or Mark(**content["owner"]).alive


def _listening(address: str) -> bool:
    for port in PORTS:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((address, port))
            except PermissionError:
                raise LabError(f"A domain controller needs port {port}: run the lab as root, or with CAP_NET_BIND_SERVICE") from None
            except OSError:
                return True
    return False


def reserve(state: Path, *, detached: bool) -> str:
    """An address of 127.0.0.0/24 that no other lab has.

    It's ours while the directory `state` exists, and unless `detached` only as long as this process lives. LabError if there is none left.
    """
    owner = None if detached else Mark.of(os.getpid())
    directory = _directory()
    with locked(directory / "lock"):
        for last in range(FIRST, LAST):
            address = f"127.0.0.{last}"
            if _held(directory / address) or _listening(address):
                continue
            write_atomically(directory / address, json.dumps({"state": str(state), "owner": asdict(owner) if owner else None}))
            return address
    raise LabError("All loopback addresses are taken by labs: end some with `python -m lab down --name …`")


def release(address: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        (_directory() / address).unlink()

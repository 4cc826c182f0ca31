"""Our image, built as anybody builds it from the Containerfile, on a base of Debian's own packages: no registry is asked for an image.

Needs root, buildah and debootstrap. The base is made once and kept in buildah's store.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.operator import REPOSITORY
from lab.processes import LabError

IMAGE = "localhost/adsync:lab"
PAUSE = "localhost/adsync-pause:lab"
DC = "localhost/adsync-dc:lab"
BASE = "localhost/adsync-base:bookworm"
# A machine behind a proxy of its own trusts it by its own list of CAs; so must the build, and only the build.
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        ["nice", *command], capture_output=True, text=True, check=False, cwd=REPOSITORY, env={**os.environ, "BUILDAH_ISOLATION": "chroot"}
    )
    if done.returncode:
        raise LabError(f"{' '.join(map(str, command[:3]))} … failed:\n" + "\n".join((done.stdout + done.stderr).splitlines()[-25:]))
    return done.stdout.strip()


def _exists(image: str) -> bool:
    return subprocess.run(["buildah", "inspect", "--type", "image", image], capture_output=True, check=False).returncode == 0


def base() -> str:
    """Debian with Python and CA certificates; made if it is not there (40 s)."""
    if not _exists(BASE):
        with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="adsync-base-") as root:
            _run("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", root)
            for junk in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
                shutil.rmtree(Path(root) / junk, ignore_errors=True)
            container = _run("buildah", "from", "scratch")
            _run("buildah", "add", "--quiet", container, root, "/")
            _run("buildah", "commit", "--quiet", "--rm", container, BASE)
    return BASE


def build(tag: str = IMAGE, file: str = "Containerfile") -> str:
    """Build an image from this work tree; what has not changed is taken from the last build."""
    trust = ["--volume", f"{TRUSTED}:{TRUSTED}:ro"] if TRUSTED.exists() and tag == IMAGE else []
    _run(
        "buildah", "build", "--quiet", "--isolation", "chroot", "--network", "host", "--layers", *trust, "--build-arg", f"BASE={base()}",
        "--tag", tag, "--file", file, ".",
    )  # fmt: skip
    return tag


def domain_controller() -> str:
    """The image of `make kind-demo`'s domain controller."""
    return build(DC, "lab/kind/Containerfile")


def pause() -> str:
    """What holds a pod's namespaces: a shell tool that sleeps."""
    if not _exists(PAUSE):
        container = _run("buildah", "from", "scratch")
        _run("buildah", "add", "--quiet", container, shutil.which("busybox") or "/bin/busybox", "/busybox")
        _run("buildah", "config", "--entrypoint", '["/busybox", "sleep", "2147483647"]', container)
        _run("buildah", "commit", "--quiet", "--rm", container, PAUSE)
    return PAUSE


def archive(image: str, target: Path) -> Path:
    """The image as a file that containerd can import."""
    target.unlink(missing_ok=True)
    _run("buildah", "push", "--quiet", image, f"docker-archive:{target}:{image}")
    return target

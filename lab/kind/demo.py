"""`make kind-demo`: a cluster in Docker, a domain controller as a pod, the chart, the examples. For people who have Docker and kind.

`install` is all that is done in the cluster. The cluster tests do the same in a cluster of our own, so that it cannot rot.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CLUSTER, IMAGE, DC_IMAGE = "adsync", "adsync:kind", "adsync-dc:kind"
Run = Callable[..., str]


def install(kubectl: Run, helm: Run, *, image: str = IMAGE, dc_image: str = DC_IMAGE, patience: int = 180) -> None:
    """The domain controller, the chart with its domain, and the examples; returns when the users and groups are Ready.

    `kubectl` and `helm` take arguments and `stdin`, return what the program printed, and raise where it fails.
    """
    manifests = (REPOSITORY / "lab" / "kind" / "dc.yaml").read_text().replace(DC_IMAGE, dc_image)
    kubectl("apply", "-f", "-", stdin=manifests)
    kubectl("wait", "--for=condition=Ready", "pod/dc1", "-n", "corp-dc", f"--timeout={patience}s")
    address = kubectl("get", "pod", "dc1", "-n", "corp-dc", "-o", "jsonpath={.status.podIP}")
    repository, _, tag = image.rpartition(":")
    values: dict[str, Any] = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "domains": [{
            "name": "corp", "namespace": "people",
            "spec": {
                "domainName": "corp.example.com", "servers": [f"ldaps://{address}"],
                "tls": {"caSecretRef": {"name": "corp-ad", "key": "ca.crt"}, "serverName": "dc1.corp.example.com"},
                "credentialsSecretRef": {"name": "corp-ad"}, "rootUserContainer": "OU=People,DC=corp,DC=example,DC=com",
                "extraAttributes": ["department", "title"],
            },
        }],
    }  # fmt: skip
    chart = str(REPOSITORY / "helm" / "adsync")
    helm(
        "upgrade",
        "--install",
        "adsync",
        chart,
        "--namespace",
        "adsync-system",
        "--create-namespace",
        "--values",
        "-",
        stdin=json.dumps(values),
    )
    kubectl("rollout", "status", "deployment/adsync", "-n", "adsync-system", f"--timeout={patience}s")
    for name in ("30-users.yaml", "40-groups.yaml"):
        kubectl("apply", "-f", str(REPOSITORY / "examples" / name))
    for kind in ("addomains", "syncedusers", "syncedgroups"):
        kubectl("wait", "--for=condition=Ready", kind, "--all", "-n", "people", f"--timeout={patience}s")


def _program(name: str) -> Run:
    def run(*args: str, stdin: str = "") -> str:
        done = subprocess.run([name, *args], input=stdin, capture_output=True, text=True, check=False, cwd=REPOSITORY)
        if done.returncode:
            sys.exit(f"{name} {' '.join(args[:3])} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.kind.demo", description=__doc__)
    parser.add_argument("--stop", action="store_true", help="delete the cluster")
    stop = parser.parse_args().stop
    for name in ("docker", "kind", "kubectl", "helm"):
        if shutil.which(name) is None:
            sys.exit(f"make kind-demo needs {name}. Without Docker, make demo shows the same without a cluster in containers.")
    docker, kind = _program("docker"), _program("kind")
    if stop:
        kind("delete", "cluster", "--name", CLUSTER)
        return
    began = time.monotonic()
    print("Building two images …")
    docker("build", "--quiet", "--tag", IMAGE, "--file", "Containerfile", ".")
    docker("build", "--quiet", "--tag", DC_IMAGE, "--file", "lab/kind/Containerfile", ".")
    if CLUSTER not in kind("get", "clusters").split():
        print("Making the cluster …")
        kind("create", "cluster", "--config", "kind-config.yaml")
    kind("load", "docker-image", "--name", CLUSTER, IMAGE, DC_IMAGE)
    print("Installing the domain controller, the chart and the examples …")
    kubectl, helm = _program("kubectl"), _program("helm")
    context = f"kind-{CLUSTER}"
    install(
        lambda *args, **more: kubectl("--context", context, *args, **more),
        lambda *args, **more: helm("--kube-context", context, *args, **more),
    )
    print(kubectl("--context", context, "get", "adsync", "-n", "people"))
    print(
        f"Up after {time.monotonic() - began:.0f} s. Look around with: kubectl --context {context} get adsync -A; end it with make kind-stop"
    )


if __name__ == "__main__":
    main()

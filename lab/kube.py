"""A control plane on one machine: etcd, kube-apiserver and kube-controller-manager on free ports of 127.0.0.1.

RBAC is on; the kubeconfig holds an administrator's token. There is no scheduler and no node: pods stay Pending.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lab.build import build
from lab.processes import LabError, Processes, free_ports, write_atomically

# What the operator, its chart and the tests need: no node, volume, attach or cloud controllers.
CONTROLLERS = (
    "namespace-controller", "garbage-collector-controller", "serviceaccount-controller", "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller", "clusterrole-aggregation-controller", "deployment-controller", "replicaset-controller",
)  # fmt: skip


class ControlPlane:
    """An API server with its etcd and controllers. `start()` returns when it is ready to serve; `kubeconfig` is the way in."""

    def __init__(self, processes: Processes, *, controllers: Sequence[str] = CONTROLLERS) -> None:
        self.processes = processes
        self.controllers = controllers
        self.state = processes.state / "controlplane"
        self.kubeconfig = self.state / "kubeconfig"
        self._file = self.state / "controlplane.json"

    @property
    def settings(self) -> dict[str, Any]:
        try:
            settings: dict[str, Any] = json.loads(self._file.read_text())
        except FileNotFoundError:
            raise LabError("this lab has no control plane yet") from None
        return settings

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.settings['api']}"

    @property
    def token(self) -> str:
        return str(self.settings["token"])

    @property
    def ca_file(self) -> Path:
        """The API server's certificate, which is its own CA."""
        return self.state / "certs" / "apiserver.crt"

    @property
    def binaries(self) -> Path:
        return build()

    def start(self) -> None:
        """Start all three programs and wait until the API server is ready. LabError if one ends or is not ready within a minute."""
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._file.exists():
            self._prepare()
        self.start_etcd()
        self.start_apiserver()
        self.start_controllers()

    def stop(self) -> None:
        for name in ("kube-controller-manager", "kube-apiserver", "etcd"):
            self.processes.kill(name)  # the data need no farewell, and these three take several seconds for theirs

    def _prepare(self) -> None:
        etcd, peer, api = free_ports(3)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write_atomically(self.state / "service-accounts.key", pem.decode(), 0o600)
        token = secrets.token_urlsafe(24)
        write_atomically(self.state / "tokens.csv", f"{token},lab-admin,lab-admin,system:masters\n", 0o600)
        write_atomically(self._file, json.dumps({"etcd": etcd, "peer": peer, "api": api, "token": token}), 0o600)

    def start_etcd(self) -> None:
        client = f"http://127.0.0.1:{self.settings['etcd']}"
        peer = f"http://127.0.0.1:{self.settings['peer']}"
        # The lab's data are thrown away: fsync would only make it depend on the disk.
        self.processes.start("etcd", [
            self.binaries / "etcd", "--name=lab", f"--data-dir={self.state / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=lab={peer}",
        ])  # fmt: skip
        self.processes.wait_ready("etcd", lambda: http_ok(f"{client}/readyz"))

    def start_apiserver(self) -> None:
        """Start kube-apiserver on the same port as before, and wait until it is ready."""
        settings, key = self.settings, self.state / "service-accounts.key"
        self.processes.start(
            "kube-apiserver",
            [
                self.binaries / "kube-apiserver",
                f"--etcd-servers=http://127.0.0.1:{settings['etcd']}",
                "--bind-address=127.0.0.1",
                f"--secure-port={settings['api']}",
                f"--cert-dir={self.state / 'certs'}",
                "--service-account-issuer=https://lab.invalid",
                f"--service-account-signing-key-file={key}",
                f"--service-account-key-file={key}",
                f"--token-auth-file={self.state / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--endpoint-reconciler-type=none",
                "--allow-privileged=true",
                "--profiling=false",
                "--shutdown-delay-duration=0s",
            ],
            {"GOGC": os.environ.get("GOGC", "400")},
        )  # fmt: skip - of its small heap a fifth of the processor time goes into collecting garbage
        self.processes.wait_ready("kube-apiserver", self.ready)
        self._write_kubeconfig()

    def stop_apiserver(self, grace: float = 0.0) -> None:
        """End kube-apiserver and wait until it is gone: at once, or gracefully within `grace` seconds (open watches take them all)."""
        self.processes.stop("kube-apiserver", grace)

    def restart_apiserver(self) -> None:
        self.stop_apiserver()
        self.start_apiserver()

    def start_controllers(self) -> None:
        self.processes.start("kube-controller-manager", [
            self.binaries / "kube-controller-manager", f"--kubeconfig={self.kubeconfig}", f"--root-ca-file={self.ca_file}",
            f"--service-account-private-key-file={self.state / 'service-accounts.key'}", "--use-service-account-credentials",
            "--leader-elect=false", "--secure-port=0", f"--controllers={','.join(self.controllers)}", "--profiling=false",
        ])  # fmt: skip

    def ready(self) -> bool:
        """Whether /readyz says ok."""
        return self.ca_file.exists() and http_ok(f"{self.server}/readyz", self.token, self.ca_file)

    def _write_kubeconfig(self) -> None:
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": self.server, "certificate-authority": str(self.ca_file)}}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
        }  # fmt: skip
        write_atomically(self.kubeconfig, json.dumps(config, indent=1), 0o600)  # JSON is YAML

    def environment(self) -> dict[str, str]:
        """What `kubectl` and the operator need to find this cluster, with the lab's programs first in PATH."""
        return {"KUBECONFIG": str(self.kubeconfig), "PATH": f"{self.binaries}:{os.environ.get('PATH', os.defpath)}"}

    def kubectl(self, *args: str, stdin: str | None = None, check: bool = True, env: Mapping[str, str] | None = None) -> str:
        """Run kubectl and return what it printed. LabError with its complaint if it fails and `check` is set."""
        done = subprocess.run(
            [self.binaries / "kubectl", *args], input=stdin or "", capture_output=True, text=True, check=False,
            env={**os.environ, **self.environment(), **(env or {})},
        )  # fmt: skip
        if check and done.returncode:
            raise LabError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *args: str) -> Any:
        """`kubectl get … -o json`, parsed."""
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """`kubectl apply` of manifests given as dictionaries."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(items))

    def remove_files(self) -> None:
        shutil.rmtree(self.state, ignore_errors=True)


def http_ok(url: str, token: str = "", ca_file: Path | None = None) -> bool:
    """Whether a GET is answered with 200 within two seconds."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310 - our own address
    try:
        context = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
        opener: Callable[..., Any] = urllib.request.urlopen
        with opener(request, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (TimeoutError, OSError, urllib.error.URLError, ssl.SSLError):
        return False

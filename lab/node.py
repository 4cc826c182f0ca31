"""A node for the lab's control plane on this very machine: containerd, runc, kubelet and scheduler, so that pods really run.

Needs root and the Debian packages of `lab/node-packages.txt`; `why_not()` says what is missing. Pods are on a bridge of their own. There is no
kube-proxy and no cluster DNS: the API server's cluster address, and what `publish` names, are passed on by one rule of iptables each.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.build import build
from lab.kube import ControlPlane
from lab.processes import LabError, Processes, start_time

MODULE = Path(__file__).parent / "node"
_CONTAINERD = "github.com/containerd/containerd/v2/cmd"
PROGRAMS = {
    **{name: f"{_CONTAINERD}/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    **{name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kubelet", "kube-scheduler")},
}
CONTROLLERS = ("*",)
BRIDGE, GATEWAY, SUBNET = "adsync0", "10.244.77.1", "10.244.77.0/24"
API_ADDRESS = "10.96.0.1"
NAME = "lab"
PLUGINS = Path("/usr/lib/cni")


def why_not() -> str:
    """Why no node can be run here; empty if one can."""
    if platform.system() != "Linux":
        return "a node needs Linux"
    if os.geteuid() != 0:
        return "a node needs root"
    for program in ("runc", "buildah", "debootstrap", "iptables", "ip", "busybox"):
        if shutil.which(program) is None:
            return f"a node needs {program}: see lab/node-packages.txt"
    return "" if (PLUGINS / "bridge").exists() else "a node needs containernetworking-plugins: see lab/node-packages.txt"


def _run(*command: str | Path, check: bool = True) -> str:
    done = subprocess.run([*command], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise LabError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Node:
    """The one node. `start()` returns when it is Ready; `stop()` leaves nothing of it: no process, mount, interface, control group or rule."""

    def __init__(self, processes: Processes, control_plane: ControlPlane) -> None:
        self.processes = processes
        self.control_plane = control_plane
        self.state = processes.state / "node"
        self.socket = self.state / "containerd.sock"
        self._rules: list[list[str]] = []

    @property
    def binaries(self) -> Path:
        return build(module=MODULE, programs=PROGRAMS)

    def start(self, *images: Path) -> None:
        """`images` are archives; the one for the sandbox has to be among them."""
        if reason := why_not():
            raise LabError(reason)
        self.state.mkdir(parents=True, mode=0o755)
        self._network()
        self.publish(API_ADDRESS, 443, "127.0.0.1", int(self.control_plane.settings["api"]))
        self._configure()
        environment = {"PATH": f"{self.binaries}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
        self.processes.start("containerd", [self.binaries / "containerd", "--config", self.state / "containerd.toml"], environment)
        self.processes.wait_ready("containerd", lambda: "runc" in self.ctr("plugins", "ls", check=False) or self.socket.exists())
        for image in images:
            self.load(image)
        scheduler = [f"--kubeconfig={self.control_plane.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
        self.processes.start("kube-scheduler", [self.binaries / "kube-scheduler", *scheduler])
        self.processes.start("kubelet", [
            self.binaries / "kubelet", f"--config={self.state / 'kubelet.json'}", f"--kubeconfig={self.control_plane.kubeconfig}",
            f"--root-dir={self.state / 'kubelet'}", f"--cert-dir={self.state / 'pki'}", f"--hostname-override={NAME}",
        ], environment)  # fmt: skip
        self.processes.wait_ready("kubelet", self.ready, timeout=120)

    def ready(self) -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].status}{.spec.taints}'
        return self.control_plane.kubectl("get", "node", NAME, "-o", f"jsonpath={path}", check=False) == "True"

    def ctr(self, *args: str, check: bool = True) -> str:
        return _run(self.binaries / "ctr", "--address", self.socket, "--namespace", "k8s.io", *args, check=check)

    def load(self, archive: Path) -> None:
        """Import an image; pods use it with imagePullPolicy Never."""
        self.ctr("images", "import", str(archive))

    def logs(self, pod: str) -> str:
        """What the containers of pods whose name begins so have said, also those that are gone."""
        found = sorted((self.state / "logs").glob(f"*_{pod}*/*/*.log"))
        return "\n".join(f"--- {file.parent.parent.name}/{file.name}\n{file.read_text(errors='replace')}" for file in found)

    def publish(self, address: str, port: int, to: str, to_port: int) -> None:
        """Let pods reach a server of this machine's loopback at an address of theirs."""
        rule = [
            "PREROUTING", "-i", BRIDGE, "-d", address, "-p", "tcp", "--dport", str(port), "-m", "comment", "--comment", "adsync-lab",
            "-j", "DNAT", "--to-destination", f"{to}:{to_port}",
        ]  # fmt: skip
        _run("iptables", "-t", "nat", "-A", *rule)
        self._rules.append(rule)

    def _network(self) -> None:
        _run("ip", "link", "del", BRIDGE, check=False)
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        Path(f"/proc/sys/net/ipv4/conf/{BRIDGE}/route_localnet").write_text("1\n")

    def _configure(self) -> None:
        networks = self.state / "cni"
        networks.mkdir()
        (networks / "10-lab.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "lab", "plugins": [{
                "type": "bridge", "bridge": BRIDGE, "isDefaultGateway": True, "hairpinMode": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": SUBNET}]], "dataDir": str(self.state / "ipam")},
            }],
        }))  # fmt: skip
        (self.state / "containerd.toml").write_text(f"""version = 3
root = "{self.state}/containerd/root"
state = "{self.state}/containerd/run"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
address = "{self.socket}"
[ttrpc]
address = "{self.socket}.ttrpc"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/adsync-pause:lab"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{PLUGINS}"]
conf_dir = "{networks}"
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{shutil.which("runc")}"
SystemdCgroup = false
""")
        (self.state / "kubelet.json").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "failCgroupV1": False, "cgroupDriver": "cgroupfs",
            "failSwapOn": False, "enforceNodeAllocatable": [], "localStorageCapacityIsolation": False, "maxOpenFiles": 20000,
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi", "nodefs.inodesFree": "1"},
            "containerRuntimeEndpoint": f"unix://{self.socket}", "podLogsDir": str(self.state / "logs"),
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}}, "address": "127.0.0.1",
            "readOnlyPort": 0, "healthzPort": 0, "syncFrequency": "10s", "nodeStatusUpdateFrequency": "5s",
            "imageGCHighThresholdPercent": 100, "shutdownGracePeriod": "0s",
        }))  # fmt: skip

    def stop(self) -> None:
        self.processes.kill("kubelet")
        self.processes.kill("kube-scheduler")
        if self.processes.alive("containerd"):
            for task in self.ctr("tasks", "ls", "--quiet", check=False).split():
                self.ctr("tasks", "kill", "--signal", "SIGKILL", task, check=False)
        for pid in self._shims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.processes.kill("containerd")
        for rule in self._rules:
            _run("iptables", "-t", "nat", "-D", *rule, check=False)
        self._rules.clear()
        _run("ip", "link", "del", BRIDGE, check=False)
        self._unmount()
        for pods in Path("/sys/fs/cgroup").glob("*/kubepods"):
            for group in sorted((each for each in pods.rglob("*") if each.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()
            with contextlib.suppress(OSError):
                pods.rmdir()
        shutil.rmtree(self.state, ignore_errors=True)

    def _shims(self) -> Iterator[int]:
        """They outlive containerd on purpose; ours name our socket."""
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (directory / "cmdline").read_bytes().decode(errors="replace")
                if "containerd-shim-runc-v2" in command and str(self.socket) in command and start_time(int(directory.name)) is not None:
                    yield int(directory.name)

    def _unmount(self) -> None:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((each for each in mounts if each.startswith(str(self.state))), reverse=True):
            _run("umount", "--lazy", mount, check=False)

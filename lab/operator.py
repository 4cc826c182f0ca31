"""The operator as a process of the lab's: `adsync run` from this work tree, its log in a file, and what its endpoints say."""

from __future__ import annotations

import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from lab.kube import ControlPlane
from lab.processes import Processes, free_ports, tail

REPOSITORY = Path(__file__).parents[1]


class Operator:
    """`adsync run`, limited to `namespaces` (none: all), with free ports for its endpoints. `name` is the process's among the lab's."""

    def __init__(
        self,
        processes: Processes,
        control_plane: ControlPlane,
        namespaces: Iterable[str] = (),
        *,
        options: Iterable[str] = (),
        name: str = "",
        log_level: str = "debug",
    ) -> None:
        self.processes = processes
        self.control_plane = control_plane
        self.name = name or f"operator-{secrets.token_hex(4)}"
        self.namespaces = list(namespaces)
        self.options = list(options)
        self.log_level = log_level
        self.environment: dict[str, str] = {}
        health, metrics = free_ports(2)
        self._health, self._metrics = f"127.0.0.1:{health}", f"127.0.0.1:{metrics}"

    @property
    def log_file(self) -> Path:
        return self.processes.log(self.name)

    @property
    def log(self) -> str:
        """All that it said, over all its starts."""
        return self.log_file.read_text(errors="replace")

    @property
    def metrics_url(self) -> str:
        return f"http://{self._metrics}/metrics"

    @property
    def health_url(self) -> str:
        return f"http://{self._health}"

    def start(self, *, await_ready: bool = True) -> None:
        """Start it, and wait until /readyz says so."""
        command = [
            sys.executable, "-m", "adsync", "run", "--health-address", self._health, "--metrics-address", self._metrics,
            "--log-level", self.log_level, "--operator-namespace", self.namespaces[0] if self.namespaces else "default",
            *(part for namespace in self.namespaces for part in ("--namespace", namespace)), *self.options,
        ]  # fmt: skip
        source = os.pathsep.join(filter(None, (str(REPOSITORY / "operator"), os.environ.get("PYTHONPATH", ""))))
        environment = {**self.control_plane.environment(), "PYTHONPATH": source, **self.environment}
        self.processes.start(self.name, command, environment)
        if await_ready:
            self.processes.wait_ready(self.name, self.ready)

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self.processes.kill(self.name)

    def terminate(self, grace: float = 20.0) -> None:
        """SIGTERM, as a pod gets it."""
        self.processes.stop(self.name, grace)

    def restart(self) -> None:
        self.terminate()
        self.start()

    @property
    def running(self) -> bool:
        return self.processes.alive(self.name)

    @property
    def pid(self) -> int:
        return self.processes.recorded()[self.name].pid

    def memory(self, field: str = "VmRSS") -> int:
        """Resident memory in bytes; `field` "VmHWM" for the most that it ever was."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")

    def ready(self) -> bool:
        return self._get(self._health, "/readyz")[0] == 200

    def alive(self) -> bool:
        """What the liveness probe would find."""
        return self._get(self._health, "/healthz")[0] == 200

    def metrics(self) -> str:
        return self._get(self._metrics, "/metrics")[1]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in self.metrics().splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{key}="{wanted}"' in sample for key, wanted in labels.items()):
                total += float(value)
        return total

    @staticmethod
    def _get(address: str, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def tail(self, lines: int = 40) -> str:
        return tail(self.log_file, lines)

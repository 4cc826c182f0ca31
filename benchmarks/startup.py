"""How long `adsync run` takes to begin: from its exec until it leads and has read the resources, which is when /readyz says ok."""

from __future__ import annotations

import json
import statistics
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

from benchmarks.measure import processor_seconds
from benchmarks.site import Lab, Site, wait

Result = dict[str, Any]
_STAGES = {"adsync begins": "begins", "leading": "leads"}


def startup(lab: Lab, users: int, starts: int) -> Result:
    """Starts with an election of which this is the only candidate, and `users` users in sync. Medians of milliseconds.

    Bytecode is there beforehand, as it is in the image: the first start, which makes it, does not count.
    """
    site = Site(lab, "startup")
    site.operator.options = ["--leader-elect"]
    # An empty PYTHONDONTWRITEBYTECODE is as none at all.
    site.operator.environment = {"PYTHONPYCACHEPREFIX": str(lab.processes.state / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    site.start()
    site.fill(users, "s")
    samples = []
    for _ in range(starts):
        site.operator.terminate()
        samples.append(_start(site))
    site.operator.terminate()
    return {
        "users": users, "starts": samples,
        **{name: statistics.median(each[name] for each in samples) for name in samples[0]},
    }  # fmt: skip


def _start(site: Site) -> dict[str, float]:
    operator = site.operator
    told, began = len(operator.log), time.time()
    operator.start(await_ready=False)
    seen: dict[str, float] = {}

    def answered() -> bool:
        says = _readyz(operator.health_url)
        if says:
            seen.setdefault("answers", time.time())
        return says == "ok\n"

    wait(answered, operator, "/readyz says ok", interval=0.004)
    ready, spent = time.time(), processor_seconds(operator.pid)
    for line in operator.log[told:].splitlines():
        said = json.loads(line)
        if said["message"] in _STAGES:
            seen[_STAGES[said["message"]]] = datetime.fromisoformat(said["timestamp"]).timestamp()
    return {name: (at - began) * 1000 for name, at in {**seen, "ready": ready}.items()} | {"processor_seconds": spent}


def _readyz(url: str) -> str:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310 - our own operator
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read().decode())
    except OSError:
        return ""

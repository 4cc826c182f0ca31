"""Rendering the chart with the lab's Helm, and picking from what it makes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from lab.build import build
from lab.processes import LabError, Mark

CHART = Path(__file__).parents[2] / "helm" / "adsync"
RELEASE, NAMESPACE = "adsync", "adsync-system"
Manifest = dict[str, Any]


def helm(*args: str | Path, values: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run helm and return what it printed. LabError with its complaint if it fails. `values` go over the chart's."""
    command = [build() / "helm", *args] + (["--values", "-"] if values is not None else [])
    done = subprocess.run(
        command, input=yaml.safe_dump(dict(values or {})), capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise LabError(done.stderr.strip())
    return done.stdout


def own_directory() -> Path:
    """A directory for this session's files, which the next session removes if this one is killed (tests/integration/conftest.py)."""
    state = Path(tempfile.mkdtemp(prefix="adsync-test-"))
    owner = Mark.of(os.getpid())
    assert owner is not None
    (state / "owner.json").write_text(json.dumps(asdict(owner)))
    return state


class Rendered(list[Manifest]):
    """The manifests of a release, hooks included."""

    def of(self, kind: str) -> list[Manifest]:
        return [each for each in self if each["kind"] == kind]

    def one(self, kind: str, name: str = "") -> Manifest:
        (found,) = (each for each in self.of(kind) if name in ("", each["metadata"]["name"]))
        return found

    @property
    def pod(self) -> Manifest:
        """The pod's spec of the operator."""
        spec: Manifest = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Manifest:
        (container,) = self.pod["containers"]
        return dict(container)


def render(values: Mapping[str, Any] | None = None, *options: str) -> Rendered:
    """`helm template`: without a cluster, and so with none of its kinds unless `--api-versions` names them."""
    text = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, *options, values=values or {})
    return Rendered(each for each in yaml.safe_load_all(text) if each)

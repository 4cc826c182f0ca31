"""A real API server and a real domain controller, started once for the session. Each test has a namespace and a container of its own.

The processes die with the test run, however it ends; files of runs that were killed are removed by the next one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from lab.api import KubeApi
from lab.kube import ControlPlane
from lab.processes import Mark, Processes
from lab.samba import DomainController
from lab.strict import Strict
from tests.audit import Audited
from tests.integration.support import REPOSITORY, Operator, Site, new_container, new_namespace

PREFIX = "adsync-test-"


def sweep() -> None:
    """Remove what earlier runs left that were killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            owner = Mark(**json.loads((directory / "owner.json").read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if not owner.alive:
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def processes() -> Iterator[Audited]:
    """What this session starts. Logs are kept in `$ADSYNC_TEST_LOGS`, if that is set."""
    sweep()
    state = Path(tempfile.mkdtemp(prefix=PREFIX))
    owner = Mark.of(os.getpid())
    assert owner is not None
    (state / "owner.json").write_text(json.dumps(asdict(owner)))
    started = Audited(state)
    try:
        yield started
    finally:
        started.stop_all(grace=0)
        if keep := os.environ.get("ADSYNC_TEST_LOGS"):
            Path(keep).mkdir(parents=True, exist_ok=True)
            for log in state.glob("*.log"):
                shutil.copy(log, keep)
        shutil.rmtree(state, ignore_errors=True)


DIRECT, STRICT = "direct", "strict"
# How clients reach domain controllers with ADSYNC_TEST_FRONT=mixed, the default: most of what is about the directory goes through proxies with
# Windows's manners, its core with and without, and what is about other things without. With "direct" or "strict" everything goes that way.
_MIXED = {
    "test_directory.py": (DIRECT, STRICT),
    "test_joining.py": (DIRECT, STRICT),
    **dict.fromkeys(
        (
            "test_users.py",
            "test_passwords.py",
            "test_groups.py",
            "test_group_members.py",
            "test_group_scale.py",
            "test_two_domains.py",
            "test_import.py",
            "test_scope_cut.py",
        ),
        (STRICT,),
    ),
}


def ways(file: str) -> tuple[str, ...]:
    """The ways in which the tests of a file are run."""
    chosen = os.environ.get("ADSYNC_TEST_FRONT") or "mixed"
    assert chosen in (DIRECT, STRICT, "mixed"), "ADSYNC_TEST_FRONT is direct, strict or mixed"
    return _MIXED.get(file, (DIRECT,)) if chosen == "mixed" else (chosen,)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    here = ways(metafunc.module.__file__.rpartition("/")[2])
    if "manners" in metafunc.fixturenames and here != (DIRECT,):
        metafunc.parametrize("manners", here, indirect=True, scope="module")


@pytest.fixture(scope="module")
def fronts() -> Iterator[Callable[[DomainController], Strict]]:
    """The proxy in front of a domain controller, made where there is none yet."""
    made: dict[tuple[str, Path], Strict] = {}

    def front(dc: DomainController) -> Strict:
        key = dc.address, dc.directory
        if key not in made:
            made[key] = Strict.before(dc)
        return made[key]

    yield front
    for each in made.values():
        each.close()


@pytest.fixture(scope="module", autouse=True)
def manners(request: pytest.FixtureRequest, fronts: Callable[[DomainController], Strict]) -> Iterator[str]:
    """How clients reach domain controllers in this module: "direct", or "strict" through proxies with Windows's manners."""
    chosen: str = getattr(request, "param", DIRECT)
    with pytest.MonkeyPatch.context() as patch:
        if chosen == STRICT:
            patch.setattr(DomainController, "endpoint", property(lambda dc: ("127.0.0.1", fronts(dc).port)))
        yield chosen


@pytest.fixture(scope="session")
def control_plane(processes: Processes) -> ControlPlane:
    """The API server, with adsync's CRDs. Tests that stop it must start it again."""
    control_plane = ControlPlane(processes)
    control_plane.start()
    control_plane.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(REPOSITORY / "crds"))
    return control_plane


@pytest.fixture(scope="session")
def dc(processes: Processes) -> Iterator[DomainController]:
    """The domain controller of corp.example.com. Tests that stop it must start it again."""
    controller = DomainController(processes, "corp")
    controller.create()
    controller.start()
    yield controller
    controller.remove()


@pytest.fixture
def api(control_plane: ControlPlane) -> Iterator[KubeApi]:
    client = KubeApi(control_plane)
    yield client
    client.close()


@pytest.fixture
def namespace(api: KubeApi) -> Iterator[str]:
    """A namespace of this test's own."""
    with new_namespace(api) as name:
        yield name


@pytest.fixture
def container(dc: DomainController) -> Iterator[str]:
    """The DN of an OU of this test's own below OU=People, where the service account has its rights. A group in it has the same name."""
    with new_container(dc) as dn:
        yield dn


@pytest.fixture
def operators(processes: Processes, control_plane: ControlPlane) -> Iterator[Callable[..., Operator]]:
    """Makes operators (not started yet) for namespaces: `operators(namespace, options=[…])`. All are killed at the end."""
    made: list[Operator] = []

    def make(*namespaces: str, options: tuple[str, ...] = ()) -> Operator:
        made.append(Operator(processes, control_plane, namespaces, options=options))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture
def operator(operators: Callable[..., Operator], namespace: str) -> Operator:
    """A running operator that serves this test's namespace."""
    made = operators(namespace)
    made.start()
    return made


@pytest.fixture
def site(api: KubeApi, control_plane: ControlPlane, dc: DomainController, namespace: str, container: str) -> Site:
    """This test's namespace and container together, with short ways to both; nothing is connected yet."""
    return Site(api, control_plane, dc, namespace, container)


@pytest.fixture(scope="module")
def home(control_plane: ControlPlane, dc: DomainController, manners: str) -> Iterator[Site]:
    """A namespace and a container that the tests of a module share; nothing is connected yet."""
    api = KubeApi(control_plane)
    with new_namespace(api) as namespace, new_container(dc) as container:
        yield Site(api, control_plane, dc, namespace, container)
    api.close()


@pytest.fixture(scope="module")
def shared_operator(processes: Processes, control_plane: ControlPlane) -> Iterator[Operator]:
    """A running operator that serves all namespaces, for the tests of a module."""
    made = Operator(processes, control_plane)
    made.start()
    yield made
    made.kill()

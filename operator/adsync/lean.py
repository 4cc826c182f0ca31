"""Imports for `adsync run` without what the operator never uses: a third of the time that they take, and some megabytes.

Libraries import more than they need of each other: the Kubernetes client brings its synchronous half along (requests, urllib3, OAuth,
charset detection, websockets), and structlog the pretty tracebacks of rich. Besides, looking for garbage among modules finds none.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_LATER = frozenset(
    f"kubernetes.{name}"
    for name in (
        "config", "dynamic", "informer", "leaderelection", "stream", "utils", "watch", "aio.dynamic", "aio.stream", "aio.watch",
    )
)  # fmt: skip
"""Loaded when somebody asks one of them for something, which the operator never does: its own client is below `kubernetes.aio`."""

_ABSENT = frozenset({"rich"})
"""Optional for who imports it. The command line has it all the same, as this holds within `lean_imports` only."""


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname in _ABSENT:
            raise ModuleNotFoundError(f"{fullname} is not needed to run the operator", name=fullname)
        if fullname not in _LATER:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def lean_imports() -> Iterator[None]:
    """Within it, modules are imported as described above. What was imported before, or is imported later, is as ever."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    gc.disable()
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        gc.freeze()  # modules stay: no collection need ever look at them again
        gc.enable()

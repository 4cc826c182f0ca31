"""A right that the watches need goes missing while the operator works: it is told of where people look, and when it comes back as well."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

from lab.kube import ControlPlane
from lab.operator import Operator
from tests.audit import Audited
from tests.chart.support import Rendered, render
from tests.chart.test_rights import granted
from tests.chart.test_rights_minimal import key, without
from tests.integration.support import Site, eventually


def readyz(operator: Operator) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{operator.health_url}/readyz", timeout=5) as answer:  # noqa: S310 - our own operator
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_refused_watch_is_told_of(
    home: Site, control_plane: ControlPlane, processes: Audited, as_account: Callable[[Rendered], Operator]
) -> None:
    rendered = render({"rbac": {"aggregate": False}, "crds": {"enabled": False}})
    operator = as_account(rendered)
    roles = rendered.of("ClusterRole") + rendered.of("Role")
    (right,) = (each for each in granted(rendered) if key(each) == ("configmaps", "watch"))
    home.connect()
    control_plane.apply(*without(roles, right))
    operator.start(await_ready=False)
    processes.wait_ready(operator.name, lambda: operator.metric("adsync_missing_rights", verb="watch", resource="configmaps") == 1)
    assert operator.metric("adsync_missing_rights") == 1
    assert operator.alive()
    status, said = readyz(operator)
    assert (status, said) == (503, "missing right: watch configmaps in all namespaces\n")
    assert "The operator may not watch configmaps in all namespaces" in operator.log
    home.await_reason("corp", kind="ADDomain")  # what works goes on working
    (event,) = eventually(lambda: [each for each in home.events("corp") if each["reason"] == "RightsMissing"])
    assert event["type"] == "Warning"
    assert "may not watch configmaps in all namespaces" in event["message"]

    control_plane.apply(*roles)
    eventually(lambda: readyz(operator) == (200, "ok\n"), 30, what="it is ready when the right is there again")
    assert operator.metric("adsync_missing_rights") == 0
    home.api.delete("ADDomain", home.namespace, "corp")
    home.await_gone("corp", "ADDomain")
    home.api.delete("Secret", home.namespace, "corp-ad")

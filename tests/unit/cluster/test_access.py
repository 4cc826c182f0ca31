"""The rights of the watches, asked for: what is missing is told once, what there is no answer to changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adsync.cluster import access as module
from adsync.cluster.access import AccessCheck, Right, watched
from adsync.errors import ClusterError
from tests.unit.cluster.support import until


class Api:
    """Refuses what is in `refused`, and answers nothing while `away`."""

    def __init__(self) -> None:
        self.rest = self
        self.refused: set[tuple[str, str, str]] = set()
        self.away = False
        self.asked: list[dict[str, str]] = []

    async def request(self, method: str, path: str, *, what: str, body: dict[str, Any], retry: bool, fenced: bool) -> dict[str, Any]:
        assert (method, path) == ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        assert not fenced  # asking is no write: a standby may
        if self.away:
            raise ClusterError("away")
        asked = body["spec"]["resourceAttributes"]
        self.asked.append(asked)
        return {"status": {"allowed": (asked["verb"], asked["resource"], asked.get("namespace", "")) not in self.refused}}


@pytest.fixture
def api() -> Api:
    return Api()


def check(api: Api, told: list[tuple[Right, ...]], *namespaces: str) -> AccessCheck:
    return AccessCheck(api, tuple(watched(namespaces)), told.append)  # type: ignore[arg-type]


def test_what_is_watched() -> None:
    everywhere = set(watched())
    assert {right.resource for right in everywhere} == {"addomains", "syncedusers", "syncedgroups", "secrets", "configmaps", "namespaces"}
    assert {right.verb for right in everywhere} == {"list", "watch"}
    assert {right.namespace for right in everywhere} == {""}
    here = set(watched(["a", "b"], secrets=False))
    assert {right.namespace for right in here} == {"a", "b"}
    assert not {"secrets", "namespaces"} & {right.resource for right in here}


def test_a_right_says_what_it_is() -> None:
    assert str(Right("watch", "secrets")) == "watch secrets in all namespaces"
    assert str(Right("list", "syncedusers", "sales")) == "list syncedusers.adsync.dev in namespace sales"
    assert str(Right("list", "namespaces")) == "list namespaces"


async def test_missing_rights_are_told_of_once_and_when_they_are_back(api: Api) -> None:
    told: list[tuple[Right, ...]] = []
    asking = check(api, told)
    await asking.ask()
    assert told == []
    assert {(each["resource"], each.get("group")) for each in api.asked} >= {("secrets", None), ("syncedusers", "adsync.dev")}
    api.refused = {("watch", "secrets", "")}
    await asking.ask()
    await asking.ask()
    assert told == [(Right("watch", "secrets"),)]
    assert {right: number for right, number in asking.counts().items() if number} == {("watch", "secrets"): 1}
    api.refused = set()
    await asking.ask()
    assert told == [(Right("watch", "secrets"),), ()]
    assert set(asking.counts().values()) == {0}


async def test_counts_are_of_namespaces(api: Api) -> None:
    asking = check(api, [], "a", "b")
    api.refused = {("list", "configmaps", "a"), ("list", "configmaps", "b")}
    await asking.ask()
    assert asking.counts()["list", "configmaps"] == 2


async def test_no_answer_is_no_refusal(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MISSING_SECONDS", 0.001)
    monkeypatch.setattr(module, "_SECONDS", 0.001)
    monkeypatch.setattr(module, "_SECONDS_EACH", 0.0)
    told: list[tuple[Right, ...]] = []
    asking = check(api, told)
    api.refused = {("list", "configmaps", "")}
    running = asyncio.create_task(asking.run())
    await until(lambda: asking.missing)
    api.away, api.refused = True, set()
    await asyncio.sleep(0.02)
    assert asking.missing == (Right("list", "configmaps"),)
    api.away = False
    await until(lambda: not asking.missing)
    running.cancel()
    assert told == [(Right("list", "configmaps"),), ()]

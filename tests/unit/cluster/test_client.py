"""The client against an API server of a few dictionaries, over real HTTP."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from adsync.cluster.client import Cluster
from adsync.cluster.keys import NAME as KEYS
from adsync.cluster.secrets import SecretData
from adsync.errors import ClusterError, InvalidSpec
from tests.unit.cluster.support import ApiServer, Options, connect, kubeconfig, serve, status

USERS = "/apis/adsync.dev/v1alpha1/namespaces/apps/syncedusers"
OURS = "adsync.dev/directory"


@pytest.fixture
def api() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def server(api: ApiServer) -> AsyncIterator[TestServer]:
    server = await serve(api)
    yield server
    await server.close()


@pytest.fixture
async def cluster(api: ApiServer, server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    cluster = await connect(tmp_path, server, monkeypatch)
    api.requests.clear()
    api.tokens.clear()
    yield cluster
    await cluster.close()


def user(api: ApiServer, name: str = "jdoe", **metadata: Any) -> dict[str, Any]:
    obj = {"apiVersion": "adsync.dev/v1alpha1", "kind": "SyncedUser", "metadata": {"name": name, **metadata}, "spec": {"username": name}}
    return api.put(f"{USERS}/{name}", obj)


# ---- reading


async def test_a_list_is_read_page_by_page_and_without_managed_fields(api: ApiServer, cluster: Cluster) -> None:
    for number in range(1001):
        user(api, f"u{number:04}")
    items, version = await cluster.list("SyncedUser", "apps")
    assert [obj["metadata"]["name"] for obj in items] == [f"u{number:04}" for number in range(1001)]
    assert len(api.requests) == 3
    assert version
    assert not any("managedFields" in obj["metadata"] for obj in items)


async def test_a_list_whose_continuation_has_expired_begins_again(api: ApiServer, cluster: Cluster) -> None:
    for number in range(700):
        user(api, f"u{number:04}")
    api.faults.append(lambda request: status(410, "Expired") if "continue" in request.query else None)
    items, _ = await cluster.list("SyncedUser", "apps")
    assert len(items) == len({obj["metadata"]["name"] for obj in items}) == 700


async def test_an_empty_list_of_metadata_comes_as_null(api: ApiServer, cluster: Cluster) -> None:
    api.faults.append(lambda request: web.json_response({"kind": "PartialObjectMetadataList", "metadata": {}, "items": None}))
    assert await cluster.list("SyncedUser", "apps", metadata_only=True) == ([], "")


async def test_a_list_that_fails_on_its_way_is_no_list(api: ApiServer, cluster: Cluster) -> None:
    for number in range(700):
        user(api, f"u{number:04}")
    api.faults.append(lambda request: status(403, "Forbidden") if "continue" in request.query else None)
    with pytest.raises(ClusterError) as caught:
        await cluster.list("SyncedUser", "apps")
    assert caught.value.status == 403


async def test_the_served_namespaces_are_listed_one_by_one(api: ApiServer, cluster: Cluster) -> None:
    cluster.namespaces = ("apps", "other")
    user(api)
    items, _ = await cluster.list("SyncedUser")
    assert len(items) == 1
    assert [path.split("/")[5] for _, path in api.requests] == ["apps", "other"]


async def test_missing_crds_are_named_with_the_remedy(api: ApiServer, cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"adsync crds \| kubectl apply"):
        await cluster.list("ADDomain", "apps")


async def test_only_404_is_absence(api: ApiServer, cluster: Cluster) -> None:
    assert await cluster.get("SyncedUser", "apps", "nobody") is None
    api.faults.append(lambda _: status(403, "Forbidden", 'secrets "x" is forbidden'))
    with pytest.raises(ClusterError, match="may not read Secret apps/x"):
        await cluster.get_secret("apps", "x")


async def test_a_quota_is_no_matter_of_rights(api: ApiServer, cluster: Cluster) -> None:
    api.faults.append(lambda _: status(403, "Forbidden", 'syncedusers "x" is forbidden: exceeded quota: q, requested: 1'))
    with pytest.raises(ClusterError, match="exceeded quota") as caught:
        await cluster.create("SyncedUser", {"metadata": {"namespace": "apps", "name": "x"}})
    assert "RBAC" not in str(caught.value)
    assert "ResourceQuota" in str(caught.value)


async def test_a_secret_is_decoded_and_shown_nowhere(api: ApiServer, cluster: Cluster) -> None:
    data = {"password": base64.b64encode(b"Geheim-1").decode(), "binary": base64.b64encode(b"\xff\xfe").decode(), "broken": "***"}
    api.put("/api/v1/namespaces/apps/secrets/jdoe", {"data": data})
    secret = await cluster.get_secret("apps", "jdoe")
    assert secret is not None
    assert secret.data["password"] == b"Geheim-1"
    assert "Geheim" not in repr(secret)
    password = secret.text("password")
    assert password is not None
    assert password.get_secret_value() == "Geheim-1"
    assert "Geheim" not in repr(password)
    assert secret.text("nothing") is None
    assert "broken" not in secret.data
    with pytest.raises(InvalidSpec, match="key binary of Secret apps/jdoe is not UTF-8") as caught:
        secret.text("binary")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_the_clusters_identity_is_that_of_kube_system_or_of_the_own_namespace(api: ApiServer, cluster: Cluster) -> None:
    api.put("/api/v1/namespaces/kube-system", {"metadata": {"uid": "system"}})
    api.put("/api/v1/namespaces/adsync-system", {"metadata": {"uid": "own"}})
    assert await cluster.cluster_uid() == "system"
    api.faults.append(lambda _: status(403, "Forbidden"))
    assert await cluster.cluster_uid() == "own"
    api.faults += [lambda _: status(403, "Forbidden"), lambda _: status(403, "Forbidden")]
    with pytest.raises(ClusterError, match="set clusterName"):
        await cluster.cluster_uid()


# ---- faults


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_busy_server_is_asked_again(api: ApiServer, cluster: Cluster, code: int) -> None:
    user(api)
    api.faults += [lambda _: status(code, "Busy"), lambda _: status(code, "Busy")]
    assert await cluster.get("SyncedUser", "apps", "jdoe") is not None
    assert len(api.requests) == 3


async def test_the_server_says_how_long_to_wait(api: ApiServer, cluster: Cluster) -> None:
    user(api)
    loop = asyncio.get_running_loop()
    began = loop.time()
    api.faults.append(lambda _: web.json_response({"message": "slowly"}, status=429, headers={"Retry-After": "1"}))
    await cluster.get("SyncedUser", "apps", "jdoe")
    assert loop.time() - began >= 0.9


async def test_a_creation_that_may_have_been_carried_out_is_not_repeated(api: ApiServer, cluster: Cluster) -> None:
    api.faults.append(lambda _: status(500, "InternalError"))
    with pytest.raises(ClusterError) as caught:
        await cluster.create("Secret", {"metadata": {"name": "x", "namespace": "apps"}})
    assert caught.value.status == 500
    assert len(api.requests) == 1


async def test_what_the_server_refuses_is_not_repeated(api: ApiServer, cluster: Cluster) -> None:
    user(api)
    api.faults.append(lambda _: status(422, "Invalid", "spec.x: too long", causes=[{"field": "spec.x"}]))
    with pytest.raises(ClusterError, match=r"refuses to change SyncedUser apps/jdoe \(422\): spec.x: too long"):
        await cluster.patch("SyncedUser", "apps", "jdoe", {"spec": {"x": "y"}})
    assert len(api.requests) == 1


async def test_a_proxys_page_is_not_shown(api: ApiServer, cluster: Cluster) -> None:
    api.faults.append(lambda _: web.Response(status=400, text="<html>a page</html>"))
    with pytest.raises(ClusterError) as caught:
        await cluster.get("SyncedUser", "apps", "jdoe")
    assert "html" not in str(caught.value)


async def test_new_credentials_are_read_when_the_old_are_refused(
    api: ApiServer, cluster: Cluster, server: TestServer, tmp_path: Path
) -> None:
    user(api)
    kubeconfig(tmp_path, str(server.make_url("")).rstrip("/"), token="second")
    api.faults.append(lambda request: status(401, "Unauthorized") if request.headers["Authorization"] == "Bearer first" else None)
    assert await cluster.get("SyncedUser", "apps", "jdoe") is not None
    assert api.tokens == ["Bearer first", "Bearer second"]
    credentials = await cluster.credentials()
    assert credentials.authorization is not None
    assert credentials.authorization.get_secret_value() == "Bearer second"
    assert "second" not in repr(credentials)


async def test_a_server_that_is_away_has_status_0(cluster: Cluster, server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adsync.cluster.rest._RETRIES", {"attempts": 2, "wait_initial": 0.01, "wait_jitter": 0.0})
    await server.close()
    with pytest.raises(ClusterError, match="does not answer") as caught:
        await cluster.get("SyncedUser", "apps", "jdoe")
    assert caught.value.status == 0


@pytest.mark.parametrize("content", [None, "", "a: [", "{}", "[]", '{"current-context": "x"}'])
async def test_an_unusable_kubeconfig_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(ClusterError, match=r"KUBECONFIG=.* can't be used") as caught:
        await Cluster.connect(Options())
    assert "\n" not in str(caught.value)


async def test_every_request_is_observed_without_names(server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, int]] = []
    cluster = await connect(
        tmp_path, server, monkeypatch, observe=lambda method, resource, code, _seconds: seen.append((method, resource, code))
    )
    await cluster.get("SyncedUser", "apps", "jdoe")
    await cluster.get_namespace("apps")
    await cluster.get_secret("apps", "jdoe")
    assert seen[1:] == [("GET", "syncedusers", 404), ("GET", "namespaces", 404), ("GET", "secrets", 404)]
    await cluster.close()


# ---- writing


async def test_a_status_goes_only_to_the_object_that_was_meant(api: ApiServer, cluster: Cluster) -> None:
    obj = user(api)
    operations = [{"op": "add", "path": "/status", "value": {"a": 1}}]
    written = await cluster.patch_status("SyncedUser", "apps", "jdoe", operations, uid=obj["metadata"]["uid"])
    assert written is not None
    assert written["status"] == {"a": 1}
    assert api.requests[-1] == ("PATCH", f"{USERS}/jdoe/status")
    assert await cluster.patch_status("SyncedUser", "apps", "jdoe", operations, uid="another") is None
    assert await cluster.patch_status("SyncedUser", "apps", "nobody", operations, uid="another") is None
    with pytest.raises(ClusterError) as caught:
        await cluster.patch_status("SyncedUser", "apps", "jdoe", [{"op": "remove", "path": "/status/b"}], uid=obj["metadata"]["uid"])
    assert caught.value.status == 409


async def test_a_finalizer_is_added_once_and_beside_others(api: ApiServer, cluster: Cluster) -> None:
    stale = dict(user(api), metadata=dict(user(api, finalizers=["a/b"])["metadata"], resourceVersion="1", finalizers=[]))
    now = await cluster.add_finalizer(stale, OURS)
    assert now is not None
    assert now["metadata"]["finalizers"] == ["a/b", OURS]
    count = len(api.requests)
    assert await cluster.add_finalizer(now, OURS) is now
    assert len(api.requests) == count


async def test_no_finalizer_for_what_is_gone_being_deleted_or_another(api: ApiServer, cluster: Cluster) -> None:
    obj = dict(user(api), metadata=dict(user(api)["metadata"]))
    user(api, finalizers=["a/b"], deletionTimestamp="2026-01-01T00:00:00Z", uid=obj["metadata"]["uid"])
    assert await cluster.add_finalizer(obj, OURS) is None
    user(api, uid="another")
    assert await cluster.add_finalizer(obj, OURS) is None
    del api.objects[f"{USERS}/jdoe"]
    assert await cluster.add_finalizer(obj, OURS) is None


async def test_removing_our_finalizer_leaves_those_of_others(api: ApiServer, cluster: Cluster) -> None:
    obj = user(api, finalizers=["a/b", OURS], deletionTimestamp="2026-01-01T00:00:00Z")
    now = await cluster.remove_finalizer(obj, OURS)
    assert now is not None
    assert now["metadata"]["finalizers"] == ["a/b"]
    assert await cluster.remove_finalizer(now, "a/b") is None  # the last one, and the object goes with it
    assert f"{USERS}/jdoe" not in api.objects


async def test_the_absence_of_a_finalizer_is_believed_of_the_server_only(api: ApiServer, cluster: Cluster) -> None:
    old = dict(user(api), metadata=dict(user(api)["metadata"]))
    user(api, finalizers=[OURS], uid=old["metadata"]["uid"])
    await cluster.remove_finalizer(old, OURS)
    assert not api.objects[f"{USERS}/jdoe"]["metadata"].get("finalizers")


async def test_only_the_object_that_was_meant_is_deleted(api: ApiServer, cluster: Cluster) -> None:
    obj = user(api)
    with pytest.raises(ClusterError) as caught:
        await cluster.delete("SyncedUser", "apps", "jdoe", uid="another")
    assert caught.value.status == 409
    assert await cluster.delete("SyncedUser", "apps", "jdoe", uid=obj["metadata"]["uid"]) is True
    assert await cluster.delete("SyncedUser", "apps", "jdoe", uid=obj["metadata"]["uid"]) is False


# ---- the keys of the digests


async def test_the_keys_are_made_once_however_many_ask(api: ApiServer, cluster: Cluster) -> None:
    api.missing_namespaces.add("adsync-system")
    several = await asyncio.gather(*(cluster.ensure_key_secret() for _ in range(8)))
    assert len({(keys.current_id, keys.keys[keys.current_id]) for keys in several}) == 1
    keys = several[0]
    assert len(keys.keys[keys.current_id]) == 32
    key = keys.keys[keys.current_id]
    assert key.hex() not in repr(keys)
    assert str(key) not in repr(keys)
    assert (await cluster.ensure_key_secret()).keys == keys.keys


async def test_keys_that_are_there_are_kept_when_the_current_one_is_missing(api: ApiServer, cluster: Cluster) -> None:
    old = base64.b64encode(b"k" * 32).decode()
    api.put(f"/api/v1/namespaces/adsync-system/secrets/{KEYS}", {"data": {"0badc0de": old, "current": base64.b64encode(b"gone").decode()}})
    keys = await cluster.ensure_key_secret()
    assert keys.keys["0badc0de"] == b"k" * 32
    assert keys.current_id not in ("0badc0de", "gone")
    assert len(keys.keys[keys.current_id]) == 32


async def test_a_right_that_is_missing_for_the_keys_is_said(api: ApiServer, cluster: Cluster) -> None:
    api.faults += [lambda _: status(404, "NotFound"), lambda _: status(403, "Forbidden", "no")]
    with pytest.raises(ClusterError, match=f"may not create Secret adsync-system/{KEYS}"):
        await cluster.ensure_key_secret()


def test_a_secret_that_is_being_deleted_says_so() -> None:
    meta = {"name": "a", "namespace": "b", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert SecretData.of({"metadata": meta}).deleting


# ---- only the leader writes


async def test_who_does_not_lead_reads_and_writes_nothing(api: ApiServer, cluster: Cluster) -> None:
    user(api)
    cluster.rest.may_write = lambda: False
    assert await cluster.get("SyncedUser", "apps", "jdoe") is not None
    with pytest.raises(ClusterError, match="is not written: the lease has run out"):
        await cluster.patch_status("SyncedUser", "apps", "jdoe", [], uid="u")
    with pytest.raises(ClusterError, match="the lease has run out"):
        await cluster.create("Event", {"metadata": {"namespace": "apps", "name": "e"}})
    with pytest.raises(ClusterError, match="the lease has run out"):
        await cluster.delete("SyncedUser", "apps", "jdoe", uid="u")
    assert {method for method, _ in api.requests} == {"GET"}


async def test_a_write_that_has_begun_is_not_sent_once_the_lease_has_run_out(api: ApiServer, cluster: Cluster) -> None:
    """It was asked before a connection was looked for, and is asked again before the first byte."""
    obj = user(api)
    answers = iter([True])
    cluster.rest.may_write = lambda: next(answers, False)
    with pytest.raises(ClusterError):
        await cluster.patch("SyncedUser", "apps", "jdoe", {"spec": {"email": "a@b"}})
    assert api.requests == []
    cluster.rest.may_write = lambda: True
    assert await cluster.add_finalizer(obj, OURS) is not None  # the connection is not harmed by it

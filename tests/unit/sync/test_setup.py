"""Setting up a domain: whatever is missing is said with its own reason, and what it is set up with is known by a fingerprint."""

from __future__ import annotations

from typing import Any

import pytest

from adsync.cluster.secrets import SecretData
from adsync.errors import ClusterError
from adsync.resources.conditions import ConditionType, Reason
from adsync.sync.setup import Halt, Setup, set_up
from adsync.sync.store import DOMAIN, Store
from tests.unit.core.support import KEYS
from tests.unit.sync.support import CORP, domain

CA = "-----BEGIN CERTIFICATE-----"
GOOD = {"corp-ad": {"username": b"svc@corp.example.com\n", "password": b"S3cret-of-the-service\n"}}


class Cluster:
    def __init__(self, secrets: dict[str, dict[str, bytes]], configmaps: dict[str, dict[str, str]], refusal: int = 0) -> None:
        self.secrets, self.configmaps, self.refusal = secrets, configmaps, refusal

    async def get_secret(self, namespace: str, name: str) -> SecretData | None:
        assert namespace == "team-a"
        if self.refusal:
            raise ClusterError("The operator may not read it", status=self.refusal)
        return SecretData(namespace, name, "uid", "1", self.secrets[name]) if name in self.secrets else None

    async def get_configmap(self, namespace: str, name: str) -> dict[str, Any] | None:
        return {"data": self.configmaps[name]} if name in self.configmaps else None


async def prepare(
    secrets: dict[str, dict[str, bytes]] | None = None, configmaps: dict[str, dict[str, str]] | None = None, **spec: Any
) -> Setup:
    store = Store(KEYS)
    store.put(DOMAIN, domain(**spec))
    cluster = Cluster(GOOD if secrets is None else secrets, configmaps or {})
    return await set_up(store.resources[CORP], store, cluster, "uid-of-kube-system", ())  # type: ignore[arg-type]


async def test_all_is_there() -> None:
    setup = await prepare(
        servers=["ldaps://dc1"], tls={"caConfigMapRef": {"name": "ca"}, "serverName": "dc1.corp"}, configmaps={"ca": {"ca.crt": CA}}
    )
    target = setup.target
    assert (target.username, target.password.get_secret_value()) == ("svc@corp.example.com", "S3cret-of-the-service")
    assert (target.servers, target.server_name, target.ca_pem) == (("ldaps://dc1",), "dc1.corp", CA.encode())
    assert target.ownership_attribute == "adminDescription"
    assert "S3cret" not in repr(setup) + setup.fingerprint + setup.credentials


CA_SECRET = {"tls": {"caSecretRef": {"name": "ca"}}}
CA_MAP = {"tls": {"caConfigMapRef": {"name": "ca"}}}


@pytest.mark.parametrize(
    ("how", "reason", "condition", "said"),
    [
        ({"paused": True}, Reason.PAUSED, None, "spec.paused"),
        ({"servers": ["ldap://dc1"]}, Reason.INVALID_SPEC, None, "only ldaps:// is supported"),
        ({"rootUserContainer": "OU=x,DC=elsewhere"}, Reason.INVALID_SPEC, None, "rootUserContainer"),
        (
            {"secrets": {}},
            Reason.CREDENTIALS_REJECTED,
            ConditionType.CREDENTIALS_VALID,
            "Secret corp-ad does not exist in namespace team-a",
        ),
        ({"secrets": {"corp-ad": {"username": b"x"}}}, Reason.CREDENTIALS_REJECTED, ConditionType.CREDENTIALS_VALID, "no key 'password'"),
        (
            {"secrets": {"corp-ad": {"username": b"", "password": b"x"}}},
            Reason.CREDENTIALS_REJECTED,
            ConditionType.CREDENTIALS_VALID,
            "no key 'username', or it is empty",
        ),
        (
            {"secrets": {"corp-ad": {"username": b"x", "password": b"\xff"}}},
            Reason.CREDENTIALS_REJECTED,
            ConditionType.CREDENTIALS_VALID,
            "'password' is not text",
        ),
        (CA_SECRET, Reason.CERTIFICATE_REJECTED, ConditionType.CONNECTED, "Secret ca with the CA does not exist"),
        (CA_MAP, Reason.CERTIFICATE_REJECTED, ConditionType.CONNECTED, "ConfigMap ca with the CA does not exist"),
        (
            {**CA_SECRET, "secrets": GOOD | {"ca": {}}},
            Reason.CERTIFICATE_REJECTED,
            ConditionType.CONNECTED,
            "Secret ca has no key 'ca.crt'",
        ),
        ({**CA_MAP, "configmaps": {"ca": {"ca.crt": ""}}}, Reason.CERTIFICATE_REJECTED, ConditionType.CONNECTED, "ConfigMap ca has no key"),
    ],
)
async def test_what_is_missing(how: dict[str, Any], reason: Reason, condition: ConditionType | None, said: str) -> None:
    with pytest.raises(Halt) as caught:
        await prepare(**how)
    halt = caught.value
    assert (halt.verdict.reason, halt.condition) == (reason, condition)
    assert said in halt.verdict.message
    # Where Secrets can't be watched, only looking again finds that it is there now.
    assert (halt.retry is not None) is (condition is not None)


async def test_secrets_that_may_not_be_read_are_not_asked_for() -> None:
    store = Store(KEYS, ["team-b"])
    store.put(DOMAIN, domain())
    with pytest.raises(Halt, match="may not read Secrets in namespace team-a") as caught:
        await set_up(store.resources[CORP], store, Cluster({}, {}, 500), "uid", ())  # type: ignore[arg-type]
    assert (caught.value.verdict.reason, caught.value.condition) == (Reason.INSUFFICIENT_RIGHTS, ConditionType.CREDENTIALS_VALID)


@pytest.mark.parametrize(
    ("meta", "terminating", "status", "expected"),
    [
        ({}, False, 403, Halt),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, True, 403, Halt),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, False, 403, ClusterError),  # may pass: it must not give up for it
        ({}, False, 503, ClusterError),
    ],
)
async def test_a_refused_read_is_told_of(meta: dict[str, Any], terminating: bool, status: int, expected: type[Exception]) -> None:
    store = Store(KEYS)
    store.put(DOMAIN, domain(meta=meta))
    store.put_namespace("team-a", {}, terminating=terminating)
    with pytest.raises(expected, match="may not read it"):
        await set_up(store.resources[CORP], store, Cluster({}, {}, status), "uid", ())  # type: ignore[arg-type]


async def test_the_fingerprint_differs_when_anything_does() -> None:
    first = await prepare()
    assert (await prepare()).fingerprint == first.fingerprint
    with_ca = await prepare(**CA_SECRET, secrets=GOOD | {"ca": {"ca.crt": b"one"}})
    others = [
        await prepare(secrets={"corp-ad": GOOD["corp-ad"] | {"password": b"another"}}),
        await prepare(secrets={"corp-ad": GOOD["corp-ad"] | {"username": b"another"}}),
        await prepare(meta={"generation": 2}),
        with_ca,
        await prepare(**CA_SECRET, secrets=GOOD | {"ca": {"ca.crt": b"two"}}),
    ]
    assert len({setup.fingerprint for setup in (first, *others)}) == 6
    assert with_ca.credentials == first.credentials, "a new CA is no reason to try refused credentials again"


async def test_credentials_are_known_by_what_they_are_and_for_which_directory() -> None:
    first = await prepare()
    assert (await prepare(domainName="CORP.example.com", rootUserContainer=None, clusterName="x")).credentials == first.credentials
    assert (await prepare(domainName="other.example.com", rootUserContainer=None)).credentials != first.credentials
    swapped = await prepare(secrets={"corp-ad": {"username": b"svc", "password": b"@corp.example.com"}})
    assert swapped.credentials != first.credentials

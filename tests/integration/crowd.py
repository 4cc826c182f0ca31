"""Many users at once, for tests of what happens to all of them when something fails."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab.api import Manifest
from lab.ldaptools import Found
from tests.integration.support import Operator, Site, eventually, ready_reason, secret, synced_user, unique

FULL = os.environ.get("ADSYNC_TEST_SCALE") == "full"
"""Whether the numbers are those of a real site instead of the least that shows the point."""

full_only = pytest.mark.skipif(not FULL, reason="takes long, and shows a variant: set ADSYNC_TEST_SCALE=full")

MARK = "adminDescription"


def scaled(quick: int, full: int) -> int:
    return full if FULL else quick


class Crowd:
    """`count` users of one site, whose resources are called as they are; their passwords, if they have any, are known."""

    def __init__(self, site: Site, count: int, *, passwords: bool = False) -> None:
        prefix = unique("c")
        self.site = site
        self.names = [f"{prefix}{number:04d}" for number in range(count)]
        self.passwords = {name: f"First-{secrets.token_hex(6)}-X" for name in self.names} if passwords else {}

    def create(self, **spec: Any) -> None:
        """Create the resources, and before them the Secrets."""
        site = self.site
        site.api.create_many(secret(site.namespace, name, {"password": value}) for name, value in self.passwords.items())
        refs = {name: {"passwordSecretRef": {"name": name}} for name in self.passwords}
        site.api.create_many(synced_user(site.namespace, name, **{**spec, **refs.get(name, {})}) for name in self.names)

    def change_passwords(self, word: str) -> None:
        """Give every user another password."""
        self.passwords = {name: f"{word}-{secrets.token_hex(6)}-X" for name in self.names}
        namespace = self.site.namespace
        changes = [(name, {"stringData": {"password": value}}) for name, value in self.passwords.items()]
        self.site.api.many(lambda change: self.site.api.patch("Secret", namespace, *change), changes)

    def delete(self) -> None:
        self.site.api.many(lambda name: self.site.api.delete("SyncedUser", self.site.namespace, name), self.names)

    def resources(self) -> dict[str, Manifest]:
        names = set(self.names)
        listed = self.site.api.list("SyncedUser", self.site.namespace)
        return {each["metadata"]["name"]: each for each in listed if each["metadata"]["name"] in names}

    def versions(self) -> dict[str, str]:
        return {name: each["metadata"]["resourceVersion"] for name, each in self.resources().items()}

    def await_reason(self, reason: str = "Synced", timeout: float = 30.0, *, names: Iterable[str] | None = None) -> None:
        """Wait until all of them (or of `names`) say so of their newest spec."""
        wanted = set(self.names if names is None else names)

        def look() -> bool:
            others = {
                name: each.get("status", {}).get("conditions", "no status")
                for name, each in self.resources().items()
                if name in wanted and ready_reason(each) != reason
            }
            assert not others, f"{len(others)} of {len(wanted)} are not, the first is {next(iter(others.items()))}"
            return True

        # To list thousands again and again would slow down what is waited for.
        eventually(look, timeout, interval=max(0.2, len(wanted) / 500), what=f"all are {reason}")

    def await_gone(self, timeout: float = 30.0) -> None:
        eventually(lambda: not self.resources(), timeout, interval=0.2, what="all resources are gone")

    def accounts(self) -> dict[str, Found]:
        """The accounts below the site's container, by username; with two of the same resource, or of others, the test fails."""
        found = self.site.dc.search(
            "(objectClass=user)", [MARK, "sAMAccountName", "userAccountControl", "objectGUID"], base=self.site.container
        )
        owners = [each[MARK][0].partition(";")[0] for each in found if MARK in each]
        assert len(owners) == len(set(owners)), "two accounts carry the mark of one resource"
        return {each["sAMAccountName"][0]: each for each in found}

    def assert_complete(self) -> None:
        """Exactly these accounts are there, each recorded by its own resource, and each signs in with its password."""
        accounts = self.accounts()
        assert sorted(accounts) == self.names
        recorded = {name: each["status"]["domains"][0]["objectGUID"] for name, each in self.resources().items()}
        assert recorded == {name: each["objectGUID"][0] for name, each in accounts.items()}
        with ThreadPoolExecutor(4) as pool:
            refusals = list(pool.map(lambda name: (name, self.site.dc.bind_error(name, self.passwords[name])), self.passwords))
        assert [(name, code) for name, code in refusals if code] == []


def operations(operator: Operator) -> dict[str, int]:
    """How many LDAP operations of each type this process has made."""
    counts: dict[str, int] = {}
    for line in operator.metrics().splitlines():
        if line.startswith("adsync_ldap_operation_duration_seconds_count{"):
            kind = line.partition('operation="')[2].partition('"')[0]
            counts[kind] = counts.get(kind, 0) + int(float(line.rpartition(" ")[2]))
    return counts


def await_looked_at(operator: Operator, count: int, timeout: float = 60.0) -> None:
    """Wait until this process has looked at so many users, and found nothing left to do."""
    eventually(
        lambda: (
            operator.metric("adsync_sync_seconds_count", kind="SyncedUser") >= count
            and operator.metric("adsync_resources", kind="SyncedUser", state="synced") >= count
            and operator.metric("adsync_status_pending") == 0
        ),
        timeout,
        interval=0.1,
        what=f"{count} users have been looked at",
    )

"""What the tests of groups share: a domain that lets much go, and members as ldapsearch shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lab.api import Manifest
from tests.integration.support import Site, account, entry, eventually, synced_group

UNLIMITED = {"maxRemovals": "100%", "minRemovals": 100000}
"""For `safety`, where a test takes out more members than a domain so small lets go in an hour."""


def group(site: Site, name: str, members: Iterable[str] | None = None, **spec: Any) -> Manifest:
    """Create a SyncedGroup; `members` are names of SyncedUsers, None says nothing of them."""
    if members is not None:
        spec["members"] = [{"name": each} for each in members]
    return site.api.create(synced_group(site.namespace, name, **spec))


def set_members(site: Site, name: str, members: Iterable[str]) -> Manifest:
    return site.edit(name, {"members": [{"name": each} for each in members]}, "SyncedGroup")


def members(site: Site, name: str) -> set[str]:
    """The DNs in the group's `member`."""
    return set(account(site, name).get("member", []))


def names(site: Site, name: str) -> set[str]:
    """The same by their cn, which of accounts that we make is the username."""
    return {dn.partition(",")[0].removeprefix("CN=") for dn in members(site, name)}


def membership(resource: Manifest) -> dict[str, Any]:
    """What the status of a group says about its members in its one domain."""
    found: dict[str, Any] = entry(resource)["membership"]
    return found


def groups_of(resource: Manifest) -> list[str]:
    """The groups that the status of a user names."""
    found: list[str] = entry(resource)["membership"].get("groups", [])
    return found


def synced(site: Site, name: str, timeout: float = 15.0) -> Manifest:
    """Wait until the group is in step with its newest spec."""
    return site.await_reason(name, "Synced", "SyncedGroup", timeout)


def when(site: Site, name: str, seen: Callable[[Manifest], object], kind: str = "SyncedGroup", timeout: float = 15.0) -> Manifest:
    """Wait until `seen` is true of the resource, and return it."""

    def look() -> Manifest:
        resource = site.get(name, kind)
        assert seen(resource), resource.get("status")
        return resource

    return eventually(look, timeout)

"""What goes into the directory layer and what comes out of it, besides entries and changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from pydantic import SecretStr

from adsync.core.dn import DN

Observer: TypeAlias = Callable[[str, float, int], None]
"""Called with the operation's type ("search", "add", ...), its duration in seconds and its result code (-1: there was no answer)."""


@dataclass(frozen=True, slots=True)
class Target:
    """One domain and how to reach it.

    `servers` are ldaps URLs in order of preference; empty means SRV records. `nameservers` are `address` or `address:port`; empty means
    the system's resolver. `attributes` are the names of the plain string attributes that are read into `Entry.attributes`. Times are
    seconds: `connect_timeout` for TCP and TLS together, `operation_timeout` for any one operation, `stall_timeout` for how long a server
    may say nothing while it owes an answer, `keepalive` for how long a connection may lie idle.
    """

    domain_name: str
    username: str
    password: SecretStr
    servers: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    ca_pem: bytes | None = None
    server_name: str | None = None
    attributes: tuple[str, ...] = ()
    ownership_attribute: str = "adminDescription"
    in_flight: int = 32
    page_size: int = 500
    connect_timeout: float = 5.0
    operation_timeout: float = 120.0
    stall_timeout: float = 10.0
    keepalive: float = 60.0


@dataclass(frozen=True, slots=True)
class DomainInfo:
    """What the connected server says of itself, the domain and our own account. Texts that can't be read are "", sets are empty."""

    url: str
    base: DN
    ds_service_name: str
    invocation_id: str
    highest_committed_usn: int
    domain_sid: str
    supported_controls: frozenset[str]
    account_guid: str
    account_dn: DN | None
    account_sid: str
    account_groups: frozenset[str]  # SIDs of all groups in our own token
    certificate_not_after: datetime | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a mark: objectGUID → uSNChanged. `deleted` are objectGUIDs; empty where tombstones can't be read. `high_usn` is the
    next mark."""

    usns: dict[str, int] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    high_usn: int = 0


@dataclass(frozen=True, slots=True)
class Notification:
    """Something about this object changed: a wake-up, not a record. `dn` is as the server writes it."""

    guid: str
    usn: int
    dn: str = ""


@dataclass(frozen=True, slots=True)
class Rights:
    """What the service account lacks for its work, and what it has beyond it, each in words, sorted."""

    missing: list[str] = field(default_factory=list)
    excess: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Link:
    """One value of a link attribute such as `member`. `sid` is "" for objects without one; `guid` is "" where the server did not say."""

    dn: str
    guid: str = ""
    sid: str = ""


@dataclass(frozen=True, slots=True)
class MemberList:
    """The whole `member` attribute of a group, and the uSNChanged that the group had when its reading began."""

    guid: str
    usn: int
    members: list[Link]

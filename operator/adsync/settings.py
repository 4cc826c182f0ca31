"""What can be set from outside: options of `adsync run`, and the same as `ADSYNC_…` in the environment; an option goes before."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123, as Kubernetes names its namespaces


def own_namespace() -> str:
    """Where this pod runs; outside a cluster "adsync-system"."""
    if name := os.environ.get("POD_NAMESPACE", "").strip():
        return name
    try:
        return _NAMESPACE_FILE.read_text().strip() or "adsync-system"
    except OSError:
        return "adsync-system"


def split_address(value: str) -> tuple[str, int]:
    """(host, port) of "host:port" or "[v6]:port"; an empty host means all addresses. Raises ValueError."""
    host, separator, port = value.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{value!r} is no address to listen at: write host:port or :port, such as :8080")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{value!r} is no address to listen at: put an IPv6 address in brackets, as in [::1]:8080")
    return host, int(port)


class Settings(BaseSettings):
    """Validated at the start; pydantic's ValidationError says which value is wrong."""

    model_config = SettingsConfigDict(env_prefix="ADSYNC_", extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    namespaces: Annotated[tuple[str, ...], NoDecode] = Field(default=(), validation_alias="ADSYNC_NAMESPACE")
    """The namespaces served; empty: all. In the environment separated by commas."""
    secret_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(default=(), validation_alias="ADSYNC_SECRET_NAMESPACE")
    """The namespaces in which Secrets may be read; empty: all that are served. In the environment separated by commas."""
    metrics_address: str = ":9090"
    health_address: str = ":8080"
    leader_elect: bool = False
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    operator_namespace: str = Field(default_factory=own_namespace)
    """Where the operator's own Secret and Lease are."""
    resolvers: Annotated[tuple[str, ...], NoDecode] = Field(default=(), validation_alias="ADSYNC_RESOLVER")
    """Name servers for the SRV records of domains, each as address or address:port; empty: those of the system."""

    @field_validator("namespaces", "secret_namespaces", "resolvers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("namespaces", "secret_namespaces", "operator_namespace")
    @classmethod
    def _namespace(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in (value,) if isinstance(value, str) else value:
            if not _DNS_LABEL.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a namespace")
        return value if isinstance(value, str) else tuple(dict.fromkeys(value))

    @field_validator("metrics_address", "health_address")
    @classmethod
    def _address(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("resolvers")
    @classmethod
    def _resolver(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            parse_resolver(each)
        return value

    @property
    def nameservers(self) -> tuple[tuple[str, int], ...]:
        """The resolvers as (address, port)."""
        return tuple(parse_resolver(each) for each in self.resolvers)


def parse_resolver(value: str) -> tuple[str, int]:
    """(address, port) of "10.0.0.1", "10.0.0.1:5353", "fd00::1" or "[fd00::1]:5353". Raises ValueError."""
    address, port = value, "53"
    if match := re.fullmatch(r"\[(.+)\](?::(\d+))?", value):
        address, port = match[1], match[2] or "53"
    elif value.count(":") == 1:
        address, port = value.split(":")
    try:
        ipaddress.ip_address(address)
        valid = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"{value!r} is no name server: write its IP address, if need be with a port, as in 10.0.0.1:5353")
    return address, int(port)

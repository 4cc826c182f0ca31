"""Which servers to try, in which order: those that the spec names, or what DNS has (RFC 2782, MS-ADTS 6.3.2.3)."""

from __future__ import annotations

import bisect
import contextlib
import ipaddress
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from adsync.errors import DirectoryUnavailable, InvalidSpec

LDAPS_PORT = 636


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    port: int = LDAPS_PORT

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ldaps://{host}" + (f":{self.port}" if self.port != LDAPS_PORT else "")


def parse(url: str) -> Server:
    """A server of `spec.servers`: `ldaps://host[:port]`, nothing else; raises InvalidSpec."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidSpec(f"spec.servers: {url!r} is not a URL: write it as ldaps://host or ldaps://host:port") from None
    if parts.scheme.lower() != "ldaps":
        raise InvalidSpec(f"spec.servers: {url!r} must begin with ldaps://: passwords travel over TLS only")
    extra = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
    if not host or extra or port == 0 or any(char.isspace() or not char.isprintable() for char in url):
        raise InvalidSpec(f"spec.servers: {url!r} must be ldaps://host or ldaps://host:port, and nothing more")
    return Server(check_host(host.rstrip("."), "spec.servers"), port or LDAPS_PORT)


def check_host(host: str, where: str) -> str:
    """The host as it stands; raises InvalidSpec for what can be no host's name (RFC 1035 section 2.3.4), which resolvers and TLS trip over."""
    try:
        if host.encode("idna") and "\0" not in host:
            return host
    except UnicodeError:
        pass
    raise InvalidSpec(f"{where}: {host!r} is no host name: its parts are separated by single dots, and have 1 to 63 characters each")


def order(records: Iterable[SRV], choose: random.Random | None = None) -> list[SRV]:
    """SRV records in the order in which to try them: by priority, within one at random by weight (RFC 2782, "Usage rules")."""
    choose = choose or random.SystemRandom()
    ordered: list[SRV] = []
    by_priority: dict[int, list[SRV]] = {}
    for record in records:
        by_priority.setdefault(record.priority, []).append(record)
    for _, group in sorted(by_priority.items()):
        group.sort(key=lambda record: record.weight)  # those of weight 0 first, so that they have a small chance only
        while group:
            sums = list(itertools.accumulate(record.weight for record in group))
            ordered.append(group.pop(bisect.bisect_left(sums, choose.randint(0, sums[-1]))))
    return ordered


def resolver(nameservers: Sequence[str]) -> dns.asyncresolver.Resolver:
    """The system's resolver, or one that asks `nameservers` (`address`, `address:port`, `[v6]:port`); raises InvalidSpec."""
    if not nameservers:
        try:
            return dns.asyncresolver.Resolver()
        except dns.exception.DNSException:
            raise DirectoryUnavailable("this machine has no DNS configuration: name the servers in spec.servers") from None
    made = dns.asyncresolver.Resolver(configure=False)
    made.nameservers = [dns.nameserver.Do53Nameserver(*_nameserver(one)) for one in nameservers]
    return made


def _nameserver(text: str) -> tuple[str, int]:
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(text.strip("[]"))), 53
    address, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(address.strip("[]"))), int(port)
    except ValueError:
        raise InvalidSpec(f"{text!r} is not a name server: write it as address or address:port") from None


async def discover(domain_name: str, nameservers: Sequence[str] = (), lifetime: float = 5.0) -> list[Server]:
    """The domain controllers that DNS has, in order. Raises DirectoryUnavailable where it has none or is silent for `lifetime` seconds.

    The records name the port of plain LDAP; LDAPS has none of its own, so 389 (and the global catalog's 3268) stand for 636.
    """
    name = f"_ldap._tcp.dc._msdcs.{domain_name.rstrip('.')}."
    try:
        answer = await resolver(nameservers).resolve(name, "SRV", lifetime=lifetime, search=False)
    except dns.exception.DNSException as error:
        absent = isinstance(error, (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer))
        told = "there is no such record" if absent else type(error).__name__
        raise DirectoryUnavailable(f"DNS {name} SRV gives no domain controller ({told}): fill spec.servers, or check the DNS") from None
    records = [record for record in answer if isinstance(record, SRV) and record.target.to_text() != "."]
    if not records:
        raise DirectoryUnavailable(f"DNS {name} SRV says that there is no domain controller")
    ports = {389: LDAPS_PORT, 3268: LDAPS_PORT}
    return [Server(record.target.to_text(omit_final_dot=True), ports.get(record.port, record.port)) for record in order(records)]


async def addresses(server: Server, nameservers: Sequence[str], lifetime: float = 5.0) -> list[str]:
    """What to connect to: the host as it stands, or, with name servers of our own, its addresses as they tell them."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(server.host))]
    if not nameservers:
        return [server.host]
    ask = resolver(nameservers)
    found: list[str] = []
    for kind in ("A", "AAAA"):
        try:
            found += [record.to_text() for record in await ask.resolve(f"{server.host}.", kind, lifetime=lifetime, search=False)]
        except dns.resolver.NoAnswer:
            continue
        except dns.exception.DNSException:
            if not found:
                raise DirectoryUnavailable(f"{server.url} can't be resolved: check the host name and the DNS") from None
    if not found:
        raise DirectoryUnavailable(f"{server.url} has no address in the DNS")
    return found

"""From a target to a connection that is signed in: servers in order, one attempt each, and what the chosen one says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from ssl import SSLContext

from adsync.core.dn import base_of
from adsync.directory import codec, filters, search, servers, tls
from adsync.directory.connection import LdapConnection
from adsync.directory.model import DomainInfo, Observer, Target
from adsync.directory.servers import Server
from adsync.directory.wire import RawEntry
from adsync.errors import CertificateRejected, CredentialsRejected, DirectoryError, DirectoryUnavailable, InvalidSpec

_ROOT = ("defaultNamingContext", "dsServiceName", "highestCommittedUSN", "supportedControl", "tokenGroups")


@dataclass(frozen=True, slots=True)
class Link:
    """A connection that is signed in, and the server that it leads to."""

    connection: LdapConnection
    server: Server


async def connect(target: Target, observer: Observer | None) -> Link:
    """Try the servers in order. Refused credentials stop at once: on the next server they would count towards a lockout again.

    Raises CredentialsRejected, InvalidSpec, or, naming each server with its reason, CertificateRejected before DirectoryUnavailable.
    """
    candidates = [servers.parse(url) for url in target.servers]
    if target.server_name is not None:
        servers.check_host(target.server_name, "spec.tls.serverName")
        if len(candidates) != 1:
            raise InvalidSpec("spec.tls.serverName needs exactly one server in spec.servers")
    context = tls.context(target.ca_pem)
    candidates = candidates or await servers.discover(target.domain_name, target.nameservers)
    failures: list[DirectoryError] = []
    for server in candidates:
        try:
            return Link(await sign_in(target, server, context, observer), server)
        except CredentialsRejected:
            raise
        except DirectoryError as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    kind = CertificateRejected if any(isinstance(error, CertificateRejected) for error in failures) else DirectoryUnavailable
    raise kind("no server could be used: " + "; ".join(map(str, failures)))


async def sign_in(target: Target, server: Server, context: SSLContext, observer: Observer | None) -> LdapConnection:
    """Connect to one server, at whichever of its addresses answers first in order, and bind."""
    failure: DirectoryError = DirectoryUnavailable(f"{server.url} has no address")
    for address in await servers.addresses(server, target.nameservers):
        try:
            connection = await LdapConnection.open(
                address,
                server.port,
                context=context,
                server_hostname=target.server_name or server.host,
                timeout=target.connect_timeout,
                peer=server.url,
                in_flight=target.in_flight,
                operation_timeout=target.operation_timeout,
                stall_timeout=target.stall_timeout,
                keepalive=target.keepalive,
                observer=observer,
            )
        except DirectoryError as error:
            failure = error
            continue
        try:
            await connection.bind_simple(bind_name(target), target.password)
        except BaseException:
            await connection.close()
            raise
        return connection
    raise failure


def bind_name(target: Target) -> str:
    """What to sign in as: a DN, a UPN and DOMAIN\\user stand as they are, a plain sAMAccountName gets the domain (MS-ADTS 5.1.1.1.1)."""
    name = target.username.strip()
    return name if not name or any(sign in name for sign in "@\\=") else f"{name}@{target.domain_name}"


async def read_info(link: Link, target: Target) -> DomainInfo:
    """Raises InvalidSpec where the server is a domain controller of another domain: nothing there may be taken for ours."""
    connection = link.connection
    root = await search.one(connection, "", _ROOT)
    if root is None:
        raise DirectoryUnavailable(f"{link.server.url} shows no rootDSE")
    base = base_of(target.domain_name)
    served = codec.text(root, "defaultNamingContext")
    if not served or codec.dn_of(served) != base:
        raise InvalidSpec(f"{link.server.url} serves {served or 'no domain'}, not {base}: correct spec.domainName or spec.servers")
    domain = await search.one(connection, str(base), ["objectSid"])
    service = codec.text(root, "dsServiceName")
    settings = await _readable(connection, service, ["invocationId"]) if service else None
    invocation = settings[1].get("invocationid") if settings else None
    tokens = [codec.sid_text(value) for value in root[1].get("tokengroups", ())]
    account = await _own_account(connection, target, str(base), tokens)
    sid = codec.sid_text(account[1].get("objectsid", [b""])[0]) if account else ""
    return DomainInfo(
        url=link.server.url,
        base=base,
        ds_service_name=service,
        invocation_id=codec.guid_text(invocation[0]) if invocation else "",
        highest_committed_usn=codec.number(root, "highestCommittedUSN"),
        domain_sid=codec.sid_text(domain[1].get("objectsid", [b""])[0]) if domain else "",
        supported_controls=frozenset(codec.texts(root, "supportedControl")),
        account_guid=codec.guid_of(account) if account else "",
        account_dn=codec.dn_of(account[0]) if account else None,
        account_sid=sid,
        account_groups=frozenset(tokens) - {sid},
        certificate_not_after=connection.not_after,
    )


async def _own_account(connection: LdapConnection, target: Target, base: str, tokens: list[str]) -> RawEntry | None:
    """Our own account: by the name that signed in, or, where that is an alias, by the first SID of its token that is a user's."""
    name = bind_name(target)
    if "=" in name:
        return await _readable(connection, name, ["objectGUID", "objectSid"])
    plain = name.rpartition("\\")[2].partition("@")[0]
    tests = [filters.equal("sAMAccountName", plain), filters.equal("userPrincipalName", name)]
    tests += [filters.equal("objectSid", codec.sid_bytes(sid)) for sid in tokens if sid.startswith("S-1-5-21-")]
    found = await search.collect(connection, base, filters.all_of(filters.equal("objectClass", "user"), filters.any_of(tests)), [
        "objectGUID", "objectSid", "sAMAccountName", "userPrincipalName"
    ])  # fmt: skip
    by_token = [entry for entry in found if codec.sid_text(entry[1].get("objectsid", [b""])[0]) in tokens]
    by_upn = [entry for entry in found if codec.text(entry, "userPrincipalName").casefold() == name.casefold()]
    return next(iter((*by_token, *by_upn, *found)), None)


async def _readable(connection: LdapConnection, dn: str, attributes: list[str]) -> RawEntry | None:
    """An object that may well be hidden from us: then None."""
    try:
        return await search.one(connection, dn, attributes)
    except DirectoryUnavailable:
        raise
    except DirectoryError:
        return None

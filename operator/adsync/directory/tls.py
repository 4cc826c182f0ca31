"""TLS, always verified: the chain up to a trusted CA, the validity, and the name (RFC 6125)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adsync.errors import CertificateRejected, DirectoryError, DirectoryUnavailable, InvalidSpec

# X509_V_ERR_... of OpenSSL's x509_vfy.h.
_EXPIRED, _NOT_YET_VALID = 10, 9
_WRONG_NAME, _WRONG_ADDRESS = 62, 64
_UNKNOWN_CA = frozenset({2, 18, 19, 20, 21, 24})


def context(ca_pem: bytes | None) -> ssl.SSLContext:
    """A client context that trusts the CAs in `ca_pem` alone, or without it the system's. Raises InvalidSpec where it holds none."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name unless told otherwise
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_pem is None:
        made.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return made
    try:
        made.load_verify_locations(cadata=ca_pem.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise InvalidSpec("the CA of spec.tls is no PEM certificate: it must begin with -----BEGIN CERTIFICATE-----") from None
    # What the user names as the CA is trusted as such, also where it is an intermediate one without its root.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return made


def not_after(connected: Any) -> datetime | None:
    """When the peer's certificate expires, of an `ssl_object` that is connected and verified."""
    certificate: Mapping[str, Any] = (connected.getpeercert() if connected is not None else None) or {}
    moment = certificate.get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(moment), UTC) if moment else None


async def rejection(
    error: ssl.SSLError, host: str, port: int, used: ssl.SSLContext, server_hostname: str, peer: str, seconds: float
) -> DirectoryError:
    """What a failed handshake means, in words. For a wrong name, the names that the certificate does have are looked up."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        reason = error.reason or type(error).__name__
        return DirectoryUnavailable(f"{peer}: the TLS handshake failed ({reason}): check that this port speaks LDAPS")
    code = error.verify_code
    if code in (_WRONG_NAME, _WRONG_ADDRESS):
        names = await _names(host, port, used, server_hostname, seconds)
        has = f"is for {', '.join(names)}" if names else "names nobody"
        return CertificateRejected(
            f"{peer}: the server's certificate {has}, not for {server_hostname}: use that name in spec.servers, or set spec.tls.serverName"
        )
    if code == _EXPIRED:
        return CertificateRejected(f"{peer}: the server's certificate, or its CA's, has expired: renew it on the domain controller")
    if code == _NOT_YET_VALID:
        return CertificateRejected(f"{peer}: the server's certificate is not valid yet: check the clocks")
    if code in _UNKNOWN_CA:
        return CertificateRejected(
            f"{peer}: the server's certificate is from an unknown CA ({error.verify_message}): put the domain's CA into spec.tls"
        )
    return CertificateRejected(f"{peer}: the server's certificate is not accepted: {error.verify_message}")


async def _names(host: str, port: int, used: ssl.SSLContext, server_hostname: str, seconds: float) -> list[str]:
    """The names in the certificate of a server whose chain verifies. A second handshake, over which nothing is sent."""
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.check_hostname = False
    nameless.minimum_version = used.minimum_version
    nameless.verify_flags = used.verify_flags
    pems = "".join(ssl.DER_cert_to_PEM_cert(der) for der in used.get_ca_certs(binary_form=True))
    if pems:
        nameless.load_verify_locations(cadata=pems)
    else:  # the system's store, where it is a directory, is only read as needed
        nameless.load_default_certs(ssl.Purpose.SERVER_AUTH)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port, ssl=nameless, server_hostname=server_hostname)
        certificate: Mapping[str, Any] = writer.get_extra_info("peercert") or {}
        writer.transport.abort()
        alternative = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
        common = [value for rdn in certificate.get("subject", ()) for kind, value in rdn if kind == "commonName"]
        return alternative or common
    return []

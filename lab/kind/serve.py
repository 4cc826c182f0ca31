"""Runs in the pod: lays down a domain, starts its controller, lets other pods reach it, and puts the service account's login into a Secret.

Samba listens on a loopback address, as in the lab; a small relay passes on what comes to the pod's own address. Standard library only, but
for what makes certificates.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from lab.processes import Processes
from lab.samba import DomainController

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def put_secret(namespace: str, name: str, data: dict[str, str]) -> None:
    """Create the Secret, or replace its content."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    body = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }  # fmt: skip
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    url = f"https://{host}:{port}/api/v1/namespaces/{namespace}/secrets"
    for method, where, kind in (("POST", url, "application/json"), ("PATCH", f"{url}/{name}", "application/merge-patch+json")):
        headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}", "Content-Type": kind}
        request = urllib.request.Request(where, json.dumps(body).encode(), headers, method=method)  # noqa: S310 - our own address
        try:
            urllib.request.urlopen(request, timeout=15, context=context).close()  # noqa: S310
            return
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise


async def relay(host: str, target: str) -> None:
    """Pass on what comes to port 636 of `host`, for ever."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner, outer = await asyncio.open_connection(target, 636)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pipe(reader, outer), pipe(inner, writer))

    async with await asyncio.start_server(serve, host, 636) as server:
        await server.serve_forever()


def main() -> None:
    processes = Processes(Path("/data/lab"))
    dc = DomainController(processes)
    dc.create()
    dc.start()
    login = {"username": dc.service.name, "password": dc.service.password, "ca.crt": dc.ca_file.read_text()}
    put_secret(os.environ["SECRET_NAMESPACE"], "corp-ad", login)
    print(f"The domain controller of {dc.domain} is up.")
    asyncio.run(relay(os.environ["POD_IP"], dc.address))


if __name__ == "__main__":
    main()

"""OpenLDAP's own tools, called as a person would: tests look at the directory with these, so that our code isn't checked with our code.

Passwords go to the tools through an anonymous file in memory, never through arguments or the file system.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.processes import LabError

Value = str | bytes
Found = dict[str, list[str]]  # attribute name as the server spells it → values; "dn" has one


class LdapError(LabError):
    """A tool's refusal. `code` is the LDAP result code (RFC 4511), `data` AD's sub-code of a refused bind ("52e", "775" …) or ""."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
        found = re.search(r"\bdata ([0-9a-f]+)\b", message)
        self.data = found[1] if found else ""


def password_value(password: str) -> bytes:
    """A password as unicodePwd takes it: quoted, UTF-16LE (MS-ADTS 3.1.1.3.1.5)."""
    return f'"{password}"'.encode("utf-16-le")


def ldif_line(attribute: str, value: Value) -> str:
    raw = value if isinstance(value, bytes) else value.encode()
    if isinstance(value, str) and value.isascii() and value.isprintable() and value[:1] not in (" ", ":", "<") and not value.endswith(" "):
        return f"{attribute}: {value}"
    return f"{attribute}:: {base64.b64encode(raw).decode()}"


def ldif_add(dn: str, attributes: Mapping[str, Value | Sequence[Value]]) -> str:
    """An LDIF record that adds an object."""
    lines = [ldif_line("dn", dn), "changetype: add"]
    for attribute, given in attributes.items():
        lines += [ldif_line(attribute, value) for value in ([given] if isinstance(given, str | bytes) else given)]
    return "\n".join(lines) + "\n\n"


def ldif_replace(dn: str, attributes: Mapping[str, Value | Sequence[Value] | None]) -> str:
    """An LDIF record that replaces attributes; None or an empty sequence removes one."""
    lines = [ldif_line("dn", dn), "changetype: modify"]
    for attribute, given in attributes.items():
        values = [] if given is None else [given] if isinstance(given, str | bytes) else given
        lines += [f"replace: {attribute}", *(ldif_line(attribute, value) for value in values), "-"]
    return "\n".join(lines) + "\n\n"


def ldif_members(dn: str, add: Iterable[str] = (), delete: Iterable[str] = ()) -> str:
    """An LDIF record that changes a group's members."""
    lines = [ldif_line("dn", dn), "changetype: modify"]
    for word, members in (("add", list(add)), ("delete", list(delete))):
        if members:
            lines += [f"{word}: member", *(ldif_line("member", member) for member in members), "-"]
    return "\n".join(lines) + "\n\n"


def _decode(attribute: str, raw: bytes) -> str:
    name = attribute.lower()
    if name in ("objectguid", "invocationid", "schemaidguid") and len(raw) == 16:
        return str(uuid.UUID(bytes_le=raw))
    if name in ("objectsid", "securityidentifier") and len(raw) >= 8:
        parts = [int.from_bytes(raw[at : at + 4], "little") for at in range(8, len(raw), 4)]
        return "-".join(["S", str(raw[0]), str(int.from_bytes(raw[2:8], "big")), *map(str, parts)])
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode()


def parse_ldif(output: str) -> list[Found]:
    """What ldapsearch printed. GUIDs and SIDs are given in their usual spelling, other binary values as base64."""
    records: list[Found] = []
    for block in re.split(r"\n\s*\n", output):
        record: Found = {}
        for line in block.replace("\n ", "").splitlines():
            attribute, colon, value = line.partition(":")
            if line.startswith("#") or not colon:
                continue
            raw = base64.b64decode(value[1:]) if value.startswith(":") else value.removeprefix(" ").encode()
            record.setdefault(attribute, []).append(_decode(attribute, raw))
        if "dn" in record:
            records.append(record)
    return records


@contextlib.contextmanager
def password_file(password: str) -> Iterator[int]:
    """A descriptor of an anonymous file that holds the password; pass it on and give `-y /proc/self/fd/<n>`."""
    handle = os.memfd_create("password")
    try:
        os.fchmod(handle, 0o600)
        os.write(handle, password.encode())
        yield handle
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Login:
    """Who to bind as: a DN, a userPrincipalName or DOMAIN\\name, and the password."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.name!r})"


@dataclass(frozen=True)
class LdapTools:
    """OpenLDAP's tools against one server, over TLS. `verify` False is for a server whose certificate is wrong on purpose."""

    url: str
    ca_file: Path
    verify: bool = True

    def run(self, tool: str, *args: str, login: Login, stdin: str = "") -> str:
        """Run a tool and return its standard output. LdapError if it fails."""
        environment = {**os.environ, "LDAPTLS_CACERT": str(self.ca_file), "LDAPCONF": "/dev/null"}
        environment["LDAPTLS_REQCERT"] = "demand" if self.verify else "never"
        with password_file(login.password) as handle:
            command = [tool, "-x", "-H", self.url, "-o", "nettimeout=10", "-D", login.name, "-y", f"/proc/self/fd/{handle}", *args]
            try:
                done = subprocess.run(
                    command, input=stdin, capture_output=True, text=True, env=environment, pass_fds=[handle], check=False, timeout=600
                )
            except FileNotFoundError:
                raise LabError(f"{tool} is not installed: run `python -m lab install`, or install the package ldap-utils") from None
        if done.returncode:
            raise LdapError(f"{tool}: {done.stderr.strip()}", done.returncode)
        return done.stdout

    def search(
        self, login: Login, query: str, attributes: Iterable[str] = (), base: str = "", scope: str = "sub", controls: Iterable[str] = ()
    ) -> list[Found]:
        """All that match, read in pages. `controls` are as `ldapsearch -E` takes them ("!1.2.840.113556.1.4.417": deleted objects too)."""
        extra = [part for control in controls for part in ("-E", control)]
        paging = [] if scope == "base" else ["-E", "pr=1000/noprompt"]
        output = self.run(
            "ldapsearch", "-LLL", "-o", "ldif_wrap=no", *paging, *extra, "-b", base, "-s", scope, query, *attributes, login=login
        )  # fmt: skip
        return parse_ldif(output)

    def modify(self, login: Login, ldif: str) -> None:
        """Carry out LDIF records (add, modify, delete, modrdn)."""
        self.run("ldapmodify", login=login, stdin=ldif)

    def add(self, login: Login, ldif: str) -> None:
        self.run("ldapadd", login=login, stdin=ldif)

    def delete(self, login: Login, *dns: str, recursive: bool = False) -> None:
        self.run("ldapdelete", *(["-r"] if recursive else []), login=login, stdin="\n".join(dns) + "\n")

    def bind(self, login: Login) -> str:
        """Try to sign in. "" if that works, else AD's sub-code ("52e": wrong password, "533": disabled, "775": locked out …).

        LdapError if there is no answer about the credentials.
        """
        try:
            self.run("ldapsearch", "-LLL", "-b", "", "-s", "base", "1.1", login=login)  # not ldapwhoami: Samba has no such operation
        except LdapError as error:
            if error.code != 49:
                raise
            return error.data or "refused"
        return ""

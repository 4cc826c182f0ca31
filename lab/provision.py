"""Provisions a domain with Samba's own tools, and sets it up as adsync's documentation asks for. The cache keeps the result as a template.

The set-up: a root container `OU=People`, a service account that is an ordinary user with the rights of `lab/delegation.py`, and the groups
`adsync` (scope) and `adsync-admins`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import string
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab import delegation
from lab.ldaptools import ldif_add, ldif_replace, password_value
from lab.processes import LabError, cache_dir, locked, write_atomically

PROVISION_CONTROL = "--controls=local_oid:1.3.6.1.4.1.7165.4.3.16:0"  # lets root write what only replication may
NORMAL_ACCOUNT, DISABLED, NO_EXPIRY = 0x200, 0x2, 0x10000
GLOBAL_SECURITY_GROUP = "-2147483646"


@dataclass(frozen=True)
class Recipe:
    """What a domain is provisioned with. Equal recipes share one template in the cache."""

    domain: str = "corp.example.com"
    backend: str = "tdb"  # Samba's database: tdb (its default) or mdb
    read_deleted: bool = False  # may the service account read Deleted Objects; AD does not grant that by default
    people: str = "People"
    service_account: str = "svc-adsync"
    scope_group: str = "adsync"
    admins_group: str = "adsync-admins"

    @property
    def base(self) -> str:
        return ",".join(f"DC={label}" for label in self.domain.split("."))

    @property
    def container(self) -> str:
        return f"OU={self.people},{self.base}"

    @property
    def netbios(self) -> str:
        return self.domain.split(".")[0].upper()[:15]

    @property
    def host(self) -> str:
        return f"dc1.{self.domain}"

    @property
    def service_dn(self) -> str:
        return f"CN={self.service_account},OU=Service Accounts,{self.base}"

    def key(self) -> str:
        parts = [repr(self), delegation.sddl("SID"), samba_version(), "recipe 1"]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def samba_version() -> str:
    return run("samba", "--version").strip()


def run(program: str, *args: str | Path, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
    """Run one of Samba's programs and return what it printed. LabError with its complaint if it fails or is not there."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin", **(env or {})}
    found = shutil.which(program, path=environment["PATH"])
    if found is None:
        raise LabError(f"{program} is not installed: run `python -m lab install` as root")
    done = subprocess.run([found, *map(str, args)], input=stdin, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise LabError(f"{program} {' '.join(map(str, args[:3]))} … failed: {(done.stderr.strip() or done.stdout.strip())[-2000:]}")
    return done.stdout


def random_password() -> str:
    """24 characters with all that a policy may ask for."""
    return "Aa1-" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(20))


def copy_tree(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", "--reflink=auto", "--sparse=always", f"{source}/.", str(target)], check=True)


def remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def write_configuration(directory: Path, recipe: Recipe, address: str) -> Path:
    """smb.conf for a domain controller whose files are all below `directory`."""
    places = {
        "private dir": "private", "state directory": "state", "lock directory": "lock", "cache directory": "cache", "pid directory": "run",
        "ncalrpc dir": "run/ncalrpc", "binddns dir": "bind-dns", "winbindd socket directory": "run/winbindd",
        "ntp signd socket directory": "run/ntp",
    }  # fmt: skip
    longest = directory / "private" / "ldap_priv" / "ldapi"
    if len(str(longest)) > 100:
        raise LabError(f"{directory} is too long a path for Samba's sockets: choose a shorter one with ADSYNC_LAB_STATE")
    for place in places.values():
        (directory / place).mkdir(parents=True, exist_ok=True, mode=0o755)
    settings = {
        "netbios name": "DC1",
        "realm": recipe.domain.upper(),
        "workgroup": recipe.netbios,
        "server role": "active directory domain controller",
        "server services": "ldap, kdc",
        "interfaces": f"{address}/8",
        "bind interfaces only": "yes",
        "tls enabled": "yes",
        "tls keyfile": str(directory / "tls" / "server.key"),
        "tls certfile": str(directory / "tls" / "server.pem"),
        "tls cafile": str(directory / "tls" / "ca.pem"),
        "log level": "1",
        "old password allowed period": "0",  # else the last password still signs in for an hour, and nobody sees that a new one is set
        "idmap_ldb:use rfc2307": "yes",
        **{key: str(directory / place) for key, place in places.items()},
    }
    path = directory / "smb.conf"
    write_atomically(path, "[global]\n" + "".join(f"  {key} = {value}\n" for key, value in settings.items()))
    return path


def template(recipe: Recipe, *, fresh: bool = False) -> Path:
    """The directory of a domain provisioned and set up by this recipe, made (in 10 s) if it isn't in the cache or `fresh` is asked for."""
    directory = cache_dir() / "samba" / recipe.key()
    with locked(directory.with_suffix(".lock")):
        if fresh:
            remove_tree(directory)
        if not directory.exists():
            with tempfile.TemporaryDirectory(dir=directory.parent, prefix="tmp-") as scratch:
                made = Path(scratch) / "dc"
                _provision(recipe, made)
                made.rename(directory)
    return directory


def _provision(recipe: Recipe, made: Path) -> None:
    run(
        "samba-tool", "domain", "provision", f"--realm={recipe.domain.upper()}", f"--domain={recipe.netbios}", "--server-role=dc",
        "--dns-backend=NONE", f"--targetdir={made}", "--use-rfc2307", "--host-name=dc1", "--host-ip=127.0.0.1",
        f"--backend-store={recipe.backend}", "--quiet",
    )  # fmt: skip
    for unused in ("etc", "gencache.tdb"):
        with contextlib.suppress(FileNotFoundError):
            (remove_tree if (made / unused).is_dir() else Path.unlink)(made / unused)
    logins = {"admin": random_password(), "service": random_password()}
    write_atomically(made / "logins.json", json.dumps(logins), 0o600)
    configuration = write_configuration(made, recipe, "127.0.0.1")
    sam, base = f"{made}/private/sam.ldb", recipe.base
    run("ldbmodify", "-H", sam, f"--configfile={configuration}", stdin=ldif_replace(
        f"CN=Administrator,CN=Users,{base}",
        {"unicodePwd": password_value(logins["admin"]), "userAccountControl": str(NORMAL_ACCOUNT | NO_EXPIRY)},
    ))  # fmt: skip
    run("ldbadd", "-H", sam, f"--configfile={configuration}", stdin="".join((
        ldif_add(f"OU=Service Accounts,{base}", {"objectClass": "organizationalUnit"}),
        ldif_add(recipe.service_dn, {
            "objectClass": "user", "sAMAccountName": recipe.service_account,
            "userPrincipalName": f"{recipe.service_account}@{recipe.domain}", "unicodePwd": password_value(logins["service"]),
            "userAccountControl": str(NORMAL_ACCOUNT | NO_EXPIRY),
        }),
        ldif_add(recipe.container, {"objectClass": "organizationalUnit"}),
        *(group_ldif(f"CN={name},{recipe.container}", name) for name in (recipe.scope_group, recipe.admins_group)),
    )))  # fmt: skip
    sid = ldb_value(sam, configuration, recipe.service_dn, "objectSid")
    aces = delegation.sddl(sid)
    run("samba-tool", "dsacl", "set", "-H", sam, "-s", str(configuration), f"--objectdn={recipe.container}", f"--sddl={aces}")
    if recipe.read_deleted:
        _grant_deleted(sam, configuration, base, sid)


def ldb_value(sam: str, configuration: Path, dn: str, attribute: str, *extra: str) -> str:
    output = run("ldbsearch", "-H", sam, f"--configfile={configuration}", *extra, "-b", dn, "--scope=base", attribute)
    for line in output.replace("\n ", "").splitlines():
        if line.startswith(f"{attribute}: "):
            return line.split(": ", 1)[1]
    raise LabError(f"{dn} has no {attribute}")


def _grant_deleted(sam: str, configuration: Path, base: str, sid: str) -> None:
    """List and read below Deleted Objects: on Windows, `dsacls "CN=Deleted Objects,…" /takeownership`, then `/G account:LCRP`."""
    dn, show = f"CN=Deleted Objects,{base}", "--controls=show_deleted:1"
    descriptor = ldb_value(sam, configuration, dn, "nTSecurityDescriptor", show)
    head, _, aces = descriptor.partition("(")
    changed = ldif_replace(dn, {"nTSecurityDescriptor": f"{head}(A;CI;RPLC;;;{sid})({aces}"})
    run("ldbmodify", "-H", sam, f"--configfile={configuration}", show, stdin=changed)


def user_ldif(dn: str, name: str, password: str | None, attributes: Mapping[str, str]) -> str:
    """An LDIF record for a user; without a password it is disabled, as AD wants it."""
    control = NORMAL_ACCOUNT if password is not None else NORMAL_ACCOUNT | DISABLED
    secret = {"unicodePwd": password_value(password)} if password is not None else {}
    return ldif_add(dn, {"objectClass": "user", "sAMAccountName": name, "userAccountControl": str(control), **secret, **attributes})


def group_ldif(dn: str, name: str, members: Iterable[str] = ()) -> str:
    """An LDIF record for a global security group."""
    return ldif_add(dn, {"objectClass": "group", "groupType": GLOBAL_SECURITY_GROUP, "sAMAccountName": name, "member": list(members)})

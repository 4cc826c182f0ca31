"""An Active Directory domain controller (Samba) to work with: its life, copies of it, faults, and a look at it from outside.

A provisioned and set-up domain (`lab/provision.py`) is copied from the cache, so a new one is there in about a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lab import addresses
from lab.certificates import Authority, Flavour
from lab.ldaptools import Found, LdapError, LdapTools, Login, Value, ldif_add, ldif_members, ldif_replace, password_value
from lab.processes import LabError, Processes, write_atomically
from lab.provision import (
    PROVISION_CONTROL,
    Recipe,
    copy_tree,
    group_ldif,
    ldb_value,
    remove_tree,
    run,
    template,
    user_ldif,
    write_configuration,
)

LDAPS = 636
SHOW_DELETED = "!1.2.840.113556.1.4.417"


class DomainController:
    """One domain controller. `create()` lays its files down, `start()` returns when it answers over LDAPS.

    Several can be there at once, each on a loopback address of its own, also copies of the same domain (`clone`).
    """

    def __init__(self, processes: Processes, name: str = "corp") -> None:
        self.processes = processes
        self.name = name
        self.process = f"samba-{name}"
        self.directory = processes.state / name
        self._file = self.directory / "lab.json"

    # What it is

    @property
    def _settings(self) -> dict[str, Any]:
        try:
            settings: dict[str, Any] = json.loads(self._file.read_text())
        except FileNotFoundError:
            raise LabError(f"there is no domain controller called {self.name} in this lab") from None
        return settings

    @property
    def recipe(self) -> Recipe:
        return Recipe(**self._settings["recipe"])

    @property
    def address(self) -> str:
        return str(self._settings["address"])

    @property
    def endpoint(self) -> tuple[str, int]:
        """Where clients connect: host and port. Tests put a proxy here; `tools` and all that looks from outside goes past it."""
        return self.address, LDAPS

    @property
    def url(self) -> str:
        """For an ADDomain's `servers`. The certificate names the address and `host`."""
        host, port = self.endpoint
        return f"ldaps://{host}" if port == LDAPS else f"ldaps://{host}:{port}"

    @property
    def host(self) -> str:
        return self.recipe.host

    @property
    def domain(self) -> str:
        return self.recipe.domain

    @property
    def base(self) -> str:
        return self.recipe.base

    @property
    def container(self) -> str:
        return self.recipe.container

    @property
    def ca_file(self) -> Path:
        """The CA that the server's (good) certificate is from."""
        return self.directory / "tls" / "ca.pem"

    @property
    def admin(self) -> Login:
        return Login(f"CN=Administrator,CN=Users,{self.base}", json.loads((self.directory / "logins.json").read_text())["admin"])

    @property
    def service(self) -> Login:
        """The service account, by its userPrincipalName."""
        password = json.loads((self.directory / "logins.json").read_text())["service"]
        return Login(f"{self.recipe.service_account}@{self.domain}", password)

    @property
    def configuration(self) -> Path:
        return self.directory / "smb.conf"

    @property
    def sam(self) -> Path:
        return self.directory / "private" / "sam.ldb"

    @property
    def tools(self) -> LdapTools:
        return LdapTools(f"ldaps://{self.address}", self.ca_file, verify=(self.directory / "tls" / "flavour").read_text() == Flavour.GOOD)

    # Life

    def create(self, recipe: Recipe | None = None, *, fresh: bool = False, policy: Mapping[str, str] | None = None) -> None:
        """Lay down a new domain. `policy`: options of `samba-tool domain passwordsettings set`, as {"min-pwd-length": "12"}."""
        recipe = recipe or Recipe()
        source = template(recipe, fresh=fresh)
        remove_tree(self.directory)
        self.directory.mkdir(parents=True, mode=0o700)
        copy_tree(source, self.directory)
        self._settle(recipe)
        if policy:
            self.samba_tool("domain", "passwordsettings", "set", *(f"--{key}={value}" for key, value in policy.items()))

    def _settle(self, recipe: Recipe) -> None:
        address = addresses.reserve(self.directory, detached=self.processes.detached)
        content = {"address": address, "recipe": {field: getattr(recipe, field) for field in recipe.__dataclass_fields__}}
        write_atomically(self._file, json.dumps(content, indent=1))
        write_configuration(self.directory, recipe, address)
        self.use_certificate(Flavour.GOOD)

    def use_certificate(self, flavour: Flavour) -> None:
        """Issue a certificate that is right, or wrong in one way. It counts from the next start."""
        tls = self.directory / "tls"
        authority = Authority(tls)
        names, ips = [self.host, self.domain, "localhost"], [self.address, "127.0.0.1"]  # the latter for proxies
        if flavour is Flavour.OTHER_CA:
            authority = Authority(self.directory / "other-ca", "adsync lab, another CA")
        elif flavour is Flavour.WRONG_HOST:
            names, ips = ["another.invalid"], ["127.255.255.254"]
        authority.issue(tls / "server.pem", tls / "server.key", names, ips, expired=flavour is Flavour.EXPIRED)
        (tls / "flavour").write_text(flavour)

    @property
    def running(self) -> bool:
        return self.processes.alive(self.process)

    def start(self) -> None:
        """Start Samba and wait until it answers a bind over LDAPS."""
        (self.directory / "run" / "samba.pid").unlink(missing_ok=True)
        samba = shutil.which("samba", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if samba is None:
            raise LabError("samba is not installed: run `python -m lab install` as root")
        arguments = ["-F", "--no-process-group", "-M", "single", "-s", str(self.configuration), "--debug-stdout"]
        self.processes.start(self.process, [samba, *arguments])
        self.processes.wait_ready(self.process, self.answers)

    def answers(self) -> bool:
        """Whether it decides about credentials, whatever it decides."""
        try:
            self.tools.bind(self.service)
        except LdapError:
            return False
        return True

    def stop(self, grace: float = 5.0) -> None:
        """Stop it and wait until it is gone. `grace` 0 kills it."""
        self.processes.stop(self.process, grace)

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop()
        if self._file.exists():
            addresses.release(self.address)
        remove_tree(self.directory)

    # Copies

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stopped for a while, if it was running: its files are only then in one state."""
        was_running = self.running
        self.stop()
        yield
        if was_running:
            self.start()

    def backup(self, name: str = "backup") -> Path:
        """A copy of the directory's files. The domain controller is away for about 3 s if it was running."""
        target = self.processes.state / f"{self.name}.{name}"
        remove_tree(target)
        target.mkdir(mode=0o700)
        with self.stopped():
            copy_tree(self.directory, target)
        return target

    def restore(self, backup: Path, *, new_invocation_id: bool = True) -> None:
        """Put back a copy of the files, as from a back-up: with a new invocationId, as it should be (MS-ADTS 3.1.1.1.9), or without."""
        with self.stopped():
            for part in ("private", "state"):
                remove_tree(self.directory / part)
                (self.directory / part).mkdir()
                copy_tree(backup / part, self.directory / part)
            if new_invocation_id:
                self.renew_invocation_id()

    def clone(self, name: str, backup: Path | None = None, *, new_invocation_id: bool = True) -> DomainController:
        """A copy, from `backup` or from now, with an address of its own. It is not started, and the two don't replicate."""
        other = DomainController(self.processes, name)
        source = backup or self.backup(f"for-{name}")
        remove_tree(other.directory)
        other.directory.mkdir(parents=True, mode=0o700)
        copy_tree(source, other.directory)
        other._settle(self.recipe)
        if new_invocation_id:
            other.renew_invocation_id()
        return other

    def renew_invocation_id(self) -> str:
        """Give the stopped domain controller a new invocationId, and return it. Its old writes keep the old one in their metadata."""
        fresh = uuid.uuid4()
        dn = ldb_value(str(self.sam), self.configuration, "", "dsServiceName")
        change = ldif_replace(dn, {"invocationId": fresh.bytes_le})
        run("ldbmodify", "-H", str(self.sam), f"--configfile={self.configuration}", PROVISION_CONTROL, stdin=change)
        return str(fresh)

    # Looking and acting from outside

    def samba_tool(self, *args: str) -> str:
        """`samba-tool` on this domain controller's own files, as root on the machine itself."""
        return run("samba-tool", *args, "-s", str(self.configuration), "-H", str(self.sam))

    def search(
        self, query: str = "(objectClass=*)", attributes: Iterable[str] = (), *, base: str | None = None, scope: str = "sub",
        as_admin: bool = True, deleted: bool = False,
    ) -> list[Found]:  # fmt: skip
        """What ldapsearch finds, by default as the administrator and in the whole domain."""
        controls = [SHOW_DELETED] if deleted else []
        login = self.admin if as_admin else self.service
        return self.tools.search(login, query, attributes, self.base if base is None else base, scope, controls)

    def find(self, name: str, attributes: Iterable[str] = ()) -> Found | None:
        """The one object with this sAMAccountName, or None."""
        found = self.search(f"(sAMAccountName={name})", attributes)
        return found[0] if found else None

    def modify(self, ldif: str, *, as_admin: bool = True) -> None:
        self.tools.modify(self.admin if as_admin else self.service, ldif)

    def replace(self, dn: str, attributes: Mapping[str, Value | list[Value] | None]) -> None:
        """Replace attributes of an object as the administrator; None removes one."""
        self.modify(ldif_replace(dn, attributes))

    def set_password(self, dn: str, password: str) -> None:
        self.replace(dn, {"unicodePwd": password_value(password)})

    def delete(self, *dns: str, recursive: bool = False) -> None:
        self.tools.delete(self.admin, *dns, recursive=recursive)

    def rename(self, dn: str, new_rdn: str, new_parent: str | None = None) -> None:
        lines = [f"dn: {dn}", "changetype: modrdn", f"newrdn: {new_rdn}", "deleteoldrdn: 1"]
        self.modify("\n".join([*lines, *([f"newsuperior: {new_parent}"] if new_parent else [])]) + "\n")

    def bind_as(self, name: str, password: str) -> bool:
        """Whether this user (DN, userPrincipalName, or the bare sAMAccountName) can sign in with this password."""
        return not self.bind_error(name, password)

    def bind_error(self, name: str, password: str) -> str:
        """Empty if the user can sign in, else AD's sub-code, as "52e" (wrong password), "533" (disabled), "775" (locked out)."""
        full = name if "=" in name or "@" in name or "\\" in name else f"{self.recipe.netbios}\\{name}"
        return self.tools.bind(Login(full, password))

    def highest_usn(self) -> int:
        """highestCommittedUSN: it stands still exactly as long as nothing is written."""
        return int(self.search(attributes=["highestCommittedUSN"], base="", scope="base")[0]["highestCommittedUSN"][0])

    def dsa(self) -> tuple[str, str]:
        """dsServiceName and invocationId."""
        service = self.search(attributes=["dsServiceName"], base="", scope="base")[0]["dsServiceName"][0]
        return service, self.search(attributes=["invocationId"], base=service, scope="base")[0]["invocationId"][0]

    def add_container(self, name: str, *, groups: bool = True, parent: str | None = None) -> str:
        """A new OU below the root container, where the delegation is inherited, with groups `<name>` and `<name>-admins`: its DN."""
        dn = f"OU={name},{parent or self.container}"
        records = [ldif_add(dn, {"objectClass": "organizationalUnit"})]
        records += [group_ldif(f"CN={group},{dn}", group) for group in (name, f"{name}-admins") if groups]
        self.modify("".join(records))
        return dn

    def add_user(self, name: str, password: str | None = None, *, container: str | None = None, **attributes: str) -> str:
        """Create one user as the administrator, enabled if it has a password. Returns its DN."""
        dn = f"CN={name},{container or self.container}"
        self.modify(user_ldif(dn, name, password, attributes))
        return dn

    def add_group(self, name: str, *, container: str | None = None, members: Iterable[str] = ()) -> str:
        dn = f"CN={name},{container or self.container}"
        self.modify(group_ldif(dn, name, members))
        return dn

    def members(self, dn: str, *, add: Iterable[str] = (), delete: Iterable[str] = ()) -> None:
        self.modify(ldif_members(dn, add, delete))

    def users(self, count: int, *, prefix: str = "user", password: str | None = None, container: str | None = None) -> list[str]:
        """Create many users by one ldapadd, called `<prefix>0000` and so on. Returns their DNs."""
        names = [f"{prefix}{number:04d}" for number in range(count)]
        dns = [f"CN={name},{container or self.container}" for name in names]
        self.tools.add(self.admin, "".join(user_ldif(dn, name, password, {}) for dn, name in zip(dns, names, strict=True)))
        return dns

"""The directory as the rest of the operator sees it: one domain, signed in at one domain controller.

Every method raises errors of `adsync.errors` only, DirectoryUnavailable once the connection is over. None decides anything.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace

from pydantic import SecretStr

from adsync.core.changes import Change
from adsync.core.dn import DN
from adsync.core.entries import Entry
from adsync.core.policy import UNKNOWN, PasswordPolicy
from adsync.directory import codec, connect, feed, filters, policy, protected, rights, search, tls, wire, writes
from adsync.directory.filters import Filter
from adsync.directory.model import Changes, DomainInfo, Link, MemberList, Notification, Observer, Rights, Target
from adsync.directory.protected import Protected
from adsync.directory.wire import RawEntry

_USER_RIGHTS = ("sAMAccountName", "userPrincipalName", "userAccountControl", "pwdLastSet", "lockoutTime")
_GROUPS_A_PAGE = 100  # each may come with its whole member list
_GROUP_RIGHTS = ("sAMAccountName", "member", "description", "mail")


class Directory:
    """Made by `connect`. `info` is what the server said at the start; `closed` is set once the connection is over, `reason` says why."""

    def __init__(self, target: Target, link: connect.Link, info: DomainInfo, tombstones: bool | None, observer: Observer | None) -> None:
        self.info = info
        self._tombstones = tombstones
        self._target, self._server, self._connection, self._observer = target, link.server, link.connection, observer
        self._codec = codec.EntryCodec(target.attributes, target.ownership_attribute)
        self._base = str(info.base)
        self._protected: Protected | None = None
        self._first_protected = asyncio.Lock()  # many writes begin at once: one of them reads who is privileged

    @classmethod
    async def connect(cls, target: Target, observer: Observer | None = None, *, may_write: Callable[[], bool] = lambda: True) -> Directory:
        """Find a server, sign in once, read what it says of itself. Raises CredentialsRejected, CertificateRejected, DirectoryUnavailable,
        or InvalidSpec (a server URL, the CA, a name server, or a server of another domain). `may_write` is asked before each write is sent,
        as the lease of a leader may have run out."""
        link = await connect.connect(target, observer)
        link.connection.may_write = may_write
        try:
            info = await connect.read_info(link, target)
            return cls(target, link, info, await feed.reads_tombstones(link.connection, str(info.base)), observer)
        except BaseException:
            await link.connection.close()
            raise

    @property
    def closed(self) -> asyncio.Event:
        return self._connection.closed

    @property
    def reason(self) -> str:
        """Why the connection is over, or ""."""
        return self._connection.reason

    @property
    def operations(self) -> Counter[str]:
        """How many operations were sent, by type, since connecting."""
        return self._connection.operations

    @property
    def reads_tombstones(self) -> bool:
        """Whether `changes_since` tells deletions. It may turn true later: a domain in which nothing was deleted yet shows no tombstone, no
        more than one that hides them."""
        return self._tombstones is True

    async def close(self) -> None:
        await self._connection.close()

    async def refresh_info(self) -> int:
        """Read highestCommittedUSN afresh, into `info` too."""
        usn = await feed.highest_usn(self._connection)
        self.info = replace(self.info, highest_committed_usn=usn)
        return usn

    async def exists(self, dn: DN) -> bool:
        """Whether there is an object of this name, of any kind, that we can see."""
        return await search.one(self._connection, str(dn), ["objectGUID"]) is not None

    async def sweep(
        self, base: DN | None = None, *, full_below: DN | None = None, constructed: bool = True
    ) -> AsyncGenerator[list[Entry], None]:
        """All users and groups below `base` (default: the domain), page by page; ends normally only if they were all there. With
        `full_below`, entries elsewhere come without their `attributes`; without `constructed`, all come without what the directory works out
        for each (a lockout, when a password expires), which takes it as long as all the rest."""
        names = self._codec.names if constructed else self._codec.stored
        async with aclosing(self._pages(filters.ACCOUNTS, names, base)) as pages:
            async for page in pages:
                yield [self._codec.entry(raw, full_below) for raw in page]

    async def guids(self, base: DN | None = None) -> dict[str, int]:
        """objectGUID → uSNChanged of all users and groups below `base`, and nothing else of them."""
        return await self._usns(filters.ACCOUNTS, base)

    async def _usns(self, wanted: Filter, base: DN | None) -> dict[str, int]:
        found: dict[str, int] = {}
        async with aclosing(self._pages(wanted, ("objectGUID", "uSNChanged"), base)) as pages:
            async for page in pages:
                found |= {codec.guid_of(raw): codec.number(raw, "uSNChanged") for raw in page}
        return found

    async def changes_since(self, usn: int, base: DN | None = None) -> Changes:
        """Users and groups whose uSNChanged is above `usn`, and which of them are gone. The new mark is read before anything else, so that
        what happens meanwhile is seen again rather than missed."""
        high = await self.refresh_info()
        if high <= usn:
            return Changes(high_usn=high)
        changed = await self._usns(filters.all_of(filters.at_least("uSNChanged", usn + 1), filters.ACCOUNTS), base)
        deleted: list[str] = []
        if self._tombstones is not False:
            deleted = await feed.deleted_since(self._connection, self._base, usn, self._target.page_size)
            self._tombstones = self._tombstones or (True if deleted else None)
        return Changes(changed, deleted, high)

    async def read(self, guid: str) -> Entry | None:
        """One user or group, now. None only where the server looked and has none of that objectGUID."""
        raw = await search.one(self._connection, codec.guid_dn(guid), self._codec.names, filters.ACCOUNTS)
        return None if raw is None else self._codec.entry(raw)

    async def find(
        self,
        *,
        sams: Iterable[str] = (),
        upns: Iterable[str] = (),
        guids: Iterable[str] = (),
        marks: Iterable[str] = (),
        base: DN | None = None,
    ) -> list[Entry]:
        """Users and groups of the domain that match any of these: names and objectGUIDs as they are, owner marks by their beginning."""
        tests = [filters.equal("sAMAccountName", sam) for sam in sams]
        tests += [filters.equal("userPrincipalName", upn) for upn in upns]
        tests += [filters.guid_is(guid) for guid in guids]
        tests += [filters.prefix(self._target.ownership_attribute, mark) for mark in marks]
        found: dict[str, Entry] = {}
        for batch in filters.batches(tests):
            wanted = filters.all_of(filters.ACCOUNTS, filters.any_of(batch))
            async with aclosing(self._pages(wanted, self._codec.names, base)) as pages:
                async for page in pages:
                    found |= {entry.guid: entry for entry in map(self._codec.entry, page)}
        return list(found.values())

    async def read_members(self, guid: str) -> list[Link] | None:
        """The complete `member` list of a group; None where there is no such object. Primary members are not in it."""
        return await self._links(guid, "member")

    async def member_lists(self) -> AsyncGenerator[list[MemberList], None]:
        """The complete `member` lists of all groups of the domain, page by page; ends normally only if they were all there."""
        controls = [wire.extended_dn()]
        pages = search.linked(self._connection, self._base, filters.GROUPS, "member", size=_GROUPS_A_PAGE, controls=controls)
        async for page in pages:
            yield [
                MemberList(codec.guid_of(entry), codec.number(entry, "uSNChanged"), [codec.link(value) for value in values])
                for entry, values in page
            ]

    async def memberships(self, guid: str) -> list[Link] | None:
        """The groups that list an account directly; its primary group is not among them."""
        return await self._links(guid, "memberOf")

    async def protected_guids(self) -> set[str]:
        """objectGUIDs of the protected groups and of everything in them, however nested, primary members included."""
        found, self._protected = await protected.read_all(self._connection, self._base, self.info.domain_sid)
        if self.info.account_guid:
            found.add(self.info.account_guid)
        return found

    async def is_protected(self, guid: str) -> str | None:
        """Why this object must not be written, in words, or None: asked of the server now."""
        return (await self.read_for_write(guid))[1]

    async def read_for_write(self, guid: str) -> tuple[Entry | None, str | None]:
        """`read` and `is_protected` together: mostly one search, for accounts that are in groups two."""
        async with self._first_protected:
            if self._protected is None:
                await self.protected_guids()
        names = dict.fromkeys((*self._codec.names, *protected.SHOWN, "memberOf"))
        raw = await search.one(self._connection, codec.guid_dn(guid), list(names), filters.ACCOUNTS)
        if raw is None:
            return None, None
        why = await protected.reason(self._connection, raw, self._protected or Protected(), self.info.account_guid)
        return self._codec.entry(raw), why

    async def apply(self, change: Change, password: SecretStr | None = None) -> None:
        """Carry out one change; `password` goes along where it is given. Raises what the directory says: InsufficientRights, AlreadyExists,
        NoSuchObject, PasswordRefused, ValueMismatch, DirectoryUnavailable (then it is not known whether it happened), or DirectoryError."""
        await writes.apply(self._connection, change, password)

    async def read_policy(self) -> PasswordPolicy:
        return await policy.read_domain(self._connection, self._base)

    async def read_pso(self, dn: str) -> PasswordPolicy | None:
        """A fine-grained policy; None where it can't be read."""
        return await policy.read_pso(self._connection, dn)

    async def policy_for(self, guid: str) -> PasswordPolicy | None:
        """The fine-grained policy that applies to one user (msDS-ResultantPSO): UNKNOWN where it can't be read, None where none shows."""
        raw = await search.one(self._connection, codec.guid_dn(guid), ["msDS-ResultantPSO"])
        name = codec.text(raw, "msDS-ResultantPSO") if raw else ""
        return (await self.read_pso(name) or UNKNOWN) if name else None

    async def read_rights(
        self, container: DN, user_attributes: Sequence[str] | None = None, group_attributes: Sequence[str] | None = None
    ) -> Rights:
        """What the service account lacks and has too much, for a container. Raises NoSuchObject where the container is not there."""
        users = (*_USER_RIGHTS, self._target.ownership_attribute, *self._target.attributes) if user_attributes is None else user_attributes
        groups = (*_GROUP_RIGHTS, self._target.ownership_attribute) if group_attributes is None else group_attributes
        return await rights.read(self._connection, self.info, container, list(dict.fromkeys(users)), list(dict.fromkeys(groups)))

    async def detect_entra(self) -> list[str]:
        """Traces of Entra Connect, in words."""
        return await rights.detect_entra(self._connection, self._base)

    async def replication_cursor(self, invocation_id: str) -> int | None:
        """Up to which USN of that domain controller this one has everything; None where it can't be told."""
        return await feed.replication_cursor(self._connection, self._base, invocation_id)

    async def notifications(self) -> AsyncGenerator[Notification, None]:
        """Wake-ups for changes anywhere in the domain, over a connection of their own to the same server. Never ends normally: raises
        DirectoryUnavailable on a cut, DirectoryError where the server refuses."""
        connection = await connect.sign_in(self._target, self._server, tls.context(self._target.ca_pem), None)
        try:
            async with aclosing(feed.notifications(connection, self._base)) as stream:
                async for notification in stream:
                    yield notification
        finally:
            await connection.close()

    def _pages(self, wanted: filters.Filter, names: Sequence[str], base: DN | None) -> AsyncGenerator[list[RawEntry], None]:
        below = self._base if base is None else str(base)
        return search.pages(self._connection, below, wanted, names, size=self._target.page_size)

    async def _links(self, guid: str, attribute: str) -> list[Link] | None:
        values = await search.values(self._connection, codec.guid_dn(guid), attribute, controls=[wire.extended_dn()])
        return None if values is None else [codec.link(value) for value in values]

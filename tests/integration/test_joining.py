"""Many who join a group by name, in a real directory: a new group has them from the beginning, and who is not found by name is found."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from adsync.core.changes import Add, ModifyMembers
from adsync.core.dn import DN
from adsync.directory.directory import Directory
from adsync.directory.model import Target
from adsync.errors import DirectoryError
from lab.samba import DomainController
from tests.integration.support import unique


@pytest.fixture
async def directory(dc: DomainController) -> AsyncIterator[Directory]:
    password = SecretStr(dc.service.password)
    target = Target(dc.domain, dc.service.name, password, servers=(dc.url,), ca_pem=dc.ca_file.read_bytes())
    made = await Directory.connect(target)
    yield made
    await made.close()


async def people(directory: Directory, dc: DomainController, container: str, count: int) -> list[tuple[str, DN]]:
    """objectGUIDs and DNs."""
    dc.users(count, prefix=unique("j"), container=container)
    return [(entry.guid, entry.dn) async for page in directory.sweep(DN.parse(container)) for entry in page if entry.sam.startswith("j")]


@pytest.mark.parametrize("named", [True, False])
async def test_a_group_is_made_with_its_members(directory: Directory, dc: DomainController, container: str, *, named: bool) -> None:
    found = await people(directory, dc, container, 120)
    guids, names = (tuple(each) for each in zip(*found, strict=True))
    name = unique("g")
    attributes = {"sAMAccountName": name, "groupType": "-2147483646"}
    add = Add(DN.parse(container).child("CN", name), "group", attributes, members=guids, names=names if named else ())
    await directory.apply(add)
    (group,) = await directory.find(sams=[name])
    links = await directory.read_members(group.guid)
    assert links is not None
    assert {link.guid for link in links} == set(guids)
    dc.delete(str(group.dn))


async def test_a_group_whose_member_is_gone_is_not_made(directory: Directory, dc: DomainController, container: str) -> None:
    """As a whole, so that it can be made without."""
    ((guid, dn), *_) = await people(directory, dc, container, 1)
    dc.delete(str(dn))
    name = unique("g")
    for names in ((), (dn,)):
        add = Add(DN.parse(container).child("CN", name), "group", {"sAMAccountName": name}, members=(guid,), names=names)
        with pytest.raises(DirectoryError):
            await directory.apply(add)
    assert await directory.find(sams=[name]) == []


async def test_who_was_renamed_meanwhile_joins_all_the_same(directory: Directory, dc: DomainController, container: str) -> None:
    (guid, dn), (other, second) = await people(directory, dc, container, 2)
    dc.add_group(name := unique("g"), container=container)
    (group,) = await directory.find(sams=[name])
    dc.rename(str(dn), "CN=" + unique("elsewhere"))
    await directory.apply(ModifyMembers(group.guid, group.dn, (guid, other), names=(dn, second)))
    links = await directory.read_members(group.guid)
    assert {link.guid for link in links or ()} == {guid, other}
    await directory.apply(ModifyMembers(group.guid, group.dn, (guid, other), names=(dn, second)))  # again, as after a lost answer

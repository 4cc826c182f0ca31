"""Changes as LDAP operations."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from adsync.core.changes import Add, Edit, Modify, ModifyMembers, PasswordSource
from adsync.core.dn import DN
from adsync.directory import wire, writes
from adsync.directory.wire import Answer
from adsync.errors import NoSuchObject, PasswordRefused, ValueMismatch
from tests.unit.directory.support import SUCCESS, Scripted

GUID = "7af0d84c-716a-47cb-ae41-176983dbc2c1"
DN_X = DN.parse("CN=x,DC=y")
A, B, C = (f"{number:08x}-0000-0000-0000-000000000000" for number in (0xA, 0xB, 0xC))
SECRET = SecretStr("Hunter-22")


def test_an_add_carries_everything_at_once_and_nothing_empty() -> None:
    add = Add(DN_X, "user", {"sAMAccountName": "x", "mail": "", "adminDescription": "mark"}, PasswordSource.SECRET)
    assert writes.added(add, SECRET) == {
        "objectClass": ["top", "person", "organizationalPerson", "user"],
        "sAMAccountName": ["x"],
        "adminDescription": ["mark"],
        "unicodePwd": ['"Hunter-22"'.encode("utf-16-le")],
    }
    assert writes.added(Add(DN_X, "group", {"sAMAccountName": "g"}), None) == {"objectClass": ["top", "group"], "sAMAccountName": ["g"]}


def test_a_new_group_is_made_with_its_members() -> None:
    by_guid = Add(DN_X, "group", {}, members=(A, B))
    assert writes.added(by_guid, None)["member"] == [f"<GUID={A}>", f"<GUID={B}>"]
    by_name = Add(DN_X, "group", {}, members=(A, B), names=(DN.parse("CN=a,DC=y"), DN.parse("CN=b,DC=y")))
    assert writes.added(by_name, None)["member"] == ["CN=a,DC=y", "CN=b,DC=y"]


@pytest.mark.parametrize(
    ("edit", "steps"),
    [
        (Edit("mail", "a", "b"), [("MODIFY_REPLACE", ["b"])]),
        (Edit("mail", None, "b"), [("MODIFY_REPLACE", ["b"])]),
        (Edit("mail", "a", None), [("MODIFY_REPLACE", [])]),
        (Edit("mail", "a", ""), [("MODIFY_REPLACE", [])]),
        (Edit("mail", "a", "b", exact=True), [("MODIFY_DELETE", ["a"]), ("MODIFY_ADD", ["b"])]),
        (Edit("mail", None, "b", exact=True), [("MODIFY_ADD", ["b"])]),
        (Edit("mail", "a", None, exact=True), [("MODIFY_DELETE", ["a"])]),
    ],
)
def test_an_edit(edit: Edit, steps: object) -> None:
    assert writes.edited([edit], None) == {"mail": steps}


def test_password_and_mark_go_in_one_modify() -> None:
    changes = writes.edited([Edit("adminDescription", "old", "new")], SECRET)
    assert changes == {
        "unicodePwd": [("MODIFY_REPLACE", ['"Hunter-22"'.encode("utf-16-le")])],
        "adminDescription": [("MODIFY_REPLACE", ["new"])],
    }


async def test_a_modify_names_the_object_by_its_guid_and_an_empty_one_is_not_sent() -> None:
    fake = Scripted(modifies=[SUCCESS])
    await writes.apply(fake.connection, Modify(GUID, DN_X, ()), None)
    assert not fake.asked
    await writes.apply(fake.connection, Modify(GUID, DN_X, (Edit("mail", None, "a"),)), None)
    assert fake.asked[0]["dn"] == f"<GUID={GUID}>"


async def test_refusals_do_not_show_the_password() -> None:
    fake = Scripted(modifies=[Answer(19, "", "0000052D: Hunter-22 is too simple"), Answer(16, "", "")])
    with pytest.raises(PasswordRefused) as caught:
        await writes.apply(fake.connection, Modify(GUID, DN_X, (), PasswordSource.SECRET), SECRET)
    assert "Hunter" not in str(caught.value)
    assert "the password of CN=x,DC=y" in str(caught.value)
    with pytest.raises(ValueMismatch, match="mail"):
        await writes.apply(fake.connection, Modify(GUID, DN_X, (Edit("mail", "a", "b", exact=True),)), None)


def members(*guids: str) -> tuple[list[wire.RawEntry], Answer]:
    return [("CN=x", {"usnchanged": [b"1"], "member": [f"<GUID={guid}>;CN=x,DC=y".encode() for guid in guids]})], SUCCESS


async def test_members_are_changed_permissively() -> None:
    fake = Scripted(modifies=[SUCCESS])
    await writes.apply(fake.connection, ModifyMembers(GUID, DN_X, (A,), (B,)), None)
    assert fake.asked[0]["controls"] == [wire.control(wire.PERMISSIVE_MODIFY)]
    assert fake.asked[0]["changes"] == {"member": [("MODIFY_DELETE", [f"<GUID={B}>"]), ("MODIFY_ADD", [f"<GUID={A}>"])]}


async def test_where_permissive_is_ignored_only_the_rest_is_sent_again() -> None:
    fake = Scripted(searches=[members(A)], modifies=[Answer(68), SUCCESS])
    await writes.apply(fake.connection, ModifyMembers(GUID, DN_X, (A, C), (B,)), None)
    assert fake.asked[-1]["changes"] == {"member": [("MODIFY_ADD", [f"<GUID={C}>"])]}


async def test_where_nothing_is_left_to_do_that_is_success() -> None:
    fake = Scripted(searches=[members(A)], modifies=[Answer(53)])
    await writes.apply(fake.connection, ModifyMembers(GUID, DN_X, (A,), (B,)), None)


async def test_who_is_not_found_by_name_is_looked_for_by_guid() -> None:
    fake = Scripted(modifies=[Answer(32), SUCCESS])
    await writes.apply(fake.connection, ModifyMembers(GUID, DN_X, (A,), (B,), names=(DN.parse("CN=a,DC=y"),)), None)
    assert fake.asked[0]["changes"] == {"member": [("MODIFY_DELETE", [f"<GUID={B}>"]), ("MODIFY_ADD", ["CN=a,DC=y"])]}
    assert fake.asked[1]["changes"] == {"member": [("MODIFY_DELETE", [f"<GUID={B}>"]), ("MODIFY_ADD", [f"<GUID={A}>"])]}
    fake = Scripted(modifies=[Answer(32), Answer(32)])
    with pytest.raises(NoSuchObject):
        await writes.apply(fake.connection, ModifyMembers(GUID, DN_X, (A,), names=(DN.parse("CN=a,DC=y"),)), None)


async def test_a_real_refusal_of_members_is_told() -> None:
    fake = Scripted(modifies=[Answer(32)])
    with pytest.raises(NoSuchObject):
        await writes.apply(fake.connection, ModifyMembers(GUID, DN_X, (A,)), None)
    fake = Scripted(searches=[members(B)], modifies=[Answer(53)])
    with pytest.raises(Exception, match="unwillingToPerform"):
        await writes.apply(fake.connection, ModifyMembers(GUID, DN_X, (A,), (B,)), None)
    assert len(fake.asked) == 2

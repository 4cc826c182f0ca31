"""The project's changes as LDAP operations. One change is one operation, so that it happens whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from pydantic import SecretStr

from adsync.core.changes import Add, Change, Delete, Edit, Modify, ModifyMembers, Move
from adsync.core.dn import DN
from adsync.directory import answers, codec, wire
from adsync.directory.connection import LdapConnection

_CLASSES = {"user": ("top", "person", "organizationalPerson", "user"), "group": ("top", "group")}
_Values = list[tuple[str, list[str | bytes]]]


async def apply(connection: LdapConnection, change: Change, password: SecretStr | None) -> None:
    """Carry out one change, or raise what the directory says to it. An existing object is named by its GUID, wherever it is by now."""
    match change:
        case Add():
            answer = await connection.add(str(change.dn), added(change, password))
            doing = str(change)
        case Modify():
            edits = edited(change.edits, password)
            if not edits:
                return
            answer = await connection.modify(codec.guid_dn(change.guid), edits)
            what = (["the password"] if password is not None else []) + [edit.attribute for edit in change.edits]
            doing = f"change {', '.join(what)} of {change.dn}"
        case Move():
            superior = None if change.new_dn.parent == change.dn.parent else str(change.new_dn.parent)
            answer = await connection.modify_dn(codec.guid_dn(change.guid), str(DN(change.new_dn.rdns[:1])), superior)
            doing = str(change)
        case Delete():
            answer = await connection.delete(codec.guid_dn(change.guid))
            doing = str(change)
        case ModifyMembers():
            members: _Values = [("MODIFY_DELETE", [str(dn) for dn in change.remove]), ("MODIFY_ADD", [str(dn) for dn in change.add])]
            edits = {"member": [(how, values) for how, values in members if values]}
            if not edits["member"]:
                return
            permissive = [wire.control(wire.PERMISSIVE_MODIFY)]
            answer = await connection.modify(codec.guid_dn(change.guid), edits, controls=permissive)
            doing = f"change the members of {change.dn}"
        case _:
            assert_never(change)
    if answer.code != answers.SUCCESS:
        raise answers.refused(answer, doing, secret=password.get_secret_value() if password is not None else "")


def added(change: Add, password: SecretStr | None) -> dict[str, list[str | bytes]]:
    """The attributes of an Add; empty values are left out, as AD stores none."""
    attributes: dict[str, list[str | bytes]] = {"objectClass": list(_CLASSES[change.object_class])}
    attributes |= {name: [value] for name, value in change.attributes.items() if value}
    if password is not None:
        attributes["unicodePwd"] = [codec.password_value(password)]
    return attributes


def edited(edits: Iterable[Edit], password: SecretStr | None) -> dict[str, _Values]:
    """The modifications of a Modify. An exact edit names the value it replaces, and fails if that is gone (RFC 4511 section 4.6)."""
    changes: dict[str, _Values] = {}
    if password is not None:  # a replace is a reset, which needs no old password (MS-ADTS 3.1.1.3.1.5.1)
        changes["unicodePwd"] = [("MODIFY_REPLACE", [codec.password_value(password)])]
    for edit in edits:
        old, new = edit.old or None, edit.new or None
        if not edit.exact:
            steps: _Values = [("MODIFY_REPLACE", [new] if new else [])]
        else:
            steps = [("MODIFY_DELETE", [old])] if old else []
            steps += [("MODIFY_ADD", [new])] if new else []
        if steps:
            changes.setdefault(edit.attribute, []).extend(steps)
    return changes

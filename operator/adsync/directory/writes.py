"""The project's changes as LDAP operations. One change is one operation, so that it happens whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from pydantic import SecretStr

from adsync.core.changes import Add, Change, Delete, Edit, Modify, ModifyMembers, Move
from adsync.core.dn import DN
from adsync.directory import answers, codec, search, wire
from adsync.directory.connection import LdapConnection
from adsync.directory.wire import Answer

_CLASSES = {"user": ("top", "person", "organizationalPerson", "user"), "group": ("top", "group")}
_ALREADY = frozenset({16, 20, 53, 68})
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
            # By name: Samba can't rename what is called by its GUID. The plan was made from a fresh read.
            superior = None if change.new_dn.parent == change.dn.parent else str(change.new_dn.parent)
            answer = await connection.modify_dn(str(change.dn), str(DN(change.new_dn.rdns[:1])), superior)
            doing = str(change)
        case Delete():
            answer = await connection.delete(codec.guid_dn(change.guid))
            doing = str(change)
        case ModifyMembers():
            answer = await _members(connection, change)
            doing = f"change the members of {change.dn}"
        case _:
            assert_never(change)
    if answer.code != answers.SUCCESS:
        raise answers.refused(answer, doing, secret=password.get_secret_value() if password is not None else "")


async def _members(connection: LdapConnection, change: ModifyMembers) -> Answer:
    """Permissive modify makes it repeatable (MS-ADTS 3.1.1.3.4.1.8). Samba takes that control and then ignores it for links: where it finds
    that something is there already, or is gone already, what is left to do is worked out from the list as it stands."""
    group, add, remove = codec.guid_dn(change.guid), change.add, change.remove
    answer = Answer(answers.SUCCESS)
    names = change.names
    for _ in range(4):
        steps: _Values = [("MODIFY_DELETE", list(map(codec.guid_dn, remove))), ("MODIFY_ADD", _joining(names, add))]
        edits = {"member": [(how, values) for how, values in steps if values]}
        if not edits["member"]:
            return Answer(answers.SUCCESS)
        answer = await connection.modify(group, edits, controls=[wire.control(wire.PERMISSIVE_MODIFY)])
        if names and answer.code == answers.NO_SUCH_OBJECT:
            names = ()  # somebody was renamed meanwhile: once more, by what does not change
            continue
        if answer.code not in _ALREADY or (now := await search.values(connection, group, "member", controls=[wire.extended_dn()])) is None:
            return answer
        have = {codec.link(value).guid for value in now}
        left = tuple(guid for guid in add if guid not in have), tuple(guid for guid in remove if guid in have)
        if left == (add, remove):
            return answer
        add, remove = left
        names = ()
    return answer


def _joining(names: Sequence[DN], guids: Sequence[str]) -> list[str | bytes]:
    """Values of `member`."""
    return list(map(str, names)) if names else list(map(codec.guid_dn, guids))


def added(change: Add, password: SecretStr | None) -> dict[str, list[str | bytes]]:
    """The attributes of an Add; empty values are left out, as AD stores none."""
    attributes: dict[str, list[str | bytes]] = {"objectClass": list(_CLASSES[change.object_class])}
    attributes |= {name: [value] for name, value in change.attributes.items() if value}
    if change.members:
        attributes["member"] = _joining(change.names, change.members)
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

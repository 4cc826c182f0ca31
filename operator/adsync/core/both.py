"""From a spec and a directory entry to the fields that are merged, and from the merged values back to what each side asks for.

Fields of a user: username, email, firstName, lastName, displayName, suspended ("true" or "false"), and the domain's extraAttributes by their
own names. Of a group: name, description, email. A directory value that the API's schema can't hold is left out, and so is nobody's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from adsync.core.dn import fold_case
from adsync.core.entries import Entry
from adsync.core.names import AccountNames
from adsync.core.rules import DESCRIPTION, DomainRules
from adsync.core.users import UPN
from adsync.resources.common import is_account_name
from adsync.resources.syncedgroup import SyncedGroupSpec
from adsync.resources.synceduser import SyncedUserSpec

USERNAME = "username"
SUSPENDED = "suspended"
_FIELD_LIMIT, _ATTRIBUTE_LIMIT = 256, 1024
IN_SCOPE = "inScope"
"""In lastSynced: that the object has been in scope, so that leaving it later is somebody's decision."""


def username_in(entry: Entry, rules: DomainRules) -> str:
    """The username that an account has. One whose userPrincipalName has another suffix than the domain's goes by its sAMAccountName."""
    if rules.spec.user_field_mapping.username == UPN:
        local, _, suffix = entry.upn.rpartition("@")
        if local and fold_case(suffix) == fold_case(rules.upn_suffix):
            return local
    return entry.sam


def is_importable(entry: Entry, rules: DomainRules) -> bool:
    """Whether the API's schema can hold the account's name at all."""
    return is_account_name(username_in(entry, rules)) and len(entry.sam) <= _FIELD_LIMIT


def user_in_spec(spec: SyncedUserSpec, rules: DomainRules) -> dict[str, str | None]:
    """What a spec says; None where it does not name the field. Raises InvalidSpec for an attribute that the domain does not allow."""
    given: dict[str, str | None] = {
        USERNAME: spec.username,
        "email": spec.email,
        "firstName": spec.first_name,
        "lastName": spec.last_name,
        "displayName": spec.display_name,
        SUSPENDED: None if spec.suspended is None else str(spec.suspended).lower(),
    }
    wanted = rules.wanted_attributes(spec)
    return given | {str(name): wanted.get(str(name)) for name in rules.spec.extra_attributes}


def user_in_directory(entry: Entry, rules: DomainRules) -> dict[str, str]:
    values = {USERNAME: username_in(entry, rules), SUSPENDED: str(entry.disabled).lower()}
    for field, attribute in rules.fields.items():
        if len(value := entry.attributes.get(attribute, "")) <= _FIELD_LIMIT:
            values[field] = value
    for name in map(str, rules.spec.extra_attributes):
        if len(value := entry.attributes.get(name, "")) <= _ATTRIBUTE_LIMIT:
            values[name] = value
    return values


def user_spec(values: Mapping[str, str], fields: Iterable[str], rules: DomainRules) -> dict[str, Any]:
    """The part of a SyncedUser's spec that has these fields, as JSON."""
    spec: dict[str, Any] = {}
    for name in fields:
        if name == SUSPENDED:
            spec[name] = values[name] == "true"
        elif name == USERNAME or name in rules.fields:
            spec[name] = values[name]
        else:
            spec.setdefault("attributes", {})[name] = values[name]
    return spec


def user_attributes(values: Mapping[str, str], rules: DomainRules) -> dict[str, str]:
    """The merged values by attribute, as a UserWish has them."""
    return {rules.fields.get(name, name): value for name, value in values.items() if name not in (USERNAME, SUSPENDED)}


def names_for(username: str, entry: Entry, rules: DomainRules) -> AccountNames:
    """The names that an account shall have: as they are, where the username is the directory's own. Raises InvalidSpec for a new one that
    can't be had."""
    if username == username_in(entry, rules):
        return AccountNames(entry.dn.name, entry.sam, entry.upn)
    return rules.names(username)


def group_in_spec(spec: SyncedGroupSpec) -> dict[str, str | None]:
    return {"name": spec.name, "description": spec.description, "email": spec.email}


def group_in_directory(entry: Entry, rules: DomainRules) -> dict[str, str]:
    values = {"name": entry.sam}
    if len(value := entry.attributes.get(DESCRIPTION, "")) <= _ATTRIBUTE_LIMIT:
        values["description"] = value
    if len(value := entry.attributes.get(rules.fields["email"], "")) <= _FIELD_LIMIT:
        values["email"] = value
    return values


def group_attributes_of(values: Mapping[str, str], rules: DomainRules) -> dict[str, str]:
    named = {"description": DESCRIPTION, "email": rules.fields["email"]}
    return {named[name]: value for name, value in values.items() if name in named}

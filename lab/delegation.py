"""What the operator's service account may do, as access control entries on the root container: the least that adsync works with.

The account is an ordinary user. It gets nothing at the domain's root, no right over other containers, no full control, and no right to
change permissions. Each entry names its purpose, the right, and the attribute and class it is limited to, so that the same list can be read
by a person, applied to the lab's Samba (as SDDL) and shown as `dsacls` commands for Windows.

Sources: MS-ADTS 5.1.3.2 (access rights), 5.1.3.3 (access checks), 3.1.1.5.2 to 3.1.1.5.5 (what add, modify, modify DN and delete ask for).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# schemaIDGUID of classes and attributes (MS-ADSC, MS-ADA1 to MS-ADA3), rightsGuid of extended rights (MS-ADTS 5.1.3.2.1).
CLASSES = {
    "user": "bf967aba-0de6-11d0-a285-00aa003049e2",
    "group": "bf967a9c-0de6-11d0-a285-00aa003049e2",
}
ATTRIBUTES = {
    "adminDescription": "bf967919-0de6-11d0-a285-00aa003049e2",
    "c": "bf967945-0de6-11d0-a285-00aa003049e2",
    "cn": "bf96793f-0de6-11d0-a285-00aa003049e2",
    "co": "f0f8ffa7-1191-11d0-a060-00aa006c33ed",
    "company": "f0f8ff88-1191-11d0-a060-00aa006c33ed",
    "department": "bf96794f-0de6-11d0-a285-00aa003049e2",
    "description": "bf967950-0de6-11d0-a285-00aa003049e2",
    "displayName": "bf967953-0de6-11d0-a285-00aa003049e2",
    "division": "fe6136a0-2073-11d0-a9c2-00aa006c33ed",
    "employeeID": "bf967962-0de6-11d0-a285-00aa003049e2",
    "employeeNumber": "a8df73ef-c5ea-11d1-bbcb-0080c76670c0",
    "employeeType": "a8df73f0-c5ea-11d1-bbcb-0080c76670c0",
    "givenName": "f0f8ff8e-1191-11d0-a060-00aa006c33ed",
    "info": "bf96793e-0de6-11d0-a285-00aa003049e2",
    "initials": "f0f8ff90-1191-11d0-a060-00aa006c33ed",
    "l": "bf9679a2-0de6-11d0-a285-00aa003049e2",
    "lockoutTime": "28630ebf-41d5-11d1-a9c1-0000f80367c1",
    "mail": "bf967961-0de6-11d0-a285-00aa003049e2",
    "member": "bf9679c0-0de6-11d0-a285-00aa003049e2",
    "mobile": "f0f8ffa3-1191-11d0-a060-00aa006c33ed",
    "name": "bf967a0e-0de6-11d0-a285-00aa003049e2",
    "physicalDeliveryOfficeName": "bf9679f7-0de6-11d0-a285-00aa003049e2",
    "postalCode": "bf9679fd-0de6-11d0-a285-00aa003049e2",
    "pwdLastSet": "bf967a0a-0de6-11d0-a285-00aa003049e2",
    "sAMAccountName": "3e0abfd0-126a-11d0-a060-00aa006c33ed",
    "sn": "bf967a41-0de6-11d0-a285-00aa003049e2",
    "st": "bf967a39-0de6-11d0-a285-00aa003049e2",
    "streetAddress": "f0f8ff84-1191-11d0-a060-00aa006c33ed",
    "telephoneNumber": "bf967a49-0de6-11d0-a285-00aa003049e2",
    "title": "bf967a55-0de6-11d0-a285-00aa003049e2",
    "userAccountControl": "bf967a68-0de6-11d0-a285-00aa003049e2",
    "userPrincipalName": "28630ebb-41d5-11d1-a9c1-0000f80367c1",
}
RESET_PASSWORD = "00299570-246d-11d0-a768-00aa006e0529"

# What is always written; then what a domain may map or list in extraAttributes (leave out what yours does not).
IDENTITY = ("cn", "name", "sAMAccountName", "adminDescription")
USER_ALWAYS = ("userPrincipalName", "userAccountControl", "pwdLastSet", "lockoutTime")
USER_FIELDS = (
    "displayName", "mail", "givenName", "sn", "initials", "department", "title", "company", "division", "description", "employeeID",
    "employeeNumber", "employeeType", "telephoneNumber", "mobile", "physicalDeliveryOfficeName", "streetAddress", "l", "st", "postalCode",
    "co", "c", "info",
)  # fmt: skip
GROUP_ALWAYS = ("member",)
GROUP_FIELDS = ("displayName", "description", "mail")


@dataclass(frozen=True)
class Ace:
    """One entry. `rights` are SDDL's letters: CC, DC create and delete children, RP, WP read and write a property, CR an extended right."""

    purpose: str
    rights: str
    object_guid: str  # the child class, the attribute or the extended right
    object_name: str
    inherited_by: str = ""  # the class of the objects below that it is for; "": the container and all containers below

    def sddl(self, sid: str) -> str:
        """As `samba-tool dsacl set --sddl` takes it, for the account with this SID."""
        if self.inherited_by:
            return f"(OA;CIIO;{self.rights};{self.object_guid};{CLASSES[self.inherited_by]};{sid})"
        return f"(OA;CI;{self.rights};{self.object_guid};;{sid})"

    def dsacls(self, container: str, account: str) -> str:
        """As Windows' dsacls takes it. `account` is DOMAIN\\name."""
        if self.inherited_by:
            name = "Reset Password" if self.rights == "CR" else self.object_name
            rights = "CA" if self.rights == "CR" else self.rights
            return f'dsacls "{container}" /I:S /G "{account}:{rights};{name};{self.inherited_by}"'
        return f'dsacls "{container}" /I:T /G "{account}:{self.rights};{self.object_name}"'


def aces(
    user_fields: tuple[str, ...] = USER_FIELDS, group_fields: tuple[str, ...] = GROUP_FIELDS, *, mark: str = "adminDescription"
) -> Iterator[Ace]:
    """The delegation, in order. `mark` is the domain's ownershipAttribute."""
    identity = (*IDENTITY[:3], mark)
    for kind in ("user", "group"):
        yield Ace(f"create, move and delete {kind}s", "CCDC", CLASSES[kind], kind)
    yield Ace("set a password", "CR", RESET_PASSWORD, "Reset Password", "user")
    for attribute in (*identity, *USER_ALWAYS, *user_fields):
        yield Ace(f"read and write {attribute} of users", "RPWP", ATTRIBUTES[attribute], attribute, "user")
    for attribute in (*identity, *GROUP_ALWAYS, *group_fields):
        yield Ace(f"read and write {attribute} of groups", "RPWP", ATTRIBUTES[attribute], attribute, "group")


def sddl(sid: str) -> str:
    """The whole delegation for the account with this SID."""
    return "".join(ace.sddl(sid) for ace in aces())


def dsacls(container: str, account: str) -> list[str]:
    """The whole delegation as commands for a Windows domain controller."""
    return [ace.dsacls(container, account) for ace in aces()]


if __name__ == "__main__":
    print("\n".join(dsacls("OU=People,DC=corp,DC=example,DC=com", "CORP\\svc-adsync")))

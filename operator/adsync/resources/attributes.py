"""The directory attributes that a domain may let people write: plain, single-valued Unicode strings that steer nothing.

Single-valuedness and syntax (2.5.5.12) are from MS-ADA1 to MS-ADA3. Left out on purpose: what is multi-valued in the schema (description,
carLicense, roomNumber, ou, ...), what names other objects (manager, assistant), what runs or opens something at sign-in (scriptPath,
profilePath, homeDirectory, unixHomeDirectory, loginShell), names that the operator writes itself (cn, displayName, sAMAccountName,
userPrincipalName), and everything that holds numbers or flags. extensionAttribute1 to 15 exist only where Exchange has extended the schema.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field

_EXTENSION: Final = tuple(f"extensionAttribute{number}" for number in range(1, 16))
_CLOUD: Final = tuple(f"msDS-cloudExtensionAttribute{number}" for number in range(1, 21))

OWNERSHIP: Final = ("adminDescription", "info", *_EXTENSION, *_CLOUD)
"""Where an owner mark may be: users and groups both have these, and they hold 1,024 characters."""

PLAIN: Final = (
    "adminDescription", "adminDisplayName", "c", "co", "comment", "company", "department", "division", "employeeID", "employeeNumber",
    "employeeType", "facsimileTelephoneNumber", "generationQualifier", "givenName", "homePhone", "homePostalAddress", "info", "initials",
    "ipPhone", "l", "mail", "middleName", "mobile", "msDS-PhoneticCompanyName", "msDS-PhoneticDepartment", "msDS-PhoneticDisplayName",
    "msDS-PhoneticFirstName", "msDS-PhoneticLastName", "pager", "personalTitle", "physicalDeliveryOfficeName", "postalCode",
    "preferredLanguage", "primaryInternationalISDNNumber", "primaryTelexNumber", "sn", "st", "street", "streetAddress", "telephoneNumber",
    "title", "wWWHomePage", *_EXTENSION, *_CLOUD,
)  # fmt: skip
"""What may be mapped, or listed in extraAttributes."""


def _one_of(names: tuple[str, ...]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"{value!r} is not among the attributes that may be used here, which are: {', '.join(names)}")
        return value

    return AfterValidator(check)


OwnershipAttribute = Annotated[str, _one_of(OWNERSHIP), Field(json_schema_extra={"enum": list(OWNERSHIP)})]
PlainAttribute = Annotated[str, _one_of(PLAIN), Field(json_schema_extra={"enum": list(PLAIN)})]


class UsernameAttribute(StrEnum):
    """Where a user's username is kept."""

    SAM_ACCOUNT_NAME = "sAMAccountName"
    USER_PRINCIPAL_NAME = "userPrincipalName"

"""What servers say, and which of our errors it is. Texts of Samba were seen in the lab; those of Windows are from Microsoft's documentation."""

from __future__ import annotations

import pytest

from adsync import errors
from adsync.directory import answers
from adsync.directory.wire import Answer

WINDOWS_BIND = "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data {}, v3839"


@pytest.mark.parametrize(
    ("code", "diagnostic", "kind"),
    [
        (19, "0000052D: Constraint violation - check_password_restrictions: the password is too short.", errors.PasswordRefused),
        (19, "0000052D: AtrErr: DSID-03191083, #1: 0: 0000052D: DSID-03191083, problem 1005 (CONSTRAINT_ATT_TYPE)", errors.PasswordRefused),
        (53, "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0", errors.PasswordRefused),
        (50, "00002098: Object CN=x has no write property access", errors.InsufficientRights),
        (50, "acl: unable to get access to CN=x", errors.InsufficientRights),
        (53, "00000005: SecErr: DSID-031521E1, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0", errors.InsufficientRights),
        (68, "00002071: samldb: samAccountName 'jdoe' already in use!", errors.AlreadyExists),
        (68, "00000524: UpdErr: DSID-031A11E2, problem 6005 (ENTRY_EXISTS), data 0", errors.AlreadyExists),
        (19, "0000202F: samldb: userPrincipalName 'jdoe@corp' is already in use", errors.AlreadyExists),
        (19, "000021C8: AtrErr: DSID-03200BBA, #1: 0: 000021C8: DSID-03200BBA, problem 1005, Att 90290", errors.AlreadyExists),
        (32, "00002030: No such object", errors.NoSuchObject),
        (16, "00002085: AtrErr: problem 1001 (NO_ATTRIBUTE_OR_VAL)", errors.ValueMismatch),
        (20, "0000200D: SINGLE-VALUE attribute mail specified more than once", errors.ValueMismatch),
        (16, "acl_modify: attribute 'nosuchthing' on entry 'CN=x' was not found in the schema!", errors.ValueRefused),
        (16, "00000057: LdapErr: DSID-0C090D8A, comment: Error in attribute conversion operation, data 0, v4563", errors.ValueRefused),
        (17, "00000057: LdapErr: DSID-0C090E17, comment: Error in attribute conversion operation, data 0", errors.ValueRefused),
        (
            19,
            "00002082: AtrErr: DSID-03151907, #1: 0: 00002082: problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 2a (givenName):len 130",
            errors.ValueRefused,
        ),
        (51, "", errors.DirectoryUnavailable),
        (52, "00002024: SvcErr: problem 5002 (UNAVAILABLE)", errors.DirectoryUnavailable),
        (80, "", errors.DirectoryUnavailable),
        (80, "0000054F: SvcErr: internal", errors.DirectoryError),
        (3, "", errors.IncompleteRead),
        (4, "", errors.IncompleteRead),
        (11, "", errors.IncompleteRead),
        (10, "0000202B: RefErr: DSID-03100835, data 0, 1 access points", errors.DirectoryError),
        (21, "0000200B: attribute contains at least one invalid value!", errors.ValueRefused),
        (34, "00002032: ldb_add: invalid dn '(null)'", errors.ValueRefused),
        (64, "00002073: NameErr: DSID-0305109C, problem 2005 (NAMING_VIOLATION)", errors.ValueRefused),
        (9999, "", errors.DirectoryError),
    ],
)
def test_the_error_and_its_text(code: int, diagnostic: str, kind: type[errors.DirectoryError]) -> None:
    error = answers.refused(Answer(code, "", diagnostic), "create user CN=x")
    assert type(error) is kind
    assert (error.code, error.diagnostic) == (code, diagnostic)
    assert "create user CN=x" in str(error)
    assert str(code) in str(error)
    assert diagnostic in str(error)


def test_a_referral_is_not_followed_and_says_so() -> None:
    assert "referrals are never followed" in str(answers.refused(Answer(10, "", ""), "read x"))


def test_a_secret_is_kept_out_of_the_text() -> None:
    error = answers.refused(Answer(19, "", "0000052D: 'Hunter-22' is in the dictionary"), "change x", secret="Hunter-22")
    assert "Hunter-22" not in str(error)
    assert "Hunter-22" not in error.diagnostic


@pytest.mark.parametrize(
    ("sub_code", "says"),
    [
        ("525", "no such account"), ("52e", "password is wrong"), ("530", "logon hours"), ("531", "workstations"), ("532", "expired"),
        ("533", "disabled"), ("701", "account itself has expired"), ("773", "must be changed"), ("775", "locked out"), ("999", "no known reason"),
    ],
)  # fmt: skip
def test_a_refused_bind_says_why_and_what_to_do(sub_code: str, says: str) -> None:
    error = answers.refused_bind(Answer(49, "", WINDOWS_BIND.format(sub_code)), "svc@corp")
    assert isinstance(error, errors.CredentialsRejected)
    assert error.sub_code == sub_code
    assert error.code == 49
    assert says in str(error)
    assert "svc@corp" in str(error)


def test_a_refused_bind_without_a_sub_code() -> None:
    error = answers.refused_bind(Answer(49, "", "NT_STATUS_LOGON_FAILURE"), "svc")
    assert isinstance(error, errors.CredentialsRejected)
    assert error.sub_code == ""


def test_a_bind_that_a_busy_server_did_not_look_at_says_nothing_about_the_credentials() -> None:
    assert isinstance(answers.refused_bind(Answer(51), "svc"), errors.DirectoryUnavailable)


@pytest.mark.parametrize(
    ("text", "code"),
    [("0000052D: x", "0000052D"), ("0000202b: x", "0000202B"), ("no code: 0000052D: x", ""), ("", ""), ("acl: unable", "")],
)
def test_the_windows_code_is_at_the_beginning_only(text: str, code: str) -> None:
    # Further on there may be somebody's value, which must not decide.
    assert answers.win32_code(text) == code

"""Octets to entries and back."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from adsync.core.dn import DN
from adsync.core.entries import EntryKind
from adsync.directory import codec
from adsync.directory.codec import EntryCodec
from adsync.directory.model import Link
from adsync.errors import InsufficientRights, InvalidSpec

GUID = bytes.fromhex("4cd8f07a6a71cb47ae41176983dbc2c1")
GUID_TEXT = "7af0d84c-716a-47cb-ae41-176983dbc2c1"
SID = bytes.fromhex("0105000000000005150000005d3a187da3dc5ad35174c51656040000")
SID_TEXT = "S-1-5-21-2098739805-3545947299-382039121-1110"
PEOPLE = DN.parse("OU=People,DC=corp,DC=example,DC=com")

USER = {
    "objectguid": [GUID],
    "objectsid": [SID],
    "samaccountname": [b"jdoe"],
    "samaccounttype": [b"805306368"],
    "usnchanged": [b"4010"],
    "cn": ["Jörg".encode()],
    "userprincipalname": [b"jdoe@corp.example.com"],
    "mail": [b"jdoe@example.com"],
    "admindescription": [b"adsync1:u:a:b/c"],
    "useraccountcontrol": [b"514"],
    "msds-user-account-control-computed": [b"16"],
    "pwdlastset": [b"134399123884740720"],
    "msds-userpasswordexpirytimecomputed": [b"9223372036854775807"],
    "primarygroupid": [b"513"],
}


def test_a_user() -> None:
    made = EntryCodec(["mail", "department"], "adminDescription").entry(("CN=Jörg,OU=People,DC=corp,DC=example,DC=com", USER))
    assert (made.guid, made.sid, made.rid) == (GUID_TEXT, SID_TEXT, 1110)
    assert made.kind is EntryKind.USER
    assert made.dn == PEOPLE.child("CN", "Jörg")
    assert (made.sam, made.upn, made.cn, made.mark) == ("jdoe", "jdoe@corp.example.com", "Jörg", "adsync1:u:a:b/c")
    assert made.attributes == {"mail": "jdoe@example.com"}
    assert made.disabled
    assert made.locked_out
    assert (made.usn_changed, made.pwd_last_set, made.primary_group) == (4010, 134399123884740720, 513)
    assert made.password_expires == 0x7FFFFFFFFFFFFFFF
    assert not made.critical


def test_a_group_is_known_by_its_type() -> None:
    group = {"objectguid": [GUID], "samaccounttype": [b"268435456"], "grouptype": [b"-2147483646"], "iscriticalsystemobject": [b"TRUE"]}
    made = EntryCodec([], "adminDescription").entry(("CN=g,DC=x", group))
    assert made.kind is EntryKind.GROUP
    assert made.group_type == -2147483646
    assert made.critical
    assert (made.sid, made.rid, made.attributes) == ("", 0, {})


def test_names_are_asked_once_however_they_are_spelt() -> None:
    names = EntryCodec(["sAMAccountName", "MAIL", "adminDescription"], "admindescription").names
    assert len({name.lower() for name in names}) == len(names)
    assert "MAIL" in names


def test_mapped_attributes_are_found_in_any_case() -> None:
    made = EntryCodec(["Mail", "sAMAccountName"], "adminDescription").entry(("CN=x,DC=y", USER))
    assert made.attributes == {"Mail": "jdoe@example.com", "sAMAccountName": "jdoe"}


def test_what_lies_elsewhere_comes_slim() -> None:
    reader = EntryCodec(["mail"], "adminDescription")
    assert reader.entry(("CN=x,OU=People,DC=corp,DC=example,DC=com", USER), PEOPLE).attributes
    assert not reader.entry(("CN=x,OU=Other,DC=corp,DC=example,DC=com", USER), PEOPLE).attributes


def test_an_entry_without_a_guid_is_not_taken() -> None:
    with pytest.raises(InsufficientRights, match="objectGUID"):
        EntryCodec([], "adminDescription").entry(("CN=x,DC=y", {"cn": [b"x"]}))


def test_values_that_are_no_numbers_or_no_text_do_not_end_a_sweep() -> None:
    made = EntryCodec(["mail"], "adminDescription").entry(
        ("CN=x,DC=y", {"objectguid": [GUID], "usnchanged": [b"many"], "mail": [b"\xff\xfe"], "objectsid": [b"\x01\x05short"]})
    )
    assert made.usn_changed == 0
    assert made.sid == ""
    assert made.attributes["mail"] == "\ufffd\ufffd"


@pytest.mark.parametrize(
    "written",
    [
        "CN=bulk7,OU=People,DC=corp,DC=example,DC=com", "CN=a b,DC=x", "cn=x,dc=y", "CN=Doe\\, John,DC=x", "CN=\\ x\\ ,DC=y", "CN=a+SN=b,DC=x",
        "CN=x\\0ADEL:7af0d84c,CN=Deleted Objects,DC=x", "CN=Jürgen \\\"J\\\",DC=x", "DC=com", "CN=x\\\\,DC=y", "CN=\\#1,DC=y", "CN=x ,DC=y",
    ],
)  # fmt: skip
def test_the_short_way_to_a_dn_is_the_same_as_the_long_one(written: str) -> None:
    reader = EntryCodec([], "adminDescription")
    for _ in range(2):
        assert reader.dn(written).rdns == DN.parse(written).rdns


def test_a_dn_that_can_not_be_parsed_lies_below_nothing() -> None:
    strange = codec.dn_of("CN=#04024869,DC=corp,DC=example,DC=com")
    assert not strange.within(DN.parse("DC=com"))


def test_guids() -> None:
    assert codec.guid_text(GUID) == GUID_TEXT
    assert codec.guid_dn(GUID_TEXT.upper()) == f"<GUID={GUID_TEXT}>"
    with pytest.raises(InvalidSpec):
        codec.guid_dn("DC=corp>")


def test_sids() -> None:
    assert codec.sid_text(SID) == SID_TEXT
    assert codec.sid_bytes(SID_TEXT) == SID
    assert codec.sid_bytes("S-1-5-32-544") == bytes.fromhex("01020000000000052000000020020000")
    assert codec.sid_text(b"") == ""


def test_a_password_is_quoted_utf16() -> None:
    assert codec.password_value(SecretStr('p"ä')) == b'"\x00p\x00"\x00\xe4\x00"\x00'


def test_links() -> None:
    assert codec.link(f"<GUID={GUID_TEXT.upper()}>;<SID={SID_TEXT}>;CN=x;y,DC=z".encode()) == Link("CN=x;y,DC=z", GUID_TEXT, SID_TEXT)
    assert codec.link(f"<GUID={GUID_TEXT}>;CN=contact,DC=z".encode()) == Link("CN=contact,DC=z", GUID_TEXT)
    assert codec.link(b"CN=plain,DC=z") == Link("CN=plain,DC=z")

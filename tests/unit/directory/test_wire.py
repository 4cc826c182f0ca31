"""Messages as a real domain controller sent them (Samba 4.17), and as a broken or hostile one might."""

from __future__ import annotations

import pytest
from ldap3.protocol.rfc4511 import LDAPMessage
from pyasn1.codec.ber.decoder import decode as decode_asn1

from adsync.directory import wire
from adsync.directory.wire import Answer, Kind, ProtocolError
from tests.unit.directory.support import entry, paged, result, tlv

ENTRY = bytes.fromhex(
    "3082011c020108648201150434434e3d62756c6b372c4f553d42756c6b2c4f553d50656f706c652c44433d636f72702c44433d6578616d706c652c44433d636f6d"
    "3081dc3014040a75534e4368616e67656431060404343031303020040a6f626a65637447554944311204104cd8f07a6a71cb47ae41176983dbc2c1301b04127573"
    "65724163636f756e74436f6e74726f6c31050403353436302b04096f626a656374536964311e041c0105000000000005150000005d3a187da3dc5ad35174c51656"
    "0400003019040e73414d4163636f756e744e616d653107040562756c6b37303d04086d656d6265724f663131042f434e3d62696767726f75702c4f553d50656f70"
    "6c652c44433d636f72702c44433d6578616d706c652c44433d636f6d"
)
DONE = bytes.fromhex("303302010865070a010004000400a02530230416312e322e3834302e3131333535362e312e342e3331390409300702010204023200")
REFERENCE = bytes.fromhex(
    "304a020109734504436c646170733a2f2f636f72702e6578616d706c652e636f6d2f434e3d436f6e66696775726174696f6e2c44433d636f72702c44433d657861"
    "6d706c652c44433d636f6d"
)
REFUSED = bytes.fromhex(
    "3063020101615e0a01310400045738303039303330383a204c6461704572723a20445349442d30433039303341392c20636f6d6d656e743a204163636570745365"
    "637572697479436f6e74657874206572726f722c2064617461203532652c207631646231"
)


def test_an_entry() -> None:
    message_id, kind, content = wire.decode(ENTRY)
    assert (message_id, kind) == (8, Kind.ENTRY)
    assert isinstance(content, tuple)
    assert content[0] == "CN=bulk7,OU=Bulk,OU=People,DC=corp,DC=example,DC=com"
    assert content[1]["samaccountname"] == [b"bulk7"]
    assert content[1]["useraccountcontrol"] == [b"546"]
    assert content[1]["memberof"] == [b"CN=biggroup,OU=People,DC=corp,DC=example,DC=com"]
    assert len(content[1]["objectguid"][0]) == 16


def test_the_end_of_a_page_with_its_cookie() -> None:
    _, kind, content = wire.decode(DONE)
    assert kind is Kind.DONE
    assert isinstance(content, Answer)
    assert content.code == 0
    assert wire.paged_cookie(content.controls[wire.PAGED_RESULTS]) == b"2\x00"


def test_a_reference_to_another_server_has_no_content() -> None:
    assert wire.decode(REFERENCE) == (9, Kind.REFERENCE, None)


def test_a_refused_bind() -> None:
    _, kind, content = wire.decode(REFUSED)
    assert kind is Kind.BIND
    assert content == Answer(49, "", "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1")


def test_values_of_every_length_and_none() -> None:
    values = {"a": [], "b": [b""], "c": [b"x" * 127, b"y" * 128, b"z" * 70_000], "member;range=0-1": [b"1", b"2"]}
    data = entry(5, "CN=Æ", values)
    assert wire.frame(data, 0) == len(data)
    assert wire.decode(data) == (5, Kind.ENTRY, ("CN=Æ", values))


def test_frames_arrive_in_pieces() -> None:
    for data in (ENTRY, DONE, entry(1, "CN=x", {"a": [b"x" * 70_000]})):
        for have in range(6):
            assert wire.frame(data[:have], 0) in (0, len(data))
        assert wire.frame(b"??" + data, 2) == len(data) + 2


@pytest.mark.parametrize("data", [b"HTTP/1.1 400", b"\x30\x80\x02\x01", b"\x30\x85\x01\x00\x00\x00\x00", b"\x30\x84\x7f\xff\xff\xff"])
def test_what_is_no_message_is_refused_before_it_is_waited_for(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.frame(data, 0)


def test_a_message_cut_short_anywhere_is_refused_or_short_but_never_hangs() -> None:
    for data in (ENTRY, DONE, REFUSED):
        for size in range(2, len(data)):
            body = data[:size]
            try:
                wire.decode(body)
            except ProtocolError:
                continue
            pytest.fail(f"{size} octets of {len(data)} were taken for a message")


def test_an_unknown_answer_is_refused() -> None:
    with pytest.raises(ProtocolError):
        wire.decode(tlv(0x30, tlv(0x02, b"\x01"), tlv(0x42)))


def test_paging_without_a_cookie() -> None:
    assert wire.paged_cookie(paged()[wire.PAGED_RESULTS]) == b""
    with pytest.raises(ProtocolError):
        wire.paged_cookie(b"\x30")


def test_a_result_of_every_kind() -> None:
    for kind in (Kind.ADD, Kind.MODIFY, Kind.MODIFY_DN, Kind.DELETE, Kind.DONE, Kind.EXTENDED):
        assert wire.decode(result(1, kind, 53, "no")) == (1, kind, Answer(53, "", "no"))


def test_requests_are_what_ldap3_understands() -> None:
    requests = {
        "bindRequest": wire.bind_request("CN=x", "pässword  ".encode()),
        "searchRequest": wire.search_request("", wire.BASE, "(a=b)", ["c"], 1),
        "addRequest": wire.add_request("CN=x", {"cn": ["x"], "unicodePwd": [b"\x00"]}),
        "modifyRequest": wire.modify_request("CN=x", {"mail": [("MODIFY_DELETE", ["a"]), ("MODIFY_ADD", ["b"])]}),
        "modDNRequest": wire.modify_dn_request("CN=x", "CN=y", "DC=z"),
        "delRequest": wire.delete_request("CN=x"),
        "abandonRequest": wire.abandon_request(7),
        "unbindRequest": wire.unbind_request(),
    }
    for name, operation in requests.items():
        data = wire.encode(300, operation, [wire.control(wire.PERMISSIVE_MODIFY)])
        message, rest = decode_asn1(data, asn1Spec=LDAPMessage())
        assert not rest
        assert message["protocolOp"].getName() == name
        assert int(message["messageID"]) == 300
        assert str(message["controls"][0]["controlType"]) == wire.PERMISSIVE_MODIFY
        assert bool(message["controls"][0]["criticality"])


def test_a_password_is_bound_as_it_is() -> None:
    # SASLprep would turn the ligature into "ffi" and refuse the rest: AD compares what it gets.
    assert "ﬃ \u00a0".encode() in wire.encode(1, wire.bind_request("x", "ﬃ \u00a0".encode()))

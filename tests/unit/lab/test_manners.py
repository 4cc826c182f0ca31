"""Windows's manners as rules on messages, without a server. Requests and answers are encoded and decoded by ldap3 and the client of ours."""

from __future__ import annotations

import pytest
from ldap3.protocol import rfc4511
from pyasn1.codec.ber import encoder

from adsync.directory import wire
from lab import messages, strict
from lab.manners import Limits, Manners, naming_contexts
from lab.messages import NOTIFICATION, PAGED_RESULTS, Kind, NotLdapError

BASE = "DC=corp,DC=example,DC=com"
FILTERS = ["(objectClass=*)", "(&(|(objectClass=user)(cn:caseExactMatch:=a*))(!(mail=*))(sn=a*b*c)(uSNChanged>=7))"]
SMALL = Limits(values=3, page=2, notifications=2)


def request(*attributes: str, number: int = 7, base: str = BASE, scope: int = wire.SUBTREE, query: str = FILTERS[0], page: int = 0,
            notify: bool = False) -> bytes:  # fmt: skip
    controls = [wire.paged_control(page, b"cookie")] if page else []
    controls += [wire.control(NOTIFICATION)] if notify else []
    return wire.encode(number, wire.search_request(base, scope, query, attributes), controls)


def entry(attributes: dict[str, list[str]], number: int = 7, dn: str = f"CN=ä,{BASE}") -> bytes:
    made = rfc4511.SearchResultEntry()
    made["object"] = rfc4511.LDAPDN(dn)
    listed = rfc4511.PartialAttributeList()
    for position, (name, values) in enumerate(attributes.items()):
        attribute, contained = rfc4511.PartialAttribute(), rfc4511.Vals()
        attribute["type"] = rfc4511.AttributeDescription(name)
        for place, value in enumerate(values):
            contained.setComponentByPosition(place, rfc4511.AttributeValue(value))
        attribute["vals"] = contained
        listed.setComponentByPosition(position, attribute)
    made["attributes"] = listed
    message = rfc4511.LDAPMessage()
    message["messageID"] = rfc4511.MessageID(number)
    message["protocolOp"] = rfc4511.ProtocolOp().setComponentByName("searchResEntry", made)
    return bytes(encoder.encode(message))


def manners(limits: Limits = SMALL) -> Manners:
    return Manners(limits, naming_contexts(BASE))


def passed(verdict_of: Manners, message: bytes) -> messages.Search:
    verdict = verdict_of.request(message)
    assert verdict.answer is None
    assert verdict.forward is not None
    return messages.read_search(verdict.forward)


def refused(verdict_of: Manners, message: bytes) -> int:
    verdict = verdict_of.request(message)
    assert verdict.forward is None
    assert verdict.answer is not None
    _, kind, answer = wire.decode(verdict.answer)
    assert kind is wire.Kind.DONE
    assert isinstance(answer, wire.Answer)
    return answer.code


# Ranges


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("member;range=0-*", "member;range=0-1499"),
        ("member;Range=1500-*", "member;range=1500-2999"),
        ("member;range=0-1499", "member;range=0-1499"),
        ("member;range=10-5000", "member;range=10-1509"),
        ("member;range=7-7", "member;range=7-7"),
        ("member", "member"),
        ("member;range=0-x", "member;range=0-x"),
    ],
)
@pytest.mark.parametrize("query", FILTERS)
def test_a_range_is_never_longer_than_the_limit(asked: str, sent: str, query: str) -> None:
    before = messages.read_search(request("cn", asked, query=query))
    after = passed(manners(Limits()), request("cn", asked, query=query))
    assert after.attributes == ["cn", sent]
    assert (after.number, after.base, after.scope, after.filter) == (before.number, before.base, before.scope, before.filter)


def test_too_many_values_come_as_a_range_that_nobody_asked_for() -> None:
    given = manners().answer(entry({"cn": ["a"], "member": ["1", "2", "3", "4"], "memberOf": ["x", "y", "z"]}))
    number, _, found = wire.decode(given)
    assert number == 7
    assert found == (
        f"CN=ä,{BASE}", {"cn": [b"a"], "member": [], "member;range=0-2": [b"1", b"2", b"3"], "memberof": [b"x", b"y", b"z"]}
    )  # fmt: skip


def test_what_needs_no_change_stays_as_it_is() -> None:
    polite = manners()
    for message in (
        entry({"member": ["1", "2", "3"]}),
        entry({"member;range=0-2": ["1", "2", "3"]}),
        entry({"member;range=3-*": ["1" * 200] * 4}),
        messages.search_done(7, 0),
    ):
        assert polite.answer(message) is message
    for message in (
        request("cn"),
        request("member;range=0-2", page=2, query=FILTERS[1]),
        wire.encode(3, wire.modify_request(BASE, {"member": [("MODIFY_ADD", ["x"] * 9)]}), [wire.control(wire.PERMISSIVE_MODIFY)]),
        wire.encode(4, wire.unbind_request()),
    ):
        assert polite.request(message).forward is message


# Pages


def test_a_page_is_capped() -> None:
    search = passed(manners(), request("cn", page=5000, query=FILTERS[1]))
    assert messages.paging(search.controls[PAGED_RESULTS]) == (2, b"cookie")
    assert search.filter == messages.read_search(request(query=FILTERS[1])).filter


def answers(polite: Manners, count: int) -> list[tuple[Kind, int]]:
    given = [polite.answer(entry({"cn": [str(place)]})) for place in range(count)] + [polite.answer(messages.search_done(7, 0))]
    kinds = []
    for message in filter(None, given):
        content = wire.decode(message)[2]
        kinds.append((messages.envelope(message).kind, content.code if isinstance(content, wire.Answer) else 0))
    return kinds


@pytest.mark.parametrize("count", [0, 1, 2])
def test_without_pages_a_search_gives_a_page_and_no_more(count: int) -> None:
    polite = manners()
    polite.request(request("cn"))
    assert answers(polite, count) == [(Kind.ENTRY, 0)] * count + [(Kind.SEARCH_DONE, 0)]


@pytest.mark.parametrize("count", [3, 9])
def test_and_says_that_there_are_more(count: int) -> None:
    polite = manners()
    # A mention of the paging control in a filter is no paging.
    polite.request(request("cn", query=f"(cn={PAGED_RESULTS})"))
    assert answers(polite, count) == [(Kind.ENTRY, 0)] * 2 + [(Kind.SEARCH_DONE, 4)]
    polite.request(request("cn", page=9))
    assert answers(polite, count) == [(Kind.ENTRY, 0)] * count + [(Kind.SEARCH_DONE, 0)]


# Notifications


@pytest.mark.parametrize("base", [BASE, BASE.upper(), "dc=corp, dc=example , dc=com", f"CN=Schema,CN=Configuration,{BASE}"])
def test_a_notification_of_a_naming_context(base: str) -> None:
    assert passed(manners(), request("objectGUID", base=base, notify=True)).base == base


def test_a_notification_of_one_level_is_possible_anywhere() -> None:
    assert passed(manners(), request("objectGUID", base=f"OU=People,{BASE}", scope=wire.ONE_LEVEL, notify=True)).scope == wire.ONE_LEVEL


@pytest.mark.parametrize(("base", "query"), [(f"OU=People,{BASE}", FILTERS[0]), (BASE, "(objectClass=user)"), ("", FILTERS[0])])
def test_other_notifications_are_refused(base: str, query: str) -> None:
    assert refused(manners(), request("objectGUID", base=base, query=query, notify=True)) == 53


def test_notifications_of_a_connection_are_counted() -> None:
    polite = manners()
    for number in (1, 2):
        passed(polite, request(number=number, notify=True))
    assert refused(polite, request(number=3, notify=True)) == 11
    assert polite.notifies(1)
    polite.request(wire.encode(4, wire.abandon_request(1)))
    assert not polite.notifies(1)
    passed(polite, request(number=5, notify=True))
    polite.answer(messages.search_done(2, 51))
    passed(polite, request(number=6, notify=True))


# Messages


def test_what_a_request_is_about() -> None:
    requests = {
        "search": wire.encode(1, wire.search_request("OU=ä", 2, FILTERS[1], [])),
        "bind": wire.encode(2, wire.bind_request("OU=ä", b"secret")),
        "add": wire.encode(3, wire.add_request("OU=ä", {"cn": ["x" * 300]})),
        "modify": wire.encode(
            300, wire.modify_request("OU=ä", {"member": [("MODIFY_ADD", ["x" * 150] * 999), ("MODIFY_DELETE", ["y"])], "a": [("MODIFY_REPLACE", [])]})
        ),
        "rename": wire.encode(5, wire.modify_dn_request("OU=ä", "OU=b", None)),
        "delete": wire.encode(6, wire.delete_request("OU=ä")),
    }  # fmt: skip
    for message in requests.values():
        assert messages.frame(message, 0) == len(message)
        assert messages.subject(message, messages.envelope(message)) == "OU=ä"
    seen = messages.envelope(requests["modify"])
    assert (seen.number, seen.kind, messages.modified_values(requests["modify"], seen)) == (300, Kind.MODIFY, 1000)
    unbind = wire.encode(7, wire.unbind_request())
    assert messages.subject(unbind, messages.envelope(unbind)) == ""


def test_a_message_is_not_there_before_its_end_is_known() -> None:
    message = request("cn", query=FILTERS[1])
    assert len(message) > 0x7F
    assert [messages.frame(message[:length], 0) for length in range(2)] == [0, 0]
    assert {messages.frame(message[:length], 0) for length in range(3, len(message))} == {len(message)}


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1", b"\x30\x80\x02", b"\x30\x85\x01\x01\x01\x01\x01"])
def test_what_is_no_ldap_is_refused(data: bytes) -> None:
    with pytest.raises(NotLdapError):
        messages.frame(data, 0)


@pytest.mark.parametrize("data", [b"\x30\x05\x02\x01\x01\x1f\x00", b"\x30\x02\x02\x00", b"\x30\x00"])
def test_what_is_no_operation_is_refused(data: bytes) -> None:
    with pytest.raises(NotLdapError):
        messages.envelope(data)


def test_a_notice_of_disconnection() -> None:
    number, kind, answer = wire.decode(messages.disconnection(52, "idle"))
    assert (number, kind) == (0, wire.Kind.EXTENDED)
    assert isinstance(answer, wire.Answer)
    assert (answer.code, answer.diagnostic) == (52, "idle")


def test_the_program_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert strict.main(["--name", "there-is-no-such-lab"]) == 1
    assert "there-is-no-such-lab" in capsys.readouterr().err

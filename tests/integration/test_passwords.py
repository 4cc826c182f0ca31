"""Passwords: pushed at once, and once; refused in words; left alone where a person has changed them; and never shown.

What counts is whether the user can sign in, and pwdLastSet, which moves whenever a password is set.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.api import RESOURCES, Manifest
from lab.ldaptools import password_value
from lab.samba import DomainController
from tests.integration.support import Operator, Site, account, ask_again, condition, control, entry, eventually, reasons, unique

MARK = "adminDescription"
KEYS = "adsync-password-digests"

_used: list[str] = []


def new_password(form: str = "Pw-{}-7") -> str:
    """A password that nothing else is. The last test looks for all of them in all that the operator says."""
    _used.append(form.format(secrets.token_hex(6)))
    return _used[-1]


@pytest.fixture(scope="module", autouse=True)
def operator(shared_operator: Operator) -> Operator:
    return shared_operator


@pytest.fixture(scope="module")
def home(home: Site) -> Site:
    home.connect()
    _used.append(home.dc.service.password)
    return home


def with_password(site: Site, name: str, value: str, **spec: object) -> Manifest:
    """A user in sync whose password comes from a Secret of the same name."""
    site.password(name, value)
    site.user(name, passwordSecretRef={"name": name}, **spec)
    return site.await_reason(name)


def last_set(site: Site, name: str) -> str:
    return account(site, name)["pwdLastSet"][0]


def state(site: Site, name: str) -> str:
    return str(site.get(name)["status"].get("password", ""))


def told(user: Manifest) -> Manifest:
    found: Manifest = entry(user)["password"]
    return found


# --- pushed at once, and once ---


def test_a_value_is_pushed_once(home: Site, operator: Operator) -> None:
    name, value = unique("u"), new_password()
    first = with_password(home, name, value)
    assert home.dc.bind_as(name, value)
    assert told(first)["state"] == "Synced"
    set_at = last_set(home, name)

    home.api.patch("Secret", home.namespace, name, {"metadata": {"labels": {"team": "blue"}}, "stringData": {"other": "value"}})
    ask_again(home, name)
    ask_again(home, "corp", "ADDomain")
    ask_again(home, name)
    operator.restart()
    ask_again(home, name)
    assert last_set(home, name) == set_at
    user = home.get(name)
    for each in (first, user):
        each["status"].pop("lastHandledReconcileAt", None)
        told(each).pop("secretVersion")  # of the Secret as it was last compared
    assert user["status"] == first["status"]

    home.api.patch("SyncedUser", home.namespace, name, {"status": None}, "status")  # a lost status; the mark in AD still tells
    user = home.await_reason(name)
    ask_again(home, name)
    assert last_set(home, name) == set_at
    assert told(user)["digest"] == told(first)["digest"]
    assert operator.metric("adsync_password_pushes_total", domain=f"{home.namespace}/corp", outcome="ok") == 0  # since its restart


def test_a_new_value_is_pushed_at_once(home: Site) -> None:
    name, old, new = unique("u"), new_password(), new_password()
    first = with_password(home, name, old)
    home.password(name, new)
    eventually(lambda: home.dc.bind_as(name, new), 5)
    assert home.dc.bind_error(name, old) == "52e"
    user = eventually(lambda: found if told(found := home.get(name))["digest"] != told(first)["digest"] else None)
    assert user is not None
    assert told(user)["secretVersion"] != told(first)["secretVersion"]
    assert eventually(lambda: "PasswordSet" in reasons(home, name))


def test_a_password_may_hold_any_sign(home: Site) -> None:
    for form in ("Pässwörd {} ß", '"quoted" Pw={}, <7>', " Pw-{} with spaces around ", "Пароль-{}-7", "Pw-{}-7🔑"):
        name, value = unique("u"), new_password(form)
        with_password(home, name, value)
        assert home.dc.bind_as(name, value), form


def test_a_changed_attribute_carries_no_password(home: Site) -> None:
    name = unique("u")
    with_password(home, name, new_password())
    set_at = last_set(home, name)
    home.edit(name, {"firstName": "Jane", "suspended": True})
    home.await_reason(name)
    home.edit(name, {"suspended": False})
    home.await_reason(name)
    assert last_set(home, name) == set_at


def test_a_generated_password_gives_way_to_the_secret_s(home: Site) -> None:
    name, value = unique("u"), new_password()
    home.user(name)
    assert home.await_reason(name)["status"]["password"] == "Generated"
    home.password(name, value)
    home.edit(name, {"passwordSecretRef": {"name": name}})
    user = home.await_reason(name)
    assert user["status"]["password"] == "Synced"
    assert home.dc.bind_as(name, value)
    home.edit(name, {"passwordSecretRef": None})  # no longer managed: it stays as it is
    user = home.await_reason(name)
    assert user["status"]["password"] == "Pending"
    assert home.dc.bind_as(name, value)


def test_an_adopted_account_gets_the_secret_s_password(home: Site) -> None:
    name, before, value = unique("u"), new_password(), new_password()
    home.dc.add_user(name, before, container=home.container, mail=f"{name}@example.com")
    user = with_password(home, name, value, email=f"{name}@example.com")
    assert (entry(user)["origin"], user["status"]["password"]) == ("Adopted", "Synced")
    assert home.dc.bind_as(name, value)


def test_two_users_with_one_password_show_different_digests(home: Site) -> None:
    names, value = [unique("u"), unique("u")], new_password()
    digests = {told(with_password(home, name, value))["digest"] for name in names}
    assert len(digests) == 2
    marks = [account(home, name)[MARK][0] for name in names]
    assert all(any(digest.partition(":")[2] in mark for digest in digests) for mark in marks)


# --- the Secret is not there ---


def test_a_secret_that_is_not_there_is_waited_for_before_creating(home: Site) -> None:
    name, value = unique("u"), new_password()
    home.user(name, passwordSecretRef={"name": name})
    user = home.await_reason(name, "PasswordPending")
    assert home.dc.find(name) is None
    assert f"Secret {name} does not exist" in condition(user, "Ready")["message"]
    assert condition(user, "Reconciling")["status"] == "True"
    home.password(name, value)
    home.await_reason(name)
    assert home.dc.bind_as(name, value)


def test_a_key_that_is_not_there_is_pending_and_recovers(home: Site) -> None:
    name, value, new = unique("u"), new_password(), new_password()
    first = with_password(home, name, value)
    set_at = last_set(home, name)
    home.edit(name, {"passwordSecretRef": {"name": name, "key": "pwd"}, "firstName": "Jane"})
    user = home.await_reason(name, "PasswordPending")
    assert "'pwd'" in condition(user, "Ready")["message"]
    assert account(home, name)["givenName"] == ["Jane"]  # the rest goes on
    assert last_set(home, name) == set_at
    home.api.patch("Secret", home.namespace, name, {"stringData": {"pwd": new}})
    user = home.await_reason(name)
    assert home.dc.bind_as(name, new)
    assert told(user)["digest"] != told(first)["digest"]


def test_a_secret_that_goes_and_comes_back_pushes_nothing(home: Site) -> None:
    name, value = unique("u"), new_password()
    with_password(home, name, value)
    set_at = last_set(home, name)
    home.api.delete("Secret", home.namespace, name)
    home.await_reason(name, "PasswordPending")
    assert home.dc.bind_as(name, value)
    home.password(name, value)
    home.await_reason(name)
    assert last_set(home, name) == set_at


# --- refused ---


@pytest.mark.parametrize(("form", "said"), [("q{:.3}W", "at least 7"), ("lowercase{}", "upper case"), ("Pw-7-username-{}", "username")])
def test_a_refused_password_creates_with_a_random_one_and_says_so(home: Site, form: str, said: str) -> None:
    name = "username" if said == "username" else unique("u")
    home.password(name, new_password(form))
    home.user(name, passwordSecretRef={"name": name}, firstName="Jane")
    user = home.await_reason(name, "PasswordRejected")
    assert said in condition(user, "Ready")["message"]
    assert condition(user, "Stalled")["status"] == "True"
    assert (user["status"]["password"], user["status"]["account"]) == ("Rejected", "Enabled")
    assert said in told(user)["message"]
    assert account(home, name)["givenName"] == ["Jane"]
    assert control(home, name) == 512
    set_at = last_set(home, name)
    ask_again(home, name)
    assert last_set(home, name) == set_at
    value = new_password()
    home.password(name, value)
    home.await_reason(name)
    assert home.dc.bind_as(name, value)
    assert eventually(lambda: "PasswordRejected" in reasons(home, name))


@pytest.fixture
def strict_policy(dc: DomainController) -> Iterator[str]:
    """A fine-grained policy that asks for 30 characters, which the service account may not read."""
    name = unique("pso")
    dc.samba_tool("domain", "passwordsettings", "pso", "create", name, "1", "--min-pwd-length=30")
    yield name
    dc.samba_tool("domain", "passwordsettings", "pso", "delete", name)


def test_what_only_the_server_refuses_leaves_the_old_password(home: Site, strict_policy: str) -> None:
    name, old, refused = unique("u"), new_password(), new_password()
    with_password(home, name, old)
    home.dc.samba_tool("domain", "passwordsettings", "pso", "apply", strict_policy, name)
    home.password(name, refused)
    home.edit(name, {"firstName": "Jane"})
    user = home.await_reason(name, "PasswordRejected")
    assert home.dc.bind_as(name, old)
    assert account(home, name)["givenName"] == ["Jane"]
    assert "policy" in told(user)["message"] or "asks for" in told(user)["message"]
    value = new_password("Pw-{}-long-enough-for-all-of-them")
    home.password(name, value)
    home.await_reason(name)
    assert home.dc.bind_as(name, value)


def test_what_a_laxer_fine_grained_policy_allows_is_not_refused_beforehand(home: Site, dc: DomainController) -> None:
    """The service account may not read the policy; so the domain controller decides."""
    name, lax = unique("u"), unique("pso")
    with_password(home, name, new_password())
    dc.samba_tool("domain", "passwordsettings", "pso", "create", lax, "1", "--min-pwd-length=4", "--complexity=off")
    try:
        dc.samba_tool("domain", "passwordsettings", "pso", "apply", lax, name)
        home.password(name, "abcde")
        home.api.patch("SyncedUser", home.namespace, name, {"metadata": {"annotations": {"adsync.dev/reconcile-requested-at": unique()}}})
        eventually(lambda: dc.bind_as(name, "abcde"))
        assert home.await_reason(name)["status"]["password"] == "Synced"
    finally:
        dc.samba_tool("domain", "passwordsettings", "pso", "delete", lax)


# --- changed in the directory ---


def test_a_person_s_own_change_is_reported_and_left_alone(home: Site) -> None:
    name, value, own, new = unique("u"), new_password(), new_password(), new_password()
    with_password(home, name, value)
    home.dc.set_password(f"CN={name},{home.container}", own)
    eventually(lambda: state(home, name) == "ChangedInDirectory")
    user = ask_again(home, name)
    assert condition(user, "Ready")["reason"] == "Synced"
    assert condition(user, "PasswordSynced")["status"] == "False"
    assert home.dc.bind_as(name, own)
    home.password(name, new)
    eventually(lambda: home.dc.bind_as(name, new))
    eventually(lambda: state(home, name) == "Synced")


def test_enforce_pushes_again(site: Site) -> None:
    name, value, own = unique("u"), new_password(), new_password()
    site.connect(password={"onDirectoryChange": "Enforce"})
    with_password(site, name, value)
    site.dc.set_password(f"CN={name},{site.container}", own)
    eventually(lambda: site.dc.bind_error(name, own) == "52e")
    assert site.dc.bind_as(name, value)
    eventually(lambda: state(site, name) == "Synced")


def test_a_password_to_be_changed_at_the_next_logon(site: Site) -> None:
    name, value, own = unique("u"), new_password(), new_password()
    site.connect(password={"mustChangeAtNextLogon": True})
    user = with_password(site, name, value)
    assert site.dc.bind_error(name, value) == "773"
    assert told(user)["mustChange"] is True
    assert told(user)["state"] == "Synced"
    ask_again(site, "corp", "ADDomain")
    ask_again(site, name)
    assert state(site, name) == "Synced"
    site.dc.set_password(f"CN={name},{site.container}", own)  # what the person does at that logon
    eventually(lambda: state(site, name) == "ChangedInDirectory")
    ask_again(site, name)
    assert site.dc.bind_as(name, own)


def test_when_it_expires_is_told(home: Site) -> None:
    name, value = unique("u"), new_password()
    with_password(home, name, value)
    (policy,) = home.dc.search(attributes=["maxPwdAge"], base=home.dc.base, scope="base")

    def days() -> int:
        return round((datetime.fromisoformat(told(home.get(name))["expiresAt"]) - datetime.now(UTC)) / timedelta(days=1))

    assert days() == 42
    home.dc.replace(home.dc.base, {"maxPwdAge": str(-10 * 86400 * 10**7)})
    try:
        ask_again(home, "corp", "ADDomain")
        eventually(lambda: days() == 10)
        eventually(lambda: home.api.get("ADDomain", home.namespace, "corp")["status"]["passwordPolicy"]["maxAge"] == "864000s")
    finally:
        home.dc.replace(home.dc.base, {"maxPwdAge": policy["maxPwdAge"][0]})


# --- the keys are lost ---


def test_a_lost_key_pushes_nothing_blindly(home: Site, operator: Operator) -> None:
    name, value, new = unique("u"), new_password(), new_password()
    first = with_password(home, name, value)
    set_at = last_set(home, name)
    operator.terminate()
    home.api.delete("Secret", "default", KEYS)
    operator.start()
    ask_again(home, name)
    assert last_set(home, name) == set_at
    user = eventually(lambda: found if told(found := home.get(name))["digest"] != told(first)["digest"] else None)
    assert user is not None
    assert told(user)["state"] == "Synced"
    assert last_set(home, name) == set_at
    home.password(name, new)
    eventually(lambda: home.dc.bind_as(name, new))


# --- secrecy ---


def forms(value: str) -> dict[str, bytes]:
    """A password as it could slip out."""
    raw, wide = value.encode(), value.encode("utf-16-le")
    escaped = {form: json.dumps(value, ensure_ascii=form == "JSON, ASCII")[1:-1].encode() for form in ("JSON", "JSON, ASCII")}
    return escaped | {
        "plain": raw,
        "Python": repr(value)[1:-1].encode(),
        "base64": base64.b64encode(raw).rstrip(b"="),
        "base64url": base64.urlsafe_b64encode(raw).rstrip(b"="),
        "hex": raw.hex().encode(),
        "UTF-16": wide,
        "UTF-16, base64": base64.b64encode(wide).rstrip(b"="),
        "UTF-16, hex": wide.hex().encode(),
        "quoted UTF-16, base64": base64.b64encode(password_value(value)).rstrip(b"="),
        "Python, UTF-16": repr(wide)[2:-1].encode(),
    }


def test_no_password_is_shown_anywhere(home: Site, operator: Operator) -> None:
    name = unique("u")
    with_password(home, name, new_password())
    home.edit(name, {"domains": [{"name": "corp", "container": "OU=Absent," + home.container}]})  # a directory error, too
    eventually(lambda: condition(home.get(name), "Ready")["status"] == "False")
    said = {
        "log": operator.log_file.read_bytes(),
        "metrics": operator.metrics().encode(),
        "command": Path(f"/proc/{operator.pid}/cmdline").read_bytes(),
    }
    for kind in RESOURCES:
        if kind != "Secret":
            said[kind] = json.dumps(home.api.list(kind), ensure_ascii=False).encode()
    for table in (["addom,suser,sgroup", "-A", "-o", "wide"], ["events", "-A"]):
        said[table[0]] = home.control_plane.kubectl("get", *table).encode()
    marks = home.dc.search(f"({MARK}=*)", [MARK])
    said["marks"] = json.dumps(marks).encode()
    assert b"connected" in said["log"]
    assert len(_used) > 20
    for value in _used:
        for form, found in forms(value).items():
            for place, content in said.items():
                assert found not in content, f"{value} in {place}, as {form}"
    keys = home.api.get("Secret", "default", KEYS)["data"]
    for key in (value for name, value in keys.items() if name != "current"):
        for place, content in said.items():
            assert key.encode() not in content, f"a key of the digests in {place}"

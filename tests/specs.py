"""Specs that must be refused, with a part of the reason: by the API server (tests/integration) and by the models (tests/unit) alike."""

from __future__ import annotations

from typing import Any

DOMAIN: dict[str, Any] = {"domainName": "corp.example.com", "credentialsSecretRef": {"name": "corp-ad"}}
USER: dict[str, Any] = {"username": "jdoe"}
GROUP: dict[str, Any] = {"name": "finance"}

ONE = ["ldaps://dc1.corp.example.com"]
TWO = [*ONE, "ldaps://dc2.corp.example.com:636"]
SELECTOR = {"matchLabels": {"team": "a"}}

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    # kind, what is changed in a good spec, a part of the API server's answer
    ("ADDomain", {"domainName": ""}, "spec.domainName"),
    ("ADDomain", {"domainName": "corp example"}, "spec.domainName"),
    ("ADDomain", {"credentialsSecretRef": {}}, "spec.credentialsSecretRef.name"),
    ("ADDomain", {"servers": ["ldap://dc1.corp.example.com"]}, "only ldaps:// is supported"),
    ("ADDomain", {"servers": [*ONE, "ldap://dc2.corp.example.com"]}, "only ldaps:// is supported"),
    ("ADDomain", {"servers": ["ldaps://"]}, "ldaps://host or ldaps://host:port"),
    ("ADDomain", {"servers": ["ldaps://dc1/DC=corp??sub"]}, "ldaps://host or ldaps://host:port"),
    ("ADDomain", {"servers": ["ldaps://me:secret@dc1"]}, "ldaps://host or ldaps://host:port"),
    ("ADDomain", {"servers": TWO, "tls": {"serverName": "dc1"}}, "exactly one server"),
    ("ADDomain", {"tls": {"serverName": "dc1"}}, "exactly one server"),
    ("ADDomain", {"tls": {"caSecretRef": {"name": "a"}, "caConfigMapRef": {"name": "b"}}}, "not by both"),
    ("ADDomain", {"password": {"onDirectoryChange": "Enforce", "mustChangeAtNextLogon": True}}, "choose one of them"),
    ("ADDomain", {"allowedNamespaces": {"from": "Selector"}}, "a selector goes with from: Selector"),
    ("ADDomain", {"allowedNamespaces": {"selector": SELECTOR}}, "a selector goes with from: Selector"),
    ("ADDomain", {"allowedNamespaces": {"from": "All", "selector": SELECTOR}}, "a selector goes with from: Selector"),
    ("ADDomain", {"ownershipAttribute": "description"}, "spec.ownershipAttribute"),
    ("ADDomain", {"ownershipAttribute": "mail"}, "spec.ownershipAttribute"),
    ("ADDomain", {"extraAttributes": ["memberOf"]}, "spec.extraAttributes[0]"),
    ("ADDomain", {"extraAttributes": ["scriptPath"]}, "spec.extraAttributes[0]"),
    ("ADDomain", {"extraAttributes": ["unicodePwd"]}, "spec.extraAttributes[0]"),
    ("ADDomain", {"extraAttributes": ["title", "title"]}, "spec.extraAttributes[1]"),
    ("ADDomain", {"extraAttributes": ["adminDescription"]}, "an attribute of its own"),
    ("ADDomain", {"ownershipAttribute": "info", "userFieldMapping": {"email": "info"}}, "an attribute of its own"),
    ("ADDomain", {"extraAttributes": ["mail"]}, "in userFieldMapping as well"),
    ("ADDomain", {"userFieldMapping": {"email": "sn"}}, "an attribute each"),
    ("ADDomain", {"userFieldMapping": {"email": "userAccountControl"}}, "spec.userFieldMapping.email"),
    ("ADDomain", {"userFieldMapping": {"username": "cn"}}, "spec.userFieldMapping.username"),
    ("ADDomain", {"direction": "Sideways"}, "spec.direction"),
    ("ADDomain", {"mode": "observe"}, "spec.mode"),
    ("ADDomain", {"adoptionPolicy": "Sometimes"}, "spec.adoptionPolicy"),
    ("ADDomain", {"deletionPolicy": "Shred"}, "spec.deletionPolicy"),
    ("ADDomain", {"import": {"onScopeRemoval": "Disable"}}, "spec.import.onScopeRemoval"),
    ("ADDomain", {"resyncInterval": "quarterly"}, "spec.resyncInterval"),
    ("ADDomain", {"safety": {"maxRemovals": "110%"}}, "spec.safety.maxRemovals"),
    ("ADDomain", {"safety": {"minRemovals": -1}}, "spec.safety.minRemovals"),
    ("ADDomain", {"clusterName": "prod 1"}, "spec.clusterName"),
    *(("SyncedUser", {"username": f"a{character}b"}, "spec.username") for character in '"/\\[]:;|=,+*?<>@\n\x00\x7f'),
    ("SyncedUser", {"username": ""}, "spec.username"),
    ("SyncedUser", {"username": " "}, "spec.username"),
    ("SyncedUser", {"username": "."}, "spec.username"),
    ("SyncedUser", {"username": "jdoe."}, "spec.username"),
    ("SyncedUser", {"username": "jdoe "}, "spec.username"),
    ("SyncedUser", {"username": " jdoe"}, "spec.username"),
    ("SyncedUser", {"username": "jdoe\n"}, "spec.username"),
    ("SyncedUser", {"username": "x" * 257}, "spec.username"),
    ("SyncedUser", {"domains": [{}]}, "spec.domains[0].name"),
    ("SyncedUser", {"domains": [{"name": "corp"}, {"name": "corp", "namespace": ""}]}, "spec.domains[1]"),
    ("SyncedUser", {"passwordSecretRef": {"key": "password"}}, "spec.passwordSecretRef.name"),
    ("SyncedUser", {"suspended": "yes"}, "spec.suspended"),
    ("SyncedGroup", {"name": "a,b"}, "spec.name"),
    ("SyncedGroup", {"memberSelector": {}}, "an empty selector"),
    ("SyncedGroup", {"memberSelector": {"matchLabels": {}}}, "an empty selector"),
    ("SyncedGroup", {"memberSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "In and NotIn need values"),
    ("SyncedGroup", {"members": [{"name": "a"}, {"name": "a"}]}, "spec.members[1]"),
    ("SyncedGroup", {"groupScope": "Local"}, "spec.groupScope"),
    ("SyncedGroup", {"membershipPolicy": "Strict"}, "spec.membershipPolicy"),
]

ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("ADDomain", {}),
    ("ADDomain", {"servers": TWO, "tls": {"caSecretRef": {"name": "ca"}}, "extraAttributes": ["department", "title"]}),
    ("ADDomain", {"servers": ONE, "tls": {"caConfigMapRef": {"name": "ca", "key": "ca.pem"}, "serverName": "dc1"}}),
    ("ADDomain", {"servers": ["ldaps://10.0.0.1:636", "ldaps://[fd00::1]:636/"]}),
    ("ADDomain", {"allowedNamespaces": {"from": "Selector", "selector": SELECTOR, "mayAdopt": True}}),
    ("ADDomain", {"bind": {"userSelector": {}, "groupSelector": SELECTOR}, "import": {"labels": {"a": "b"}}}),
    ("ADDomain", {"ownershipAttribute": "info", "extraAttributes": ["adminDescription"]}),
    ("ADDomain", {"userFieldMapping": {"username": "userPrincipalName", "email": "extensionAttribute1"}}),
    ("ADDomain", {"resyncInterval": "1h30m", "safety": {"maxRemovals": "0%", "minRemovals": 0, "window": "90s"}}),
    ("ADDomain", {"domainName": "corp", "rootUserContainer": "CN=Users,DC=elsewhere,DC=test"}),  # DNs are judged when reconciled
    ("SyncedUser", {"username": "a"}),
    ("SyncedUser", {"username": "x" * 21}),  # the 20 characters of a sAMAccountName are judged when reconciled
    ("SyncedUser", {"username": "Jörg O'Neil-Smith_$1"}),
    ("SyncedUser", {"email": "", "attributes": {"department": ""}, "suspended": False}),
    ("SyncedUser", {"domains": [{"name": "corp"}, {"name": "corp", "namespace": "other", "container": "OU=A,DC=b"}]}),
    ("SyncedGroup", {"members": [], "memberSelector": SELECTOR}),
    ("SyncedGroup", {"members": [{"name": "jdoe"}, {"name": "asmith"}], "membershipPolicy": "Exact", "groupScope": "Universal"}),
]

GOOD = {"ADDomain": DOMAIN, "SyncedUser": USER, "SyncedGroup": GROUP}


def spec_of(kind: str, change: dict[str, Any]) -> dict[str, Any]:
    """A good spec of this kind with these fields changed."""
    return {**GOOD[kind], **change}

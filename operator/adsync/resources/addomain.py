"""ADDomain: one Active Directory domain and how to work with it."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, StrictBool

from adsync.resources.attributes import OwnershipAttribute, PlainAttribute, UsernameAttribute
from adsync.resources.common import (
    DNS_NAME,
    DeletionPolicy,
    DNText,
    Duration,
    Key,
    LabelSelector,
    Name,
    Percent,
    Rule,
    SecretKeyRef,
    Spec,
    check_labels,
)

# A host name, an IPv4 address or an IPv6 address in brackets, and a port. Nothing else: no path, no query, no user.
SERVER_URL = r"^ldaps://([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$"
_SERVER_URL = re.compile(SERVER_URL)


class Direction(StrEnum):
    """Which way changes go."""

    EXPORT = "Export"
    IMPORT = "Import"
    BIDIRECTIONAL = "Bidirectional"


class Authority(StrEnum):
    """Who wins where both sides changed."""

    KUBERNETES = "Kubernetes"
    ACTIVE_DIRECTORY = "ActiveDirectory"


class Mode(StrEnum):
    """Whether anything is written to the directory."""

    APPLY = "Apply"
    OBSERVE = "Observe"


class AdoptionPolicy(StrEnum):
    """Whether an object that is there already may be taken over."""

    NEVER = "Never"
    MATCH_EMAIL = "MatchEmail"
    ALWAYS = "Always"


class OnScopeRemoval(StrEnum):
    """What becomes of an imported resource whose object has left the scope."""

    DELETE = "Delete"
    SUSPEND = "Suspend"
    RETAIN = "Retain"


class OnDirectoryChange(StrEnum):
    """What to do about a password that was changed in the directory."""

    REPORT = "Report"
    ENFORCE = "Enforce"


class NamespacesFrom(StrEnum):
    """Which namespaces' users and groups may bind to a domain."""

    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class CaSecretRef(SecretKeyRef):
    """A key in a Secret of the same namespace that holds CA certificates in PEM form."""

    key: Key = "ca.crt"
    """The key in the Secret."""


class CaConfigMapRef(Spec):
    """A key in a ConfigMap of the same namespace that holds CA certificates in PEM form."""

    name: Name
    """The ConfigMap's name."""
    key: Key = "ca.crt"
    """The key in the ConfigMap."""


class TLS(Spec):
    """How the servers' certificates are verified. They always are."""

    ca_secret_ref: CaSecretRef | None = None
    """The CA that signed the servers' certificates, from a Secret. Neither this nor caConfigMapRef: the system's trust store."""
    ca_config_map_ref: CaConfigMapRef | None = None
    """The CA that signed the servers' certificates, from a ConfigMap."""
    server_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The name in the server's certificate, when it is not the host of its URL. Only with exactly one server."""

    rules: ClassVar = (
        Rule(
            cel="!(has(self.caSecretRef) && has(self.caConfigMapRef))",
            message="name the CA by caSecretRef or by caConfigMapRef, not by both",
            holds=lambda tls: tls.ca_secret_ref is None or tls.ca_config_map_ref is None,
        ),
    )


class CredentialsRef(Spec):
    """A Secret of the same namespace with the service account's name and password."""

    name: Name
    """The Secret's name."""
    username_key: Key = "username"
    """The key of the account's name: a userPrincipalName, DOMAIN\\name or DN."""
    password_key: Key = "password"  # noqa: S105 - a key, not a password
    """The key of the account's password."""


class Bind(Spec):
    """Binds users and groups from the domain's side, without their naming it. Only in namespaces that allowedNamespaces lets in."""

    user_selector: LabelSelector | None = None
    """The SyncedUsers to bind. Omitted: none. Empty: all."""
    group_selector: LabelSelector | None = None
    """The SyncedGroups to bind. Omitted: none. Empty: all."""


class UserFieldMapping(Spec):
    """The directory attributes that the fields of a SyncedUser are kept in."""

    username: UsernameAttribute = UsernameAttribute.SAM_ACCOUNT_NAME
    """Where username is kept. With userPrincipalName, userPrincipalNameSuffix is appended."""
    email: PlainAttribute = "mail"
    """Where email is kept."""
    first_name: PlainAttribute = "givenName"
    """Where firstName is kept."""
    last_name: PlainAttribute = "sn"
    """Where lastName is kept."""

    @property
    def attributes(self) -> tuple[str, str, str]:
        """The attributes of email, firstName and lastName."""
        return self.email, self.first_name, self.last_name

    rules: ClassVar = (
        Rule(
            cel="self.email != self.firstName && self.email != self.lastName && self.firstName != self.lastName",
            message="email, firstName and lastName need an attribute each",
            holds=lambda mapping: len(set(mapping.attributes)) == len(mapping.attributes),
        ),
    )


class Import(Spec):
    """How users and groups are imported."""

    on_scope_removal: OnScopeRemoval = OnScopeRemoval.DELETE
    """What becomes of an imported resource whose object has left the scope: Delete, Suspend or Retain."""
    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32), AfterValidator(check_labels)] = {}
    """Labels that imported resources get, besides the operator's own."""


class Password(Spec):
    """How passwords are treated."""

    on_directory_change: OnDirectoryChange = OnDirectoryChange.REPORT
    """A password changed in the directory is reported (Report), or replaced by the one in the Secret (Enforce)."""
    must_change_at_next_logon: StrictBool = False
    """Whether people must change the password that the operator sets at their next sign-in. Not together with Enforce."""

    rules: ClassVar = (
        Rule(
            cel="!(self.onDirectoryChange == 'Enforce' && self.mustChangeAtNextLogon)",
            message="Enforce would undo the change that mustChangeAtNextLogon asks people for: choose one of them",
            holds=lambda password: not (password.on_directory_change is OnDirectoryChange.ENFORCE and password.must_change_at_next_logon),
        ),
    )


class Safety(Spec):
    """Limits on what may be removed within a window of time. What goes beyond is held until it is approved."""

    max_removals: Percent = 10
    """The share of managed users, or of memberships, that may be removed within the window, for each kind of removal."""
    min_removals: Annotated[int, Field(ge=0, le=1_000_000)] = 5
    """So many removals are always let through, however few are managed."""
    max_suspensions: Percent = 30
    """The share of managed users that may be suspended by an explicit `suspended: true` within the window."""
    window: Duration = timedelta(hours=1)
    """The length of the sliding window, such as 1h."""


class AllowedNamespaces(Spec):
    """Whose users and groups may bind to the domain."""

    from_: NamespacesFrom = Field(NamespacesFrom.SAME, alias="from")
    """The domain's own namespace (Same), every namespace (All), or those that the selector matches (Selector)."""
    selector: LabelSelector | None = None
    """Matches the labels of namespaces; with from: Selector, and only then."""
    may_adopt: StrictBool = False
    """Whether users and groups of other namespaces than the domain's may take over existing accounts."""

    rules: ClassVar = (
        Rule(
            cel="(self.from == 'Selector') == has(self.selector)",
            message="a selector goes with from: Selector, and only with it",
            holds=lambda allowed: (allowed.from_ is NamespacesFrom.SELECTOR) == (allowed.selector is not None),
        ),
    )


class ADDomainSpec(Spec):
    """The domain, and how to work with it."""

    domain_name: Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_NAME)]
    """The domain's DNS name. It cannot be changed: another domain is another ADDomain."""
    servers: Annotated[tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=16)] = ()
    """Domain controllers as ldaps:// URLs, in order of preference. Empty: those that DNS names (SRV _ldap._tcp.dc._msdcs.<domainName>)."""
    tls: TLS = TLS()
    """How the servers' certificates are verified."""
    credentials_secret_ref: CredentialsRef
    """The Secret with the service account's credentials."""
    root_user_container: DNText | None = None
    """The DN of the subtree that may be managed. Omitted: CN=Users of the domain."""
    scope_group: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """The integration security group, by sAMAccountName or DN, below rootUserContainer: its members are what is imported."""
    bind: Bind = Bind()
    """Binds users and groups from the domain's side."""
    admins_group: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """The group, by sAMAccountName or DN, whose direct members are marked as admins."""
    user_field_mapping: UserFieldMapping = UserFieldMapping()
    """The directory attributes that the fields of a SyncedUser are kept in."""
    user_principal_name_suffix: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^@\s]+$")] | None = None
    """What follows the @ in userPrincipalName. Omitted: domainName."""
    extra_attributes: Annotated[tuple[PlainAttribute, ...], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})] = ()
    """Further attributes that spec.attributes of a SyncedUser may set."""
    ownership_attribute: OwnershipAttribute = "adminDescription"
    """The attribute that the owner mark is written to. It cannot be changed."""
    direction: Direction = Direction.EXPORT
    """Export: from Kubernetes to the directory. Import: from the directory to Kubernetes. Bidirectional: both."""
    authority: Authority = Authority.KUBERNETES
    """Who wins where both sides changed: Kubernetes or ActiveDirectory."""
    mode: Mode = Mode.APPLY
    """Apply writes to the directory; Observe plans and reports, and writes nothing to it."""
    paused: StrictBool = False
    """Whether work on the domain rests. Nothing is read or written while it does."""
    adoption_policy: AdoptionPolicy = AdoptionPolicy.MATCH_EMAIL
    """Whether an account of the same name may be taken over: Never, MatchEmail (both have the same e-mail address) or Always. Groups are matched by name, unless Never."""  # noqa: E501
    deletion_policy: DeletionPolicy = DeletionPolicy.DISABLE
    """What deleting a resource does to its object in the directory: Retain, Disable or Delete."""
    import_: Import = Field(Import(), alias="import")
    """How users and groups are imported."""
    password: Password = Password()
    """How passwords are treated."""
    safety: Safety = Safety()
    """Limits on what may be removed within a window of time."""
    resync_interval: Duration = timedelta(minutes=15)
    """How often everything is compared in full, as a safety net."""
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    """Whose users and groups may bind to the domain."""
    cluster_name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")] | None = None
    """This cluster's name in owner marks. Omitted: the UID of the namespace kube-system."""

    rules: ClassVar = (
        Rule("self.domainName == oldSelf.domainName", "cannot be changed: make another ADDomain", field="domainName"),
        Rule(
            "self.ownershipAttribute == oldSelf.ownershipAttribute",
            "cannot be changed: the owner marks that are written already would be lost",
            field="ownershipAttribute",
        ),
        Rule(
            "!has(self.servers) || self.servers.all(server, server.startsWith('ldaps://'))",
            "only ldaps:// is supported: passwords never travel unencrypted",
            lambda spec: all(server.startswith("ldaps://") for server in spec.servers),
            "servers",
        ),
        Rule(
            f"!has(self.servers) || self.servers.all(server, !server.startsWith('ldaps://') || server.matches(r'{SERVER_URL}'))",
            "a server is written ldaps://host or ldaps://host:port",
            lambda spec: all(_SERVER_URL.fullmatch(server) for server in spec.servers),
            "servers",
        ),
        Rule(
            "!has(self.tls) || !has(self.tls.serverName) || (has(self.servers) && size(self.servers) == 1)",
            "serverName goes with exactly one server",
            lambda spec: spec.tls.server_name is None or len(spec.servers) == 1,
            "tls",
        ),
        Rule(
            "!(self.ownershipAttribute in [self.userFieldMapping.email, self.userFieldMapping.firstName, self.userFieldMapping.lastName])"
            " && (!has(self.extraAttributes) || !(self.ownershipAttribute in self.extraAttributes))",
            "the owner mark needs an attribute of its own: it is in userFieldMapping or extraAttributes as well",
            lambda spec: spec.ownership_attribute not in {*spec.user_field_mapping.attributes, *spec.extra_attributes},
            "ownershipAttribute",
        ),
        Rule(
            "!has(self.extraAttributes) || self.extraAttributes.all(name, !(name in"
            " [self.userFieldMapping.email, self.userFieldMapping.firstName, self.userFieldMapping.lastName]))",
            "an attribute is in userFieldMapping as well",
            lambda spec: not set(spec.extra_attributes) & set(spec.user_field_mapping.attributes),
            "extraAttributes",
        ),
    )

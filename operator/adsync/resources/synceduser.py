"""SyncedUser: one person, bound to one or more domains."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StrictBool

from adsync.resources.common import (
    MOST_DOMAINS,
    Count,
    DeletionPolicy,
    DNText,
    Key,
    MicroTime,
    Model,
    Name,
    Namespace,
    ObjectGUID,
    SecretKeyRef,
    SharedDomainRef,
    Spec,
    Text,
    Timestamp,
    Value,
    Word,
    account_name_rule,
)
from adsync.resources.conditions import Conditions, Reason

BY_DOMAIN = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["namespace", "name"]}


class AccountState(StrEnum):
    """Whether people can sign in: of one domain Enabled or Disabled, of several also Mixed."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"
    MIXED = "Mixed"
    UNKNOWN = "Unknown"


class PasswordState(StrEnum):
    """How the password stands."""

    SYNCED = "Synced"
    PENDING = "Pending"
    GENERATED = "Generated"
    REJECTED = "Rejected"
    CHANGED_IN_DIRECTORY = "ChangedInDirectory"
    EXPIRED = "Expired"
    UNKNOWN = "Unknown"


class Origin(StrEnum):
    """How an object came to be ours."""

    CREATED = "Created"
    ADOPTED = "Adopted"
    IMPORTED = "Imported"


class PasswordSecretRef(SecretKeyRef):
    """A key in a Secret of the same namespace that holds a password."""

    key: Key = "password"
    """The key in the Secret."""


class SyncedUserSpec(Spec):
    """The person as the directory should know them. An omitted field is left as it is there; an empty string clears it."""

    username: Annotated[str, Field(min_length=1, max_length=256)]
    """The account's name. A change renames the account. At most 20 characters where the domain keeps it in sAMAccountName."""
    email: Annotated[str, Field(max_length=256)] | None = None
    """The e-mail address."""
    first_name: Annotated[str, Field(max_length=256)] | None = None
    """The given name."""
    last_name: Annotated[str, Field(max_length=256)] | None = None
    """The family name."""
    display_name: Annotated[str, Field(max_length=256)] | None = None
    """The name shown to others."""
    attributes: Annotated[dict[str, Value], Field(max_length=64)] = {}
    """Further attributes by their name in the directory; only those that the domain's extraAttributes lists."""
    suspended: StrictBool | None = None
    """true disables the account, false enables it. Omitted: left as it is; a created account is enabled."""
    password_secret_ref: PasswordSecretRef | None = None
    """The Secret with the password. Omitted: a created account gets a random one that nobody knows, an existing one keeps its own."""
    domains: Annotated[tuple[SharedDomainRef, ...], Field(max_length=32, json_schema_extra=BY_DOMAIN)] = ()
    """The domains to be in. Taking one off the list applies the deletion policy there."""
    deletion_policy: DeletionPolicy | None = None
    """What deleting this resource does to the account: Retain, Disable or Delete. Omitted: what the domain says."""

    rules: ClassVar = (account_name_rule("username"),)


class Suspension(Model):
    """Whether the account is suspended."""

    requested: bool | None = None
    """What the spec asks for; absent: nothing."""
    account: AccountState | None = None
    """What the directory says: Enabled or Disabled."""
    locked_out: bool | None = None
    """Whether the account is locked out after bad attempts."""
    last_transition_time: Timestamp | None = None
    """When the account last changed between Enabled and Disabled, as far as was seen."""


class PasswordStatus(Model):
    """How the password stands in one domain. It never holds a password."""

    state: PasswordState | None = None
    """Synced, Pending, Generated, Rejected, ChangedInDirectory, Expired or Unknown."""
    message: Text | None = None
    """The same in words: what the policy asks for, or what is waited for."""
    digest: Annotated[str, Field(max_length=256)] | None = None
    """A keyed digest of the password that was last pushed, after the id of its key."""
    secret_version: Annotated[str, Field(max_length=128)] | None = None
    """The Secret's resourceVersion when its password was last pushed."""
    last_sync_time: Timestamp | None = None
    """When the password was last pushed."""
    last_set_in_directory: MicroTime | None = None
    """When the directory says that the password was last set (pwdLastSet)."""
    expires_at: Timestamp | None = None
    """When it expires; absent: never."""
    must_change: bool | None = None
    """Whether the person must change it at the next sign-in."""


class UserMembership(Model):
    """The groups that the directory lists the user in, whoever put it there."""

    groups: Annotated[list[DNText], Field(max_length=100)] | None = None
    """Their names, up to 100."""
    count: Count | None = None
    """How many there are."""
    in_scope: bool | None = None
    """Whether the user is in the scope group, directly or through other groups."""
    admin: bool | None = None
    """Whether the user is a direct member of the admins group, and in scope."""


class UserDomainStatus(Model):
    """How the user stands in one domain."""

    name: Name
    """The ADDomain's name."""
    namespace: Namespace = ""
    """The ADDomain's namespace."""
    ready: bool | None = None
    """Whether the account is in step."""
    reason: Reason | None = None
    """Why, in one word."""
    message: Text | None = None
    """The same for people: what is wrong, and what to do."""
    last_sync_time: Timestamp | None = None
    """When a change was last carried across, or the account was first found equal."""
    distinguished_name: DNText | None = None
    """Where the account is."""
    object_guid: ObjectGUID | None = Field(None, alias="objectGUID")
    """The account's identity, which no rename or move changes."""
    username: Annotated[str, Field(max_length=1024)] | None = None
    """The account's name as the directory has it."""
    origin: Origin | None = None
    """Created by the operator, Adopted by it, or Imported."""
    suspension: Suspension | None = None
    """Whether the account is suspended."""
    password: PasswordStatus | None = None
    """How the password stands."""
    membership: UserMembership | None = None
    """The groups that the user is in."""
    planned_changes: Annotated[list[Text], Field(max_length=100)] | None = None
    """What would be changed, in words; never a password."""
    last_synced: Annotated[dict[str, Value], Field(max_length=128)] | None = None
    """The values that both sides last agreed on."""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class SyncedUserStatus(Model):
    """How the user stands."""

    observed_generation: Count | None = None
    """The metadata.generation that was last worked on."""
    last_handled_reconcile_at: Word | None = None
    """The value of the annotation adsync.dev/reconcile-requested-at that was last acted on."""
    last_sync_time: Timestamp | None = None
    """When a change was last carried across, or the account was first found equal."""
    account: AccountState | None = None
    """Whether the accounts are Enabled or Disabled; Mixed where the domains differ."""
    password: PasswordState | None = None
    """How the password stands, summed up over the domains."""
    group_count: Count | None = None
    """How many groups the user is in, summed up over the domains."""
    conditions: Conditions = []
    """Ready, Reconciling, Stalled, AccountSuspended, PasswordSynced."""
    domains: Annotated[list[UserDomainStatus], Field(max_length=MOST_DOMAINS, json_schema_extra=BY_DOMAIN)] = []
    """How the user stands in each domain."""

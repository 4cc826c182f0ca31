"""What the operator reports of an ADDomain."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adsync.resources.common import Count, DNText, Duration, Model, Text, Timestamp, Word
from adsync.resources.conditions import Conditions


class PreviousController(Model):
    """The domain controller that was in use before. What it had, and the present one has not yet, is not taken for gone."""

    ds_service_name: Annotated[str, Field(max_length=2048)] | None = None
    """The DN of its settings object."""
    invocation_id: Annotated[str, Field(max_length=36)] | None = None
    """Which copy of the directory it held."""
    highest_committed_usn: Count | None = Field(None, alias="highestCommittedUSN")
    """Up to where its changes had been read."""
    since: Timestamp | None = None
    """When it was left."""


class DomainController(Model):
    """The domain controller in use."""

    url: Word | None = None
    """Its address."""
    ds_service_name: Annotated[str, Field(max_length=2048)] | None = None
    """The DN of its settings object, which identifies the server."""
    invocation_id: Annotated[str, Field(max_length=36)] | None = None
    """Which copy of the directory it holds; another one after a restore."""
    highest_committed_usn: Count | None = Field(None, alias="highestCommittedUSN")
    """Up to where its changes have been read."""
    previous: PreviousController | None = None
    """The one before, until this one is known to have caught up with it."""


class PasswordPolicy(Model):
    """The domain's password policy. Fine-grained policies may differ from it."""

    min_length: Count | None = None
    """The least number of characters."""
    complexity: bool | None = None
    """Whether three of the four kinds of characters are asked for, and the name is forbidden."""
    history_length: Count | None = None
    """How many old passwords are remembered."""
    min_age: Duration | None = None
    """How old a password must be before people can change it."""
    max_age: Duration | None = None
    """When a password expires; absent: never."""
    lockout_threshold: Count | None = None
    """How many bad attempts lock an account; 0: none do."""


class GroupCounts(Model):
    """How the domain's groups stand."""

    total: Count | None = None
    """All that are bound to the domain."""
    synced: Count | None = None
    """Those that are in step."""
    pending: Count | None = None
    """Those that are under way or waiting."""
    failed: Count | None = None
    """Those that need somebody's attention."""
    imported: Count | None = None
    """Those that came from the directory."""


class UserCounts(GroupCounts):
    """How the domain's users stand."""

    suspended: Count | None = None
    """Those whose account is disabled."""


class PlannedChanges(Model):
    """What would be done: in mode Observe, or held by the safety limit."""

    count: Count | None = None
    """How many changes."""
    digest: Annotated[str, Field(max_length=128)] | None = None
    """The digest of exactly these changes, for the annotation adsync.dev/approve."""
    sample: Annotated[list[Text], Field(max_length=100)] | None = None
    """Some of them, in words."""


class Removal(Model):
    """Removals of one kind that were let through."""

    time: Timestamp
    """When."""
    verb: Annotated[str, Field(max_length=64)]
    """Their kind: delete, disable, suspend, removeMember or clearAttribute."""
    count: Count = 1
    """How many."""


class SafetyStatus(Model):
    """The sliding window of removals."""

    removals: Annotated[list[Removal], Field(max_length=1000)] | None = None
    """What was removed within the window."""
    held: Count | None = None
    """How many changes are held."""
    approved_digest: Annotated[str, Field(max_length=128)] | None = None
    """The digest that was last approved and carried out."""


class ScopeGroupStatus(Model):
    """The integration security group."""

    distinguished_name: DNText | None = None
    """Where it is."""
    members: Count | None = None
    """How many objects are in scope."""
    elsewhere: Count | None = None
    """How many of its members are not below rootUserContainer, and so are not imported."""


class ADDomainStatus(Model):
    """How the domain stands."""

    observed_generation: Count | None = None
    """The metadata.generation that was last worked on."""
    last_handled_reconcile_at: Word | None = None
    """The value of the annotation adsync.dev/reconcile-requested-at that was last acted on."""
    last_sync_time: Timestamp | None = None
    """When the domain was last looked at with success."""
    last_full_sync_time: Timestamp | None = None
    """When everything was last compared in full."""
    domain_controller: DomainController | None = None
    """The domain controller in use."""
    password_policy: PasswordPolicy | None = None
    """The domain's password policy."""
    users: UserCounts | None = None
    """How the domain's users stand."""
    groups: GroupCounts | None = None
    """How the domain's groups stand."""
    scope_group: ScopeGroupStatus | None = None
    """The integration security group."""
    planned_changes: PlannedChanges | None = None
    """What would be done: in mode Observe, or held by the safety limit."""
    safety: SafetyStatus | None = None
    """The sliding window of removals, so that it survives a restart."""
    refused_credentials: Word | None = None
    """A keyed digest of the credentials that the directory refused. They are not tried again while they are the same."""
    missing_rights: Annotated[list[Word], Field(max_length=256)] | None = None
    """What the service account lacks."""
    excess_rights: Annotated[list[Word], Field(max_length=256)] | None = None
    """What the service account may do and should not."""
    conditions: Conditions = []
    """Ready, Reconciling, Stalled, Connected, CredentialsValid, RightsSufficient, ScopeFound, WithinSafetyLimit, EntraConnectDetected."""

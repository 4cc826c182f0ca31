"""SyncedGroup: one group and its members, bound to one or more domains."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, Field

from adsync.resources.common import (
    MOST_DOMAINS,
    Count,
    DeletionPolicy,
    DNText,
    LabelSelector,
    Model,
    Name,
    Namespace,
    ObjectGUID,
    Rule,
    SharedDomainRef,
    Spec,
    Text,
    Timestamp,
    Word,
    account_name_rule,
    one_of_each,
)
from adsync.resources.conditions import Conditions, Reason
from adsync.resources.synceduser import BY_DOMAIN, Origin


class GroupScope(StrEnum):
    """Where a group can be used and whom it can hold (MS-ADTS 6.1.1.4.12)."""

    GLOBAL = "Global"
    UNIVERSAL = "Universal"
    DOMAIN_LOCAL = "DomainLocal"


class MembershipPolicy(StrEnum):
    """Who is taken out of a group."""

    MANAGED = "Managed"
    EXACT = "Exact"
    ADDITIVE = "Additive"


class MemberRef(Spec):
    """A SyncedUser of the same namespace."""

    # Merged as a whole: the API server then keeps one field owner a member instead of two, at two thirds of each write's cost.
    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})

    name: Name
    """The SyncedUser's name."""


class SyncedGroupSpec(Spec):
    """The group as the directory should know it. An omitted field is left as it is there; an empty string clears it."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """The group's sAMAccountName. A group that is created has it as its cn too, which holds 64 characters."""
    description: Annotated[str, Field(max_length=1024)] | None = None
    """What the group is for."""
    email: Annotated[str, Field(max_length=256)] | None = None
    """The e-mail address."""
    group_scope: GroupScope = GroupScope.GLOBAL
    """Global, Universal or DomainLocal; used when the group is created."""
    domains: Annotated[tuple[SharedDomainRef, ...], Field(max_length=32, json_schema_extra=BY_DOMAIN)] = ()
    """The domains to be in. Taking one off the list applies the deletion policy there."""
    members: (
        Annotated[
            tuple[Annotated[MemberRef, AfterValidator(one_of_each)], ...],
            Field(max_length=20000, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
        ]
        | None
    ) = None
    """The members, as SyncedUsers of the same namespace. Neither this nor memberSelector: membership is left as it is."""
    member_selector: LabelSelector | None = None
    """Further members: the SyncedUsers of the same namespace with these labels."""
    membership_policy: MembershipPolicy = MembershipPolicy.MANAGED
    """Who is taken out: members that the operator manages (Managed), all that are not listed (Exact), or nobody (Additive)."""
    deletion_policy: DeletionPolicy | None = None
    """What deleting this resource does to the group: Retain, Disable or Delete. Omitted: what the domain says."""

    rules: ClassVar = (
        account_name_rule("name"),
        Rule(
            cel="!has(self.memberSelector) || (has(self.memberSelector.matchLabels) && size(self.memberSelector.matchLabels) > 0)"
            " || (has(self.memberSelector.matchExpressions) && size(self.memberSelector.matchExpressions) > 0)",
            message="an empty selector would take every user of the namespace: say which",
            holds=lambda spec: spec.member_selector is None or not spec.member_selector.empty,
            field="memberSelector",
        ),
    )

    @property
    def manages_membership(self) -> bool:
        """Whether the resource says anything about members; an empty list says that there are none."""
        return self.members is not None or self.member_selector is not None


class PendingMember(Model):
    """A member that is wanted and not in the group yet."""

    user: Name
    """The SyncedUser's name."""
    reason: Text
    """Why."""


class GroupMembership(Model):
    """How the members stand in one domain."""

    desired: Count | None = None
    """How many the resource asks for."""
    applied: Count | None = None
    """How many of them are in the group."""
    foreign: Count | None = None
    """How many others are in the group."""
    pending: Annotated[list[PendingMember], Field(max_length=100)] | None = None
    """Those that are not in the group yet, up to 100."""
    nested_groups: Annotated[list[DNText], Field(max_length=100)] | None = None
    """The groups that are members of this one, up to 100."""


class GroupLastSynced(Model):
    """The values that both sides last agreed on."""

    name: Annotated[str, Field(max_length=256)] | None = None
    """The group's name."""
    description: Annotated[str, Field(max_length=1024)] | None = None
    """The group's description."""
    email: Annotated[str, Field(max_length=256)] | None = None
    """The group's e-mail address."""
    container: Annotated[str, Field(max_length=2048)] | None = None
    """The container that the spec named."""
    members_digest: Annotated[str, Field(max_length=128)] | None = None
    """A digest of the member set."""
    in_scope: bool | None = None
    """Whether the group has been in scope: leaving it later is then somebody's decision."""


class GroupDomainStatus(Model):
    """How the group stands in one domain."""

    name: Name
    """The ADDomain's name."""
    namespace: Namespace = ""
    """The ADDomain's namespace."""
    ready: bool | None = None
    """Whether the group is in step."""
    reason: Reason | None = None
    """Why, in one word."""
    message: Text | None = None
    """The same for people: what is wrong, and what to do."""
    distinguished_name: DNText | None = None
    """Where the group is."""
    object_guid: ObjectGUID | None = Field(None, alias="objectGUID")
    """The group's identity, which no rename or move changes."""
    origin: Origin | None = None
    """Created by the operator, Adopted by it, or Imported."""
    last_sync_time: Timestamp | None = None
    """When a change was last carried across, or the group was first found equal."""
    membership: GroupMembership | None = None
    """How the members stand."""
    planned_changes: Annotated[list[Text], Field(max_length=100)] | None = None
    """What would be changed, in words."""
    last_synced: GroupLastSynced | None = None
    """The values that both sides last agreed on."""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class SyncedGroupStatus(Model):
    """How the group stands."""

    observed_generation: Count | None = None
    """The metadata.generation that was last worked on."""
    last_handled_reconcile_at: Word | None = None
    """The value of the annotation adsync.dev/reconcile-requested-at that was last acted on."""
    last_sync_time: Timestamp | None = None
    """When a change was last carried across, or the group was first found equal."""
    member_count: Count | None = None
    """How many members the resource asks for that are in the group."""
    pending_count: Count | None = None
    """How many members the resource asks for that are not in the group yet."""
    conditions: Conditions = []
    """Ready, Reconciling, Stalled, MembershipSynced."""
    domains: Annotated[list[GroupDomainStatus], Field(max_length=MOST_DOMAINS, json_schema_extra=BY_DOMAIN)] = []
    """How the group stands in each domain."""

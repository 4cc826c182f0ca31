"""The API `adsync.dev/v1alpha1`: models of the three kinds, from which the CRDs are generated."""

from adsync.resources.addomain import ADDomainSpec
from adsync.resources.addomain_status import ADDomainStatus
from adsync.resources.common import Metadata
from adsync.resources.conditions import READINESS, Condition, ConditionType, Reason
from adsync.resources.reading import parse_spec, read_status
from adsync.resources.syncedgroup import SyncedGroupSpec, SyncedGroupStatus
from adsync.resources.synceduser import SyncedUserSpec, SyncedUserStatus

__all__ = [
    "READINESS",
    "ADDomainSpec",
    "ADDomainStatus",
    "Condition",
    "ConditionType",
    "Metadata",
    "Reason",
    "SyncedGroupSpec",
    "SyncedGroupStatus",
    "SyncedUserSpec",
    "SyncedUserStatus",
    "parse_spec",
    "read_status",
]

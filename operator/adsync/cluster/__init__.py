"""The Kubernetes API: reading, status, events, Secrets and the leader's lease. The only importer of `kubernetes`."""

from adsync.cluster.client import Cluster
from adsync.cluster.events import EventRecorder
from adsync.cluster.secrets import SecretData
from adsync.cluster.status import StatusWriter, json_patch

__all__ = ["Cluster", "EventRecorder", "SecretData", "StatusWriter", "json_patch"]

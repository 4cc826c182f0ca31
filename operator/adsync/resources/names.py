"""Every name of ours that stands in a cluster's objects: kinds, annotations, labels, the finalizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GROUP: Final = "adsync.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "adsync"


@dataclass(frozen=True, slots=True)
class Kind:
    """How the API server knows one of our kinds."""

    kind: str
    singular: str
    plural: str
    short: str

    @property
    def crd(self) -> str:
        """The name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path below the API server's address; no namespace stands for the whole cluster."""
        parts = [f"/apis/{API_VERSION}"]
        if namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        return "/".join([*parts, *(part for part in (name, subresource) if part)])


AD_DOMAIN: Final = Kind("ADDomain", "addomain", "addomains", "addom")
SYNCED_USER: Final = Kind("SyncedUser", "synceduser", "syncedusers", "suser")
SYNCED_GROUP: Final = Kind("SyncedGroup", "syncedgroup", "syncedgroups", "sgroup")
KINDS: Final = (AD_DOMAIN, SYNCED_USER, SYNCED_GROUP)

FINALIZER: Final = f"{GROUP}/directory"
"""Set before the first write to the directory, removed when the directory has confirmed the deletion policy."""

RECONCILE_REQUESTED_AT: Final = f"{GROUP}/reconcile-requested-at"
"""Annotation on any kind: reconcile now. Its value comes back in status.lastHandledReconcileAt."""

UNLOCK_REQUESTED_AT: Final = f"{GROUP}/unlock-requested-at"
"""Annotation on a SyncedUser: clear a lockout, once for each new value."""

APPROVE: Final = f"{GROUP}/approve"
"""Annotation on an ADDomain: let through exactly the held changes with this digest."""

IMPORTED_LABEL: Final = f"{GROUP}/imported"
"""Label of imported resources; its value is "true"."""

DOMAIN_LABEL: Final = f"{GROUP}/domain"
"""Label of imported resources: the name of the ADDomain that they came from."""

OBJECT_GUID_LABEL: Final = f"{GROUP}/object-guid"
"""Label of imported resources: the objectGUID that they came from."""

IMPORT_LABELS: Final = f"{GROUP}/import-labels"
"""Annotation of imported resources: the labels that they have from `import.labels`, as JSON."""

ADMIN_LABEL: Final = f"{GROUP}/admin"
"""Label of imported users that are direct members of the admins group; its value is "true"."""

KOPF_PREFIX: Final = f"kopf.{GROUP}"
"""The prefix of anything that kopf writes: one that equals the API group would hide our own annotations from it."""

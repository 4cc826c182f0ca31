"""What an ADDomain's spec means, resolved and checked once: the names, the container and the fields that everything else goes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adsync.core.dn import DN, base_of
from adsync.core.names import AccountNames, account_names, container_dn
from adsync.errors import InvalidSpec
from adsync.resources.addomain import ADDomainSpec
from adsync.resources.synceduser import SyncedUserSpec

DISPLAY_NAME = "displayName"
DESCRIPTION = "description"  # of groups


@dataclass(frozen=True, slots=True)
class DomainRules:
    """One domain's settings as the planner uses them. `fields` maps a spec field of a user (email, ...) to its attribute."""

    spec: ADDomainSpec
    base: DN
    container: DN
    cluster: str
    upn_suffix: str
    fields: Mapping[str, str]

    @classmethod
    def resolve(cls, spec: ADDomainSpec, cluster: str) -> DomainRules:
        """Raises InvalidSpec with the field at fault."""
        base = base_of(spec.domain_name)
        container = base.child("CN", "Users")
        if spec.root_user_container:
            container = container_dn(spec.root_user_container, base, "spec.rootUserContainer")
            if container == base:
                raise InvalidSpec("spec.rootUserContainer is the whole domain; name a container or organizational unit in it")
        if spec.scope_group and "=" in spec.scope_group:
            container_dn(spec.scope_group, container, "spec.scopeGroup")
        mapping = spec.user_field_mapping
        fields = {
            "email": str(mapping.email),
            "firstName": str(mapping.first_name),
            "lastName": str(mapping.last_name),
            "displayName": DISPLAY_NAME,
        }
        return cls(spec, base, container, spec.cluster_name or cluster, spec.user_principal_name_suffix or spec.domain_name, fields)

    @property
    def mark_attribute(self) -> str:
        return str(self.spec.ownership_attribute)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every attribute that users' and groups' specs may set, each once."""
        return tuple(dict.fromkeys([*self.fields.values(), *map(str, self.spec.extra_attributes), DESCRIPTION]))

    def names(self, username: str) -> AccountNames:
        return account_names(username, self.spec.user_field_mapping.username, self.upn_suffix)

    def wanted_attributes(self, spec: SyncedUserSpec) -> dict[str, str]:
        """The managed attributes and their values; "" clears. Raises InvalidSpec for one that the domain does not allow."""
        given = {"email": spec.email, "firstName": spec.first_name, "lastName": spec.last_name, "displayName": spec.display_name}
        wanted = {self.fields[field]: value for field, value in given.items() if value is not None}
        allowed = {name.lower(): str(name) for name in self.spec.extra_attributes}
        for name, value in (spec.attributes or {}).items():
            if name.lower() not in allowed:
                listed = ", ".join(self.spec.extra_attributes) or "none"
                raise InvalidSpec(f"spec.attributes: the domain does not allow {name!r}; its extraAttributes lists {listed}")
            wanted[allowed[name.lower()]] = value
        return wanted

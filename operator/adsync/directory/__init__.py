"""Active Directory over LDAPS: reads it, follows its changes, writes to it. The only importer of ldap3; nothing here decides anything."""

from adsync.directory.directory import Directory
from adsync.directory.model import Changes, DomainInfo, Link, Notification, Observer, Rights, Target

__all__ = ["Changes", "Directory", "DomainInfo", "Link", "Notification", "Observer", "Rights", "Target"]

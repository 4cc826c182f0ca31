"""Which domain controller is in use, and whether what is absent there is gone.

Another server, or another copy of the database on the same one, may not have yet what the last one had. Until it is known to have caught up,
nothing that is absent is created again or taken for deleted. That survives a restart: the status holds the previous controller as long.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from adsync.directory.directory import Directory
from adsync.directory.model import DomainInfo
from adsync.resources.addomain_status import DomainController, PreviousController

GRACE = timedelta(hours=1)
"""How long a server may take to catch up where its replication cursors can't be read."""


def controller_after(last: DomainController | None, info: DomainInfo, now: datetime) -> DomainController:
    """The record of the server that is connected now, with the one before it where that was another server or another copy."""
    controller = DomainController(
        url=info.url,
        ds_service_name=info.ds_service_name,
        invocation_id=info.invocation_id or None,
        highest_committed_usn=info.highest_committed_usn,
    )
    if last is None or not last.ds_service_name:
        return controller
    if last.ds_service_name == info.ds_service_name and (last.invocation_id or "") == info.invocation_id:
        controller.previous = last.previous
    else:
        controller.previous = PreviousController(
            ds_service_name=last.ds_service_name,
            invocation_id=last.invocation_id,
            highest_committed_usn=last.highest_committed_usn,
            since=now,
        )
    return controller


async def has_caught_up(controller: DomainController, directory: Directory) -> bool:
    """Whether the server is known to have all that the previous one had: by its replication cursor, or because long enough has passed."""
    previous = controller.previous
    if previous is None:
        return True
    cursor = await directory.replication_cursor(previous.invocation_id) if previous.invocation_id else None
    if cursor is not None:
        caught_up = cursor >= (previous.highest_committed_usn or 0)
    else:
        caught_up = previous.since is None or datetime.now(UTC) - previous.since > GRACE
    if caught_up:
        controller.previous = None
    return caught_up

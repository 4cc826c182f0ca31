"""FILETIME (100 ns since 1601-01-01 UTC, MS-DTYP 2.3.3) to and from the RFC 3339 text of a status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from adsync.core.entries import NEVER

_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def to_datetime(filetime: int) -> datetime | None:
    """None for 0 and for "never"."""
    if filetime <= 0 or filetime >= NEVER:
        return None
    try:
        return _EPOCH + timedelta(microseconds=filetime // 10)
    except OverflowError:
        return None


def from_datetime(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 10


def to_text(filetime: int) -> str | None:
    """With microseconds, so that two settings in one second differ."""
    moment = to_datetime(filetime)
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def timestamp(moment: datetime) -> str:
    """A moment as Kubernetes writes it: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

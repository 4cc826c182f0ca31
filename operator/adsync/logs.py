"""Logging: structlog and the standard library's loggers through one pipe to standard error, as JSON lines or for a person to read.

Passwords are kept out where they are handled: they travel as SecretStr. What is here is the second line: fields with a telling name are
dropped, SecretStr is never rendered, and the libraries that would log whole objects at debug level are held at info.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import stamina.instrumentation
import structlog
from pydantic import SecretBytes, SecretStr

_HIDDEN = "***"
_TELLING = re.compile(
    r"pass(word|wd)|secret_?(value|data)|token|authorization|unicodepwd|credential|private_?key|^data$|^string_?data$", re.IGNORECASE
)
_INNOCENT = frozenset({"password_state", "credentials_ref", "password_policy"})
# kopf's debug level shows whole objects, asyncio's and aiohttp's the requests, ldap3's the messages.
_QUIET = {
    "kopf": logging.WARNING,
    "aiohttp": logging.WARNING,
    "asyncio": logging.WARNING,
    "kubernetes": logging.INFO,
    "ldap3": logging.CRITICAL,
}
_ATTEMPT = re.compile(r"Request attempt #(\d+)")


def configure(level: Literal["debug", "info", "warning", "error"], fmt: Literal["json", "console"], stream: TextIO | None = None) -> None:
    """Takes over the root logger. May be called again, for instance by tests."""
    out = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact]
    if fmt == "json":
        # Locals never: a frame may hold a password.
        last += [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        plain = structlog.dev.plain_traceback
        last += [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    handler.addFilter(_seldom)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logger = logging.getLogger(name)
        logger.setLevel(max(least, root.level))
        logger.handlers.clear()
        logger.propagate = True
    stamina.instrumentation.set_on_retry_hooks([])  # whoever retries says so where it matters


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: hides values under telling names and secrets wherever they are."""
    for name, value in event.items():
        event[name] = _redacted(name, value)
    return event


def _redacted(name: str, value: Any) -> Any:
    if isinstance(value, (SecretStr, SecretBytes)):
        return _HIDDEN
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if name not in _INNOCENT and _TELLING.search(name):
        return _HIDDEN
    if isinstance(value, Mapping):
        return {key: _redacted(str(key), each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted("", each) for each in value]
    return value


def _seldom(record: logging.LogRecord) -> bool:
    """kopf logs every attempt while the API server is away: the first and then every twentieth will do."""
    if not record.name.startswith("kopf") or not isinstance(record.msg, str):
        return True
    if record.msg.startswith("OS signals are ignored"):  # as they should be: they are ours
        return False
    match = _ATTEMPT.match(record.msg)
    return match is None or int(match[1]) == 1 or int(match[1]) % 20 == 0

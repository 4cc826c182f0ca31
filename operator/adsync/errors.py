"""The errors that cross module borders.

Each carries the text that a person reads in a condition, so it must say what is wrong and what to do, and must never hold a
secret. Everything the directory can answer has one of these; no exception of ldap3, ssl or aiohttp leaves its layer.
"""

from __future__ import annotations


class AdsyncError(Exception):
    """The root: `str()` is fit for a status message."""


class DirectoryError(AdsyncError):
    """The directory answered an operation with a refusal.

    `code` is the LDAP result code (RFC 4511 section 4.1.9), or -1 where there was no answer; `diagnostic` is the server's own text.
    """

    def __init__(self, message: str, *, code: int = -1, diagnostic: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.diagnostic = diagnostic


class DirectoryUnavailable(DirectoryError):
    """No answer: not connected, cut, timed out, or the server is busy or shutting down. Says nothing about any object."""


class CertificateRejected(DirectoryError):
    """The server's certificate is not trusted, expired, or names another host."""


class CredentialsRejected(DirectoryError):
    """The bind was refused. `sub_code` is AD's `data` value in hexadecimal ("52e", "775", ...), or ""."""

    def __init__(self, message: str, *, sub_code: str = "", diagnostic: str = "") -> None:
        super().__init__(message, code=49, diagnostic=diagnostic)
        self.sub_code = sub_code


class IncompleteRead(DirectoryError):
    """A search ended before its end. What was read must not be taken for all there is."""


class NoSuchObject(DirectoryError):
    """The server looked, and the object is not there (LDAP result 32)."""


class AlreadyExists(DirectoryError):
    """An object with this name, or another value that must be unique, exists (LDAP result 68)."""


class InsufficientRights(DirectoryError):
    """The service account may not do this (LDAP result 50, or 00002098 in the text)."""


class PasswordRefused(DirectoryError):
    """The domain's password policy refused the password (0000052D)."""


class ValueMismatch(DirectoryError):
    """The value that the change was based on is no longer there (LDAP results 16 and 20): read again and decide again."""


class ValueRefused(DirectoryError):
    """The directory can't hold a value that was asked for: too long, of the wrong form, or of an attribute that its schema lacks."""


class ClusterError(AdsyncError):
    """The Kubernetes API answered with a refusal. `status` is the HTTP status, or 0 where there was no answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class InvalidSpec(AdsyncError):
    """A spec says something that can't be done. The text says which field, and what would be right."""

"""Turns every error of a library into an error of `zipcast.errors`, at the edge of the public client."""

from collections.abc import Iterator
from contextlib import contextmanager

import nats.errors
from pydantic import ValidationError

from zipcast.client.connection import CertificateRefusedError, HotkeyRefusedError
from zipcast.errors import (
    CertificateError,
    NotRegisteredError,
    RefusedError,
    ServiceError,
    UnavailableError,
    WrongHostNameError,
    WrongSignerError,
    ZipcastError,
)
from zipcast.protocol.errors import ErrorCode
from zipcast.protocol.messages.base import first_fault

RETRY_AFTER_SECONDS = 0.5
"""The pause in seconds before another attempt if the service did not reply."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors of nats-py, pydantic and the operating system as ZipcastError. Do not use it around work
    on the caller's files, whose OSError the caller expects."""
    try:
        yield
    except Exception as error:
        found = public_error(error)
        if found is error:
            raise
        raise found from error


def public_error(error: Exception) -> Exception:
    """Return the SDK's error for an error of a library. Return any other error unchanged, because it is a
    defect of the program."""
    found: Exception = error
    if isinstance(error, ServiceError):
        found = _of_service(error)
    elif isinstance(error, CertificateRefusedError):
        kind = WrongHostNameError if error.is_for_other_name else CertificateError
        found = kind(str(error))
    elif isinstance(error, HotkeyRefusedError):
        found = RefusedError(str(error))
    elif isinstance(error, ValidationError):
        found = first_fault(error)
    elif isinstance(error, nats.errors.Error | OSError):  # TimeoutError is an OSError
        found = UnavailableError(
            f"The service does not reply ({_name(error)}).", retry_after=RETRY_AFTER_SECONDS
        )
    return found


def _of_service(error: ServiceError) -> ZipcastError:
    found: ZipcastError
    if isinstance(error, NotRegisteredError):
        return error
    if error.code is ErrorCode.NOT_REGISTERED:
        found = NotRegisteredError(error.message)
    elif error.code is ErrorCode.WRONG_RECEIVER:
        found = WrongSignerError("The service uses none of the trusted signers.")
    else:
        return error
    found.request_id = error.request_id
    return found


def _name(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error")

"""Adds the options of a session to the commands of miners and validators, and turns expected errors into
`CommandError`."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import nats.errors
import typer
from pydantic import ValidationError

from zipcast.cli.bridge_requests import UnreachableError
from zipcast.cli.errors import CommandError, Status
from zipcast.cli.session import resolve
from zipcast.client.connection import CertificateRefusedError, HotkeyRefusedError, InsecureServerError
from zipcast.client.local_stack import NotReadyError
from zipcast.client.profiles import ProfileError
from zipcast.errors import TooLateError, TransferError, WalletError
from zipcast.protocol.calendar import MalformedEpochIdError, parse_epoch_id
from zipcast.protocol.envelope import EnvelopeError
from zipcast.protocol.errors import ERRORS, ErrorCode, ServiceError
from zipcast.protocol.messages.base import first_fault

Work = Callable[..., Coroutine[Any, Any, None]]


def command(work: Work) -> Callable[..., None]:
    """Turn `work`, whose first parameter is a Session, into a command for typer. On the command line, that
    parameter is replaced by the options of `session.resolve`."""
    return with_options_of(resolve, work)


def with_options_of(resolver: Callable[..., Any], work: Work, **fixed: Any) -> Callable[..., None]:
    """Return `work` as a command. Its first parameter is replaced by the options of `resolver`, which is
    called with these options and `fixed` and returns the value of that parameter."""
    # `fixed` sets the keyword-only parameters of `resolver`. The other parameters become options.
    stated = inspect.signature(resolver).parameters
    shared = {name: item for name, item in stated.items() if item.kind is not item.KEYWORD_ONLY}
    own = list(inspect.signature(work).parameters.values())[1:]

    @functools.wraps(work)
    def run(**given: Any) -> None:
        with reported():
            options = {name: given.pop(name) for name in shared}
            asyncio.run(work(resolver(**options, **fixed), **given))

    # A command's own options come first in its help.
    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in (*own, *shared.values())]
    del run.__wrapped__  # otherwise typer would find the Session parameter through this attribute
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    return run


def well_formed(epoch_id: str | None) -> str | None:
    """Return the epoch id that a user stated. Raises typer.BadParameter if it is malformed."""
    if epoch_id is not None:
        try:
            parse_epoch_id(epoch_id)
        except MalformedEpochIdError as error:
            raise typer.BadParameter(str(error)) from None
    return epoch_id


@contextmanager
def reported() -> Iterator[None]:
    """Turn every expected error into a CommandError."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(Status.INTERRUPTED) from None
    except (
        ServiceError,
        nats.errors.Error,
        ValidationError,
        EnvelopeError,
        NotReadyError,
        ProfileError,
        TransferError,
        WalletError,
        ValueError,
        OSError,  # TimeoutError is an OSError
    ) as error:
        raise command_error(error) from None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The exit status, code and remedy of a command that ends with an error of these kinds."""

    kinds: type[Exception] | tuple[type[Exception], ...]
    status: Status
    code: str
    remedy: str = ""


ASK_DOCTOR = "`zipcast doctor` finds out more."
# The exit status and code of each error. The first entry that fits counts, so subclasses come before their
# base.
_OUTCOMES = (
    _Outcome(HotkeyRefusedError, Status.REFUSED, "connection_refused"),
    _Outcome(
        CertificateRefusedError,
        Status.NOT_VERIFIED,
        "certificate_refused",
        "Check the address and this machine's clock; someone may intercept the connection.",
    ),
    _Outcome(InsecureServerError, Status.USAGE, "insecure_server"),
    _Outcome(
        EnvelopeError,
        Status.NOT_VERIFIED,
        "not_verified",
        "Compare --signers, --network and --netuid with what the operator published.",
    ),
    _Outcome(
        (TimeoutError, nats.errors.Error),
        Status.UNAVAILABLE,
        "no_reply",
        f"Check the address and that the service runs; {ASK_DOCTOR}",
    ),
    _Outcome(
        UnreachableError,
        Status.UNAVAILABLE,
        "no_reply",
        "Check the address and that the bridge runs.",
    ),
    _Outcome(WalletError, Status.USAGE, "wallet"),
    _Outcome(ProfileError, Status.USAGE, "profile"),
    _Outcome(NotReadyError, Status.UNAVAILABLE, "no_local_stack"),
    _Outcome(TooLateError, Status.REFUSED, "too_late"),
    _Outcome(TransferError, Status.REFUSED, "object_store"),
)


def command_error(error: Exception) -> CommandError:
    """Return how a command ends with this error."""
    if isinstance(error, ServiceError):
        return _refused(error)
    outcome = next((one for one in _OUTCOMES if isinstance(error, one.kinds)), None)
    if outcome is None:
        malformed = isinstance(error, ValidationError)
        message = first_fault(error).message if isinstance(error, ValidationError) else str(error)
        return CommandError(message or type(error).__name__, code="malformed" if malformed else "failed")
    message, remedy, status = str(error), outcome.remedy, outcome.status
    if isinstance(error, WalletError | ProfileError | TransferError):
        message, remedy = error.message, f"{error.remedy.removesuffix('.')}."
    elif outcome.kinds == (TimeoutError, nats.errors.Error):
        message = f"NATS does not reply ({type(error).__name__})"
    elif isinstance(error, TransferError) and (error.status is None or error.status >= 500):
        status = Status.UNAVAILABLE
    return CommandError(message, status, code=outcome.code, remedy=remedy)


def _refused(error: ServiceError) -> CommandError:
    meaning = ERRORS[error.code]
    status = Status.UNAVAILABLE if meaning.status == 503 else Status.REFUSED
    if error.code is ErrorCode.INTERNAL:
        status = Status.FAILED
    wait = error.retry_after_seconds
    remedy = meaning.remedy.replace("`retryAfter`", str(wait))
    if error.code is ErrorCode.WRONG_RECEIVER:
        remedy = "Compare --signers with the signers that the operator published."
    return CommandError(
        f"{error.code}: {error.message}",
        status,
        code=str(error.code),
        remedy=remedy,
        request_id=error.request_id,
        retry_after_seconds=wait,
    )

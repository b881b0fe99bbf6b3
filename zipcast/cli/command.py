"""Adds the options of a session to the commands of miners and validators, and prints errors as one line."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import nats.errors
import typer
from pydantic import ValidationError

from zipcast.cli.console import fail
from zipcast.cli.session import resolve
from zipcast.client.connection import CertificateError, RefusedError
from zipcast.client.local_stack import NotReadyError
from zipcast.client.transfers import UploadError
from zipcast.client.wallets import WalletError
from zipcast.protocol.envelope import EnvelopeError
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.messages.base import first_fault

Work = Callable[..., Coroutine[Any, Any, None]]


def command(work: Work) -> Callable[..., None]:
    """Turn `work`, whose first parameter is a Session, into a command for typer. On the command line, that
    parameter is replaced by the options of `session.resolve`."""
    return with_options_of(resolve, work)


def with_options_of(resolver: Callable[..., Any], work: Work, **fixed: Any) -> Callable[..., None]:
    """Return `work` as a command. Its first parameter is replaced by the options of `resolver`, which is
    called with these options and `fixed` and returns the value of that parameter."""
    # Keyword-only parameters of `resolver` are set by `fixed`, not by options.
    stated = inspect.signature(resolver).parameters
    shared = {name: item for name, item in stated.items() if item.kind is not item.KEYWORD_ONLY}
    own = list(inspect.signature(work).parameters.values())[1:]

    @functools.wraps(work)
    def run(**given: Any) -> None:
        with reported():
            options = {name: given.pop(name) for name in shared}
            asyncio.run(work(resolver(**options, **fixed), **given))

    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in (*shared.values(), *own)]
    del run.__wrapped__  # otherwise typer would find the Session parameter through this attribute
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    return run


@contextmanager
def reported() -> Iterator[None]:
    """Turn every expected error into one line on stderr and exit status 1."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except ServiceError as error:
        fail(f"{error.code}: {error.message}")
    except (RefusedError, CertificateError) as error:
        fail(str(error))
    except (TimeoutError, nats.errors.Error) as error:
        fail(
            f"NATS does not reply ({type(error).__name__}). Check the address and that the service is running"
        )
    except ValidationError as error:
        fail(first_fault(error).message)
    except (EnvelopeError, NotReadyError, UploadError, WalletError, ValueError, OSError) as error:
        fail(str(error))

"""What the commands of miners and validators share: the session's options, and one line for an error."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import nats.errors
import typer
from pydantic import ValidationError
from rich.console import Console

from zipcast.cli.session import resolve
from zipcast.envelope import EnvelopeError
from zipcast.errors import ServiceError
from zipcast.messages import first_fault
from zipcast.ready import NotReadyError
from zipcast.uploads import UploadError
from zipcast.wallets import WalletError

err = Console(stderr=True)


def command(work: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """`work`, whose first parameter is a Session, as typer takes it: on the command line, after the
    command's name, the options of `session.resolve` stand in its place. They are written only there."""
    return _as_typer_takes_it(work, "wallets")


def admin_command(work: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The same with the local stack's admin for a default."""
    return _as_typer_takes_it(work, "admin_wallets")


def _as_typer_takes_it(
    work: Callable[..., Coroutine[Any, Any, None]], local_wallets: str
) -> Callable[..., None]:
    # Keyword-only is what no option gives.
    stated = inspect.signature(resolve).parameters
    shared = {name: item for name, item in stated.items() if item.kind is not item.KEYWORD_ONLY}
    own = list(inspect.signature(work).parameters.values())[1:]

    @functools.wraps(work)
    def run(**given: Any) -> None:
        with _reported():
            options = {name: given.pop(name) for name in shared}
            session = resolve(**options, local_wallets=local_wallets)
            asyncio.run(work(session, **given))

    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in (*shared.values(), *own)]
    del run.__wrapped__  # there typer would find the Session
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    return run


@contextmanager
def _reported() -> Iterator[None]:
    """What can go wrong becomes one line and exit status 1."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except ServiceError as error:
        _fail(f"{error.code}: {error.message}")
    except nats.errors.AuthorizationError:
        _fail("refused: this hotkey is not registered, or the service does not know it yet")
    except (TimeoutError, nats.errors.Error) as error:
        _fail(f"NATS does not answer ({type(error).__name__}); is the service running?")
    except ValidationError as error:
        _fail(first_fault(error).message)
    except (EnvelopeError, NotReadyError, UploadError, WalletError, ValueError, OSError) as error:
        _fail(str(error))


def _fail(message: str) -> None:
    err.print(message, style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1)

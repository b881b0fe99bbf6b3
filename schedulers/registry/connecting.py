"""Giving up a connection attempt of the `bittensor` SDK without leaving anything behind.

Owns one trick and nothing of the chain. `Client.connect()` clears up after a TimeoutError (it closes
its socket and ends its background task) but not after a cancellation, which leaks both.
"""

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


@coroutine
def cleared_up(connecting: Coroutine[Any, Any, object]) -> Generator[Any, None, None]:
    """Await `connecting`; a cancellation of this task reaches it as a TimeoutError.

    Raises what it raises; if the task was cancelled, CancelledError once it has cleared up."""
    task = asyncio.current_task()
    requests = task.cancelling() if task is not None else 0
    cancelled: asyncio.CancelledError | None = None
    deliver: BaseException | None = None
    try:
        while True:
            waited = connecting.send(None) if deliver is None else connecting.throw(deliver)
            deliver = None
            try:
                yield waited
            except asyncio.CancelledError as error:
                deliver = error
                # Unless it is what was awaited that was cancelled, not this task.
                if task is not None and task.cancelling() > requests:
                    requests, cancelled, deliver = task.cancelling(), error, TimeoutError("given up")
            except Exception as error:  # noqa: BLE001 - what it waited for failed: its own to handle
                deliver = error
    except StopIteration:
        if cancelled is not None:
            raise cancelled from None
    except Exception:
        if cancelled is not None:
            raise cancelled from None
        raise
    finally:
        connecting.close()

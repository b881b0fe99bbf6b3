"""Lets one test use the client of the SDK with and without asyncio."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from zipcast import SyncZipcast, Zipcast, connect, connect_sync
from zipcast.client.local_stack import Ready

_ENDED = object()


class InThreads:
    """A client without asyncio whose methods a test can await: each runs in a thread."""

    def __init__(self, client: SyncZipcast) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name in {"epochs", "uploads", "download_all"}:
            return lambda *given, **named: _iterated(method(*given, **named))

        def call(*given: object, **named: object) -> Awaitable[Any]:
            return asyncio.to_thread(method, *given, **named)

        return call


async def _iterated(items: Iterator[Any]) -> AsyncIterator[Any]:
    while (item := await asyncio.to_thread(next, items, _ENDED)) is not _ENDED:
        yield item


@asynccontextmanager
async def opened(kind: str, **given: Any) -> AsyncIterator[Zipcast]:
    """Open the client of that kind, `async` or `sync`, with the arguments of `connect`."""
    if kind == "async":
        async with connect(**given) as client:
            yield client
        return
    client = connect_sync(**given)
    await asyncio.to_thread(client.__enter__)
    try:
        yield InThreads(client)  # type: ignore[misc]
    finally:
        await asyncio.to_thread(client.__exit__, None, None, None)


def arguments(ready: Ready, wallet: str, **changed: Any) -> dict[str, Any]:
    """Return the arguments of `connect` for a local stack."""
    return {
        "servers": ready.nats,
        "wallet": wallet,
        "wallet_path": ready.wallets,
        "signer": ready.signer,
        "network": ready.network,
        "netuid": ready.netuid,
    } | changed

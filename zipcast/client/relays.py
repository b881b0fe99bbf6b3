"""Fetches the signature of a round from relays of drand's beacon, and verifies it.

The next relay is asked as soon as those before it have failed or are slow. A reply is accepted if its
signature decrypts a text that was encrypted to the round. API:
https://docs.drand.love/dev-guide/API%20Documentation%20v1/
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import httpx

from zipcast.client.http import is_loopback, open_client
from zipcast.protocol.beacon import QUICKNET, BeaconError, Chain, check_signature

QUICKNET_HASH = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
PUBLIC_RELAYS = ("https://api.drand.sh", "https://api2.drand.sh", "https://drand.cloudflare.com")
BRIDGE_PATH = "/api/v1/beacon"
"""An address that ends with this path is that of our own bridge, which returns rounds in the same format."""
HEDGE_SECONDS = 0.3
ANSWER_TIMEOUT_SECONDS = 3.0
MAX_ANSWER_BYTES = 4096


class RelayFailure(StrEnum):
    """The reason why a relay's reply is unusable."""

    UNREACHABLE = "unreachable"
    SLOW = "slow"
    NOT_THERE_YET = "not_there_yet"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    MALFORMED = "malformed"
    FALSE_SIGNATURE = "false_signature"


class RelayError(Exception):
    """The relay's reply is unusable."""

    def __init__(self, failure: RelayFailure) -> None:
        super().__init__(failure)
        self.failure = failure


def listed(stated: str) -> tuple[str, ...]:
    """Return the addresses of a comma-separated list."""
    return tuple(one.strip() for one in stated.split(",") if one.strip())


def relay_addresses(stated: Sequence[str], chain: Chain) -> tuple[str, ...]:
    """Return the stated relays. If none is stated besides our own bridge, drand's public relays come before
    it, except for the local chain, which has none. Raises ValueError unless each is the URL of a relay that
    is on this machine or, except for the local chain, uses HTTPS."""
    addresses = tuple(one.rstrip("/") for one in stated)
    for address in addresses:
        if chain.stands_in and not is_loopback(address):
            raise ValueError(f"{address}: a relay of the local beacon must be on this machine")
        if not (address.startswith("https://") or (address.startswith("http://") and is_loopback(address))):
            raise ValueError(f"{address}: use https://, or http:// for a relay on this machine")
        _require_url(address)
    is_enough = chain.stands_in or not all(one.endswith(BRIDGE_PATH) for one in addresses)
    return addresses if is_enough else (*PUBLIC_RELAYS, *addresses)


def _require_url(address: str) -> None:
    """Check that a request can be sent to the address. Raises ValueError."""
    try:
        parts, _ = urlsplit(address), httpx.URL(address)
        is_usable = bool(parts.hostname) and parts.port != 0 and not (parts.query or parts.fragment)
    except (ValueError, httpx.InvalidURL):  # `port` raises ValueError above 65535
        is_usable = False
    if not is_usable:
        raise ValueError(f"{address} is not the URL of a relay, such as https://api.drand.sh")


def ignore_failure(address: str, failure: RelayFailure) -> None:
    """Do nothing about an unusable reply, because another relay is asked."""


@dataclass(frozen=True, slots=True)
class Relays:
    """The relays of one chain. `on_failure` is called with the address and failure of each unusable reply."""

    addresses: tuple[str, ...]
    chain: Chain
    hedge_seconds: float = HEDGE_SECONDS
    timeout_seconds: float = ANSWER_TIMEOUT_SECONDS
    on_failure: Callable[[str, RelayFailure], None] = ignore_failure

    async def signature(self, round_number: int) -> bytes | None:
        """Return the first valid signature, or None if no relay returns one now."""
        waiting = list(self.addresses)
        asked: set[asyncio.Task[bytes | None]] = set()
        try:
            while waiting or asked:
                if waiting:
                    asked.add(asyncio.create_task(self._ask(waiting.pop(0), round_number)))
                done, asked = await asyncio.wait(
                    asked,
                    timeout=self.hedge_seconds if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for one in done:
                    if (found := one.result()) is not None:
                        return found
            return None
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    def _url(self, address: str, round_number: int) -> str:
        if address.endswith(BRIDGE_PATH):
            return f"{address}/{round_number}"
        chain = QUICKNET_HASH if self.chain == QUICKNET else self.chain.name
        return f"{address}/{chain}/public/{round_number}"

    async def _ask(self, address: str, round_number: int) -> bytes | None:
        try:
            async with asyncio.timeout(self.timeout_seconds), AsyncExitStack() as opened:
                client = await opened.enter_async_context(open_client(address, self.timeout_seconds))
                return await self._answer(client, address, round_number)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ExceptionGroup) as error:
            # Report every kind of failure and go on, so that one unusable address does not prevent requests
            # to the other relays.
            slow = isinstance(error, TimeoutError | httpx.TimeoutException)
            self.on_failure(address, RelayFailure.SLOW if slow else RelayFailure.UNREACHABLE)
        except RelayError as error:
            self.on_failure(address, error.failure)
        return None

    async def _answer(self, client: httpx.AsyncClient, address: str, round_number: int) -> bytes:
        request = client.stream(
            "GET", self._url(address, round_number), headers={"Accept-Encoding": "identity"}
        )
        async with request as answer:
            if answer.status_code != httpx.codes.OK:
                raise RelayError(_refusal(answer.status_code))
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise RelayError(RelayFailure.MALFORMED)
        signature = _stated_signature(bytes(body), round_number)
        try:
            return await asyncio.to_thread(check_signature, self.chain, round_number, signature)
        except BeaconError:
            raise RelayError(RelayFailure.FALSE_SIGNATURE) from None


def _refusal(status: int) -> RelayFailure:
    if status in {httpx.codes.NOT_FOUND, httpx.codes.TOO_EARLY}:
        return RelayFailure.NOT_THERE_YET
    return RelayFailure.RATE_LIMITED if status == httpx.codes.TOO_MANY_REQUESTS else RelayFailure.REFUSED


def _stated_signature(body: bytes, round_number: int) -> str:
    """Return the signature that a reply states for the round. Raises RelayError."""
    try:
        stated = json.loads(body)
        if stated["round"] == round_number and isinstance(stated["signature"], str):
            return str(stated["signature"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RelayError(RelayFailure.MALFORMED) from None
    raise RelayError(RelayFailure.MALFORMED)

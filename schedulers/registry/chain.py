"""The metagraph from the chain, through the `bittensor` SDK: one connection, held from reading to reading.

Owns that connection, which of several nodes it goes to, and the translation of all that the SDK can
raise. Does not own when to read, nor whether to believe what was read. The SDK takes a second to
import and is imported when first needed, in a thread: epochs start on the same event loop.
"""

import asyncio
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from runtime import logs
from schedulers.registry.connecting import cleared_up
from schedulers.registry.source import Reading, RegistryUnreadableError
from zipcast.hotkeys import MalformedHotkeyError, parse_hotkey
from zipcast.messages import RegisteredNeuron

log = logs.logger()

# Answers that do not have the shape the SDK expects come out of it as these. Without its types:
# pydantic, SCALE and JSON errors are ValueErrors.
_MISSHAPEN = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
)

# The chain counts blocks in 32 bits.
MOST_BLOCKS = 2**32


@dataclass(slots=True)
class ChainRegistry:
    """`endpoints` are ws:// or wss:// addresses; empty: the SDK's own for `network`. The first is used
    until it is distrusted, then the next, and after the last the first again."""

    network: str
    netuid: int
    endpoints: tuple[str, ...]
    deadline_seconds: float
    certain: bool = field(default=False, init=False)
    _turn: int = field(default=0, init=False)
    _sdk: Any = field(default=None, init=False)
    _client: Any = field(default=None, init=False)

    async def read(self) -> Reading:
        if self._sdk is None:
            self._sdk = await asyncio.to_thread(import_module, "bittensor")
            self.endpoints = self.endpoints or public_endpoints(self.network)
        try:
            async with asyncio.timeout(self.deadline_seconds):
                await self._connect()
                metagraph = await self._client.subnets.metagraph(self.netuid, commitments=False)
                reading = None if metagraph is None else _reading(metagraph)
        except (self._sdk.BittensorError, TimeoutError, OSError, *_MISSHAPEN) as error:
            reason = f"{_shown(self._endpoint)}: {type(error).__name__}: {error}"
            raise RegistryUnreadableError(reason, _retry_after(error)) from error
        if reading is None or not reading.neurons:
            raise RegistryUnreadableError(
                f"subnet {self.netuid} does not exist or is empty: check NET_UID and BT_NETWORK"
            )
        return reading

    async def distrust(self) -> None:
        await self.close()
        self._turn += 1

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            await client.close()
        except Exception as error:  # noqa: BLE001 - the SDK's background task may have died of anything
            # It comes out once more here, before the socket is closed, which is then the node's to close.
            log.info("chain_connection_ended", error=type(error).__name__)

    async def _connect(self) -> None:
        """One client at a time; a connection that drops, the SDK opens again at the next reading."""
        if self._client is not None:
            return
        client = self._sdk.Client(self._endpoint, fallback_endpoints=[], archive_endpoints=[])
        # Before it is connected: connecting may fail when the socket is open already.
        self._client = client
        await cleared_up(client.connect())
        log.info("chain_connected", endpoint=_shown(self._endpoint))

    @property
    def _endpoint(self) -> str:
        return self.endpoints[self._turn % len(self.endpoints)]


def public_endpoints(network: str) -> tuple[str, ...]:
    """The nodes that the SDK knows for a network. Raises RegistryUnreadableError for one it does not know."""
    settings = import_module("bittensor.settings")
    try:
        _, first = settings.resolve_endpoint(network)
    except ValueError as error:
        raise RegistryUnreadableError(
            f"BT_NETWORK {network} is none of the SDK's: name nodes in BT_CHAIN_ENDPOINTS"
        ) from error
    return (first, *settings.default_fallback_endpoints(network))


def _reading(metagraph: Any) -> Reading:
    """Neurons whose keys nobody can hold (the chain fills gaps with the zero key) are left out."""
    neurons: dict[str, RegisteredNeuron] = {}
    left_out: list[int] = []
    for found in metagraph.neurons:
        try:
            neuron = RegisteredNeuron(
                uid=found.uid,
                hotkey=parse_hotkey(found.hotkey),
                coldkey=parse_hotkey(found.coldkey),
                validator_permit=found.validator_permit,
                alpha_stake_rao=found.alpha_stake.rao,
            )
        except MalformedHotkeyError:
            left_out.append(found.uid)
            continue
        if neurons.setdefault(neuron.hotkey, neuron) is not neuron:
            raise ValueError("a hotkey stands twice")
    if left_out:
        log.info("registry_neurons_left_out", uids=left_out)
    if not 0 < metagraph.block < MOST_BLOCKS:
        raise ValueError("no block has that number")
    return Reading(tuple(neurons.values()), metagraph.block)


def _shown(endpoint: str) -> str:
    """Host and port only: paths and user names of private nodes are keys."""
    return urlsplit(endpoint).netloc.rpartition("@")[2]


def _retry_after(error: Exception) -> float:
    """The seconds a node that refuses us asks for; 0 if none, or a date."""
    stated = str(getattr(error, "retry_after", None) or "")
    return float(stated) if stated.isascii() and stated.isdigit() and len(stated) < 10 else 0.0

"""Defines the runtime of the stand-in chain: V15 metadata with the parts that are needed to read a metagraph,
and the metagraph in the encoding of that runtime.

This module defines the layout of both, so that they agree. Names are those of the real runtime. The SDK looks
up its call `SubnetInfoRuntimeApi.get_metagraph` and its map `SubtensorModule.TokenSymbol`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.chain.scale import compact, number, option, text, vector
from zipcast.protocol.hotkeys import public_key

_PRIMITIVES = {"bool": 0, "u8": 3, "u16": 4, "u64": 6}
# The metagraph's fields that the SDK reads, in this runtime's order.
_METAGRAPH = {
    "netuid": "u16",
    "name": "Vec<u8>",
    "symbol": "Vec<u8>",
    "block": "u64",
    "tempo": "u16",
    "last_step": "u64",
    "blocks_since_last_step": "u64",
    "owner_hotkey": "AccountId32",
    "owner_coldkey": "AccountId32",
    "network_registered_at": "u64",
    "num_uids": "u16",
    "max_uids": "u16",
    "hotkeys": "Vec<AccountId32>",
    "coldkeys": "Vec<AccountId32>",
    "active": "Vec<bool>",
    "validator_permit": "Vec<bool>",
    "alpha_stake": "Vec<Compact<u64>>",
}
_TYPES = (
    *_PRIMITIVES,
    "[u8; 32]",
    "AccountId32",
    "Vec<u8>",
    "Vec<bool>",
    "Vec<AccountId32>",
    "Compact<u64>",
    "Vec<Compact<u64>>",
    "()",
    "Metagraph",
    "Option<Metagraph>",
    "RuntimeCall",
)


@dataclass(frozen=True, slots=True)
class ChainNeuron:
    """A neuron of the chain. Keys are SS58 addresses; the stake is in rao."""

    hotkey: str
    coldkey: str
    permit: bool = False
    alpha_rao: int = 0


def metadata() -> bytes:
    types = [compact(_id(name)) + vector([*map(text, _path(name))]) + vector([]) + _shape(name) + vector([])
             for name in _TYPES]  # fmt: skip
    symbols = text("TokenSymbol") + b"\x01\x01" + vector([b"\x05"]) + _ref("u16") + _ref("Vec<u8>")
    storage = text("SubtensorModule") + vector([symbols + vector([]) + vector([])])
    pallet = text("SubtensorModule") + option(storage) + option(None) * 2 + vector([]) + option(None)
    extrinsic = b"\x04" + _ref("AccountId32") + _ref("RuntimeCall") + _ref("()") * 2 + vector([])
    method = text("get_metagraph") + vector([text("netuid") + _ref("u16")]) + _ref("Option<Metagraph>")
    api = text("SubnetInfoRuntimeApi") + vector([method + vector([])]) + vector([])
    return b"".join(
        (
            b"meta\x0f",
            vector(types),
            vector([pallet + b"\x07" + vector([])]),
            extrinsic,
            _ref("()"),
            vector([api]),
            _ref("RuntimeCall") * 3,
            vector([]),
        )
    )


def metagraph(netuid: int, block: int, neurons: Sequence[ChainNeuron]) -> bytes:
    """Return the metagraph as an encoded `Some`."""
    values = (
        number(netuid, 2) + text("stand-in") + text("Z") + number(block, 8),
        number(360, 2) + number(block, 8) + number(0, 8) + bytes(32) * 2 + number(1, 8),
        number(len(neurons), 2) + number(256, 2),
        vector(_account(neuron.hotkey) for neuron in neurons),
        vector(_account(neuron.coldkey) for neuron in neurons),
        vector(b"\x01" for _ in neurons),
        vector(bytes([neuron.permit]) for neuron in neurons),
        vector(compact(neuron.alpha_rao) for neuron in neurons),
    )
    return option(b"".join(values))


def _account(address: str) -> bytes:
    """Encode an account. An unused uid has an empty account, with which the chain fills gaps."""
    return public_key(address) if address else bytes(32)  # type: ignore[arg-type]


def _id(name: str) -> int:
    return _TYPES.index(name)


def _ref(name: str) -> bytes:
    return compact(_id(name))


def _path(name: str) -> list[str]:
    paths = {
        "AccountId32": ["sp_core", "crypto", "AccountId32"],
        "Metagraph": ["Metagraph"],
        "Option<Metagraph>": ["Option"],
        "RuntimeCall": ["node_subtensor_runtime", "RuntimeCall"],
    }
    return paths.get(name, [])


def _shape(name: str) -> bytes:
    """Return the kind of the type, and the types of which it consists."""
    if name in _PRIMITIVES:
        return b"\x05" + bytes([_PRIMITIVES[name]])
    if name.startswith("Vec<"):
        return b"\x02" + _ref(name[4:-1])
    if name.startswith("Compact<"):
        return b"\x06" + _ref(name[8:-1])
    variant = text("None") + vector([]) + b"\x00" + vector([])
    some = (
        text("Some") + vector([_field(None, "Metagraph")]) + b"\x01" + vector([])
        if "Metagraph" in name
        else b""
    )
    return {
        "[u8; 32]": lambda: b"\x03" + number(32, 4) + _ref("u8"),
        "AccountId32": lambda: b"\x00" + vector([_field(None, "[u8; 32]")]),
        "()": lambda: b"\x04" + vector([]),
        "Metagraph": lambda: b"\x00" + vector(_field(*field) for field in _METAGRAPH.items()),
        "Option<Metagraph>": lambda: b"\x01" + vector([variant, some]),
        "RuntimeCall": lambda: b"\x01" + vector([]),
    }[name]()


def _field(name: str | None, of_type: str) -> bytes:
    return option(None if name is None else text(name)) + _ref(of_type) + option(None) + vector([])

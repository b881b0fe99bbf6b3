"""The process that reads the metagraph: `python -m schedulers.registry.chain_process`.

It uses the `bittensor` SDK. It answers each line of its input, which says what to read, with one line of JSON
(`ChainAnswer`), and holds one connection from reading to reading. `chain` starts it and kills it.
"""

import asyncio
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import bittensor
from bittensor import settings

from schedulers.registry.chain import ChainAnswer, shown_endpoint
from zipcast.protocol.hotkeys import MalformedHotkeyError, parse_hotkey
from zipcast.protocol.messages.registry import RegisteredNeuron

MAX_MEMORY_BYTES = 2 * 1024**3
"""The limit of address space. The SDK takes 1 GB of it, most of which it never touches."""


async def serve(asked: TextIO, answers: TextIO) -> None:
    """Answer every line until the input ends."""
    client: Any = None
    print("ready", file=answers, flush=True)
    while line := await asyncio.to_thread(asked.readline):
        request = json.loads(line)
        try:
            endpoints = request["endpoints"] or public_endpoints(request["network"])
            endpoint = endpoints[request["turn"] % len(endpoints)]
            if client is None:
                client = bittensor.Client(endpoint, fallback_endpoints=[], archive_endpoints=[])
                await client.connect()
            answer = _answer(await client.subnets.metagraph(request["netuid"], commitments=False))
        except Exception as error:  # noqa: BLE001 - whatever the SDK makes of an answer must be answered
            answer = _refusal(request, error)
        print(answer.model_dump_json(by_alias=False), file=answers, flush=True)


def public_endpoints(network: str) -> Sequence[str]:
    """Return the nodes that the SDK knows for a network. Raises ValueError for one it does not know."""
    try:
        _, first = settings.resolve_endpoint(network)
    except ValueError:
        raise ValueError(
            f"BT_NETWORK {network} is none of the SDK's: name nodes in BT_CHAIN_ENDPOINTS"
        ) from None
    return (first, *settings.default_fallback_endpoints(network))


def _answer(metagraph: Any) -> ChainAnswer:
    """Return the neurons. Those whose keys are none (the chain fills gaps with the zero key) are left out."""
    if metagraph is None:
        return ChainAnswer()
    neurons: list[RegisteredNeuron] = []
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
        neurons.append(neuron)
    return ChainAnswer(neurons=tuple(neurons), block=metagraph.block, left_out=tuple(left_out))


def _refusal(request: dict[str, Any], error: Exception) -> ChainAnswer:
    node = shown_endpoint(request["endpoints"], request["turn"])
    text = f"{node}: {type(error).__name__}: {error}"
    return ChainAnswer(error=text[:1000], retry_after_seconds=_retry_after(error))


def _retry_after(error: Exception) -> float:
    """Return the seconds that a node which refuses us asks for; 0 if none, or a date."""
    stated = str(getattr(error, "retry_after", None) or "")
    return float(stated) if stated.isascii() and stated.isdigit() and len(stated) < 10 else 0.0


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    # If the machine runs out of memory, this process goes first.
    Path("/proc/self/oom_score_adj").write_text("1000")
    os.nice(10)  # work that a node causes must not slow down the schedulers
    answers, sys.stdout = sys.stdout, sys.stderr  # the SDK's own output is no answer
    asyncio.run(serve(sys.stdin, answers))


if __name__ == "__main__":
    main()

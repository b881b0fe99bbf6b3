"""Runs the process that reads the metagraph with the `bittensor` SDK:
`python -m schedulers.registry.chain_process`.

Each line of its input is a request, and it replies with one line of JSON (`ChainAnswer`). It keeps one
connection between readings. `chain` starts and kills it.
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
"""The limit of address space, in bytes. The SDK reserves 1 GB and uses only a small part of it."""


async def serve(asked: TextIO, answers: TextIO) -> None:
    """Reply to every line until the input ends."""
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
            f"the SDK does not know BT_NETWORK {network}: list nodes in BT_CHAIN_ENDPOINTS"
        ) from None
    return (first, *settings.default_fallback_endpoints(network))


def _answer(metagraph: Any) -> ChainAnswer:
    """Return the neurons. Neurons with invalid keys are left out, because the chain fills gaps with the zero
    key."""
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
    """Return the number of seconds after which a node that refused us wants to be asked again. It is 0 if the
    node does not say or states a date."""
    stated = str(getattr(error, "retry_after", None) or "")
    return float(stated) if stated.isascii() and stated.isdigit() and len(stated) < 10 else 0.0


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    # If the machine runs out of memory, the kernel kills this process first.
    Path("/proc/self/oom_score_adj").write_text("1000")
    os.nice(10)  # the work must not slow down the schedulers
    answers, sys.stdout = sys.stdout, sys.stderr  # the SDK's output must not mix with replies
    asyncio.run(serve(sys.stdin, answers))


if __name__ == "__main__":
    main()

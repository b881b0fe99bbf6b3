"""Reads the metagraph from the chain with a separate process, `chain_process`, which can be killed.

A node may reply with gigabytes, or with data that takes minutes to decode, and the `bittensor` SDK decodes it
without interruption. That would block the event loop on which epochs start. Therefore the SDK runs in a
separate process with limited memory. It is killed if a reply is late or too large, or if the node is no
longer trusted.
"""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from schedulers.registry.source import Reading, RegistryUnreadableError
from service import logs
from zipcast.protocol.messages.registry import RegisteredNeuron

log = logs.logger()

START_TIMEOUT_SECONDS = 60.0
"""The time limit for importing the SDK. It usually takes a second."""
MAX_ANSWER_BYTES = 4 * 1024**2
"""The largest size of a reply, in bytes. It is enough for 15,000 neurons; a subnet has 256."""
# The environment variables that are passed on to the process that reads the chain. None of our settings is
# among them, because that process decodes data from unknown nodes.
_PASSED_ON = re.compile(
    r"PATH|HOME|LANG|LC_.*|TMPDIR|PYTHON.*|VIRTUAL_ENV|SSL_CERT_.*|(?i:\w+_proxy)|BITTENSOR_.*|BTCLI_.*"
)
# Block numbers of the chain have 32 bits, so they are smaller than this.
MAX_BLOCK = 2**32


class ChainAnswer(BaseModel):
    """A reply of `chain_process`: the reading, or why there is none. `left_out` lists the uids whose hotkey
    is not a valid key."""

    neurons: tuple[RegisteredNeuron, ...] = ()
    block: int = 0
    left_out: tuple[int, ...] = ()
    error: str | None = None
    retry_after_seconds: float = 0.0


@dataclass(slots=True)
class ChainRegistry:
    """Reads the chain from one of `endpoints`, which are ws:// or wss:// URLs. If there are none, it uses the
    SDK's own node for `network`. After a failure, the next endpoint is used, and after the last one the first
    again."""

    network: str
    netuid: int
    endpoints: tuple[str, ...]
    deadline_seconds: float
    certain: bool = field(default=False, init=False)
    _turn: int = field(default=0, init=False)
    _process: Process | None = field(default=None, init=False)

    async def read(self) -> Reading:
        """Read the metagraph. Raises RegistryUnreadableError."""
        try:
            answer = await self._answer()
        except (TimeoutError, OSError, ValueError, EOFError) as error:
            await self.close()
            node = shown_endpoint(self.endpoints, self._turn)
            raise RegistryUnreadableError(f"{node}: {type(error).__name__}") from error
        except asyncio.CancelledError:
            await self.close()  # otherwise a late reply would be taken for the reply to the next request
            raise
        if answer.error is not None:
            raise RegistryUnreadableError(answer.error, answer.retry_after_seconds)
        return self._reading(answer)

    async def distrust(self) -> None:
        await self.close()
        self._turn += 1

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
        if process is not None:
            await process.wait()

    async def _answer(self) -> ChainAnswer:
        """Start the process if needed, send it a request, and return its reply. Raises TimeoutError, EOFError
        if the process ends, and ValueError if the reply is too large."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "schedulers.registry.chain_process"),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)},
                limit=MAX_ANSWER_BYTES,
            )
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await _line(self._process)
        # Use stdin and not arguments, because URLs of private nodes contain keys.
        asked = {
            "network": self.network,
            "netuid": self.netuid,
            "endpoints": self.endpoints,
            "turn": self._turn,
        }
        async with asyncio.timeout(self.deadline_seconds):
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            line = await _line(self._process)
        try:
            return ChainAnswer.model_validate_json(line)
        except ValidationError as error:
            raise ValueError("the reply is malformed") from error

    def _reading(self, answer: ChainAnswer) -> Reading:
        if not answer.neurons:
            raise RegistryUnreadableError(
                f"subnet {self.netuid} does not exist or is empty: check NET_UID and BT_NETWORK"
            )
        if len({neuron.hotkey for neuron in answer.neurons}) < len(answer.neurons):
            raise RegistryUnreadableError("a hotkey occurs twice in the metagraph")
        if not 0 < answer.block < MAX_BLOCK:
            raise RegistryUnreadableError("the block number is out of range")
        if answer.left_out:
            log.info("registry_neurons_left_out", uids=list(answer.left_out[:10]))
        return Reading(answer.neurons, answer.block)


def shown_endpoint(endpoints: Sequence[str], turn: int) -> str:
    """Return host and port of the present endpoint, without path and user name, which contain keys of private
    nodes."""
    if not endpoints:
        return "the SDK's own node"
    return urlsplit(endpoints[turn % len(endpoints)]).netloc.rpartition("@")[2]


async def _line(process: Process) -> bytes:
    """Read a line. Raises EOFError if the process has ended, and ValueError if the line is too long."""
    line = b"" if process.stdout is None else await process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the reading process ended")
    return line

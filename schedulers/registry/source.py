"""The interface of both sources of the metagraph: the chain, and the file in its place."""

from dataclasses import dataclass
from typing import Protocol

from zipcast.protocol.messages.registry import RegisteredNeuron


class RegistryUnreadableError(Exception):
    """The source could not be read; the last good snapshot stays in force.

    `retry_after_seconds` is how long the source asked to be left alone; 0 if it did not."""

    def __init__(self, reason: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the metagraph, in the source's order, with every hotkey once.

    `block_number` is the chain's; None if the source has no blocks, and the publisher counts on."""

    neurons: tuple[RegisteredNeuron, ...]
    block_number: int | None


class RegistrySource(Protocol):
    """Something that can be read again and again."""

    @property
    def certain(self) -> bool:
        """Return whether one reading is enough to believe it: the operator's own file, not a stranger's
        node."""
        ...

    async def read(self) -> Reading:
        """Read the metagraph. Raises RegistryUnreadableError, at the latest after the source's own
        deadline."""
        ...

    async def distrust(self) -> None:
        """The last reading failed or was of no use: let go of the connection, and read from elsewhere
        next time if there is an elsewhere."""
        ...

    async def close(self) -> None:
        """Let go of any connection; the next reading opens another."""
        ...

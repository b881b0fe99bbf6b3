"""Defines the interface of the two sources of the registry: the chain, and the file that may replace it."""

from dataclasses import dataclass
from typing import Protocol

from zipcast.protocol.messages.registry import RegisteredNeuron


class RegistryUnreadableError(Exception):
    """The source could not be read, so the last good snapshot is kept.

    `retry_after_seconds` is how long the source asked us to wait, or 0 if it did not say."""

    def __init__(self, reason: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the metagraph, in the source's order, with every hotkey once.

    `block_number` is the number of the chain's block. It is None if the source has no blocks; then the
    publisher assigns numbers."""

    neurons: tuple[RegisteredNeuron, ...]
    block_number: int | None


class RegistrySource(Protocol):
    """A source that can be read repeatedly."""

    @property
    def certain(self) -> bool:
        """Return whether a single reading is trusted. A reading of the operator's own file is, a reading from
        a node is not."""
        ...

    async def read(self) -> Reading:
        """Read the metagraph. Raises RegistryUnreadableError, at the latest after the source's own time
        limit."""
        ...

    async def distrust(self) -> None:
        """Close the connection after a bad reading, and use another node for the next one, if there is
        another."""
        ...

    async def close(self) -> None:
        """Close the connection; the next reading opens another."""
        ...

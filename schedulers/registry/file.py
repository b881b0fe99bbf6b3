"""Reads the registry file: a JSON list of neurons that replaces the chain in development or in an
emergency."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schedulers.registry.source import Reading, RegistryUnreadableError
from service.registry import RAO_PER_ALPHA
from zipcast.protocol.hotkeys import MalformedHotkeyError, parse_hotkey
from zipcast.protocol.messages.registry import RegisteredNeuron


class FileNeuron(BaseModel):
    """One entry of the registry file; stake in alpha, up to nine decimals."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    uid: Annotated[int, Field(ge=0, le=65535)]
    hotkey: str
    coldkey: str
    validator_permit: bool
    alpha_stake: Annotated[float, Field(ge=0, le=1e9)]

    def neuron(self) -> RegisteredNeuron:
        return RegisteredNeuron(
            uid=self.uid,
            hotkey=parse_hotkey(self.hotkey),
            coldkey=parse_hotkey(self.coldkey),
            validator_permit=self.validator_permit,
            alpha_stake_rao=round(self.alpha_stake * RAO_PER_ALPHA),
        )


_FILE = TypeAdapter(list[FileNeuron])


@dataclass(slots=True)
class FileRegistry:
    """A registry file. It is parsed again when its bytes change."""

    path: Path
    certain: bool = field(default=True, init=False)
    _digest: str = field(default="", init=False)
    _reading: Reading = field(default=Reading((), None), init=False)

    async def read(self) -> Reading:
        try:
            content = self.path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if digest != self._digest:
                self._reading, self._digest = Reading(_parse(content), None), digest
        except (OSError, ValueError) as error:
            raise RegistryUnreadableError(f"{self.path.name}: {error}") from error
        return self._reading

    async def distrust(self) -> None:
        """Do nothing, because there is no other file."""

    async def close(self) -> None:
        """Do nothing, because nothing is open between readings."""


def _parse(content: bytes) -> tuple[RegisteredNeuron, ...]:
    """Return the neurons of the file. Raises ValueError."""
    try:
        neurons = tuple(entry.neuron() for entry in _FILE.validate_json(content))
    except (ValidationError, MalformedHotkeyError) as error:
        raise ValueError(str(error)) from error
    if len({neuron.hotkey for neuron in neurons}) != len(neurons):
        raise ValueError("a hotkey occurs twice")
    return neurons

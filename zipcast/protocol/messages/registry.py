"""Wire models of the registry: our copy of the subnet's metagraph."""

from pydantic import (
    Field,
)

from zipcast.protocol.messages.base import MAX_STAKE_RAO, MAX_UID, HotkeyText, WireModel, WireTime


class RegisteredNeuron(WireModel):
    """One line of the metagraph; stake in rao (1e-9 alpha)."""

    uid: int = Field(ge=0, le=MAX_UID, description="Number of the neuron.")
    hotkey: HotkeyText
    coldkey: str = Field(
        description="Coldkey that the hotkey is registered under on chain, SS58 with prefix 42."
    )
    validator_permit: bool = Field(description="Whether the neuron may validate.")
    alpha_stake_rao: int = Field(ge=0, le=MAX_STAKE_RAO, description="Stake in rao, 1e-9 alpha.")


class RegistrySnapshot(WireModel):
    """The metagraph at one block, as the scheduler read it and KV distributes it."""

    network: str = Field(description="Bittensor network.")
    netuid: int = Field(description="Number of the subnet.")
    block_number: int = Field(description="Block of the chain that was read.")
    taken_at: WireTime = Field(description="When the chain was read, UTC.")
    neurons: tuple[RegisteredNeuron, ...] = Field(description="All neurons of the subnet.")

"""Wire models of the epoch message, and of its proof."""

from collections.abc import Iterable
from typing import Literal

from pydantic import (
    Field,
)

from zipcast.protocol.messages.base import EpochId, Sha256Hex, WireModel, WireTime, ZipcodeText
from zipcast.selection.model import Candidate, MarketTier


class AssignedZipcode(WireModel):
    """One zipcode to collect. Rewards for it are measured against `expected_listings`."""

    zipcode: ZipcodeText
    expected_listings: int = Field(
        ge=0, description="Listings against which rewards for this zipcode are measured."
    )
    state: str = Field(description="Two letters of the state.", examples=["NJ"])
    city: str = Field(description="City of the zipcode.", examples=["Hoboken"])
    county: str = Field(description="County of the zipcode.", examples=["Hudson County"])
    market_tier: MarketTier = Field(
        description="Activity of the housing market: PREMIUM, STANDARD or EMERGING."
    )
    geographic_region: str = Field(description="Region of the country.", examples=["Northeast"])

    @classmethod
    def all_of(cls, chosen: Iterable[Candidate]) -> "tuple[AssignedZipcode, ...]":
        """Return the candidates as published zipcodes, in the same order."""
        return tuple(cls.model_validate(one, from_attributes=True) for one in chosen)


class EpochMetadata(WireModel):
    total_expected_listings: int = Field(ge=0, description="Sum of the published counts.", examples=[1960])
    zipcode_count: int = Field(ge=0, description="Number of zipcodes.", examples=[2])
    algorithm_version: str = Field(description="Version of the selection rules.")
    seed_commitment: Sha256Hex = Field(
        description="SHA-256 of the epoch's seed, published before anybody could know it; hex."
    )


class EpochMessage(WireModel):
    """The message that is signed and published at an epoch's start.

    Times are UTC; `submission_deadline` is the epoch's end. `nonce` is derived from the epoch's seed. The
    previous message contains the commitment to this seed (`next_seed_commitment`); the next message reveals
    the seed (`revealed_seed`)."""

    version: Literal[1] = Field(default=1, description="Version of the message format.")
    network: str = Field(description="Bittensor network.", examples=["test"])
    netuid: int = Field(ge=0, description="Number of the subnet.", examples=[46])
    epoch_id: EpochId
    epoch_start: WireTime = Field(description="First instant of the epoch, UTC.")
    epoch_end: WireTime = Field(description="First instant after the epoch, UTC.")
    nonce: Sha256Hex = Field(
        description="Lower-case hex, derived from the epoch's seed. Reports repeat it to prove that the "
        "epoch was received."
    )
    target_listings: int = Field(gt=0, description="Target for the sum of the zipcodes' listings.")
    tolerance_percent: int = Field(
        ge=0, lt=100, description="Largest difference between the sum and the target, percent of the target."
    )
    submission_deadline: WireTime = Field(description="Deadline of uploads for the epoch: its end, UTC.")
    zipcodes: tuple[AssignedZipcode, ...] = Field(description="Zipcodes to collect in this epoch.")
    assignments: tuple[()] = Field(default=(), description="Always empty; older clients expect it.")
    metadata: EpochMetadata = Field(description="Sums and commitments of the epoch.")
    previous_epoch_id: EpochId | None = Field(description="Id of the previous epoch; null for the first.")
    seed_commitment: Sha256Hex = Field(
        description="SHA-256 of the epoch's seed, published before anybody could know it; hex."
    )
    next_seed_commitment: Sha256Hex = Field(description="SHA-256 of the next epoch's seed, hex.")
    next_inputs_hash: Sha256Hex = Field(description="SHA-256 of the next epoch's inputs, hex.")
    revealed_seed: Sha256Hex | None = Field(
        description="Seed of the previous epoch, hex; null for the first epoch."
    )
    candidate_pool_hash: Sha256Hex = Field(
        description="SHA-256 of the pool from which the zipcodes were drawn, hex."
    )
    next_signer: str | None = Field(
        default=None,
        description="Hotkey that will sign later epochs, announced at least 7 days ahead; null if no "
        "change is planned.",
    )
    issued_at: WireTime = Field(description="When the message was signed, UTC.")


class Proof(WireModel):
    """The exact signed text that was published on NATS, its signer, and the signature in lower-case hex."""

    payload: str = Field(description="The exact text that was signed: the epoch message as JSON.")
    signer: str = Field(description="Hotkey that signed, SS58.")
    signature: str = Field(description="sr25519 signature over `payload`, lower-case hex.")

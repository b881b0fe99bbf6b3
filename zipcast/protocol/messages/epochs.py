"""Wire models of the epoch message, and of its proof."""

from collections.abc import Iterable
from typing import Literal

from pydantic import (
    Field,
)

from zipcast.protocol.messages.base import EpochId, Sha256Hex, WireModel, WireTime, ZipcodeText
from zipcast.selection.model import Candidate, MarketTier


class AssignedZipcode(WireModel):
    """One zipcode to collect; `expected_listings` is the count its reward is measured against."""

    zipcode: ZipcodeText
    expected_listings: int = Field(
        ge=0, description="Listings that a miner's reward for this zipcode is measured against."
    )
    state: str = Field(description="Two letters of the state.", examples=["NJ"])
    city: str = Field(description="City of the zipcode.", examples=["Hoboken"])
    county: str = Field(description="County of the zipcode.", examples=["Hudson County"])
    market_tier: MarketTier = Field(description="How much the market of the zipcode is worth.")
    geographic_region: str = Field(description="Region of the country.", examples=["Northeast"])

    @classmethod
    def all_of(cls, chosen: Iterable[Candidate]) -> "tuple[AssignedZipcode, ...]":
        """Return the candidates as they are published, in the order given."""
        return tuple(cls.model_validate(one, from_attributes=True) for one in chosen)


class EpochMetadata(WireModel):
    total_expected_listings: int = Field(ge=0, description="Sum of the published counts.", examples=[1960])
    zipcode_count: int = Field(ge=0, description="How many zipcodes the epoch has.", examples=[2])
    algorithm_version: str = Field(description="Rules of selection that chose them.")
    seed_commitment: Sha256Hex = Field(
        description="SHA-256 of the epoch's seed, published before anybody could know it; hex."
    )


class EpochMessage(WireModel):
    """The message that is signed and published at an epoch's start.

    Times are UTC; `submission_deadline` is the epoch's end. The seed behind `nonce` was committed to in the
    previous message (`seed_commitment`) and is revealed in the next (`revealed_seed`)."""

    version: Literal[1] = Field(default=1, description="Version of this message's form.")
    network: str = Field(description="Bittensor network.", examples=["test"])
    netuid: int = Field(ge=0, description="Number of the subnet.", examples=[46])
    epoch_id: EpochId
    epoch_start: WireTime = Field(description="First instant of the epoch, UTC.")
    epoch_end: WireTime = Field(description="First instant after the epoch, UTC.")
    nonce: Sha256Hex = Field(
        description="Proves that the epoch was received: lower-case hex, made from the epoch's seed."
    )
    target_listings: int = Field(gt=0, description="Listings the zipcodes of the epoch should hold together.")
    tolerance_percent: int = Field(
        ge=0, lt=100, description="How far the sum may lie from the target, percent."
    )
    submission_deadline: WireTime = Field(
        description="Until when uploads of the epoch are taken: its end, UTC."
    )
    zipcodes: tuple[AssignedZipcode, ...] = Field(description="What to collect in this epoch.")
    assignments: tuple[()] = Field(default=(), description="Always empty; older clients look for it.")
    metadata: EpochMetadata = Field(description="Sums and commitments of the epoch.")
    previous_epoch_id: EpochId | None = Field(description="The epoch before this one; null for the first.")
    seed_commitment: Sha256Hex = Field(
        description="SHA-256 of the epoch's seed, published before anybody could know it; hex."
    )
    next_seed_commitment: Sha256Hex = Field(description="SHA-256 of the next epoch's seed, hex.")
    next_inputs_hash: Sha256Hex = Field(description="SHA-256 of what the next epoch is chosen by, hex.")
    revealed_seed: Sha256Hex | None = Field(
        description="Seed of the epoch before, hex; null for the first epoch."
    )
    candidate_pool_hash: Sha256Hex = Field(
        description="SHA-256 of the pool that the zipcodes were drawn from, hex."
    )
    next_signer: str | None = Field(
        default=None,
        description="Hotkey that will sign instead, announced at least 7 days ahead; null: no change.",
    )
    issued_at: WireTime = Field(description="When the message was signed, UTC.")


class Proof(WireModel):
    """The signed text exactly as it travelled on NATS, its signer, and the lower-case hex signature."""

    payload: str = Field(description="The exact text that was signed: the epoch message as JSON.")
    signer: str = Field(description="Hotkey that signed, SS58.")
    signature: str = Field(description="sr25519 signature over `payload`, lower-case hex.")

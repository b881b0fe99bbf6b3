"""Wire models of the epoch message, and of its proof."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, StrictBool, StrictInt

from zipcast.protocol.beacon import MAX_ROUND, BeaconRound, parse_beacon_signature
from zipcast.protocol.messages.base import EpochId, Sha256Hex, Success, WireModel, WireTime, ZipcodeText
from zipcast.selection.model import Candidate, MarketTier

BeaconKind = Literal["round", "fallback", "none"]


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
        description="SHA-256 of the epoch's secret seed, published before the epoch was drawn; hex."
    )


class Proof(WireModel):
    """The exact signed text that was published on NATS, its signer, and the signature in lower-case hex."""

    payload: str = Field(description="The exact text that was signed: the epoch message or draft as JSON.")
    signer: str = Field(description="Hotkey that signed, SS58.")
    signature: str = Field(description="sr25519 signature over `payload`, lower-case hex.")


class EpochBeacon(WireModel):
    """The round of drand's beacon that gives an epoch its draw."""

    chain: str = Field(description="Chain of the round: `quicknet`, or `local` on a local network.")
    round: StrictInt = Field(ge=1, le=MAX_ROUND, description="Number of the round.", examples=[51000001])
    signature: str = Field(pattern=r"^[0-9a-f]{96}$", description="Signature of the round, lower-case hex.")
    fallback: StrictBool = Field(
        description="True for the earlier round, which is used if the later one could not be fetched in time."
    )

    @classmethod
    def of(cls, used: BeaconRound) -> "EpochBeacon":
        return cls(
            chain=used.chain,
            round=used.round_number,
            signature=used.signature.hex(),
            fallback=used.is_fallback,
        )

    def used(self) -> BeaconRound:
        """Return the round. This does not verify its signature."""
        return BeaconRound(self.chain, self.round, parse_beacon_signature(self.signature), self.fallback)


class EpochDraft(WireModel):
    """The commitment to an epoch that the previous message did not commit to. It is signed and sent before
    its round exists."""

    version: Literal[1] = Field(default=1, description="Version of the draft's format.")
    network: str = Field(description="Bittensor network.", examples=["test"])
    netuid: int = Field(ge=0, description="Number of the subnet.", examples=[46])
    epoch_id: EpochId
    inputs_hash: Sha256Hex = Field(description="SHA-256 of the epoch's inputs, hex.")
    seed_commitment: Sha256Hex = Field(description="SHA-256 of the epoch's secret seed, hex.")
    chain: str = Field(description="Chain of the round: `quicknet`, or `local` on a local network.")
    round: StrictInt = Field(ge=1, le=MAX_ROUND, description="Round for the epoch's draw.")
    issued_at: WireTime = Field(description="When the draft was signed, UTC.")


class EpochSeal(WireModel):
    """The signed part of a sealed epoch: the epoch's message, encrypted to a round of the beacon."""

    version: Literal[1] = Field(default=1, description="Version of the format of sealed epochs.")
    network: str = Field(description="Bittensor network.", examples=["test"])
    netuid: int = Field(ge=0, description="Number of the subnet.", examples=[46])
    epoch_id: EpochId
    chain: str = Field(description="Chain of the round: `quicknet`, or `local` on a local network.")
    round: StrictInt = Field(
        ge=1,
        le=MAX_ROUND,
        description="Round whose signature opens the epoch: the first from its start on.",
    )
    payload_sha256: Sha256Hex = Field(
        description="SHA-256 of the epoch's message, hex, to notice if another message is published."
    )
    ciphertext: str = Field(
        max_length=260_000, description="The message with its signer and signature, encrypted; base64."
    )


class SealedEpochReply(WireModel):
    """The newest sealed epoch that has not ended."""

    success: Success = True
    epoch_id: EpochId
    sealed: Proof = Field(description="The sealed epoch as it was sent on NATS.")


class EpochMessage(WireModel):
    """The message that is signed and published at an epoch's start.

    Times are UTC; `submission_deadline` is the epoch's end. The zipcodes and `nonce` are derived from the
    epoch's secret seed and from `beacon`. The previous message contains the commitment to this seed
    (`next_seed_commitment`); the next message reveals the seed (`revealed_seed`)."""

    version: Literal[1] = Field(default=1, description="Version of the message format.")
    network: str = Field(description="Bittensor network.", examples=["test"])
    netuid: int = Field(ge=0, description="Number of the subnet.", examples=[46])
    epoch_id: EpochId
    epoch_start: WireTime = Field(description="First instant of the epoch, UTC.")
    epoch_end: WireTime = Field(description="First instant after the epoch, UTC.")
    nonce: Sha256Hex = Field(
        description="Lower-case hex, derived from the epoch's seed and beacon. Reports repeat it to prove "
        "that the epoch was received."
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
        description="SHA-256 of the epoch's secret seed, published before the epoch was drawn; hex."
    )
    next_seed_commitment: Sha256Hex = Field(description="SHA-256 of the next epoch's seed, hex.")
    next_inputs_hash: Sha256Hex = Field(description="SHA-256 of the next epoch's inputs, hex.")
    revealed_seed: Sha256Hex | None = Field(
        description="Seed of the previous epoch, hex; null for the first epoch."
    )
    candidate_pool_hash: Sha256Hex = Field(
        description="SHA-256 of the pool from which the zipcodes were drawn, hex."
    )
    beacon: EpochBeacon | None = Field(
        description="Round of drand's beacon for the epoch's draw; null if none could be fetched in time."
    )
    draft: Proof | None = Field(
        default=None,
        description="Signed draft of the epoch if the previous message did not commit to it; otherwise null.",
    )
    next_signer: str | None = Field(
        default=None,
        description="Hotkey that will sign later epochs, announced at least 7 days ahead; null if no "
        "change is planned.",
    )
    issued_at: WireTime = Field(description="When the message was signed, UTC.")

    def used_round(self) -> BeaconRound | None:
        """Return the round that the epoch was drawn with. Its signature is verified with the message."""
        return None if self.beacon is None else self.beacon.used()

    @property
    def beacon_kind(self) -> BeaconKind:
        """Return the kind of round that the epoch was drawn with: `round`, `fallback` or `none`."""
        if self.beacon is None:
            return "none"
        return "fallback" if self.beacon.fallback else "round"

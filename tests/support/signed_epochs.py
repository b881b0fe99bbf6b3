"""Makes a series of signed epochs for tests of verification."""

from datetime import timedelta

from tests.contract.documents import epoch_message
from tests.support.beacons import local_beacon
from tests.support.fakes import START_AT
from zipcast.protocol import envelope
from zipcast.protocol.calendar import EpochInterval, format_epoch_id
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import Keypair, parse_hotkey
from zipcast.protocol.messages.epochs import EpochDraft, EpochMessage
from zipcast.selection import seeds
from zipcast.verification.epochs import Evidence

SECRET = b"w" * 32

LENGTH = timedelta(hours=4)

SIGNER = Keypair.create_from_uri("//Signer")
TRUST = Trust(frozenset({parse_hotkey(SIGNER.ss58_address)}), "local", epoch_message().netuid)


def seed_of(number: int) -> bytes:
    return seeds.derive_seed(SECRET, TRUST.network, TRUST.netuid, name(number))


def name(number: int) -> str:
    return format_epoch_id(START_AT + number * LENGTH)


def message(number: int, *, missed_before: int = 0) -> EpochMessage:
    """Return the message of one epoch of a chain. The given number of epochs before it were missed."""
    start, seed, previous = START_AT + number * LENGTH, seed_of(number), number - 1 - missed_before
    base = epoch_message()
    picked = seeds.selected_zipcodes_hash((one.zipcode, one.expected_listings) for one in base.zipcodes)
    commitment = seeds.seed_commitment(seed)
    beacon = local_beacon(EpochInterval(start, start + LENGTH))
    draw_seed = seeds.derive_draw_seed(seed, beacon.used())
    made = base.model_copy(
        update={
            "network": TRUST.network,
            "epoch_id": name(number),
            "epoch_start": start,
            "epoch_end": start + LENGTH,
            "submission_deadline": start + LENGTH,
            "nonce": seeds.derive_nonce(draw_seed, name(number), int(start.timestamp()), picked),
            "beacon": beacon,
            "issued_at": start - timedelta(seconds=90),
            "seed_commitment": commitment,
            "target_listings": base.metadata.total_expected_listings,
            "metadata": base.metadata.model_copy(update={"seed_commitment": commitment}),
            "next_seed_commitment": seeds.seed_commitment(seed_of(number + 1)),
            "previous_epoch_id": name(previous),
            "revealed_seed": seed_of(previous).hex(),
        }
    )
    return drafted(made) if missed_before else made


def drafted(of: EpochMessage, inputs_hash: str = "07" * 32) -> EpochMessage:
    """Return the message with a signed draft, like the message of an epoch that no message promised."""
    assert of.beacon is not None
    draft = EpochDraft(
        network=of.network,
        netuid=of.netuid,
        epoch_id=of.epoch_id,
        inputs_hash=inputs_hash,
        seed_commitment=of.seed_commitment,
        chain=of.beacon.chain,
        round=of.beacon.round,
        issued_at=of.epoch_start - timedelta(seconds=200),
    )
    return of.model_copy(update={"draft": envelope.sign_draft(draft, SIGNER)})  # type: ignore[arg-type]


def signed(of: EpochMessage, signer: Keypair = SIGNER) -> Evidence:
    number = round((of.epoch_start - START_AT) / LENGTH)
    return Evidence(of.epoch_id, envelope.seal(of, signer), seed_of(number).hex())  # type: ignore[arg-type]

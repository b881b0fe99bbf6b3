"""Tests seed, commitments and nonce, with the vectors of docs/protocol.md."""

import hashlib
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.golden_vectors import vectors
from zipcast.protocol.beacon import BeaconRound, parse_beacon_signature
from zipcast.selection.honeypots import commitment
from zipcast.selection.model import Candidate, MarketTier
from zipcast.selection.seeds import (
    ImportKeys,
    candidate_pool_hash,
    derive_draw_seed,
    derive_nonce,
    derive_seed,
    inputs_hash,
    seed_commitment,
    selected_zipcodes_hash,
    zipcodes_hash,
)

SECRET = bytes(range(32))
SEED = derive_seed(SECRET, "finney", 46, "2026-11-22T04-00-00")


VECTORS = vectors("Seed, commitments, nonce")
POOL = [
    Candidate(
        zipcode=row["zipcode"],
        state=row["state"],
        city="",
        county="",
        market_tier=MarketTier(row["marketTier"]),
        geographic_region="",
        expected_listings=row["expectedListings"],
        population=row["population"],
        base_weight=row["baseWeight"],
        last_scraped_at=datetime(2026, 11, 1, tzinfo=UTC),
        last_assigned_at=None,
    )
    for row in vectors("Selection")["pool"]
]


def test_the_documented_seed_and_commitment_hold() -> None:
    secret = bytes.fromhex(VECTORS["secret"])
    seed = derive_seed(secret, VECTORS["network"], VECTORS["netuid"], VECTORS["epochId"])
    assert seed.hex() == VECTORS["seed"]
    assert seed_commitment(seed) == VECTORS["seedCommitment"]


BEACON = BeaconRound(
    VECTORS["beacon"]["chain"],
    VECTORS["beacon"]["round"],
    parse_beacon_signature(VECTORS["beacon"]["signature"]),
    VECTORS["beacon"]["fallback"],
)


def test_the_documented_draw_seeds_hold() -> None:
    seed = bytes.fromhex(VECTORS["seed"])
    assert derive_draw_seed(seed, BEACON).hex() == VECTORS["drawSeed"]
    assert derive_draw_seed(seed, None).hex() == VECTORS["drawSeedWithoutBeacon"]


def test_a_draw_seed_depends_on_chain_round_and_signature_and_not_on_the_kind_of_round() -> None:
    others = [
        replace(BEACON, chain="local"),
        replace(BEACON, round_number=BEACON.round_number + 1),
        replace(BEACON, signature=bytes(48)),
        None,
    ]
    assert len({derive_draw_seed(SEED, one) for one in (BEACON, *others)}) == 5
    assert derive_draw_seed(SEED, replace(BEACON, is_fallback=True)) == derive_draw_seed(SEED, BEACON)


def committed(one: Candidate) -> tuple[Candidate, str]:
    salt = hashlib.sha256(one.zipcode.encode()).digest()
    return one, commitment(one.zipcode, one.expected_listings, is_honeypot=False, salt=salt)


def test_the_documented_hash_of_zipcodes_holds_and_covers_all_of_them() -> None:
    rows = [committed(one) for one in POOL]
    first, bound = rows[0]
    assert zipcodes_hash(reversed(rows)) == VECTORS["zipcodesSha256"]
    for changes in (
        {"expected_listings": 1},
        {"last_scraped_at": first.last_scraped_at + timedelta.resolution},
        {"population": 7},
        {"market_tier": MarketTier.EMERGING},
    ):
        changed = replace(first, **changes), bound
        assert zipcodes_hash([changed, *rows[1:]]) != VECTORS["zipcodesSha256"]
    assert zipcodes_hash([(first, "00" * 32), *rows[1:]]) != VECTORS["zipcodesSha256"]
    assert zipcodes_hash(rows[1:]) != VECTORS["zipcodesSha256"]


def test_an_import_has_keys_of_its_own() -> None:
    keys = ImportKeys(SECRET, "finney", 46, 7)
    others = [replace(keys, import_id=8), replace(keys, netuid=47), replace(keys, network="test")]
    assert len({one.honeypots() for one in (keys, *others)}) == 4
    assert len({one.salt("19104") for one in (keys, *others)} | {keys.salt("19103")}) == 5
    assert {len(keys.honeypots()), len(keys.salt("19104"))} == {32}


def test_the_documented_hashes_and_nonce_hold() -> None:
    selected = selected_zipcodes_hash(tuple(pair) for pair in VECTORS["selectedZipcodes"])
    assert selected == VECTORS["selectedZipcodesHash"]
    assert candidate_pool_hash(POOL) == VECTORS["candidatePoolHash"]
    assert inputs_hash(VECTORS["inputs"].encode()) == VECTORS["inputsHash"]
    draw_seed = bytes.fromhex(VECTORS["drawSeed"])
    assert (
        derive_nonce(draw_seed, VECTORS["epochId"], VECTORS["startTimestamp"], selected) == VECTORS["nonce"]
    )


@pytest.mark.parametrize("length", [0, 16, 31])
def test_a_short_secret_is_refused_without_being_shown(length: int) -> None:
    secret = b"hunter2-hunter2-hunter2-hunter2"[:length]
    with pytest.raises(ValueError, match="at least 32 bytes") as refusal:
        derive_seed(secret, "finney", 46, "2026-11-22T04-00-00")
    assert "hunter" not in str(refusal.value)


@pytest.mark.parametrize(
    "other",
    [
        derive_seed(SECRET[:-1] + b"\0", "finney", 46, "2026-11-22T04-00-00"),
        derive_seed(SECRET, "test", 46, "2026-11-22T04-00-00"),
        derive_seed(SECRET, "finney", 4, "2026-11-22T04-00-00"),
        derive_seed(SECRET, "finney", 46, "2026-11-22T08-00-00"),
    ],
    ids=["secret", "network", "netuid", "epoch"],
)
def test_each_part_of_what_a_seed_stands_for_changes_it(other: bytes) -> None:
    assert other != SEED


@given(st.integers(0, 255), st.binary(min_size=32, max_size=32))
def test_a_seed_with_any_bit_flipped_no_longer_meets_its_commitment(bit: int, seed: bytes) -> None:
    flipped = (int.from_bytes(seed, "big") ^ 1 << bit).to_bytes(32, "big")
    assert seed_commitment(flipped) != seed_commitment(seed)
    assert derive_nonce(flipped, "e", 0, "h") != derive_nonce(seed, "e", 0, "h")


def test_each_part_of_what_a_nonce_binds_changes_it() -> None:
    nonces = {
        derive_nonce(SEED, "2026-11-22T04-00-00", 1_795_320_000, "aa"),
        derive_nonce(SEED, "2026-11-22T08-00-00", 1_795_320_000, "aa"),
        derive_nonce(SEED, "2026-11-22T04-00-00", 1_795_320_001, "aa"),
        derive_nonce(SEED, "2026-11-22T04-00-00", 1_795_320_000, "ab"),
    }
    assert len(nonces) == 4


def test_selected_zipcodes_hash_to_the_lines_the_protocol_names() -> None:
    lines = b"07030:1310\n19104:1450\n"
    assert selected_zipcodes_hash([("19104", 1450), ("07030", 1310)]) == hashlib.sha256(lines).hexdigest()
    assert selected_zipcodes_hash([]) == hashlib.sha256(b"").hexdigest()


zipcodes = st.integers(0, 99_999).map("{:05d}".format)


@settings(max_examples=30)
@given(
    st.dictionaries(zipcodes, st.integers(0, 5_000), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_published_zipcodes_hash_alike_in_any_order_and_differ_by_one_listing(
    listings: dict[str, int], shuffler: random.Random
) -> None:
    pairs = list(listings.items())
    expected = selected_zipcodes_hash(pairs)
    shuffler.shuffle(pairs)
    assert selected_zipcodes_hash(pairs) == expected
    (zipcode, count), *rest = pairs
    assert selected_zipcodes_hash([(zipcode, count + 1), *rest]) != expected
    assert selected_zipcodes_hash(rest) != expected


def test_a_pool_hashes_alike_in_any_order_and_differs_without_one_of_them() -> None:
    assert candidate_pool_hash(reversed(POOL)) == candidate_pool_hash(POOL)
    assert candidate_pool_hash(POOL[1:]) != candidate_pool_hash(POOL)


def test_inputs_hash_as_the_bytes_they_are() -> None:
    assert inputs_hash(b'{"a": 1}') != inputs_hash(b'{"a":1}')

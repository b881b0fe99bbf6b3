"""Tests relays of the beacon that are down, slow, lying or limited, and makes the table of
docs/reliability.md."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from devstack.beacon_relay import stand_in_signature
from tests.support.relays import relay
from zipcast.client.relays import RelayFailure, Relays, relay_addresses
from zipcast.protocol.beacon import LOCAL_CHAIN, QUICKNET, Purpose

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
ROUND = LOCAL_CHAIN.last_by(datetime.now(UTC), Purpose.DRAW)
SETUPS = [
    ("honest",),
    ("down",),
    ("slow",),
    ("too early",),
    ("404",),
    ("429",),
    ("500",),
    ("redirect",),
    ("lying: another round's signature",),
    ("lying: another round",),
    ("upper-case signature",),
    ("trailing bytes",),
    ("truncated signature",),
    ("not JSON",),
    ("endless",),
    ("down", "lying: another round's signature", "honest"),
    ("slow", "429", "honest"),
    ("slow", "honest"),
    ("down", "slow", "lying: another round"),
]


async def ask(*kinds: str) -> tuple[bytes | None, list[RelayFailure]]:
    failures: list[RelayFailure] = []
    with ExitStack() as opened:
        addresses = tuple(opened.enter_context(relay(kind)) for kind in kinds)
        relays = Relays(
            addresses,
            LOCAL_CHAIN,
            hedge_seconds=0.05,
            timeout_seconds=5.0,
            on_failure=lambda _, failure: failures.append(failure),
        )
        return await relays.signature(ROUND), failures


def row(kinds: tuple[str, ...], found: bytes | None, failures: list[RelayFailure]) -> str:
    outcome = "the true signature" if found is not None else "no signature"
    counted = ", ".join(sorted(f"`{failure}`" for failure in failures)) or "–"
    return f"| {'; '.join(kinds)} | {outcome} | {counted} |"


@pytest.mark.parametrize("kinds", SETUPS, ids="+".join)
async def test_one_right_relay_is_enough_and_no_other_is_believed(kinds: tuple[str, ...]) -> None:
    found, failures = await ask(*kinds)
    expected = bytes.fromhex(stand_in_signature(ROUND)) if "honest" in kinds else None
    assert found == expected
    assert row(kinds, found, failures) in PAGE.read_text().splitlines()


async def test_without_relays_there_is_no_signature() -> None:
    assert await ask() == (None, [])


@pytest.mark.parametrize(
    ("stated", "chain"),
    [
        ("http://relay.example.org", QUICKNET),
        ("https://relay.example.org", LOCAL_CHAIN),
        ("ftp://127.0.0.1", QUICKNET),
        ("relay.example.org", QUICKNET),
    ],
)
def test_a_relay_is_asked_over_https_and_the_local_one_on_this_machine_alone(stated: str, chain) -> None:
    with pytest.raises(ValueError, match=r"use https|must be on this machine"):
        relay_addresses(stated, chain)


def test_no_relays_are_the_public_ones_and_on_a_local_network_none() -> None:
    assert relay_addresses("", LOCAL_CHAIN) == ()
    assert all(one.startswith("https://") for one in relay_addresses("", QUICKNET))

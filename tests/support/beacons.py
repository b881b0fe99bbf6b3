"""Rounds of the beacon for tests: those of the local chain, whose signatures are public."""

from devstack.beacon_relay import stand_in_signature
from zipcast.protocol.beacon import LOCAL_CHAIN, BeaconRound, BeaconRounds, promised_rounds
from zipcast.protocol.calendar import EpochInterval
from zipcast.protocol.messages.epochs import EpochBeacon


def stand_in(round_number: int, *, is_fallback: bool = False) -> BeaconRound:
    """Return a round of the local chain with its signature."""
    signature = bytes.fromhex(stand_in_signature(round_number))
    return BeaconRound(LOCAL_CHAIN.name, round_number, signature, is_fallback)


def local_rounds(interval: EpochInterval) -> BeaconRounds:
    """Return the rounds that the message of the epoch right before promises, if that epoch has the same
    length."""
    length = interval.end_at - interval.start_at
    return promised_rounds(
        LOCAL_CHAIN, interval, EpochInterval(interval.start_at - length, interval.start_at)
    )


def local_beacon(interval: EpochInterval) -> EpochBeacon:
    """Return the draw round of the epoch, as its message states it."""
    return EpochBeacon.of(stand_in(local_rounds(interval).draw_round))

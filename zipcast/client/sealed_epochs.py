"""Opens sealed epochs whose message does not arrive, so that an epoch is known even if the service is down.

A sealed epoch arrives before its start and is verified at once. It is opened only if its message is missing
half a second after the start. Each client waits an additional random time, so that clients do not all ask the
relays of the beacon at once.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import datetime

from zipcast.client.relays import Relays
from zipcast.clock import Clock
from zipcast.protocol.envelope import EnvelopeError, EquivocationError, Trust, UnverifiedEnvelope
from zipcast.protocol.sealing import SealedEpoch, open_sealed, verify_sealed

log = logging.getLogger(__name__)

GRACE_SECONDS = 0.5
"""The time in seconds after an epoch's start in which its message should arrive. After that, the sealed epoch
is opened."""
MAX_SPREAD_SECONDS = 0.3
FIRST_PAUSE_SECONDS = 0.3
MAX_PAUSE_SECONDS = 5.0


class SealedEpochs:
    """The sealed epochs that a client received. `now` returns the time that decides whether an epoch has
    started. `has_reached` returns whether an epoch, or a later one, arrived in another way. `offer` is called
    with each opened message."""

    def __init__(
        self,
        trust: Trust,
        relays: Relays,
        clock: Clock,
        now: Callable[[], datetime],
        has_reached: Callable[[str], bool],
        offer: Callable[[UnverifiedEnvelope], object],
    ) -> None:
        self.newest: SealedEpoch | None = None
        self._trust = trust
        self._relays = relays
        self._clock = clock
        self._now = now
        self._has_reached = has_reached
        self._offer = offer
        self._unopened: asyncio.Queue[SealedEpoch] = asyncio.Queue()

    def receive(self, document: bytes) -> SealedEpoch:
        """Keep a sealed epoch if it is newer than the one kept so far, and return the newest. Raises
        EnvelopeError if it does not verify, and EquivocationError if it differs from an earlier one of the
        same epoch."""
        sealed = verify_sealed(document, self._trust)
        newest = self.newest
        if newest is not None and sealed.epoch_id == newest.epoch_id:
            if sealed.ciphertext != newest.ciphertext:
                raise EquivocationError(f"there are two sealed epochs {sealed.epoch_id}")
            return newest
        if newest is None or sealed.epoch_id > newest.epoch_id:
            self.newest = newest = sealed
            self._unopened.put_nowait(sealed)
        return newest

    async def run(self) -> None:
        """Open sealed epochs in order, until cancelled."""
        while True:
            await self._open_if_missing(await self._unopened.get())

    async def _open_if_missing(self, sealed: SealedEpoch) -> None:
        pause = FIRST_PAUSE_SECONDS
        await self._wait_for_push(sealed)
        while not self._has_reached(sealed.epoch_id):
            signature = await self._relays.signature(sealed.round_number)
            # Check the time too: a relay may publish a round too early, and no epoch is passed on before its
            # start.
            if signature is not None and self._now() >= sealed.start_at:
                self._open(sealed, signature.hex())
                return
            await self._clock.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def _wait_for_push(self, sealed: SealedEpoch) -> None:
        latest = random.uniform(0, MAX_SPREAD_SECONDS) + GRACE_SECONDS  # noqa: S311 - spreads load, keeps no secret
        while not self._has_reached(sealed.epoch_id):
            wait = (sealed.opens_at - self._now()).total_seconds() + latest
            if wait <= 0:
                return
            # Read the clock again after a while, because someone may set it.
            await self._clock.sleep(min(wait, MAX_PAUSE_SECONDS))

    def _open(self, sealed: SealedEpoch, signature: str) -> None:
        try:
            self._offer(open_sealed(sealed, signature, self._trust).envelope)
        except EnvelopeError as error:
            log.error("Sealed epoch %s was refused: %s", sealed.epoch_id, error)

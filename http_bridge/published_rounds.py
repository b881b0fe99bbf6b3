"""Answers `GET /api/v1/beacon/{round}` for clients that cannot reach a relay of the beacon.

Only the round of the newest sealed epoch is available. Its signature is requested at most twice a second
until it is fetched, and then kept. Therefore clients cannot make the bridge send many requests to the public
relays.
"""

import asyncio
from dataclasses import dataclass, field

from pydantic import Field

from service.sealed_epochs import SealedEpochs
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import Success, WireModel

PAUSE_SECONDS = 0.5
"""The shortest time from an attempt that failed to the next one."""


class RoundReply(WireModel):
    """One round of the beacon. A client verifies the signature itself."""

    success: Success = True
    round: int = Field(ge=1, description="Number of the round.")
    signature: str = Field(pattern=r"^[0-9a-f]{96}$", description="Signature of the round, lower-case hex.")


@dataclass(slots=True)
class PublishedRounds:
    """The round that opens the newest sealed epoch."""

    sealed: SealedEpochs
    _fetched: RoundReply | None = field(default=None)
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)
    _failed_at: float = field(default=float("-inf"))

    async def reply(self, stated: str) -> RoundReply:
        """Return the round with the stated number. Raises ServiceError(ROUND_NOT_PUBLISHED)."""
        fetched = self._fetched
        if fetched is not None and stated == str(fetched.round):
            return fetched
        newest = self.sealed.newest
        if newest is None or stated != str(newest.round_number) or self.sealed.clock.now() < newest.opens_at:
            raise _refusal()
        async with self._fetching:
            if self._fetched is None or self._fetched.round < newest.round_number:
                await self._fetch(newest.round_number)
            if self._fetched is None or self._fetched.round != newest.round_number:
                raise _refusal()
            return self._fetched

    async def _fetch(self, round_number: int) -> None:
        """Ask the relays, unless the last attempt failed less than PAUSE_SECONDS ago."""
        clock = self.sealed.clock
        if clock.monotonic() - self._failed_at < PAUSE_SECONDS:
            return
        signature = await self.sealed.relays.signature(round_number)
        if signature is None:
            self._failed_at = clock.monotonic()
        else:
            self._fetched = RoundReply(round=round_number, signature=signature.hex())


def _refusal() -> ServiceError:
    return ServiceError(
        ErrorCode.ROUND_NOT_PUBLISHED,
        "The bridge has only the round of the newest sealed epoch, from the epoch's start on.",
    )

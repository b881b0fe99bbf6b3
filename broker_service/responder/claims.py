"""A signed request mints once: the second time it gets the first answer, word for word.

Owns the states of a claim and what a client is told of each (design: claims). Answers are stored sealed: they
hold credentials, and only the responder's key opens them. Reads, reports and everything else that hands out
nothing are not claimed.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from nacl.exceptions import CryptoError
from nacl.secret import Aead
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from runtime import logs
from runtime.asking import statements_of
from runtime.identity import Admission, Caller, Proof
from runtime.limits import Quota
from storage import claims
from storage.claims import Claim, ClaimKey
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.messages import WireModel
from zipcast.subjects import MINTING_VERBS, Verb

log = logs.logger()

# Lists, and what they lead to, are not claimed: asking again yields the same access.
CLAIMED_VERBS = MINTING_VERBS - {Verb.S3_VALIDATOR_READ, Verb.S3_MINER_LIST}
# Twice the longest window in which a request may arrive (300 s either way): nothing older is admitted.
REMEMBERED = timedelta(seconds=1200)
# Longer than any answer takes: who claimed it has died over it.
ABANDONED = timedelta(seconds=30)

Reply = TypeVar("Reply", bound=WireModel)
Mint = Callable[[], Awaitable[bytes]]


@dataclass(slots=True)
class Claims:
    """Claims of one deployment; `seal_key` (32 bytes) is the same in every replica."""

    database: AsyncEngine
    clock: Clock
    seal_key: bytes
    _box: Aead = field(init=False)

    def __post_init__(self) -> None:
        self._box = Aead(self.seal_key)

    async def once(self, admission: Admission, quota: Quota, mint: Mint) -> bytes:
        """The answer to this request: the one given before, or `mint`'s. New ones are charged, unless they
        come to nothing.

        Raises ServiceError(RATE_LIMITED | REQUEST_REUSED | REQUEST_UNDER_WAY | SERVICE_UNAVAILABLE), and
        what mint raises, after which the request may be sent again."""
        caller, proof = admission.caller, admission.proof
        key = ClaimKey(caller.hotkey, proof.request_key, proof.signed_at)
        async with statements_of(self.database) as connection:
            found = await claims.find(connection, key)
            if found is not None:
                _require_same(found, proof)
                answer = self._open(found.sealed_answer, key)
                if answer is not None:
                    log.info("request_answered_again", hotkey=caller.hotkey)
                    return answer
                self._require_free(found)
            await quota.charge()
            with _refunded(quota):
                claimed_at = await self._take(connection, key, found, admission)
        with _refunded(quota):
            return await self._minted(key, claimed_at, mint)

    async def _minted(self, key: ClaimKey, claimed_at: datetime, mint: Mint) -> bytes:
        try:
            reply = await mint()
        except BaseException:
            # Also when we are told to stop in the middle: the client's retry must not wait for us.
            await asyncio.shield(self._fail(key, claimed_at))
            raise
        await self._answer(key, claimed_at, reply)
        return reply

    def _require_free(self, found: Claim) -> None:
        """Raises ServiceError(REQUEST_UNDER_WAY)."""
        if found.state == "claimed" and self.clock.now() - found.claimed_at < ABANDONED:
            raise _under_way()

    async def _take(
        self, connection: AsyncConnection, key: ClaimKey, found: Claim | None, admission: Admission
    ) -> datetime:
        """Return the time of our claim. Raises ServiceError(REQUEST_UNDER_WAY) if it is claimed already."""
        now = self.clock.now()
        if found is not None:
            taken = await claims.take_again(connection, key, found, admission.proof.body_sha256, now)
        else:
            taken = await claims.take(
                connection,
                key,
                body_sha256=admission.proof.body_sha256,
                now=now,
                expires_at=now + REMEMBERED,
                request_id=admission.caller.request_id,
            )
        if not taken:
            raise _under_way()
        return now

    async def _answer(self, key: ClaimKey, claimed_at: datetime, reply: bytes) -> None:
        """An answer that cannot be kept is given all the same: a retry then mints anew."""
        try:
            async with statements_of(self.database) as connection:
                kept = await claims.answer(connection, key, claimed_at, self._seal(reply, key))
        except ServiceError as error:
            log.warning("answer_not_kept", error=type(error.__cause__).__name__)
            return
        if not kept:
            log.warning("claim_taken_over", hotkey=key.hotkey)

    async def _fail(self, key: ClaimKey, claimed_at: datetime) -> None:
        try:
            async with statements_of(self.database) as connection:
                await claims.fail(connection, key, claimed_at)
        except ServiceError as error:
            # It counts as abandoned in half a minute.
            log.warning("claim_not_released", error=type(error.__cause__).__name__)

    def _seal(self, reply: bytes, key: ClaimKey) -> bytes:
        return bytes(self._box.encrypt(zlib.compress(reply), aad=_context(key)))

    def _open(self, sealed: bytes | None, key: ClaimKey) -> bytes | None:
        """None where there is no answer, or one that another key sealed: it is minted anew."""
        if sealed is None:
            return None
        try:
            return zlib.decompress(self._box.decrypt(sealed, aad=_context(key)))
        except CryptoError:
            log.error("answer_unreadable", hotkey=key.hotkey)
            return None


@dataclass(frozen=True, slots=True)
class Once:
    """One request's way through the claims, as its handler has it."""

    claims: Claims
    admission: Admission
    quota: Quota

    @property
    def caller(self) -> Caller:
        return self.admission.caller

    @property
    def proof(self) -> Proof:
        return self.admission.proof

    async def once(self, kind: type[Reply], mint: Callable[[], Awaitable[Reply]]) -> Reply:
        """What `mint` says, or what it said to this request before. What is refused whoever asks, such as an
        epoch that is not there, is to be refused before this: it must not use the request up.

        Raises as `Claims.once`."""

        async def minted() -> bytes:
            return (await mint()).to_bytes()

        return kind.model_validate_json(await self.claims.once(self.admission, self.quota, minted))


@contextmanager
def _refunded(quota: Quota) -> Iterator[None]:
    """Give back what was charged, if nothing comes of it."""
    try:
        yield
    except BaseException:
        quota.refund()
        raise


def _context(key: ClaimKey) -> bytes:
    """Ties a sealed answer to its row: moved to another, it does not open."""
    return f"{key.hotkey}\n{key.request_key}".encode()


def _require_same(found: Claim, proof: Proof) -> None:
    """What failed has minted nothing, so the text is still good for another body."""
    if found.state != "failed" and found.body_sha256 != proof.body_sha256:
        raise ServiceError(ErrorCode.REQUEST_REUSED, "This signed text came before with another body.")


def _under_way() -> ServiceError:
    return ServiceError(
        ErrorCode.REQUEST_UNDER_WAY, "The same request is being answered now.", retry_after_seconds=1
    )

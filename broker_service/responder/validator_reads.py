"""Lets validators read miners' uploads of ended epochs, in exactly the versions of the manifest, and shows
miners their own.

The manifest comes from the database, so validators can read it even while the object store is unavailable.
Signing the URLs of a page takes 25 ms of processor time. One thread does that, while the event loop answers
other requests.
"""

import asyncio
import base64
import binascii
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker_service.responder.database import Record
from broker_service.responder.issuance import ProvenRequest, Terms
from broker_service.responder.sts_sessions import LIFETIME as SESSION_LIFETIME
from broker_service.responder.sts_sessions import Sessions, SessionScope
from service.paging import page_of, wire_bytes
from storage.database.manifests import SealedObject
from storage.objects import credential_policies
from storage.objects.credential_policies import Listing, Scope
from storage.objects.store import ObjectStore
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.protocol.messages.access import (
    CountedUpload,
    MinerUploadsReply,
    MinerUploadsRequest,
    ReadableObject,
    ValidatorReadReply,
    ValidatorReadRequest,
)

LIFETIME = timedelta(hours=1)
PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Reader:
    """Returns pages of manifests with presigned URLs."""

    store: ObjectStore
    record: Record
    sessions: Sessions
    clock: Clock
    miner_bucket: str
    _signing: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="signing")
    )
    """A single thread, because more threads would compete with the event loop."""

    def close(self) -> None:
        """Stop the signing thread. Waiting work is cancelled."""
        self._signing.shutdown(wait=False, cancel_futures=True)

    async def objects(self, proven: ProvenRequest, request: ValidatorReadRequest) -> ValidatorReadReply:
        """Return one page of the uploads of one miner or of all miners, each with a presigned GET, and, if
        requested, credentials that can read all of them.

        Raises ServiceError(MALFORMED_HOTKEY | MALFORMED_EPOCH_ID | MALFORMED_REQUEST | EPOCH_NOT_FOUND |
        EPOCH_NOT_ENDED | CREDENTIALS_UNAVAILABLE), and the errors of `granted`."""
        miner = _named(request.miner_hotkey)
        after = None if request.page_token is None else parse_token(request.page_token)
        epoch_id = request.epoch_id
        await self._require_sealed(epoch_id)
        session = self._session_scope(epoch_id) if request.with_credentials and self.store.has_sts else None
        terms = Terms(self._scope(miner, epoch_id), epoch_id, lifetime=LIFETIME)
        if session is not None:  # such a session gives more access than the URLs, and for longer
            terms = Terms(session, epoch_id, lifetime=SESSION_LIFETIME)
        async with proven.granted(terms) as granted:
            found = await self.record.sealed_objects(epoch_id, miner, after, PAGE_SIZE)
            loop = asyncio.get_running_loop()
            readable = (self._readable(granted.issued_at, one) for one in found)
            page = await loop.run_in_executor(self._signing, page_of, readable, wire_bytes)
            more = len(page) < len(found) or len(found) == PAGE_SIZE
            return ValidatorReadReply(
                epoch_id=epoch_id,
                miner_hotkey=miner,
                objects=tuple(page),
                next_page_token=make_token(found[len(page) - 1]) if more else None,
                expires_at=granted.issued_at + LIFETIME,
                s3_credentials=None
                if session is None
                else await self.sessions.credentials(
                    proven.caller.hotkey, epoch_id, "read", session, granted.expires_at
                ),
            )

    async def own_uploads(self, miner: Hotkey, request: MinerUploadsRequest) -> MinerUploadsReply:
        """Return one page of this miner's own uploads in the manifest.

        Raises ServiceError(MALFORMED_EPOCH_ID | MALFORMED_REQUEST | EPOCH_NOT_FOUND | EPOCH_NOT_ENDED)."""
        after = None if request.page_token is None else parse_token(request.page_token)
        await self._require_sealed(request.epoch_id)
        found = await self.record.sealed_objects(request.epoch_id, miner, after, PAGE_SIZE)
        page = page_of(map(_counted, found), wire_bytes)
        more = len(page) < len(found) or len(found) == PAGE_SIZE
        return MinerUploadsReply(
            epoch_id=request.epoch_id,
            objects=tuple(page),
            next_page_token=make_token(found[len(page) - 1]) if more else None,
        )

    async def _require_sealed(self, epoch_id: str) -> None:
        end_at = (await self.record.started(epoch_id)).interval.end_at
        if self.clock.now() < end_at:
            raise ServiceError(ErrorCode.EPOCH_NOT_ENDED, "The epoch is still running.")
        if not await self.record.is_sealed(epoch_id):
            raise ServiceError(ErrorCode.EPOCH_NOT_ENDED, "The epoch's uploads are still being listed.")

    def _scope(self, miner: Hotkey | None, epoch_id: str) -> Scope | Listing:
        if miner is None:
            return credential_policies.all_uploads(self.miner_bucket)
        return credential_policies.miner_scope(self.miner_bucket, miner, epoch_id)

    def _session_scope(self, epoch_id: str) -> SessionScope:
        policy = credential_policies.reading_session_policy(self.miner_bucket, epoch_id)
        return SessionScope(self.miner_bucket, credential_policies.uploads_pattern(epoch_id), policy)

    def _readable(self, at: datetime, one: SealedObject) -> ReadableObject:
        seconds = int(LIFETIME.total_seconds())
        return ReadableObject(
            key=one.object_key,
            size=one.size_bytes,
            etag=one.etag,
            last_modified=one.stored_at,
            version_id=one.version_id,
            url=self.store.get_url(self.miner_bucket, one.object_key, one.version_id, at, seconds),
        )


def _counted(one: SealedObject) -> CountedUpload:
    return CountedUpload(
        key=one.object_key,
        size=one.size_bytes,
        etag=one.etag,
        last_modified=one.stored_at,
        version_id=one.version_id,
    )


def make_token(last: SealedObject) -> str:
    """Return a token for the page after this object."""
    return base64.urlsafe_b64encode(f"{last.hotkey}\n{last.object_key}".encode()).decode()


def parse_token(token: str) -> tuple[str, str]:
    """Return the hotkey and the key with which the previous page ended. Raises
    ServiceError(MALFORMED_REQUEST)."""
    try:
        named, key = base64.b64decode(token, altchars=b"-_", validate=True).decode().split("\n", 1)
        hotkey = parse_hotkey(named)
    except (binascii.Error, ValueError):
        raise ServiceError(
            ErrorCode.MALFORMED_REQUEST, "pageToken must be the nextPageToken of an earlier page."
        ) from None
    return hotkey, key.replace("\0", "")  # PostgreSQL cannot store NUL, and no key has one


def _named(miner_hotkey: str | None) -> Hotkey | None:
    if miner_hotkey is None:
        return None
    try:
        return parse_hotkey(miner_hotkey)
    except MalformedHotkeyError as error:
        raise ServiceError(ErrorCode.MALFORMED_HOTKEY, f"minerHotkey {error}.") from None

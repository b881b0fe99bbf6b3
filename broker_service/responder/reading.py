"""What validators may read of miners' uploads: of ended epochs, the versions that met the deadline.

Owns which versions count: for each key, the newest stored before the epoch's end. A later change
of the same key is another version, which is not shown.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from broker_service.responder.record import Record
from broker_service.responder.uploads import store_down
from runtime.identity import Caller
from storage import policies
from storage.object_store import (
    MalformedPageTokenError,
    Marker,
    ObjectStore,
    ObjectStoreUnavailableError,
    ObjectVersion,
)
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import MalformedHotkeyError, parse_hotkey
from zipcast.messages import ReadableObject, ValidatorReadReply, ValidatorReadRequest
from zipcast.subjects import Verb

GET_URL_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Reader:
    store: ObjectStore
    record: Record
    clock: Clock
    miner_bucket: str

    async def miner_objects(self, caller: Caller, request: ValidatorReadRequest) -> ValidatorReadReply:
        """One page of a miner's objects with a presigned GET each.

        Raises ServiceError(MALFORMED_HOTKEY | MALFORMED_EPOCH_ID | MALFORMED_REQUEST |
        EPOCH_NOT_FOUND | EPOCH_NOT_ENDED | CREDENTIALS_UNAVAILABLE | SERVICE_UNAVAILABLE)."""
        try:
            miner = parse_hotkey(request.miner_hotkey)
        except MalformedHotkeyError as error:
            raise ServiceError(ErrorCode.MALFORMED_HOTKEY, f"minerHotkey {error}.") from None
        end_at = (await self.record.started(request.epoch_id)).interval.end_at
        now = self.clock.now()
        if now < end_at:
            raise ServiceError(ErrorCode.EPOCH_NOT_ENDED, "The epoch still runs.")
        scope = policies.miner_scope(self.miner_bucket, miner, request.epoch_id)
        expires_at = now + timedelta(seconds=GET_URL_SECONDS)
        await self.record.issuance(caller, Verb.S3_VALIDATOR_READ, scope, request.epoch_id, now, expires_at)
        try:
            after = Marker.parse(request.page_token) if request.page_token else None
            page = await self.store.list_versions(scope, after)
            chosen = sealed(page.versions, end_at)
            objects = [
                _readable(version, self.store.get_url(scope.bucket, version, GET_URL_SECONDS))
                for version in chosen
            ]
        except MalformedPageTokenError as error:
            raise ServiceError(ErrorCode.MALFORMED_REQUEST, f"{error}.") from None
        except ObjectStoreUnavailableError:
            raise store_down() from None
        return ValidatorReadReply(
            epoch_id=request.epoch_id,
            miner_hotkey=miner,
            objects=tuple(objects),
            next_page_token=_next_token(page.next_marker, chosen),
            expires_at=expires_at,
        )


def sealed(versions: tuple[ObjectVersion, ...], end_at: datetime) -> list[ObjectVersion]:
    """For each key its newest version stored before `end_at`, by key."""
    newest: dict[str, ObjectVersion] = {}
    for version in versions:
        known = newest.get(version.key)
        if version.last_modified < end_at and (known is None or known.last_modified < version.last_modified):
            newest[version.key] = version
    return [newest[key] for key in sorted(newest)]


def _next_token(marker: Marker | None, chosen: list[ObjectVersion]) -> str | None:
    """Past all versions of a key whose version is chosen: an older one on the next page must not count."""
    if marker is None:
        return None
    settled = any(version.key == marker.key for version in chosen)
    return (Marker(marker.key) if settled else marker).token()


def _readable(version: ObjectVersion, url: str) -> ReadableObject:
    return ReadableObject(
        key=version.key,
        size=version.size,
        etag=version.etag.strip('"'),
        last_modified=version.last_modified,
        version_id=version.version_id,
        url=url,
    )

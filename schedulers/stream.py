"""The stream `EPOCHS`: creating it, and publishing one epoch exactly once.

Owns the conversation with JetStream: message ids, expectations, what an acknowledgement means.
Measured rules it rests on: a duplicate id is acknowledged as usual even with other bytes, and the
stream republishes to subscribers only what it stored. So after any doubt the stream's own last
message is read, and its bytes win.
"""

from dataclasses import dataclass
from datetime import datetime

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, RePublish, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from runtime import logs
from zipcast.envelope import UnverifiedEnvelope
from zipcast.subjects import EPOCH, EPOCH_INGEST, EPOCH_STREAM

log = logs.logger()

PUBLISH_TIMEOUT_SECONDS = 2.0
STREAM_DAYS = 30
# JetStream error codes: wrong last message id, wrong last sequence.
_EXPECTATION_REFUSED = frozenset({10070, 10071})


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message as the stream holds it; `stored_at` is the server's clock."""

    envelope: UnverifiedEnvelope
    sequence: int
    stored_at: datetime


class EpochStream:
    def __init__(self, jetstream: JetStreamContext) -> None:
        self._jetstream = jetstream

    async def ensure(self) -> None:
        """Create the stream if it is not there. Nobody may delete or purge single messages of it."""
        try:
            await self._jetstream.stream_info(EPOCH_STREAM)
        except NotFoundError:
            await self._jetstream.add_stream(_config())
            log.info("stream_created", stream=EPOCH_STREAM)

    async def last(self) -> Recorded | None:
        """The newest message, or None for an empty stream."""
        try:
            return await self._read(await self._jetstream.get_last_msg(EPOCH_STREAM, EPOCH_INGEST))
        except NotFoundError:
            return None

    async def at(self, sequence: int) -> Recorded:
        return await self._read(await self._jetstream.get_msg(EPOCH_STREAM, sequence))

    async def before(self, sequence: int) -> Recorded | None:
        """The message before that sequence, or None at the beginning of the stream."""
        try:
            return await self.at(sequence - 1) if sequence > 1 else None
        except NotFoundError:
            return None

    async def publish(self, envelope: UnverifiedEnvelope, *, after: str | None) -> Recorded | None:
        """Publish as the successor of epoch `after`. None if the stream did not take these bytes as
        new: somebody published first, or the stream's last epoch is another than `after`.

        Raises nats.errors.Error while the server is out of reach."""
        headers = envelope.headers() | {"Nats-Msg-Id": envelope.epoch_id}
        if after is not None:
            headers["Nats-Expected-Last-Msg-Id"] = after
        try:
            ack = await self._jetstream.publish(
                EPOCH_INGEST, envelope.payload, timeout=PUBLISH_TIMEOUT_SECONDS, headers=headers
            )
        except APIError as error:
            if error.err_code in _EXPECTATION_REFUSED:
                return None
            raise
        return None if ack.duplicate else await self.at(ack.seq)

    async def _read(self, raw: RawStreamMsg) -> Recorded:
        if raw.seq is None or raw.time is None:
            raise TypeError("JetStream answered without sequence or time")
        envelope = UnverifiedEnvelope.from_headers(raw.headers, raw.data or b"")
        return Recorded(envelope, raw.seq, raw.time)


def _config() -> StreamConfig:
    return StreamConfig(
        name=EPOCH_STREAM,
        description="Every published epoch, as signed",
        subjects=[EPOCH_INGEST],
        storage=StorageType.FILE,
        max_age=STREAM_DAYS * 86_400,
        duplicate_window=86_400,
        deny_delete=True,
        deny_purge=True,
        republish=RePublish(src=EPOCH_INGEST, dest=EPOCH),
    )

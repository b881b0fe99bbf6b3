"""Creates the stream `EPOCHS`, publishes each epoch exactly once, and restores old epochs without sending
them.

It relies on measured properties of JetStream: a message with a known id is acknowledged as usual, even if its
bytes differ or the stream has lost the first message; and the stream republishes to subscribers only what it
stored. Therefore, in case of doubt, the stream's newest message is read, and its bytes count.

The stream is open or closed. When open, it accepts epochs on `EPOCH_INGEST` and republishes them. When
closed, it accepts them only on `EPOCH_REBUILD` and republishes nothing. So subscribers never get an old
epoch, and no new epoch is lost. A single update of the configuration opens or closes the stream. `rebuild`
fills a closed stream.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, RePublish, StorageType, StreamConfig, SubjectTransform
from nats.js.errors import APIError, BadRequestError, NoStreamResponseError, NotFoundError

from service import logs
from zipcast.protocol.envelope import UnverifiedEnvelope
from zipcast.protocol.subjects import EPOCH, EPOCH_INGEST, EPOCH_REBUILD, EPOCH_STREAM

log = logs.logger()

PUBLISH_TIMEOUT_SECONDS = 2.0
STREAM_DAYS = 30
# A restored epoch has its original publication time in this header. The header can be trusted, because only
# the scheduler may write to the stream.
HEADER_PUBLISHED_AT = "Zipcast-Published-At"
_MESSAGE_ID = "Nats-Msg-Id"
# JetStream's error codes for a wrong last message id and a wrong last sequence.
_EXPECTATION_REFUSED = frozenset({10070, 10071})
_NAME_IN_USE = 10058


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message in the stream. `stored_at` is the time of its publication, by the server's clock. The next
    publication must name `message_id` as the expected last message."""

    envelope: UnverifiedEnvelope
    sequence: int
    stored_at: datetime
    message_id: str

    @property
    def epoch_id(self) -> str:
        return self.envelope.epoch_id


@dataclass(frozen=True, slots=True)
class StreamState:
    """The state of the stream. `last_sequence` is the sequence number of the newest message that it ever
    had."""

    config: StreamConfig
    last_sequence: int

    @property
    def is_open(self) -> bool:
        """Return whether the stream accepts new epochs and sends them to subscribers."""
        return self.config.subjects == [EPOCH_INGEST] and self.config.republish is not None


class EpochStream:
    """The stream. `replicas` is the number of servers that store it, from its creation on."""

    def __init__(self, jetstream: JetStreamContext, replicas: int = 1) -> None:
        self._jetstream, self._replicas = jetstream, replicas

    async def state(self) -> StreamState | None:
        """Return the state of the stream, or None if there is no stream."""
        try:
            info = await self._jetstream.stream_info(EPOCH_STREAM)
        except NotFoundError:
            return None
        return StreamState(info.config, info.state.last_seq)

    async def create_closed(self, first_sequence: int) -> None:
        """Create the stream, unless another replica has just done so. Its messages cannot be deleted or
        purged."""
        config = replace(_closed(_config()), first_seq=first_sequence, num_replicas=self._replicas)
        try:
            await self._jetstream.add_stream(config)
        except BadRequestError as error:
            if error.err_code != _NAME_IN_USE:
                raise
        else:
            log.info("stream_created", stream=EPOCH_STREAM, first_sequence=first_sequence)

    async def close(self, state: StreamState) -> None:
        """Close the stream, so that it accepts only old epochs and sends none to subscribers."""
        await self._jetstream.update_stream(_closed(state.config))

    async def open(self, state: StreamState) -> None:
        """Open the stream for new epochs."""
        await self._jetstream.update_stream(_opened(state.config))

    async def last(self) -> Recorded | None:
        """Return the newest message, or None if the stream is empty."""
        try:
            return await self._read(await self._jetstream.get_last_msg(EPOCH_STREAM, EPOCH_INGEST))
        except NotFoundError:
            return None

    async def at(self, sequence: int) -> Recorded:
        """Return the message with this sequence number. Raises nats.errors.Error if there is none."""
        return await self._read(await self._jetstream.get_msg(EPOCH_STREAM, sequence))

    async def before(self, sequence: int) -> Recorded | None:
        """Return the message before this sequence number, or None at the beginning of the stream."""
        try:
            return await self.at(sequence - 1) if sequence > 1 else None
        except NotFoundError:
            return None

    async def publish(self, envelope: UnverifiedEnvelope, *, after: Recorded | None) -> Recorded | None:
        """Publish an epoch after the message `after`, or as the first one if it is None. Return None if the
        stream did not accept it as new, because another replica published first, or because the stream's last
        message is not `after`.

        Raises nats.errors.Error if the server is unavailable or the stream is closed."""
        headers = envelope.headers() | {_MESSAGE_ID: envelope.epoch_id}
        if after is None:
            headers["Nats-Expected-Last-Subject-Sequence"] = "0"
        else:
            headers["Nats-Expected-Last-Msg-Id"] = after.message_id
        sequence = await self._send(EPOCH_INGEST, envelope.payload, headers)
        return None if sequence is None else await self.at(sequence)

    async def put_back(
        self, envelope: UnverifiedEnvelope, published_at: datetime, *, after_sequence: int
    ) -> bool:
        """Append an old epoch without sending it to subscribers. Return False if the stream's newest message
        has another sequence number, or if the stream is open.

        The message gets a new id, because the stream remembers the ids of messages that it has lost."""
        headers = envelope.headers() | {
            _MESSAGE_ID: f"{envelope.epoch_id}@{after_sequence + 1}",
            "Nats-Expected-Last-Sequence": str(after_sequence),
            HEADER_PUBLISHED_AT: published_at.isoformat(),
        }
        try:
            return await self._send(EPOCH_REBUILD, envelope.payload, headers) is not None
        except NoStreamResponseError:
            return False

    async def _send(self, subject: str, payload: bytes, headers: dict[str, str]) -> int | None:
        """Return the sequence number of the message, or None if it was not accepted as new."""
        try:
            ack = await self._jetstream.publish(
                subject, payload, timeout=PUBLISH_TIMEOUT_SECONDS, headers=headers
            )
        except APIError as error:
            if error.err_code in _EXPECTATION_REFUSED:
                return None
            raise
        return None if ack.duplicate else ack.seq

    async def _read(self, raw: RawStreamMsg) -> Recorded:
        if raw.seq is None or raw.time is None:
            raise TypeError("JetStream's reply has no sequence number or time")
        headers = raw.headers or {}
        envelope = UnverifiedEnvelope.from_headers(headers, raw.data or b"")
        put_back = headers.get(HEADER_PUBLISHED_AT)
        stored_at = raw.time if put_back is None else datetime.fromisoformat(put_back).astimezone(UTC)
        return Recorded(envelope, raw.seq, stored_at, headers.get(_MESSAGE_ID, ""))


def _config() -> StreamConfig:
    return StreamConfig(
        name=EPOCH_STREAM,
        description="Every published epoch, as signed",
        storage=StorageType.FILE,
        max_age=STREAM_DAYS * 86_400,
        duplicate_window=86_400,
        deny_delete=True,
        deny_purge=True,
    )


def _closed(config: StreamConfig) -> StreamConfig:
    """Return the configuration of a closed stream, which accepts messages on another subject and stores them
    under the usual one."""
    transform = SubjectTransform(src=EPOCH_REBUILD, dest=EPOCH_INGEST)
    return replace(config, subjects=[EPOCH_REBUILD], subject_transform=transform, republish=None)


def _opened(config: StreamConfig) -> StreamConfig:
    republish = RePublish(src=EPOCH_INGEST, dest=EPOCH)
    return replace(config, subjects=[EPOCH_INGEST], subject_transform=None, republish=republish)

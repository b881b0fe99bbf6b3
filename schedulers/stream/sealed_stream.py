"""Stores sealed epochs in the stream `SEALED`, which sends each one to all subscribers.

The stream has one subject per epoch and accepts only one message on each. So if two schedulers seal the same
epoch differently, because their databases differ, the first sealed epoch counts for both.
"""

from nats.js import JetStreamContext
from nats.js.api import RePublish, StorageType, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError

from service import logs
from zipcast.protocol.envelope import EnvelopeError, Trust
from zipcast.protocol.messages.epochs import Proof
from zipcast.protocol.sealing import SealedEpoch, verify_sealed
from zipcast.protocol.subjects import SEALED, SEALED_INGEST, SEALED_STREAM, sealed_ingest

log = logs.logger()

PUBLISH_TIMEOUT_SECONDS = 2.0
# Sealed epochs are kept for this many days, which is longer than an outage that lasts a weekend. After its
# start, an epoch is in the stream `EPOCHS` anyway.
SEALED_DAYS = 3
# JetStream's error codes for a wrong last sequence, for a name in use, and for a stream that does not exist.
_WRONG_LAST_SEQUENCE = 10071
_NAME_IN_USE = 10058
_NO_STREAM = 10059


class SealedStream:
    """The stream of sealed epochs. `trust` names the signers whose sealed epochs count, and `replicas` is how
    many servers store a new stream."""

    def __init__(self, jetstream: JetStreamContext, trust: Trust, replicas: int = 1) -> None:
        self._jetstream = jetstream
        self._trust = trust
        self._replicas = replicas

    async def held(self, epoch_id: str) -> SealedEpoch | None:
        """Return the epoch's sealed message, or None if the stream has none that verifies. Create the stream
        if it does not exist. Raises nats.errors.Error."""
        try:
            raw = await self._jetstream.get_last_msg(SEALED_STREAM, sealed_ingest(epoch_id))
        except NotFoundError as error:
            if error.err_code == _NO_STREAM:
                await self._create()
            return None
        try:
            return verify_sealed(raw.data or b"", self._trust)
        except EnvelopeError as error:
            log.error("sealed_epoch_refused", epoch_id=epoch_id, reason=str(error))
            return None

    async def send(self, epoch_id: str, own: Proof) -> SealedEpoch | None:
        """Store and send a sealed epoch, unless the stream has one for this epoch. If the stream has a
        different sealed epoch, return that one, otherwise None. Raises nats.errors.Error."""
        headers = {"Nats-Msg-Id": f"sealed:{epoch_id}", "Nats-Expected-Last-Subject-Sequence": "0"}
        try:
            ack = await self._jetstream.publish(
                sealed_ingest(epoch_id), own.to_bytes(), timeout=PUBLISH_TIMEOUT_SECONDS, headers=headers
            )
        except APIError as error:
            if error.err_code != _WRONG_LAST_SEQUENCE:
                raise
        else:
            if not ack.duplicate:
                log.info("epoch_sealed", epoch_id=epoch_id)
                return None
        held = await self.held(epoch_id)
        return None if held is None or held.proof == own else held

    async def _create(self) -> None:
        """Create the stream, unless another replica has just done so."""
        source = f"{SEALED_INGEST}.*"
        config = StreamConfig(
            name=SEALED_STREAM,
            description="Every sealed epoch, as signed",
            subjects=[source],
            storage=StorageType.FILE,
            num_replicas=self._replicas,
            max_age=SEALED_DAYS * 86_400,
            republish=RePublish(src=source, dest=SEALED),
            allow_direct=True,
            deny_delete=True,
            deny_purge=True,
        )
        try:
            await self._jetstream.add_stream(config)
        except BadRequestError as error:
            if error.err_code != _NAME_IN_USE:
                raise
        else:
            log.info("stream_created", stream=SEALED_STREAM)

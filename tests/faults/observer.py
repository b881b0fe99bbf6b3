"""Observes an epoch subject from outside: every message that reaches one subscriber."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.support.people import keypair, raw_connection, trust_of
from zipcast.client.local_stack import Ready
from zipcast.protocol import envelope, subjects
from zipcast.protocol.calendar import EpochCalendar
from zipcast.protocol.envelope import UnverifiedEnvelope, VerifiedEpoch


@dataclass
class Observer:
    """Counts raw messages, not only those that the SDK returns, so that a message which is sent twice is
    counted twice."""

    ready: Ready
    heard: list[tuple[VerifiedEpoch, datetime]] = field(default_factory=list)
    connection: Client | None = None

    async def watch(self, name: str) -> None:
        self.connection = await raw_connection(self.ready, keypair(self.ready, name))
        await self.connection.subscribe(subjects.EPOCH, cb=self._hear)
        await self.connection.flush()

    async def _hear(self, message: Msg) -> None:
        arrived_at = datetime.now(UTC)
        signed = UnverifiedEnvelope.from_headers(message.headers, message.data)
        self.heard.append((envelope.verify(signed, trust_of(self.ready)), arrived_at))

    async def close(self) -> None:
        if self.connection is not None:
            await self.connection.close()

    @property
    def epoch_ids(self) -> list[str]:
        return [epoch.message.epoch_id for epoch, _ in self.heard]

    def check(self) -> None:
        """Check that between the first and the last epoch none is missing, repeated or early."""
        calendar = EpochCalendar(self.ready.epoch_seconds)
        expected, interval = [], calendar.starting(self.epoch_ids[0])
        while interval.epoch_id <= self.epoch_ids[-1]:
            expected.append(interval.epoch_id)
            interval = calendar.after(interval)
        assert self.epoch_ids == expected
        early = [epoch.message.epoch_id for epoch, at in self.heard if at < epoch.message.epoch_start]
        assert early == []

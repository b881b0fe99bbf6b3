"""STS sessions for validators: one per hotkey, epoch and purpose, handed out until half its life is over.

Owns the cache, in the memory of one replica. A session that is handed out twice saves a call to STS and
opens nothing more: it is the same hotkey's, for the same prefix. Revoking sessions is the provider's matter
(docs/s3-setup.md): a replica that is restarted hands out none of the old ones.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from storage.objects import policies
from storage.objects.store import ObjectStore, ObjectStoreUnavailableError, SessionCredentials
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.access import S3Credentials

LIFETIME = timedelta(hours=4)
# Providers refuse a session that is longer than the role allows: our clock may be behind the database's.
LIFETIME_SECONDS = int(LIFETIME.total_seconds())
Purpose = Literal["upload", "read"]


@dataclass(frozen=True, slots=True)
class SessionScope:
    """The scope of a session: `prefix` describes it to the reader, `policy` to the provider."""

    bucket: str
    prefix: str
    policy: str


@dataclass(frozen=True, slots=True)
class _Held:
    answer: "asyncio.Task[SessionCredentials | None]"
    asked_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        """Under way, or answered and not beyond half its life."""
        if not self.answer.done():
            return True
        if self.answer.cancelled() or self.answer.exception() is not None:
            return False
        session = self.answer.result()
        return session is not None and now < self.asked_at + (session.expires_at - self.asked_at) / 2


@dataclass(frozen=True, slots=True)
class Sessions:
    store: ObjectStore
    clock: Clock
    _held: dict[tuple[Hotkey, str, Purpose], _Held] = field(default_factory=dict)

    async def credentials(
        self, hotkey: Hotkey, epoch_id: str, purpose: Purpose, scope: SessionScope, ends_at: datetime
    ) -> S3Credentials | None:
        """Return credentials for the scope, which hotkey, epoch and purpose determine; None where the
        provider has no STS. They end at `ends_at` or earlier, unless the hotkey has asked again since: then
        they may be those of its later request.

        Raises ServiceError(CREDENTIALS_UNAVAILABLE)."""
        try:
            # Requests for the same session wait together, and one that is cancelled does not cancel the
            # others.
            session = await asyncio.shield(self._asked(hotkey, epoch_id, purpose, scope, ends_at))
        except ObjectStoreUnavailableError:
            raise store_down() from None
        if session is None:
            return None
        return S3Credentials(
            access_key=session.access_key,
            secret_key=session.secret_key.get_secret_value(),
            session_token=session.session_token.get_secret_value(),
            bucket=scope.bucket,
            region=self.store.region,
            endpoint=self.store.endpoint_url,
            prefix=scope.prefix,
            expiry=session.expires_at,
        )

    def _asked(
        self, hotkey: Hotkey, epoch_id: str, purpose: Purpose, scope: SessionScope, ends_at: datetime
    ) -> "asyncio.Task[SessionCredentials | None]":
        now, key = self.clock.now(), (hotkey, epoch_id, purpose)
        held = self._held.get(key)
        if held is None or not held.is_fresh(now):
            name = policies.session_name(hotkey)
            seconds = min(int((ends_at - now).total_seconds()), LIFETIME_SECONDS)
            held = _Held(asyncio.create_task(self.store.session(scope.policy, name, seconds)), now)
            self._forget(now)
            self._held[key] = held
        return held.answer

    def _forget(self, now: datetime) -> None:
        for key in [key for key, held in self._held.items() if not held.is_fresh(now)]:
            del self._held[key]


def store_down() -> ServiceError:
    """Return the error for a client when the object store or STS fails. It says nothing of the cause."""
    return ServiceError(
        ErrorCode.CREDENTIALS_UNAVAILABLE, "The object store does not answer.", retry_after_seconds=5
    )

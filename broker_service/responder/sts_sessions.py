"""Makes STS sessions for validators and miners, and caches them by hotkey, epoch and purpose until half their
life is over.

Returning a cached session saves a call to STS and gives no additional access, because it is for the same
hotkey and prefix. The cache is in the memory of one replica. Sessions are revoked at the provider
(docs/s3-setup.md). After a restart, a replica returns none of its earlier sessions.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from storage.objects import credential_policies
from storage.objects.store import ObjectStore, ObjectStoreUnavailableError, SessionCredentials
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.access import S3Credentials

LIFETIME = timedelta(hours=4)
LIFETIME_SECONDS = int(LIFETIME.total_seconds())
Purpose = Literal["upload", "read"]


@dataclass(frozen=True, slots=True)
class SessionScope:
    """The scope of a session. `prefix` is for the client, `policy` for the provider."""

    bucket: str
    prefix: str
    policy: str


@dataclass(frozen=True, slots=True)
class _Held:
    answer: "asyncio.Task[SessionCredentials | None]"
    asked_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        """Return whether the session is still being made, or is not yet past half its life."""
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
    _held: dict[tuple[Hotkey, str, Purpose, str], _Held] = field(default_factory=dict)

    async def credentials(
        self, hotkey: Hotkey, epoch_id: str, purpose: Purpose, scope: SessionScope, ends_at: datetime
    ) -> S3Credentials | None:
        """Return credentials for the scope, or None if the provider has no STS. The scope follows from
        hotkey, epoch, purpose and bucket. The credentials end at `ends_at` or earlier. They may end later if
        they were made for a newer request of the same hotkey, and this request repeats an older one.

        Raises ServiceError(CREDENTIALS_UNAVAILABLE)."""
        try:
            # Several requests for the same session wait for one task. `shield` keeps the task running if one
            # of the requests is cancelled.
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
        now, key = self.clock.now(), (hotkey, epoch_id, purpose, scope.bucket)
        held = self._held.get(key)
        if held is None or not held.is_fresh(now):
            name = credential_policies.session_name(hotkey)
            seconds = min(int((ends_at - now).total_seconds()), LIFETIME_SECONDS)
            held = _Held(asyncio.create_task(self.store.session(scope.policy, name, seconds)), now)
            self._forget(now)
            self._held[key] = held
        return held.answer

    def _forget(self, now: datetime) -> None:
        for key in [key for key, held in self._held.items() if not held.is_fresh(now)]:
            del self._held[key]


def store_down() -> ServiceError:
    """Return the error for clients if the object store or STS fails. It does not reveal the cause."""
    return ServiceError(
        ErrorCode.CREDENTIALS_UNAVAILABLE, "The object store does not respond.", retry_after_seconds=5
    )

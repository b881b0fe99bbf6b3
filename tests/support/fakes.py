"""Provides stand-ins for unit tests: a clock that tests control, well-known keys, a registry, an object store
and a database.

The keys are derived from public development phrases and give no access to anything.
"""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from bittensor_core import CRYPTO_ED25519
from dateutil.tz import tzutc
from pydantic import SecretStr

from access.requests import Caller
from broker_service.responder.issuance import Terms
from service.registry import RegistryView
from storage.database.epochs import StoredEpoch
from storage.database.issuances import Granted
from storage.database.manifests import SealedObject
from storage.objects import credential_policies
from storage.objects.credential_policies import Scope
from storage.objects.store import PostForm, PresignedPut, SessionCredentials
from zipcast.clock import Clock
from zipcast.protocol.calendar import EpochInterval, parse_epoch_id
from zipcast.protocol.envelope import UnverifiedEnvelope, VerifiedEpoch
from zipcast.protocol.hotkeys import Hotkey, Keypair, parse_hotkey
from zipcast.protocol.messages.access import FileToUpload
from zipcast.protocol.messages.epochs import EpochMessage
from zipcast.protocol.messages.registry import RegisteredNeuron, RegistrySnapshot

START_AT = datetime(2026, 11, 22, 4, tzinfo=UTC)
EPOCH_ID = "2026-11-22T04-00-00"
# A public key for which anyone can sign, because one constant signature is valid for it.
ZERO_KEY = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
RAO = 1_000_000_000


def keypair(name: str) -> Keypair:
    return Keypair.create_from_uri(f"//{name}")


def ed25519_keypair(name: str) -> Keypair:
    return Keypair.create_from_uri(f"//{name}", crypto_type=CRYPTO_ED25519)


def hotkey_of(pair: Keypair) -> Hotkey:
    return parse_hotkey(pair.ss58_address)


SIGNER, MINER, VALIDATOR, STRANGER = (keypair(name) for name in ("Signer", "Alice", "Bob", "Eve"))
MINER_HOTKEY, VALIDATOR_HOTKEY, STRANGER_HOTKEY = map(hotkey_of, (MINER, VALIDATOR, STRANGER))
SIGNER_HOTKEY = hotkey_of(SIGNER)


def neuron(hotkey: str, *, permit: bool = False, rao: int = 0, uid: int = 0) -> RegisteredNeuron:
    return RegisteredNeuron(
        uid=uid,
        hotkey=hotkey,
        coldkey=keypair("Coldkey").ss58_address,
        validator_permit=permit,
        alpha_stake_rao=rao,
    )


def snapshot(
    neurons: Iterable[RegisteredNeuron], *, network: str = "test", netuid: int = 46, block: int = 100
) -> RegistrySnapshot:
    return RegistrySnapshot(
        network=network, netuid=netuid, block_number=block, taken_at=START_AT, neurons=tuple(neurons)
    )


def registry() -> RegistryView:
    """Return the registry of subnet 46 of the network `test`, with a miner, and a validator that has exactly
    the stake that it needs."""
    view = RegistryView("test", 46, min_stake_alpha=1000)
    view.adopt(snapshot([neuron(MINER_HOTKEY), neuron(VALIDATOR_HOTKEY, permit=True, rao=1000 * RAO, uid=1)]))
    return view


class FakeClock:
    """A wall clock and a monotonic clock that advance only during `sleep`. At the end of each sleep, one of
    `steps` is added to the wall clock only, as if someone had set the time meanwhile."""

    def __init__(self, now: datetime = START_AT, steps: Iterable[timedelta] = ()) -> None:
        self.wall, self.elapsed = now, timedelta(0)
        self.naps: list[float] = []
        self._steps = iter(steps)

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            raise ValueError("a sleep is longer than nothing")
        self.naps.append(seconds)
        # Rounded up to the resolution of a datetime, because a real sleep never ends early.
        passed = max(timedelta(seconds=seconds), timedelta.resolution)
        self.elapsed += passed
        self.wall += passed + next(self._steps, timedelta(0))


class FakeCurrent:
    """Stands in for CurrentEpoch with a given running epoch."""

    def __init__(self, message: EpochMessage) -> None:
        self._epoch = VerifiedEpoch(message, UnverifiedEnvelope(b"", "", "", message.epoch_id))

    def running(self) -> VerifiedEpoch:
        return self._epoch

    def running_or_none(self) -> VerifiedEpoch | None:
        return self._epoch

    async def awaited(self) -> VerifiedEpoch:
        return self._epoch


class FakeRecord:
    """A stand-in for the database, in which every epoch has started and lasts four hours. All epochs have the
    same `manifest`; None means that no manifest is written yet."""

    def __init__(self, manifest: Iterable[SealedObject] | None = ()) -> None:
        self._manifest = (
            None if manifest is None else sorted(manifest, key=attrgetter("hotkey", "object_key"))
        )

    async def is_sealed(self, epoch_id: str) -> bool:
        return self._manifest is not None

    async def sealed_objects(
        self, epoch_id: str, hotkey: str | None, after: tuple[str, str] | None, limit: int
    ) -> list[SealedObject]:
        found = [one for one in self._manifest or () if hotkey in (None, one.hotkey)]
        return [one for one in found if after is None or (one.hotkey, one.object_key) > after][:limit]

    async def started(self, epoch_id: str) -> StoredEpoch:
        start_at = parse_epoch_id(epoch_id)
        interval = EpochInterval(start_at, start_at + timedelta(hours=4))
        return StoredEpoch(interval, "active", UnverifiedEnvelope(b"", "", "", epoch_id), start_at)


class FakeRequest:
    """A verified request. It is granted what it requests, at the clock's time, and keeps the terms."""

    def __init__(self, caller: Caller, clock: Clock) -> None:
        self.caller = caller
        self.terms: list[Terms] = []
        self._clock = clock

    @asynccontextmanager
    async def granted(self, terms: Terms) -> AsyncIterator[Granted]:
        self.terms.append(terms)
        at = self._clock.now().replace(microsecond=0)
        yield Granted("0" * 64, at, terms.ends_at or at + (terms.lifetime or timedelta(0)), None)


class FakeObjectStore:
    """An object store that signs nothing. Forms contain the policy's own fields, and URLs name the objects to
    which they would give access.

    Times are in dateutil's UTC, like those of boto3."""

    region, endpoint_url = "us-east-1", None

    def __init__(self, *, sts: bool = True, takes_forms: bool = True) -> None:
        self._sts = sts
        self.takes_forms = takes_forms

    @property
    def has_sts(self) -> bool:
        return self._sts

    def post_form(
        self,
        scope: Scope,
        metadata: dict[str, str],
        at: datetime,
        lifetime_seconds: int,
        *,
        with_checksum: bool = False,
        least_bytes: int = credential_policies.MIN_UPLOAD_BYTES,
    ) -> PostForm:
        fields, conditions = credential_policies.upload_form(
            scope, metadata, with_checksum=with_checksum, least_bytes=least_bytes
        )
        document = {"conditions": conditions, "at": at.isoformat(), "lifetime": lifetime_seconds}
        signed = {"key": scope.prefix + "${filename}", "policy": json.dumps(document)}
        return PostForm(f"https://s3.example.org/{scope.bucket}", fields | signed)

    def presigned_put(
        self,
        scope: Scope,
        file: FileToUpload,
        metadata: dict[str, str],
        at: datetime,
        lifetime_seconds: int,
    ) -> PresignedPut:
        headers = credential_policies.upload_headers(metadata, file.size_bytes, file.sha256)
        url = f"https://s3.example.org/{scope.bucket}/{scope.prefix}{file.name}?expires={lifetime_seconds}"
        return PresignedPut(url, headers)

    def list_url(
        self, scope: Scope, at: datetime, lifetime_seconds: int, start_after: str | None = None
    ) -> str:
        after = "" if start_after is None else f"&start-after={start_after}"
        return (
            f"https://s3.example.org/{scope.bucket}?prefix={scope.prefix}{after}&expires={lifetime_seconds}"
        )

    def get_url(
        self, bucket: str, key: str, version_id: str | None, at: datetime, lifetime_seconds: int
    ) -> str:
        return f"https://s3.example.org/{bucket}/{key}?v={version_id}&expires={lifetime_seconds}"

    async def session(self, policy: str, name: str, lifetime_seconds: int) -> SessionCredentials | None:
        if not self._sts:
            return None
        expires_at = (START_AT + timedelta(seconds=lifetime_seconds)).astimezone(tzutc())
        return SessionCredentials(f"key-of-{name}", SecretStr("secret"), SecretStr("token"), expires_at)

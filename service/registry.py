"""Follows the registry: it reads the newest snapshot from NATS KV once a second.

The snapshot tells whether a hotkey is registered and whether it is a validator. If it is too old, no
credentials are issued. Schedulers make snapshots from the chain. Reading once a second needs fewer rights
than a KV watch, and there is no subscription that could silently fail when nats-server restarts.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue

from service import logs
from service.polling import Outage, poll
from service.registry_parts import Head, read_parts
from service.settings import DEFAULT_REGISTRY_MAX_AGE_HOURS
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.registry import RegisteredNeuron, RegistrySnapshot
from zipcast.protocol.subjects import REGISTRY_BUCKET, REGISTRY_KEY

log = logs.logger()

POLL_SECONDS = 1.0
RAO_PER_ALPHA = 1_000_000_000
RETRY_OLD_SECONDS = 60
Recall = Callable[[], Awaitable[RegistrySnapshot | None]]


class RegistryView:
    """The newest snapshot, indexed by hotkey. A validator needs a permit and at least `min_stake_alpha` of
    alpha stake, compared in rao. If the snapshot is older than `max_age`, no credentials are issued."""

    def __init__(
        self,
        network: str,
        netuid: int,
        min_stake_alpha: int,
        max_age: timedelta = timedelta(hours=DEFAULT_REGISTRY_MAX_AGE_HOURS),
    ) -> None:
        self.subnet = (network, netuid)
        self._min_stake_rao = min_stake_alpha * RAO_PER_ALPHA
        self.max_age = max_age
        self._neurons: dict[str, RegisteredNeuron] = {}
        self.snapshot: RegistrySnapshot | None = None

    def adopt(self, snapshot: RegistrySnapshot) -> bool:
        """Use a snapshot if it is newer than the present one and of this subnet. Return whether it is
        used."""
        if (snapshot.network, snapshot.netuid) != self.subnet:
            log.error("registry_of_another_subnet", network=snapshot.network, netuid=snapshot.netuid)
            return False
        if self.snapshot is not None and snapshot.block_number <= self.snapshot.block_number:
            return False
        self.snapshot = snapshot
        self._neurons = {neuron.hotkey: neuron for neuron in snapshot.neurons}
        return True

    def age(self, now: datetime) -> timedelta | None:
        return None if self.snapshot is None else now - self.snapshot.taken_at

    def require_young(self, now: datetime) -> None:
        """Check the age of the snapshot. Raises ServiceError(REGISTRY_UNAVAILABLE) if there is none or it is
        older than `max_age`."""
        age = self.age(now)
        if age is None or age > self.max_age:
            raise ServiceError(
                ErrorCode.REGISTRY_UNAVAILABLE,
                "The list of registered hotkeys is too old to give access. Try again later.",
                retry_after_seconds=RETRY_OLD_SECONDS,
            )

    def find(self, hotkey: Hotkey) -> RegisteredNeuron | None:
        return self._neurons.get(hotkey)

    def require_registered(self, hotkey: Hotkey) -> RegisteredNeuron:
        """Return the hotkey's neuron. Raises ServiceError(REGISTRY_UNAVAILABLE | NOT_REGISTERED)."""
        if self.snapshot is None:
            raise ServiceError(
                ErrorCode.REGISTRY_UNAVAILABLE,
                "The list of registered hotkeys is not loaded yet.",
                retry_after_seconds=2,
            )
        neuron = self.find(hotkey)
        if neuron is None:
            raise ServiceError(ErrorCode.NOT_REGISTERED, "The hotkey is not registered on this subnet.")
        return neuron

    def is_validator(self, neuron: RegisteredNeuron) -> bool:
        return neuron.validator_permit and neuron.alpha_stake_rao >= self._min_stake_rao

    def require_validator(self, hotkey: Hotkey) -> RegisteredNeuron:
        """Return the validator's neuron. Raises ServiceError(REGISTRY_UNAVAILABLE | NOT_REGISTERED |
        VALIDATOR_REQUIRED)."""
        neuron = self.require_registered(hotkey)
        if not self.is_validator(neuron):
            raise ServiceError(
                ErrorCode.VALIDATOR_REQUIRED,
                "This request needs a validator permit and at least "
                f"{self._min_stake_rao // RAO_PER_ALPHA} alpha of stake.",
            )
        return neuron


class RegistryFollower:
    """Updates a RegistryView with the newest snapshot while `run` runs. As long as there is no snapshot, it
    calls `recall`, which returns the last good copy and raises nothing."""

    def __init__(
        self,
        jetstream: JetStreamContext,
        view: RegistryView,
        clock: Clock,
        recall: Recall | None = None,
    ) -> None:
        self._bucket = KeyValue(
            name=REGISTRY_BUCKET,
            stream=f"KV_{REGISTRY_BUCKET}",
            pre=f"$KV.{REGISTRY_BUCKET}.",
            js=jetstream,
            direct=True,
        )
        self._view = view
        self._clock = clock
        self._recall = recall
        self._seen = b""
        # Errors of one reading. ValueError means that the bytes are invalid, or that the parts are just being
        # replaced.
        self._outage = Outage(log, "registry_unread", (KeyNotFoundError, NatsError, ValueError))

    async def run(self) -> None:
        await poll(self.poll, self._clock, POLL_SECONDS)

    async def poll(self) -> None:
        """Read and use the newest snapshot. A failure is logged once; the next poll tries again."""
        with self._outage:
            entry = await self._bucket.get(REGISTRY_KEY)
            # Compare contents and not revisions, because a bucket that was lost and recreated counts its
            # revisions from one again.
            if entry.value is not None and entry.value != self._seen:
                self._adopt(await read_parts(self._bucket, Head.model_validate_json(entry.value)))
                self._seen = entry.value
        if self._view.snapshot is None and self._recall is not None:
            await self._adopt_copy(self._recall)

    async def _adopt_copy(self, recall: Recall) -> None:
        snapshot = await recall()
        if snapshot is not None and self._view.adopt(snapshot):
            log.warning("registry_recalled", block=snapshot.block_number, neurons=len(snapshot.neurons))

    def _adopt(self, snapshot: RegistrySnapshot) -> None:
        if self._view.adopt(snapshot):
            log.info("registry_adopted", block=snapshot.block_number, neurons=len(snapshot.neurons))

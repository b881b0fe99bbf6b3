"""Makes sure that each password is used only once, on all replicas together.

All replicas share a bucket in NATS KV. An entry is created by compare-and-set, so if two replicas get the
same password, only one of them succeeds. An entry names hotkey and time and not the signature, because
sr25519 signatures are randomised. Each replica also remembers the passwords that it has marked or found as
used, so that a repetition needs neither cryptography nor a request. While the bucket is unavailable, no
password is accepted; signed nonces need no bucket and are still accepted.
"""

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, Header, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError

from broker_service.callout.decision import PASSWORD_WINDOW_SECONDS, ProofError, RefusedError
from service import logs
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.subjects import SPENT_BUCKET, spent_password

log = logs.logger()

# A used password is stored for this long. A password is valid from one window before its time to one window
# after it. The third window allows for clocks that differ.
KEPT_SECONDS = 3 * PASSWORD_WINDOW_SECONDS
MAX_REMEMBERED = 32_768
"""The number of passwords kept in memory: all that 256 hotkeys can sign for two windows. The bucket also
knows older ones."""
_MAX_BYTES = 16 * 1024 * 1024
_WRONG_LAST_SEQUENCE = 10071


class SpentPasswords:
    """The used passwords. `jetstream` must have a shorter timeout than nats-server's for the callout."""

    def __init__(self, jetstream: JetStreamContext, replicas: int = 1) -> None:
        self._jetstream, self._replicas = jetstream, replicas
        self._remembered: dict[tuple[Hotkey, int], None] = {}

    def require_unspent(self, hotkey: Hotkey, at_unix: int) -> None:
        """Raise ProofError if this replica knows that the password was used, or is just being used."""
        if (hotkey, at_unix) in self._remembered:
            raise ProofError("password used twice")

    async def spend(self, hotkey: Hotkey, at_unix: int) -> None:
        """Mark the password as used. Raises RefusedError if it was used before, or if that cannot be
        checked."""
        self.require_unspent(hotkey, at_unix)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[hotkey, at_unix] = None
        try:
            await self._spend(hotkey, at_unix)
        except ProofError:
            raise
        except BaseException:  # the password may be unused
            self._remembered.pop((hotkey, at_unix), None)
            raise

    async def _spend(self, hotkey: Hotkey, at_unix: int) -> None:
        try:
            try:
                await self._create(hotkey, at_unix)
            except NoStreamResponseError:  # the bucket was never made, or was lost with NATS's state
                await self._make_bucket()
                await self._create(hotkey, at_unix)
        except APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                raise ProofError("password used twice") from None
            raise self._out_of_reach(error) from error
        except (NatsError, OSError) as error:
            raise self._out_of_reach(error) from error

    async def _create(self, hotkey: Hotkey, at_unix: int) -> None:
        first = {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: "0"}
        await self._jetstream.publish(spent_password(hotkey, at_unix), headers=first)

    async def _make_bucket(self) -> None:
        """Create the bucket. When it is full, it refuses new entries, so that used passwords are not
        forgotten."""
        await self._jetstream.add_stream(
            StreamConfig(
                name=f"KV_{SPENT_BUCKET}",
                subjects=[f"$KV.{SPENT_BUCKET}.>"],
                max_age=KEPT_SECONDS,
                max_msgs_per_subject=1,
                max_bytes=_MAX_BYTES,
                discard=DiscardPolicy.NEW,
                storage=StorageType.FILE,
                deny_delete=True,
                num_replicas=self._replicas,
            )
        )

    def _out_of_reach(self, error: Exception) -> RefusedError:
        log.warning("spent_passwords_unreachable", error=type(error).__name__)
        return RefusedError("passwords unavailable")

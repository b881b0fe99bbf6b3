"""Makes sure that each password is used only once, on all replicas together.

Used passwords are stored in a bucket of NATS KV that all replicas share. An entry is created by
compare-and-set, so if two replicas get the same password, one of them fails. The key of an entry is (hotkey,
time) and not the signature, because sr25519 signatures are random. While the bucket is unavailable, no one
can connect by password. Clients that sign the nonce are not affected.
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

# A password is valid for two windows, from its earliest to its latest moment. The third is for different
# clocks.
KEPT_SECONDS = 3 * PASSWORD_WINDOW_SECONDS
_MOST_BYTES = 16 * 1024 * 1024
_WRONG_LAST_SEQUENCE = 10071


class SpentPasswords:
    """The used passwords. `jetstream` must have a shorter timeout than nats-server's for the callout."""

    def __init__(self, jetstream: JetStreamContext) -> None:
        self._jetstream = jetstream

    async def spend(self, hotkey: Hotkey, at_unix: int) -> None:
        """Mark the password as used. Raises RefusedError if it was used before, or if that cannot be
        checked."""
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
                max_bytes=_MOST_BYTES,
                discard=DiscardPolicy.NEW,
                storage=StorageType.FILE,
                deny_delete=True,
            )
        )

    def _out_of_reach(self, error: Exception) -> RefusedError:
        log.warning("spent_passwords_unreachable", error=type(error).__name__)
        return RefusedError("passwords unavailable")

"""Issues presigned lists to validators: of one ended epoch, and the lists of legacy clients.

The legacy lists show the present uploads of all epochs and are valid for 24 hours. They include the running
epoch, because a list of a prefix cannot exclude folders. Only the manifest (`reading`) shows which uploads
count for an epoch.
"""

from dataclasses import dataclass
from datetime import timedelta

from broker_service.responder.database import Record
from broker_service.responder.issuance import ProvenRequest, Terms
from storage.objects import credential_policies
from storage.objects.store import ObjectStore
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.access import MinerListReply
from zipcast.protocol.messages.legacy import (
    FOLDER_STRUCTURE,
    GlobalLists,
    MinerAccessReply,
    MinerLists,
    StructureInfo,
    ValidatorAccessReply,
    ValidatorLists,
)

LIFETIME = timedelta(hours=24)
LIFETIME_SECONDS = int(LIFETIME.total_seconds())
PAGE_LIFETIME = timedelta(hours=3)
PAGE_LIFETIME_SECONDS = int(PAGE_LIFETIME.total_seconds())


@dataclass(frozen=True, slots=True)
class Lister:
    store: ObjectStore
    record: Record
    clock: Clock
    miner_bucket: str

    async def validator_access(
        self, request: ProvenRequest, start_after: str | None = None
    ) -> ValidatorAccessReply:
        """Return lists of all miners' uploads, one page after `start_after`. Raises the errors of
        `granted`."""
        everything, folders = (
            credential_policies.all_uploads(self.miner_bucket),
            credential_policies.all_miners(self.miner_bucket),
        )
        async with request.granted(Terms(everything, None, lifetime=LIFETIME)) as granted:
            at = granted.issued_at
            return ValidatorAccessReply(
                bucket=self.miner_bucket,
                region=self.store.region,
                validator_hotkey=request.caller.hotkey,
                expiry=granted.expires_at,
                expiry_seconds=LIFETIME_SECONDS,
                urls=ValidatorLists(
                    global_=GlobalLists(
                        list_all_data=self.store.list_url(everything, at, LIFETIME_SECONDS, start_after)
                    ),
                    miners=MinerLists(
                        list_all_miners=self.store.list_url(folders, at, LIFETIME_SECONDS, start_after)
                    ),
                ),
                structure_info=StructureInfo(
                    folder_structure=FOLDER_STRUCTURE + "{path}",
                    description="Miners upload below their own folder. A list shows one page of 1,000 "
                    "entries; ask again with the last of them as `start_after` for the next.",
                    example=FOLDER_STRUCTURE + "epoch=2026-11-22T04-00-00/listings/19103.parquet",
                ),
            )

    async def miner_list(
        self, request: ProvenRequest, miner: Hotkey, epoch_id: str, start_after: str | None
    ) -> MinerListReply:
        """Return a list of one miner's folder for an ended epoch, as it is now.

        Raises ServiceError(MALFORMED_EPOCH_ID | EPOCH_NOT_FOUND | EPOCH_NOT_ENDED), and the errors of
        `granted`."""
        if self.clock.now() < (await self.record.started(epoch_id)).interval.end_at:
            raise ServiceError(
                ErrorCode.EPOCH_NOT_ENDED, "The epoch is still running. Its uploads are shown after its end."
            )
        scope = credential_policies.miner_scope(self.miner_bucket, miner, epoch_id)
        async with request.granted(Terms(scope, epoch_id, lifetime=PAGE_LIFETIME)) as granted:
            return MinerListReply(
                epoch_id=epoch_id,
                miner_hotkey=miner,
                bucket=scope.bucket,
                prefix=scope.prefix,
                url=self.store.list_url(scope, granted.issued_at, PAGE_LIFETIME_SECONDS, start_after),
                expires_at=granted.expires_at,
            )

    async def miner_access(
        self, request: ProvenRequest, miner: Hotkey, start_after: str | None = None
    ) -> MinerAccessReply:
        """Return a list of one miner's uploads, one page after `start_after`. Raises the errors of
        `granted`."""
        scope = credential_policies.miner_folder_scope(self.miner_bucket, miner)
        async with request.granted(Terms(scope, None, lifetime=LIFETIME)) as granted:
            return MinerAccessReply(
                bucket=scope.bucket,
                region=self.store.region,
                miner_hotkey=miner,
                miner_url=self.store.list_url(scope, granted.issued_at, LIFETIME_SECONDS, start_after),
                prefix=scope.prefix,
                expiry=granted.expires_at,
            )

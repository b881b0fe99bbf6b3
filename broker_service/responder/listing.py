"""Presigned lists for validators as legacy clients ask for them: live, over all epochs, for 24 hours.

Owns these two replies. What counts for an epoch is `reading`'s matter: a list shows what is there now.
"""

from dataclasses import dataclass
from datetime import timedelta

from broker_service.responder.record import Record
from runtime.identity import Caller
from storage import policies
from storage.object_store import ObjectStore
from zipcast.clock import Clock
from zipcast.hotkeys import Hotkey
from zipcast.legacy_messages import (
    FOLDER_STRUCTURE,
    GlobalLists,
    MinerAccessReply,
    MinerLists,
    StructureInfo,
    ValidatorAccessReply,
    ValidatorLists,
)
from zipcast.messages import MinerListReply
from zipcast.subjects import Verb

LIFETIME = timedelta(hours=24)
LIFETIME_SECONDS = int(LIFETIME.total_seconds())
PAGE_LIFETIME = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class Lister:
    store: ObjectStore
    record: Record
    clock: Clock
    miner_bucket: str

    async def validator_access(self, caller: Caller) -> ValidatorAccessReply:
        """Raises ServiceError(SERVICE_UNAVAILABLE)."""
        everything = policies.all_uploads(self.miner_bucket)
        now = self.clock.now()
        await self.record.issuance(caller, Verb.S3_VALIDATOR_ACCESS, everything, None, now, now + LIFETIME)
        folders = policies.all_miners(self.miner_bucket)
        return ValidatorAccessReply(
            bucket=self.miner_bucket,
            region=self.store.region,
            validator_hotkey=caller.hotkey,
            expiry=now + LIFETIME,
            expiry_seconds=LIFETIME_SECONDS,
            urls=ValidatorLists(
                global_=GlobalLists(list_all_data=self.store.list_url(everything, LIFETIME_SECONDS)),
                miners=MinerLists(list_all_miners=self.store.list_url(folders, LIFETIME_SECONDS)),
            ),
            structure_info=StructureInfo(
                folder_structure=FOLDER_STRUCTURE + "{path}",
                description="Miners upload below their own folder; lists show one page of 1,000 entries.",
                example=FOLDER_STRUCTURE + "listings/2026-11-22.parquet",
            ),
        )

    async def miner_list(
        self, caller: Caller, miner: Hotkey | None, start_after: str | None
    ) -> MinerListReply:
        """One page of what is there now. Raises ServiceError(SERVICE_UNAVAILABLE)."""
        listing = (
            policies.all_uploads(self.miner_bucket)
            if miner is None
            else policies.miner_folder_scope(self.miner_bucket, miner)
        )
        now = self.clock.now()
        expires_at = now + PAGE_LIFETIME
        await self.record.issuance(caller, Verb.S3_MINER_LIST, listing, None, now, expires_at)
        return MinerListReply(
            miner_hotkey=miner,
            bucket=listing.bucket,
            prefix=listing.prefix,
            url=self.store.list_url(listing, int(PAGE_LIFETIME.total_seconds()), start_after),
            expires_at=expires_at,
        )

    async def miner_access(self, caller: Caller, miner: Hotkey) -> MinerAccessReply:
        """Raises ServiceError(SERVICE_UNAVAILABLE)."""
        scope = policies.miner_folder_scope(self.miner_bucket, miner)
        now = self.clock.now()
        await self.record.issuance(caller, Verb.S3_MINER_ACCESS, scope, None, now, now + LIFETIME)
        return MinerAccessReply(
            bucket=scope.bucket,
            region=self.store.region,
            miner_hotkey=miner,
            miner_url=self.store.list_url(scope, LIFETIME_SECONDS),
            prefix=scope.prefix,
            expiry=now + LIFETIME,
        )

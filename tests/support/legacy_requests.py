"""Makes requests of legacy clients."""

from sqlalchemy import select

from storage.database.engine import open_engine
from storage.database.tables import MinerSubmission
from tests.support.people import keypair, legacy
from zipcast.client.local_stack import Ready
from zipcast.protocol import signed_texts

STATUS = "/api/v1/zipcode-assignments/status"


def report(ready: Ready, current: dict, name: str = "miner-2", **changes: object) -> dict[str, object]:
    text = changes.pop("text", signed_texts.STATUS_COMMITMENT)
    ago = changes.pop("seconds_ago", 0)
    epoch_id, signer = changes.get("epochId", current["epochId"]), keypair(ready, name)
    commitment = str(text).replace("{epoch_id}", str(epoch_id)).replace("{hotkey}", signer.ss58_address)
    return {
        **legacy(signer, commitment, seconds_ago=ago),  # type: ignore[arg-type]
        "epochId": epoch_id,
        "nonce": current["nonce"],
        "status": "in_progress",
        "listingsScraped": 12,
        "zipcodesCompleted": [
            {"zipcode": "19104", "listingsScraped": 12, "completedAt": "2026-11-22T05:00:00"}
        ],
        "s3UploadComplete": False,
        **changes,
    }


async def submission(ready: Ready, name: str, epoch_id: str):
    engine = open_engine(ready.postgres, application_name="test")
    query = select(MinerSubmission.__table__).where(
        MinerSubmission.hotkey == keypair(ready, name).ss58_address, MinerSubmission.epoch_id == epoch_id
    )
    async with engine.connect() as connection:
        row = (await connection.execute(query)).one()
    await engine.dispose()
    return row

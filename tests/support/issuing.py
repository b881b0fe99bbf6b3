"""Sends requests for credentials to a running stack."""

import httpx

from tests.support.operator_view import until
from zipcast.client.local_stack import Ready

UPLOAD = "/api/v1/s3-access/validator-upload"


async def running(ready: Ready, http: httpx.AsyncClient) -> str:
    """Return the running epoch's id. Between two epochs, cached statistics may show none."""
    shown: list[str] = []

    async def is_shown() -> bool:
        statistics = (await http.get("/api/v1/zipcode-assignments/stats")).json()
        current = statistics["epochStatus"]["currentEpoch"]
        shown.extend([] if current is None else [current["id"]])
        return bool(shown)

    await until(is_shown)
    return shown[0]

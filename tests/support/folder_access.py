"""Requests of the published miner client for its folder."""

from tests.support.people import coldkey, keypair, legacy
from zipcast.client.local_stack import Ready

PATH = "/get-folder-access"


def asked(ready: Ready, name: str = "miner-3", **options: object) -> dict[str, object]:
    signer, owner = keypair(ready, name), coldkey(ready, name)
    text = f"s3:data:access:{owner}:{signer.ss58_address}:{{timestamp}}"
    return {"coldkey": owner, **legacy(signer, text, **options)}  # type: ignore[arg-type]

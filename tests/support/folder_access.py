"""Makes the requests with which the published miner client gets access to its folder."""

from tests.support.people import coldkey, keypair, legacy
from zipcast.client.local_stack import Ready

PATH = "/get-folder-access"


def asked(ready: Ready, name: str = "miner-3", **options: object) -> dict[str, object]:
    signer, owner = keypair(ready, name), coldkey(ready, name)
    text = f"s3:data:access:{owner}:{signer.ss58_address}:{{timestamp}}"
    return {"coldkey": owner, **legacy(signer, text, **options)}  # type: ignore[arg-type]

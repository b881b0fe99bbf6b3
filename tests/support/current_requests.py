"""Makes signed HTTP requests for the running epoch."""

from tests.support.people import legacy
from zipcast.protocol.hotkeys import Keypair

CURRENT = "/api/v1/zipcode-assignments/current"


def current_query(signer: Keypair, **options: object) -> dict[str, str]:
    return legacy(signer, "zipcode:assignment:current:{timestamp}", **options)  # type: ignore[arg-type]

"""Wire model of the description of a service, which the bridge publishes at `/.well-known/zipcast.json`.

A client must not trust it alone: the user confirms the signers once, and later changes must be announced by a
signed message's `nextSigner`.
"""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.messages.base import HotkeyText, Success, WireModel

WELL_KNOWN_PATH = "/.well-known/zipcast.json"
MAX_SERVERS = 20
MAX_SIGNERS = 10

Signer = Annotated[HotkeyText, AfterValidator(parse_hotkey)]
# Only printable ASCII without spaces: commands print these texts beside the signers that a user confirms, so
# no text may look like another line.
Address = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,512}$")]
Network = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]


class ServiceDescription(WireModel):
    """The facts that a client needs to use a service. Nothing in it is signed."""

    success: Success = True
    network: Network = Field(description="Bittensor network: finney, test or local.", examples=["finney"])
    netuid: int = Field(ge=0, le=65_535, description="netuid of the subnet.", examples=[46])
    signers: Annotated[tuple[Signer, ...], Field(min_length=1, max_length=MAX_SIGNERS)] = Field(
        description="SS58 addresses of the service's signers."
    )
    servers: Annotated[tuple[Address, ...], Field(max_length=MAX_SERVERS)] = Field(
        description="URLs of NATS servers; empty if the operator has not published them.",
        examples=[["tls://nats.example.org:4222"]],
    )
    http: Address | None = Field(
        description="URL of the HTTP bridge; null if the operator has not published it.",
        examples=["https://bridge.example.org"],
    )
    documentation: Address | None = Field(
        default=None,
        description="URL of the documentation; null if the operator has not published one.",
        examples=["https://docs.example.org"],
    )

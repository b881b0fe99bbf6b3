"""A NATS client for servers that may be hostile.

`tls://` means TLS: nats-py goes by what the server says before anything is encrypted, so who stands
between could take that word out and be signed to in clear. And a message or a line that does not end is not
waited for.
"""

from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.protocol.parser import Parser

# Four times the largest message that nats.conf allows.
MAX_MESSAGE_BYTES = 1 << 20
# The most that is read ahead of the parser: a whole message and what follows it in the same read.
MAX_BUFFER_BYTES = MAX_MESSAGE_BYTES + (1 << 16)


class UnencryptedServerError(nats.errors.Error):
    """The server of a `tls://` address wants no TLS: nothing was signed, and nothing sent."""


class BoundedParser(Parser):
    """nats-py's, which would keep as much of a message as the server says that it has."""

    async def parse(self, data: bytes = b"") -> None:
        """Parse what was received. Raises ProtocolError for a message of more than MAX_MESSAGE_BYTES, and for
        a line that does not end."""
        await super().parse(data)
        if self.needed > MAX_MESSAGE_BYTES or len(self.buf) > MAX_BUFFER_BYTES:
            raise nats.errors.ProtocolError("nats: a message that is too large")


class EncryptedClient(Client):
    """A client that proves itself to a `tls://` address over TLS alone, at each connection."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = BoundedParser(self)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Never go to servers that this one names: ours name none, and a list of thousands takes minutes."""
        await super()._process_info({**info, "connect_urls": []}, initial_connection)

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server is not None and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise UnencryptedServerError("the server of a tls:// address does not encrypt")
        return super()._connect_command()

"""A NATS client that is safe to use with hostile servers.

It insists on TLS for `tls://` addresses. nats-py alone would follow the server's first, unencrypted line, so
an attacker in between could remove TLS and receive the signature in plain text. The client also limits the
size of messages and lines.
"""

from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.protocol.parser import Parser

# The largest message that is accepted, in bytes: four times as large as nats.conf allows.
MAX_MESSAGE_BYTES = 1 << 20
# The largest number of buffered bytes: those of a whole message, and those that follow it in the same read.
MAX_BUFFER_BYTES = MAX_MESSAGE_BYTES + (1 << 16)


class UnencryptedServerError(nats.errors.Error):
    """The server of a `tls://` address does not use TLS. Nothing was signed or sent."""


class BoundedParser(Parser):
    """nats-py's parser with a size limit. Without it, the server decides how much memory a message takes."""

    async def parse(self, data: bytes = b"") -> None:
        """Parse received bytes. Raises ProtocolError for a message of more than MAX_MESSAGE_BYTES, and for a
        line without end."""
        await super().parse(data)
        if self.needed > MAX_MESSAGE_BYTES or len(self.buf) > MAX_BUFFER_BYTES:
            raise nats.errors.ProtocolError("nats: a message that is too large")


# The fields of a server's INFO that nats-py uses without checking their type.
_INFO_KINDS = {"max_payload": int, "client_id": int, "headers": bool, "tls_required": bool, "client_ip": str}


class EncryptedClient(Client):
    """A client that signs for a `tls://` address only over TLS, at each connection."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = BoundedParser(self)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Ignore the other servers that this server names. Our servers name none, and a hostile list could be
        long. Raises ProtocolError for a field of the wrong kind, on which nats-py would fail later."""
        for name, kind in _INFO_KINDS.items():
            if name in info and type(info[name]) is not kind:
                raise nats.errors.ProtocolError(f"nats: {name} of the server's INFO is of the wrong kind")
        await super()._process_info({**info, "connect_urls": []}, initial_connection)

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server is not None and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise UnencryptedServerError("the server of a tls:// address does not use TLS")
        return super()._connect_command()

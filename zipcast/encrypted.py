"""`tls://` means TLS: nats-py goes by what the server says before anything is encrypted, so who stands
between could take that word out and be signed to in clear."""

import nats.errors
from nats.aio.client import Client


class UnencryptedServerError(nats.errors.Error):
    """The server of a `tls://` address wants no TLS: nothing was signed, and nothing sent."""


class EncryptedClient(Client):
    """A client that proves itself to a `tls://` address over TLS alone, at each connection."""

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server is not None and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise UnencryptedServerError("the server of a tls:// address does not encrypt")
        return super()._connect_command()

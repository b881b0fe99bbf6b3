"""Connects to NATS: proves the hotkey, and refuses servers that are not safe to connect to.

The proof names the audience: the name under which the client itself verified the server, so that a proof
given to one server is worthless to another.
"""

import asyncio
import base64
import ssl
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Callback, Client, ErrorCallback

from zipcast.client.nats_client import EncryptedClient
from zipcast.protocol.commitments import LOOPBACK_AUDIENCE, connection_text
from zipcast.protocol.hotkeys import Signer, parse_hotkey
from zipcast.protocol.subjects import inbox_prefix

CONNECT_TIMEOUT_SECONDS = 10.0
CLOSE_TIMEOUT_SECONDS = 1.0
# A refusal that takes longer is nats-server's own: the callout did not answer in time.
REFUSAL_SECONDS = 1.0
_PLAIN, _ENCRYPTED = frozenset({"nats", "ws"}), frozenset({"tls", "wss"})
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
# A connection that is cut without a word is noticed within a minute.
_PING_SECONDS, _UNANSWERED_PINGS = 20, 2


class InsecureServerError(ValueError):
    """Plain text is refused except to loopback: anyone on the way could read the epoch's requests."""


class StrangeServerError(nats.errors.Error):
    """The server asks for a signature over something that is no nonce of a nats-server."""


class RefusedError(nats.errors.AuthorizationError):
    """The server refused this hotkey. It does not say why, so the message names the possible causes."""

    def __init__(self, server: "Server", hotkey: str, network: str, netuid: int) -> None:
        super().__init__()
        self._message = (
            f"{server.url} refused hotkey {hotkey}. Either it is not registered on subnet {netuid} of "
            f"network {network}, or the service has not seen its registration yet (that takes minutes), or "
            f"the service runs another network or netuid, or is not known by the name {server.audience}, "
            "or this hotkey sent too much and is kept out for some minutes."
        )

    def __str__(self) -> str:
        return self._message


class CertificateError(nats.errors.Error):
    """The server's certificate was refused: the message names the server and the reason."""


@dataclass(frozen=True, slots=True)
class Server:
    """One NATS address and the audience that proofs for it name."""

    url: str
    audience: str

    @classmethod
    def parse(cls, url: str) -> "Server":
        """Raises InsecureServerError, and ValueError for a malformed address."""
        parts = urlsplit(url)
        if parts.scheme not in _PLAIN | _ENCRYPTED or not parts.hostname or parts.port == 0:
            raise ValueError("a server is nats://127.0.0.1:PORT, tls://HOST:PORT or wss://HOST")
        if parts.scheme in _ENCRYPTED:
            return cls(url, parts.hostname)
        if parts.hostname in _LOOPBACK:
            return cls(url, LOOPBACK_AUDIENCE)
        raise InsecureServerError(f"{parts.hostname}: use tls:// or wss:// for anything but loopback")


async def connect(
    server: Server,
    signer: Signer,
    *,
    network: str,
    netuid: int,
    on_error: ErrorCallback,
    on_close: Callback,
) -> Client:
    """Return a connected client, or raise within CONNECT_TIMEOUT_SECONDS. A connection that is lost stays
    closed. A refusal that only says that nats-server was not answered in time is not believed: try again.

    Raises nats.errors.Error, OSError: RefusedError when the server refuses the hotkey, CertificateError,
    nats.errors.NoServersError when nothing listens there, StrangeServerError, UnencryptedServerError."""
    loop = asyncio.get_running_loop()
    began = attempt_at = loop.time()
    while True:
        try:
            async with asyncio.timeout_at(began + CONNECT_TIMEOUT_SECONDS):
                return await _connect(server, signer, network, netuid, on_error, on_close)
        except RefusedError:
            refused_after, attempt_at = loop.time() - attempt_at, loop.time()
            if refused_after < REFUSAL_SECONDS or attempt_at - began > CONNECT_TIMEOUT_SECONDS / 2:
                raise


async def _connect(
    server: Server,
    signer: Signer,
    network: str,
    netuid: int,
    on_error: ErrorCallback,
    on_close: Callback,
) -> Client:
    """Connect with a single try."""
    hotkey = parse_hotkey(signer.ss58_address)
    is_open = False

    async def note_close() -> None:
        if is_open:
            await on_close()

    def prove(nonce: str) -> bytes:
        try:
            text = connection_text(network, netuid, server.audience, hotkey, nonce)
        except (ValueError, TypeError):
            raise StrangeServerError("the server wants something signed that is no nonce") from None
        return base64.b64encode(bytes(signer.sign(text)))

    refused_certificate: ssl.CertificateError | None = None

    async def note_error(error: Exception) -> None:
        """Over WebSocket nats-py reports a refused certificate here and then raises NoServersError."""
        nonlocal refused_certificate
        if isinstance(error, ssl.CertificateError):
            refused_certificate = error
        await on_error(error)

    client = EncryptedClient()
    try:
        await client.connect(
            server.url,
            name=f"zipcast-sdk-{hotkey[:8]}",
            token=hotkey,
            signature_cb=prove,
            inbox_prefix=inbox_prefix(hotkey),
            tls=ssl.create_default_context() if urlsplit(server.url).scheme in _ENCRYPTED else None,
            # The first connect must fail fast; nats-py would retry bad credentials for minutes. Later
            # the caller repairs a lost connection, with a new client.
            allow_reconnect=False,
            # If nothing listens, nats-py would go on trying for two minutes.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=3,
            ping_interval=_PING_SECONDS,
            max_outstanding_pings=_UNANSWERED_PINGS,
            error_cb=note_error,
            closed_cb=note_close,
        )
    except BaseException as error:
        await close(client)  # nats-py leaves the socket of a refused connection open
        if not isinstance(error, Exception):
            raise
        if not isinstance(error, nats.errors.Error | OSError):
            # nats-py fails in many ways on what a hostile server says; the next server must be tried.
            raise StrangeServerError(f"{server.url} does not speak NATS: {type(error).__name__}") from error
        if isinstance(error, nats.errors.Error) and "authorization violation" in str(error).lower():
            raise RefusedError(server, hotkey, network, netuid) from error
        if refused_certificate is not None:
            reason = getattr(refused_certificate, "verify_message", None) or str(refused_certificate)
            raise CertificateError(f"the certificate of {server.url} was refused: {reason}") from error
        raise
    if not client.is_connected:
        await close(client)
        raise nats.errors.NoServersError
    is_open = True
    return client


async def close(client: Client) -> None:
    """Close the connection. After a failed TLS handshake nats-py would wait for the end of a stream that has
    ended already, and never return; its socket is closed by then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await client.close()

"""Connects to NATS. This module proves the hotkey to the server, and refuses unsafe servers.

The signed proof names the audience, which is the name under which the client verified the server. A server
therefore cannot use the proof to connect to another server.
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
from zipcast.protocol.hotkeys import Signer, parse_hotkey
from zipcast.protocol.signed_texts import LOOPBACK_AUDIENCE, connection_text
from zipcast.protocol.subjects import inbox_prefix

CONNECT_TIMEOUT_SECONDS = 10.0
CLOSE_TIMEOUT_SECONDS = 1.0
# A faster refusal comes from the callout. If it takes longer, the callout did not reply in time, and
# nats-server refused on its own.
REFUSAL_SECONDS = 1.0
# The error codes of a certificate for another name or address: X509_V_ERR_HOSTNAME_MISMATCH and
# X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL.
_NAME_MISMATCHES = frozenset({62, 64})
_PLAIN, _ENCRYPTED = frozenset({"nats", "ws"}), frozenset({"tls", "wss"})
_LOOPBACK = frozenset({"127.0.0.1", "::1"})
# With a ping every 20 s and two pings without reply, the client notices within a minute that a connection has
# silently died.
_PING_SECONDS, _UNANSWERED_PINGS = 20, 2


class InsecureServerError(ValueError):
    """The address is unencrypted and not loopback. It is refused, because others could read the requests."""


class StrangeServerError(nats.errors.Error):
    """The server does not speak NATS, or wants a signature over a text that is not a nonce of nats-server."""


class HotkeyRefusedError(nats.errors.AuthorizationError):
    """The server refused this hotkey. It does not say why, so the message names the possible causes."""

    def __init__(self, server: "Server", hotkey: str, network: str, netuid: int) -> None:
        super().__init__()
        self._message = (
            f"{server.url} refused hotkey {hotkey}. Possible causes: the hotkey is not registered on subnet "
            f"{netuid} of network {network}; it registered only minutes ago, so try again; the service is of "
            f"another network or netuid; the service's name is not {server.audience}; or the hotkey sent too "
            "much and is blocked for some minutes."
        )

    def __str__(self) -> str:
        return self._message


class CertificateRefusedError(nats.errors.Error):
    """The client refused the server's certificate. The message names the server and the reason.
    `is_for_other_name` is true if the certificate belongs to another host name."""

    is_for_other_name = False


@dataclass(frozen=True, slots=True)
class Server:
    """One NATS address and the audience that proofs for it must name."""

    url: str
    audience: str

    @classmethod
    def parse(cls, url: str) -> "Server":
        """Read an address. Raises InsecureServerError, and ValueError for a malformed address."""
        parts = urlsplit(url)
        if parts.scheme not in _PLAIN | _ENCRYPTED or not parts.hostname or parts.port == 0:
            raise ValueError(
                "a server's address must be nats://127.0.0.1:PORT, tls://HOST:PORT or wss://HOST"
            )
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
    """Return a connected client, or raise within CONNECT_TIMEOUT_SECONDS. A lost connection is not replaced.
    If nats-server refuses only because the callout did not reply in time, try again.

    Raises nats.errors.Error and OSError, among them HotkeyRefusedError if the server refuses the hotkey,
    nats.errors.NoServersError if nothing listens there, CertificateRefusedError, StrangeServerError and
    UnencryptedServerError."""
    loop = asyncio.get_running_loop()
    began = attempt_at = loop.time()
    while True:
        try:
            async with asyncio.timeout_at(began + CONNECT_TIMEOUT_SECONDS):
                return await _connect(server, signer, network, netuid, on_error, on_close)
        except HotkeyRefusedError:
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
    """Try once to connect."""
    hotkey = parse_hotkey(signer.ss58_address)
    is_open = False

    async def note_close() -> None:
        if is_open:
            await on_close()

    def prove(nonce: str) -> bytes:
        try:
            text = connection_text(network, netuid, server.audience, hotkey, nonce)
        except (ValueError, TypeError):
            raise StrangeServerError("the server wants a signature over a text that is not a nonce") from None
        return base64.b64encode(bytes(signer.sign(text)))

    refused_certificate: ssl.CertificateError | None = None

    async def note_error(error: Exception) -> None:
        """Remember a refused certificate. Over WebSocket, nats-py reports it here and then raises
        NoServersError."""
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
            # Do not let nats-py reconnect: it would retry bad credentials for minutes, but the first attempt
            # must fail fast. If the connection is lost later, the caller makes a new client.
            allow_reconnect=False,
            # Try once: by default, nats-py would try for two minutes if nothing listens.
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
            # nats-py raises many kinds of errors on hostile input; the caller must try the next server.
            raise StrangeServerError(f"{server.url} does not speak NATS: {type(error).__name__}") from error
        if isinstance(error, nats.errors.Error) and "authorization violation" in str(error).lower():
            raise HotkeyRefusedError(server, hotkey, network, netuid) from error
        if refused_certificate is not None:
            reason = getattr(refused_certificate, "verify_message", None) or str(refused_certificate)
            refusal = CertificateRefusedError(f"the certificate of {server.url} was refused: {reason}")
            code = getattr(refused_certificate, "verify_code", None)
            refusal.is_for_other_name = code in _NAME_MISMATCHES
            raise refusal from error
        raise
    if not client.is_connected:
        await close(client)
        raise nats.errors.NoServersError
    is_open = True
    return client


async def close(client: Client) -> None:
    """Close the connection, but wait only for a short time: after a failed TLS handshake, nats-py waits for
    ever for the end of a stream that has already ended. The socket is closed by then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await client.close()

"""Opens HTTP clients that use the proxy settings of the environment, but never a proxy for loopback.

Requests to this machine carry credentials that no proxy should see, and most proxies could not reach this
machine. A server may be hostile, so `BoundedBody` decompresses no more of a reply than the caller allows.
"""

import ipaddress
import os
import ssl
import zlib
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpx


class ProxySettingsError(OSError):
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY has a value that cannot be used. The message names the
    reason."""


class AnswerTooLargeError(OSError):
    """A reply is larger than the caller allows."""


class AnswerEncodingError(OSError):
    """A reply is compressed twice or with something other than gzip, or claims to be gzip and is not."""


HTTP_FAULTS = (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ExceptionGroup)
"""The errors of the HTTP library. A hostile reply can cause each of them: for example, a redirect that cannot
be encoded raises UnicodeError, which is a ValueError."""


class BoundedBody:
    """Decompresses a body piece by piece, up to `max_bytes` in all. httpx alone would decompress each piece
    as a whole, and as many times as the headers say: 64 KB of gzip in gzip can hold 60 GB."""

    def __init__(self, headers: httpx.Headers, max_bytes: int) -> None:
        """Prepare for a body with these headers. Raises AnswerEncodingError for any encoding except gzip."""
        encodings = [one.lower() for one in headers.get_list("content-encoding", split_commas=True)]
        if encodings not in ([], ["identity"], ["gzip"], ["x-gzip"]):
            raise AnswerEncodingError(
                "the reply has an unsupported content encoding; only gzip, applied once, is accepted"
            )
        gzipped = bool(encodings) and encodings != ["identity"]
        self._gzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if gzipped else None
        self._max_bytes = self._spare_bytes = max_bytes

    def decompress(self, piece: bytes) -> bytes:
        """Decompress the next piece. Raises AnswerTooLargeError and AnswerEncodingError."""
        if self._gzip is not None:
            if self._gzip.eof and piece:  # zlib would keep everything that follows
                raise AnswerEncodingError("the reply continues after the end of its gzip data")
            try:
                piece = self._gzip.decompress(piece, self._spare_bytes + 1)
            except zlib.error:
                raise AnswerEncodingError("the reply claims to be gzip but is not") from None
            if self._gzip.unused_data:
                raise AnswerEncodingError("the reply continues after the end of its gzip data")
        self._spare_bytes -= len(piece)
        if self._spare_bytes < 0:
            raise AnswerTooLargeError(f"the reply has more than {self._max_bytes} bytes")
        return piece


def open_client(url: str, timeout_seconds: float) -> httpx.AsyncClient:
    """Return a client for requests to the host of `url`. Raises ProxySettingsError."""
    try:
        return httpx.AsyncClient(
            timeout=timeout_seconds,
            trust_env=not is_loopback(url),
            verify=_tls_context(),
            cookies=_no_cookies(),
        )
    except (ImportError, httpx.InvalidURL, ValueError) as error:
        raise _unusable(error) from error


def open_sync_client(url: str, timeout_seconds: float) -> httpx.Client:
    """Return a client without asyncio for requests to the host of `url`. Raises ProxySettingsError."""
    try:
        return httpx.Client(
            timeout=timeout_seconds,
            trust_env=not is_loopback(url),
            verify=_tls_context(),
            cookies=_no_cookies(),
        )
    except (ImportError, httpx.InvalidURL, ValueError) as error:
        raise _unusable(error) from error


def _no_cookies() -> CookieJar:
    """Return a jar that stays empty. No server of ours sets cookies, and a hostile one could make later
    requests fail."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


def is_loopback(url: str) -> bool:
    """Return whether the host of `url` is this machine: `localhost`, 127.0.0.0/8 or ::1."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_context() -> ssl.SSLContext:
    """Return the TLS context that httpx would make, from a cache. It trusts the certificates of SSL_CERT_FILE
    and SSL_CERT_DIR for loopback addresses too, as NATS connections do."""
    return _context_with(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))


@lru_cache(maxsize=4)
def _context_with(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Load the certificates, once per pair of arguments, because this takes 60 ms of CPU time. httpx reads
    SSL_CERT_FILE and SSL_CERT_DIR itself."""
    return httpx.create_ssl_context(trust_env=bool(file or folder))


def _unusable(error: Exception) -> ProxySettingsError:
    return ProxySettingsError(
        f"The proxy settings of the environment cannot be used ({error}): correct HTTP_PROXY, HTTPS_PROXY, "
        "ALL_PROXY and NO_PROXY, or unset them. A SOCKS proxy needs `pip install httpx[socks]`."
    )

"""Opens HTTP clients that use the proxy settings of the environment, but never a proxy for loopback.

Requests to the own machine carry credentials that no proxy should see, and most proxies could not reach it.
"""

import ipaddress
from urllib.parse import urlsplit

import httpx


class ProxySettingsError(OSError):
    """HTTP_PROXY, ALL_PROXY or NO_PROXY hold something that cannot be used; the message says what."""


def open_client(url: str, timeout_seconds: float) -> httpx.AsyncClient:
    """Return a client for requests to the host of `url`. Raises ProxySettingsError."""
    try:
        return httpx.AsyncClient(timeout=timeout_seconds, trust_env=not is_loopback(url))
    except (ImportError, httpx.InvalidURL, ValueError) as error:
        raise _unusable(error) from error


def open_sync_client(url: str, timeout_seconds: float) -> httpx.Client:
    """Return the same without asyncio. Raises ProxySettingsError."""
    try:
        return httpx.Client(timeout=timeout_seconds, trust_env=not is_loopback(url))
    except (ImportError, httpx.InvalidURL, ValueError) as error:
        raise _unusable(error) from error


def is_loopback(url: str) -> bool:
    """Return whether the host of `url` is this machine: `localhost`, 127.0.0.0/8 or ::1."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unusable(error: Exception) -> ProxySettingsError:
    return ProxySettingsError(
        f"The proxy settings of the environment cannot be used ({error}): correct HTTP_PROXY, HTTPS_PROXY, "
        "ALL_PROXY and NO_PROXY, or unset them. A SOCKS proxy needs `pip install httpx[socks]`."
    )

"""Serving HTTP inside a process of ours: uvicorn without its own signals, log lines and headers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

# For requests under way when the process stops.
GRACE_SECONDS = 1


class Server(uvicorn.Server):
    """Not listening before `serve`. Setting `should_exit` ends it. X-Forwarded-For and X-Forwarded-Proto are
    believed from `trusted_proxies` (addresses, networks) alone."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(trusted_proxies),
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                h11_max_incomplete_event_size=16 * 1024,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The process has its own."""
        yield

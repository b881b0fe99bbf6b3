"""Limits every reply that boto3 reads from an object store: its size, and the time between its first byte and
its last.

boto3 limits neither: it reads a body to its end, in a thread that the caller's deadline cannot end.
"""

import io
import math
import socket
import time
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

# The largest normal reply, a page of 1,000 keys of 1 KB each, takes about 2 MB with its markup.
MAX_ANSWER_BYTES = 16 * 1024**2


def bound_answers(
    client: Any, seconds: float, *, is_file: bool = False, is_stopped: Callable[[], bool] = lambda: False
) -> None:
    """End every reply to a boto3 client after MAX_ANSWER_BYTES, after `seconds`, or as soon as `is_stopped`
    returns true. With `is_file`, the requested content may be larger, because it is not kept in memory; an
    error reply may not."""

    class Response(_BoundedResponse):
        def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
            super().__init__(sock, *args, **more)
            self._bound(sock, seconds, is_stopped)

        def begin(self) -> None:
            super().begin()
            if is_file and self.status < 300:
                self._source.left = math.inf

    class Connection(AWSHTTPConnection):
        response_class = Response  # type: ignore[assignment]  # botocore narrows it

    class SecureConnection(AWSHTTPSConnection):
        response_class = Response  # type: ignore[assignment]  # botocore narrows it

    class Pool(AWSHTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(AWSHTTPSConnectionPool):
        ConnectionCls = SecureConnection

    client._endpoint.http_session._pool_classes_by_scheme.update(http=Pool, https=SecurePool)


class _BoundedResponse(HTTPResponse):
    _source: "_BoundedSource"

    def _bound(self, sock: socket.socket, seconds: float, is_stopped: Callable[[], bool]) -> None:
        self._source = _BoundedSource(self.fp.detach(), sock, time.monotonic() + seconds, is_stopped)
        self.fp = io.BufferedReader(self._source)


class _BoundedSource(io.RawIOBase):
    """The bytes of one reply. Reading beyond the limits raises OSError."""

    def __init__(
        self, raw: io.RawIOBase, sock: socket.socket, ends_at: float, is_stopped: Callable[[], bool]
    ) -> None:
        self._raw, self._sock, self._ends_at, self._is_stopped = raw, sock, ends_at, is_stopped
        self.left: float = MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining, patience = self._ends_at - time.monotonic(), self._sock.gettimeout()
        if remaining <= 0 or self._is_stopped():
            raise TimeoutError("the reply took too long")
        self._sock.settimeout(remaining if patience is None else min(remaining, patience))
        count = self._raw.readinto(buffer)
        self._sock.settimeout(patience)
        self.left -= count or 0
        if self.left < 0:
            raise OSError("the reply is too large")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()

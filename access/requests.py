"""Defines a request before, during and after the checks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from access.rate_limits import Quota
from access.source_addresses import stated_address
from zipcast.protocol import subjects
from zipcast.protocol.btauth import HEADER_HOTKEY
from zipcast.protocol.errors import ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.messages.base import HEADER_CLIENT_ADDRESS, HEADER_HTTP_METHOD, HEADER_HTTP_TARGET
from zipcast.protocol.verbs import Verb

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it arrived, unchecked. `owner` is the hotkey that owns the NATS subject of the request. It
    is None for a request over HTTP, whose method, target and client address are in `headers`. `query` has the
    parameters of a GET."""

    verb: Verb
    body: bytes
    headers: Mapping[str, str]
    request_id: str
    owner: Hotkey | None = None
    query: Fields | None = None

    @property
    def is_legacy(self) -> bool:
        """Return whether the request must have a legacy identity. The signature of a legacy identity does not
        cover the whole request."""
        return self.owner is None and HEADER_HOTKEY not in self.headers

    @property
    def source(self) -> str:
        """Return `nats`, the HTTP client's address as stated by the bridge, or `unknown`."""
        if self.owner is not None:
            return "nats"
        return stated_address(self.headers.get(HEADER_CLIENT_ADDRESS, ""))

    @property
    def method_and_path(self) -> tuple[str, str]:
        """Return the method and path that a `btauth/1` signature must cover."""
        if self.owner is not None:
            return "NATS", subjects.request(self.owner, self.verb)
        return self.headers.get(HEADER_HTTP_METHOD, ""), self.headers.get(HEADER_HTTP_TARGET, "")


@dataclass(frozen=True, slots=True)
class Proof:
    """Identifies a verified request: the signed nonce or text, the time of signing, and a digest of the body.
    The same text signed again, raw or in `<Bytes>`, is the same request, although its signature differs."""

    request_key: str
    signed_at: datetime
    body_sha256: str


class Unverified(Protocol):
    """A well-formed request whose signature is not verified yet."""

    @property
    def hotkey(self) -> Hotkey: ...

    def require_fresh(self, now: datetime) -> None:
        """Check the signed time. Raises ServiceError(STALE_REQUEST)."""

    def verify(self) -> Proof:
        """Verify the signature. Raises ServiceError(WRONG_RECEIVER | BAD_SIGNATURE | LEGACY_REFUSED)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The verified sender. `role` is `miner`, `validator` or `admin`; `source` is that of `Arrival`."""

    hotkey: Hotkey
    role: str
    request_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that passed the checks, and the limit to which it is charged."""

    caller: Caller
    proof: Proof
    quota: Quota


class VerifiedRefusalError(ServiceError):
    """A refusal of a request whose signature was verified. `hotkey` is its sender."""

    def __init__(self, refusal: ServiceError, hotkey: Hotkey) -> None:
        super().__init__(refusal.code, refusal.message, retry_after_seconds=refusal.retry_after_seconds)
        self.hotkey = hotkey


@contextmanager
def refused_as(hotkey: Hotkey) -> Iterator[None]:
    """Add the verified sender to every refusal raised in the block."""
    try:
        yield
    except ServiceError as refusal:
        raise VerifiedRefusalError(refusal, hotkey) from refusal

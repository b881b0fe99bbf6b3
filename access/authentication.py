"""Reads and verifies requests that are signed with `btauth/1`."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from access.requests import Arrival, Proof
from zipcast.protocol import btauth
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.verbs import VERBS, Verb

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A `btauth/1` request that must be addressed to one of `receivers`."""

    arrival: Arrival
    receivers: frozenset[Hotkey]
    unverified: btauth.UnverifiedRequest

    @classmethod
    def read(cls, arrival: Arrival, receivers: frozenset[Hotkey]) -> "SignedRequest":
        """Read the headers of the signature.

        Raises ServiceError(MALFORMED_AUTH | MALFORMED_HOTKEY), and BAD_SIGNATURE if the subject belongs to
        another hotkey."""
        unverified = btauth.parse(arrival.headers)
        if arrival.owner not in {None, unverified.hotkey}:
            raise ServiceError(ErrorCode.BAD_SIGNATURE, "The subject belongs to another hotkey.")
        return cls(arrival, receivers, unverified)

    @property
    def hotkey(self) -> Hotkey:
        return self.unverified.hotkey

    def require_fresh(self, now: datetime) -> None:
        """Check the signed time. Raises ServiceError(STALE_REQUEST)."""
        btauth.check_fresh(self.unverified, int(now.timestamp() * 1_000_000_000))

    def verify(self) -> Proof:
        """Verify the signature. Raises ServiceError(WRONG_RECEIVER | BAD_SIGNATURE)."""
        arrival, nonce_ns = self.arrival, self.unverified.nonce_ns
        method, path = arrival.method_and_path
        if arrival.owner is None and not _is_endpoint_of(arrival.verb, method, path):
            # Otherwise a hostile bridge could turn a request for one endpoint into a request for another.
            raise ServiceError(ErrorCode.BAD_SIGNATURE, "The request was signed for another endpoint.")
        btauth.verify(self.unverified, method=method, path=path, body=arrival.body, receivers=self.receivers)
        # Keep microseconds, so that two reports signed within one second have an order.
        signed_at = UNIX_EPOCH + timedelta(microseconds=nonce_ns // 1000)
        return Proof(f"btauth:{nonce_ns}", signed_at, digest(arrival.verb, arrival.body))


def _is_endpoint_of(verb: Verb, method: str, target: str) -> bool:
    """Return whether the verb's endpoint has this method and target. HEAD counts as GET."""
    http = VERBS[verb].http
    if http is None or method not in {http.method, "HEAD" if http.method == "GET" else ""}:
        return False
    path = target.partition("?")[0].split("/")
    pattern = http.path.split("/")
    return len(path) == len(pattern) and all(
        one == part or one.startswith("{") for one, part in zip(pattern, path, strict=True)
    )


def digest(verb: Verb, body: bytes) -> str:
    """Return the SHA-256 of verb and body in lower-case hex. It distinguishes two bodies with the same signed
    text."""
    return hashlib.sha256(f"{verb}\n".encode() + body).hexdigest()

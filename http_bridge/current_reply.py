"""Builds the reply of `GET …/current`, once per epoch (docs/http-contract.md)."""

import gzip
import hashlib
import re
from dataclasses import dataclass

from zipcast.protocol.envelope import UnverifiedEnvelope, VerifiedEpoch
from zipcast.protocol.messages.assignments import ASSIGNMENT_FIELDS
from zipcast.protocol.messages.epochs import EpochMessage, Proof


@dataclass(frozen=True, slots=True)
class Representation:
    """Bytes ready to send, with their headers. Each encoding has its own ETag."""

    body: bytes
    etag: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class CurrentReply:
    """The body, plain and compressed; both are made once."""

    epoch_id: str
    plain: Representation
    gzipped: Representation

    @classmethod
    def of(cls, epoch: VerifiedEpoch) -> "CurrentReply":
        body = f"{{{assignment_fields(epoch.envelope)}}}".encode()
        digest = hashlib.sha256(body).hexdigest()[:32]
        return cls(
            epoch.envelope.epoch_id,
            _representation(body, digest, {}),
            # Leave out the time of compression, so that all replicas send the same bytes.
            _representation(gzip.compress(body, mtime=0), f"{digest}-gzip", {"Content-Encoding": "gzip"}),
        )

    def for_encodings(self, accepted: str) -> Representation:
        """Return the plain or the compressed body. `accepted` is the request's Accept-Encoding."""
        return self.gzipped if accepts_gzip(accepted) else self.plain


def accepts_gzip(accepted: str) -> bool:
    """Return whether the client accepts gzip: the header names it or `*`, with a weight other than 0 (RFC
    9110, 12.5.3)."""
    for stated in accepted.lower().split(","):
        name, _, weight = stated.partition(";")
        if name.strip() in {"gzip", "x-gzip", "*"}:
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return False


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client already has the representation with this ETag, by weak comparison; the header
    may be a list or `*` (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    stated = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return etag in stated or "*" in stated


def _representation(body: bytes, digest: str, encoding: dict[str, str]) -> Representation:
    etag = f'"{digest}"'
    headers = {"Cache-Control": "private", "ETag": etag, "Vary": "Accept-Encoding", **encoding}
    return Representation(body, etag, headers)


def assignment_fields(envelope: UnverifiedEnvelope) -> str:
    """Return the members of the body's JSON object. The envelope must be verified or come from the
    database."""
    message = EpochMessage.model_validate_json(envelope.payload)
    fields = message.model_dump_json(by_alias=True, include=ASSIGNMENT_FIELDS)
    proof = Proof(
        payload=envelope.payload.decode(), signer=envelope.signer, signature=envelope.signature
    ).model_dump_json(by_alias=True)
    return f'"success":true,{fields[1:-1]},"proof":{proof}'

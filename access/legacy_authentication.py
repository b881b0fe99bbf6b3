"""Reads and verifies requests of legacy clients, which sign a short text instead of the request.

The identity is in the body, or in the query of a GET. `VERBS` lists the accepted texts of each request.
Fields are checked before they are put into a text.
"""

import json
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from access.authentication import digest
from access.requests import Arrival, Fields, Proof
from service.database_reads import epoch_start
from zipcast.protocol import btauth, signed_texts
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.protocol.messages.base import LegacyIdentity, first_fault
from zipcast.protocol.signed_texts import UnverifiedCommitment
from zipcast.protocol.strict_json import parse_object
from zipcast.protocol.verbs import VERBS, Verb


@dataclass(frozen=True, slots=True)
class LegacyRequest:
    """A request with the identity and the fields of a legacy client. Hotkeys in `opted_out` cannot use it."""

    verb: Verb
    fields: Fields
    unverified: UnverifiedCommitment
    texts: tuple[str, ...]
    opted_out: Container[str]

    @classmethod
    def read(cls, arrival: Arrival, opted_out: Container[str]) -> "LegacyRequest":
        """Read the identity, and build the accepted texts. The client must have signed one of them.

        Raises ServiceError(MALFORMED_AUTH | MALFORMED_REQUEST | MALFORMED_HOTKEY | MALFORMED_EPOCH_ID)."""
        fields = parse_object(arrival.body) if arrival.query is None else arrival.query
        templates = VERBS[arrival.verb].commitments
        if not templates:
            raise ServiceError(
                ErrorCode.MALFORMED_AUTH,
                f"This request must be signed with btauth/1: the header {btauth.HEADER_HOTKEY} is missing.",
            )
        unverified = _identity(fields)
        texts = tuple(_filled(template, unverified, fields) for template in templates)
        return cls(arrival.verb, fields, unverified, texts, opted_out)

    @property
    def hotkey(self) -> Hotkey:
        return self.unverified.hotkey

    def require_fresh(self, now: datetime) -> None:
        """Check the timestamp. Raises ServiceError(STALE_REQUEST)."""
        signed_texts.check_commitment_fresh(self.unverified, VERBS[self.verb].window, now.timestamp())

    def verify(self) -> Proof:
        """Verify the signature. Raises ServiceError(BAD_SIGNATURE | LEGACY_REFUSED)."""
        hotkey, text = signed_texts.verify_commitment(self.unverified, self.texts)
        if hotkey in self.opted_out:
            raise ServiceError(ErrorCode.LEGACY_REFUSED, "This hotkey accepts btauth/1 only.")
        # Leave out the signature: a client that signs the same text again gets another signature, but repeats
        # the same request.
        asked = {name: value for name, value in self.fields.items() if name != "signature"}
        body = json.dumps(asked, sort_keys=True).encode()
        signed_at = datetime.fromtimestamp(self.unverified.timestamp, UTC)
        return Proof(f"legacy:{text}", signed_at, digest(self.verb, body))


def named_coldkey(fields: Fields) -> Hotkey:
    """Return the field `coldkey`. Raises ServiceError(MALFORMED_REQUEST | MALFORMED_HOTKEY)."""
    return _address(fields, "coldkey", "coldkey")


def named_miner(fields: Fields) -> Hotkey:
    """Return the field `miner_hotkey`. Raises ServiceError(MALFORMED_REQUEST | MALFORMED_HOTKEY)."""
    return _address(fields, "miner_hotkey", "minerHotkey")


def named_epoch(fields: Fields) -> str:
    """Return the field `epochId`. Raises ServiceError(MALFORMED_REQUEST | MALFORMED_EPOCH_ID)."""
    epoch_id = fields.get("epochId", fields.get("epoch_id"))
    if not isinstance(epoch_id, str):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "epochId: must be an epoch id.")
    epoch_start("epochId", epoch_id)
    return epoch_id


_FIELDS_IN_TEXTS = {"epoch_id": named_epoch, "coldkey": named_coldkey, "miner_hotkey": named_miner}


def _filled(template: str, unverified: UnverifiedCommitment, fields: Fields) -> str:
    """Return the template with the request's values: the text that the client must have signed."""
    named = {name: read(fields) for name, read in _FIELDS_IN_TEXTS.items() if f"{{{name}}}" in template}
    return template.format(hotkey=unverified.hotkey, timestamp=unverified.timestamp, **named)


def _identity(fields: Fields) -> UnverifiedCommitment:
    """Read hotkey, timestamp and signature. Raises ServiceError naming the field."""
    if fields.get("signature") is None:
        raise ServiceError(
            ErrorCode.MALFORMED_AUTH, "signature is missing: send hotkey, timestamp and signature."
        )
    try:
        identity = LegacyIdentity.model_validate(fields)
    except ValidationError as error:
        raise first_fault(error) from None
    return signed_texts.parse_commitment(identity.hotkey, str(identity.timestamp), identity.signature)


def _address(fields: Fields, name: str, alias: str) -> Hotkey:
    address = fields.get(name, fields.get(alias))
    if not isinstance(address, str):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, f"{name}: must be an SS58 address.")
    try:
        return parse_hotkey(address)
    except MalformedHotkeyError as error:
        raise ServiceError(ErrorCode.MALFORMED_HOTKEY, f"{name} {error}.") from None

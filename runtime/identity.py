"""Who asks: from an unverified message to a `Caller`, in the house's order of checks.

Owns that order: reply subject, shape, freshness, registered, signature, role, and for what is minted
that the registry is young enough to go by. Two doors lead here,
NATS directly and the HTTP bridge, which hands over the original request for a second check.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from runtime.registry import RegistryView
from zipcast import auth, btauth
from zipcast.auth import API_WINDOW, GET_WINDOW, UnverifiedCommitment, Window
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey
from zipcast.messages import (
    HEADER_CLIENT_ADDRESS,
    HEADER_HTTP_METHOD,
    HEADER_HTTP_TARGET,
    LegacyIdentity,
    first_fault,
)
from zipcast.strict_json import parse_object
from zipcast.subjects import MINTING_VERBS, Verb

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LegacyRule:
    """What must have been signed, given the identity and the request's own fields, and how long ago."""

    window: Window
    commitment: Callable[[UnverifiedCommitment, Fields], str]


# The HTTP requests that carry a legacy commitment.
LEGACY_RULES = {
    Verb.EPOCH_CURRENT: LegacyRule(API_WINDOW, lambda asked, _: auth.current_commitment(asked.timestamp)),
    Verb.S3_VALIDATOR_UPLOAD: LegacyRule(
        API_WINDOW, lambda asked, _: auth.validator_upload_commitment(asked.timestamp)
    ),
    Verb.S3_FOLDER_ACCESS: LegacyRule(
        GET_WINDOW,
        lambda asked, fields: auth.folder_access_commitment(
            named_coldkey(fields), asked.hotkey, asked.timestamp
        ),
    ),
}

# Requests that name a coldkey, which must be the hotkey's own on chain.
NAMING_A_COLDKEY = frozenset({Verb.S3_FOLDER_ACCESS})
VALIDATORS_ONLY = frozenset({Verb.S3_VALIDATOR_UPLOAD, Verb.S3_VALIDATOR_READ})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who was proven to ask. `source` is `nats` or the HTTP client's address."""

    hotkey: Hotkey
    role: str
    request_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it arrived, nothing of it checked but the subject."""

    verb: Verb
    body: bytes
    headers: dict[str, str]
    request_id: str


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """Checks requests against the registry and the signers they may be addressed to."""

    registry: RegistryView
    receivers: frozenset[Hotkey]
    clock: Clock

    def admit_direct(self, arrival: Arrival, subject: str, owner: Hotkey) -> Caller:
        """A request on a hotkey's own subject: `btauth/1` with method NATS and the subject as path.

        Raises ServiceError."""
        request = btauth.parse(arrival.headers)
        if request.hotkey != owner:
            raise ServiceError(ErrorCode.BAD_SIGNATURE, "Subject and signature name two hotkeys.")
        btauth.check_fresh(request, self._now_ns())
        self.registry.require_registered(request.hotkey)
        btauth.verify(request, method="NATS", path=subject, body=arrival.body, receivers=self.receivers)
        return self._caller(request.hotkey, arrival, "nats")

    def admit_bridged(self, arrival: Arrival, query: Fields | None = None) -> Caller:
        """A request that reached the bridge: its own signature counts, not the bridge's. A legacy
        identity stands in the body, or in the `query` of a GET.

        Raises ServiceError."""
        if btauth.HEADER_HOTKEY in arrival.headers:
            hotkey = self._bridged_btauth(arrival)
        else:
            fields = parse_object(arrival.body) if query is None else query
            hotkey = self._bridged_commitment(arrival.verb, fields)
        if arrival.verb in NAMING_A_COLDKEY:
            self._require_coldkey(hotkey, named_coldkey(parse_object(arrival.body)))
        return self._caller(hotkey, arrival, arrival.headers.get(HEADER_CLIENT_ADDRESS, "bridge"))

    def _bridged_btauth(self, arrival: Arrival) -> Hotkey:
        request = btauth.parse(arrival.headers)
        btauth.check_fresh(request, self._now_ns())
        self.registry.require_registered(request.hotkey)
        method, target = (arrival.headers.get(n, "") for n in (HEADER_HTTP_METHOD, HEADER_HTTP_TARGET))
        btauth.verify(request, method=method, path=target, body=arrival.body, receivers=self.receivers)
        return request.hotkey

    def _bridged_commitment(self, verb: Verb, fields: Fields) -> Hotkey:
        request, rule = legacy_identity(fields), LEGACY_RULES[verb]
        commitment = rule.commitment(request, fields)
        auth.check_commitment_fresh(request, rule.window, self.clock.now().timestamp())
        self.registry.require_registered(request.hotkey)
        return auth.verify_commitment(request, commitment)

    def _require_coldkey(self, hotkey: Hotkey, coldkey: str) -> None:
        """Raises ServiceError(COLDKEY_MISMATCH)."""
        if self.registry.require_registered(hotkey).coldkey != coldkey:
            raise ServiceError(ErrorCode.COLDKEY_MISMATCH, "The hotkey is not registered under that coldkey.")

    def _caller(self, hotkey: Hotkey, arrival: Arrival, source: str) -> Caller:
        if arrival.verb in VALIDATORS_ONLY:
            self.registry.require_validator(hotkey)
        if arrival.verb in MINTING_VERBS:
            self.registry.require_young(self.clock.now())
        validator = self.registry.is_validator(self.registry.require_registered(hotkey))
        role = "validator" if validator else "miner"
        return Caller(hotkey, role, arrival.request_id, source)

    def _now_ns(self) -> int:
        return int(self.clock.now().timestamp() * 1_000_000_000)


def named_coldkey(fields: Fields) -> str:
    """Raises ServiceError(MALFORMED_REQUEST | MALFORMED_HOTKEY)."""
    coldkey = fields.get("coldkey")
    if not isinstance(coldkey, str):
        raise ServiceError(ErrorCode.MALFORMED_REQUEST, "coldkey: must be an SS58 address.")
    try:
        return parse_hotkey(coldkey)
    except MalformedHotkeyError as error:
        raise ServiceError(ErrorCode.MALFORMED_HOTKEY, f"coldkey {error}.") from None


def legacy_identity(fields: Fields) -> UnverifiedCommitment:
    """The identity fields of a legacy body or query. Raises ServiceError naming the field."""
    try:
        identity = LegacyIdentity.model_validate(fields)
    except ValidationError as error:
        raise first_fault(error) from None
    return auth.parse_commitment(identity.hotkey, str(identity.timestamp), identity.signature)

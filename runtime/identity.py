"""Who asks: from an unverified message to a `Caller`, in the house's order of checks.

Owns that order: reply subject, shape, freshness, registered, signature, role. Two doors lead here,
NATS directly and the HTTP bridge, which hands over the original request for a second check.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from runtime.registry import RegistryView
from zipcast import auth, btauth
from zipcast.auth import API_WINDOW, UnverifiedCommitment
from zipcast.clock import Clock
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import Hotkey
from zipcast.messages import (
    HEADER_CLIENT_ADDRESS,
    HEADER_HTTP_METHOD,
    HEADER_HTTP_TARGET,
    LegacyIdentity,
    first_fault,
)
from zipcast.strict_json import parse_object
from zipcast.subjects import Verb

# The HTTP requests that carry a legacy commitment, and what must have been signed.
LEGACY_COMMITMENTS = {
    Verb.EPOCH_CURRENT: auth.current_commitment,
    Verb.S3_VALIDATOR_UPLOAD: auth.validator_upload_commitment,
}

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

    def admit_bridged(self, arrival: Arrival, query: Mapping[str, object] | None = None) -> Caller:
        """A request that reached the bridge: its own signature counts, not the bridge's. A legacy
        identity stands in the body, or in the `query` of a GET.

        Raises ServiceError."""
        if btauth.HEADER_HOTKEY in arrival.headers:
            hotkey = self._bridged_btauth(arrival)
        else:
            fields = parse_object(arrival.body) if query is None else query
            hotkey = self._bridged_commitment(arrival.verb, legacy_identity(fields))
        return self._caller(hotkey, arrival, arrival.headers.get(HEADER_CLIENT_ADDRESS, "bridge"))

    def _bridged_btauth(self, arrival: Arrival) -> Hotkey:
        request = btauth.parse(arrival.headers)
        btauth.check_fresh(request, self._now_ns())
        self.registry.require_registered(request.hotkey)
        method, target = (arrival.headers.get(n, "") for n in (HEADER_HTTP_METHOD, HEADER_HTTP_TARGET))
        btauth.verify(request, method=method, path=target, body=arrival.body, receivers=self.receivers)
        return request.hotkey

    def _bridged_commitment(self, verb: Verb, request: UnverifiedCommitment) -> Hotkey:
        auth.check_commitment_fresh(request, API_WINDOW, self.clock.now().timestamp())
        self.registry.require_registered(request.hotkey)
        return auth.verify_commitment(request, LEGACY_COMMITMENTS[verb](request.timestamp))

    def _caller(self, hotkey: Hotkey, arrival: Arrival, source: str) -> Caller:
        if arrival.verb in VALIDATORS_ONLY:
            self.registry.require_validator(hotkey)
        validator = self.registry.is_validator(self.registry.require_registered(hotkey))
        role = "validator" if validator else "miner"
        return Caller(hotkey, role, arrival.request_id, source)

    def _now_ns(self) -> int:
        return int(self.clock.now().timestamp() * 1_000_000_000)


def legacy_identity(fields: Mapping[str, object]) -> UnverifiedCommitment:
    """The identity fields of a legacy body or query. Raises ServiceError naming the field."""
    try:
        identity = LegacyIdentity.model_validate(fields)
    except ValidationError as error:
        raise first_fault(error) from None
    return auth.parse_commitment(identity.hotkey, str(identity.timestamp), identity.signature)

"""Who asks: from an unverified message to a `Caller`, in the house's order of checks.

Owns that order: reply subject, shape, freshness, registered, signature, role, and for what is minted
that the registry is young enough to go by. Two doors lead here,
NATS directly and the HTTP bridge, which hands over the original request for a second check.
"""

import hashlib
import json
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from runtime.legacy_rules import LEGACY_RULES, Fields, named_coldkey
from runtime.registry import RegistryView
from runtime.source_addresses import stated_address
from zipcast import auth, btauth
from zipcast.auth import UnverifiedCommitment
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
from zipcast.subjects import ADMIN_VERBS, MINTING_VERBS, Verb

UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Requests that name a coldkey, which must be the hotkey's own on chain.
NAMING_A_COLDKEY = frozenset({Verb.S3_FOLDER_ACCESS})
VALIDATORS_ONLY = frozenset(
    {
        Verb.EPOCH_POOL,
        Verb.EPOCH_VALIDATION,
        Verb.S3_VALIDATOR_UPLOAD,
        Verb.S3_VALIDATOR_READ,
        Verb.S3_MINER_LIST,
        Verb.S3_VALIDATOR_ACCESS,
        Verb.S3_MINER_ACCESS,
        Verb.VALIDATOR_RESULTS,
        Verb.VALIDATOR_CONSENSUS,
    }
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who was proven to ask. `source` is `nats`, the HTTP client's address, or `unknown`."""

    hotkey: Hotkey
    role: str
    request_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Proof:
    """Which request was proven: the nonce or text that was signed, when, and what it asked for. The same
    text signed again, raw or in `<Bytes>`, is the same request: signatures are randomised."""

    request_key: str
    signed_at: datetime
    body_sha256: str


@dataclass(frozen=True, slots=True)
class Admission:
    caller: Caller
    proof: Proof


class VerifiedRefusalError(ServiceError):
    """A refusal of a request whose signature was verified: `hotkey` is its sender."""

    def __init__(self, refusal: ServiceError, hotkey: Hotkey) -> None:
        super().__init__(refusal.code, refusal.message, retry_after_seconds=refusal.retry_after_seconds)
        self.hotkey = hotkey


@contextmanager
def _refused_as(hotkey: Hotkey) -> Iterator[None]:
    """Say in each refusal whose verified request it refuses."""
    try:
        yield
    except ServiceError as refusal:
        raise VerifiedRefusalError(refusal, hotkey) from refusal


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
    opted_out: Container[str] = frozenset()
    """Hotkeys for which no legacy commitment counts."""
    admins: frozenset[Hotkey] = frozenset()
    """Who may send admin requests, registered or not."""

    def admit_direct(self, arrival: Arrival, subject: str, owner: Hotkey) -> Admission:
        """A request on a hotkey's own subject: `btauth/1` with method NATS and the subject as path.

        Raises ServiceError."""
        request = btauth.parse(arrival.headers)
        if request.hotkey != owner:
            raise ServiceError(ErrorCode.BAD_SIGNATURE, "Subject and signature name two hotkeys.")
        btauth.check_fresh(request, self._now_ns())
        self._require_registered(request.hotkey, arrival.verb)
        btauth.verify(request, method="NATS", path=subject, body=arrival.body, receivers=self.receivers)
        return Admission(self._caller(request.hotkey, arrival, "nats"), _btauth_proof(request, arrival))

    def admit_bridged(self, arrival: Arrival, query: Fields | None = None) -> Admission:
        """A request that reached the bridge: its own signature counts, not the bridge's. A legacy
        identity stands in the body, or in the `query` of a GET.

        Raises ServiceError."""
        if btauth.HEADER_HOTKEY in arrival.headers:
            hotkey, proof = self._bridged_btauth(arrival)
        else:
            fields = parse_object(arrival.body) if query is None else query
            hotkey, proof = self._bridged_commitment(arrival.verb, fields)
        with _refused_as(hotkey):
            if arrival.verb in NAMING_A_COLDKEY:
                self._require_coldkey(hotkey, named_coldkey(parse_object(arrival.body)))
            return Admission(self._caller(hotkey, arrival, bridged_source(arrival.headers)), proof)

    def _bridged_btauth(self, arrival: Arrival) -> tuple[Hotkey, Proof]:
        request = btauth.parse(arrival.headers)
        btauth.check_fresh(request, self._now_ns())
        self._require_registered(request.hotkey, arrival.verb)
        method, target = (arrival.headers.get(n, "") for n in (HEADER_HTTP_METHOD, HEADER_HTTP_TARGET))
        btauth.verify(request, method=method, path=target, body=arrival.body, receivers=self.receivers)
        return request.hotkey, _btauth_proof(request, arrival)

    def _bridged_commitment(self, verb: Verb, fields: Fields) -> tuple[Hotkey, Proof]:
        rule = LEGACY_RULES.get(verb)
        if rule is None:
            raise ServiceError(
                ErrorCode.MALFORMED_AUTH, f"This needs btauth/1: {btauth.HEADER_HOTKEY} is missing."
            )
        request = legacy_identity(fields)
        texts = rule.texts(request, fields)
        auth.check_commitment_fresh(request, rule.window, self.clock.now().timestamp())
        self.registry.require_registered(request.hotkey)
        hotkey, commitment = auth.verify_commitment(request, texts)
        if hotkey in self.opted_out:
            raise ServiceError(ErrorCode.LEGACY_REFUSED, "This hotkey accepts btauth/1 only.")
        return hotkey, _legacy_proof(request, commitment, verb, fields)

    def _require_coldkey(self, hotkey: Hotkey, coldkey: str) -> None:
        """Raises ServiceError(COLDKEY_MISMATCH)."""
        if self.registry.require_registered(hotkey).coldkey != coldkey:
            raise ServiceError(ErrorCode.COLDKEY_MISMATCH, "The hotkey is not registered under that coldkey.")

    def _require_registered(self, hotkey: Hotkey, verb: Verb) -> None:
        """An admin need not be. Who is one, nobody learns but by his signature, since it is not public."""
        if verb not in ADMIN_VERBS:
            self.registry.require_registered(hotkey)

    def _caller(self, hotkey: Hotkey, arrival: Arrival, source: str) -> Caller:
        if arrival.verb in ADMIN_VERBS:
            if hotkey not in self.admins:
                raise ServiceError(ErrorCode.ADMIN_REQUIRED, "This hotkey is no admin of the service.")
            return Caller(hotkey, "admin", arrival.request_id, source)
        if arrival.verb in VALIDATORS_ONLY:
            self.registry.require_validator(hotkey)
        if arrival.verb in MINTING_VERBS:
            self.registry.require_young(self.clock.now())
        validator = self.registry.is_validator(self.registry.require_registered(hotkey))
        role = "validator" if validator else "miner"
        return Caller(hotkey, role, arrival.request_id, source)

    def _now_ns(self) -> int:
        return int(self.clock.now().timestamp() * 1_000_000_000)


def bridged_source(headers: Mapping[str, str]) -> str:
    """Return the HTTP client's address as the bridge states it, or "unknown"."""
    return stated_address(headers.get(HEADER_CLIENT_ADDRESS, ""))


def _btauth_proof(request: btauth.UnverifiedRequest, arrival: Arrival) -> Proof:
    # To the microsecond, so that two reports signed in one second have an order.
    signed_at = UNIX_EPOCH + timedelta(microseconds=request.nonce_ns // 1000)
    return Proof(f"btauth:{request.nonce_ns}", signed_at, _digest(arrival.verb, arrival.body))


def _legacy_proof(request: UnverifiedCommitment, commitment: str, verb: Verb, fields: Fields) -> Proof:
    """Without the signature: signing the same text again gives another one."""
    asked = {name: value for name, value in fields.items() if name != "signature"}
    body = json.dumps(asked, sort_keys=True).encode()
    signed_at = datetime.fromtimestamp(request.timestamp, UTC)
    return Proof(f"legacy:{commitment}", signed_at, _digest(verb, body))


def _digest(verb: Verb, body: bytes) -> str:
    return hashlib.sha256(f"{verb}\n".encode() + body).hexdigest()


def legacy_identity(fields: Fields) -> UnverifiedCommitment:
    """The identity fields of a legacy body or query. Raises ServiceError naming the field."""
    if fields.get("signature") is None:
        raise ServiceError(
            ErrorCode.MALFORMED_AUTH, "signature is missing: send hotkey, timestamp and signature."
        )
    try:
        identity = LegacyIdentity.model_validate(fields)
    except ValidationError as error:
        raise first_fault(error) from None
    return auth.parse_commitment(identity.hotkey, str(identity.timestamp), identity.signature)

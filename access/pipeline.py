"""Checks every request in the same order, over NATS and over HTTP.

 1. the sender's rate limit    (over HTTP the client address's, before the request is read:
                               `http_bridge.middleware.Guard`)
 2. size and form              (`authentication`, `legacy_authentication`)
 3. time of signing
 4. registration of the hotkey
 5. signature
 6. role
 7. the hotkey's limit         (together with 9 if the verb issues access, since a repetition is not charged)
    The verb's handler continues:
 8. the epoch                  (`upload_access`, `validator_reads`, `presigned_lists` of the responder)
 9. a row in the database      (`broker_service.responder.issuance`)
10. the credential             (`storage.objects.store`)

Cheap checks come first. A request without a valid signature reveals nothing about a hotkey except whether it
is registered, which is public.
"""

from collections.abc import Container
from dataclasses import dataclass

from access.authentication import SignedRequest
from access.legacy_authentication import LegacyRequest, named_coldkey
from access.rate_limits import Limits, Quota
from access.requests import Admission, Arrival, Caller, Unverified, refused_as
from service.registry import RegistryView
from zipcast.clock import Clock
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey
from zipcast.protocol.strict_json import parse_object
from zipcast.protocol.verbs import VERBS, Asker, VerbSpec

MAX_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The checks of one process. Requests must be addressed to one of `receivers`. Legacy texts of hotkeys in
    `opted_out` are refused. `admins` may send admin requests, registered or not."""

    registry: RegistryView
    receivers: frozenset[Hotkey]
    limits: Limits
    clock: Clock
    opted_out: Container[str] = frozenset()
    admins: frozenset[Hotkey] = frozenset()

    async def admit(self, arrival: Arrival, *, charge: bool) -> Admission:
        """Check a request and return its verified sender. With `charge`, charge the request to the hotkey's
        limit now; otherwise the handler or another process does that.

        Raises ServiceError; after the signature was verified, VerifiedRefusalError."""
        spec = VERBS[arrival.verb]
        if arrival.owner is not None:
            # Only the hotkey's owner can publish on the subject, so the request is charged to the hotkey.
            await self.limits.charge_sender(arrival.owner)
        _require_small(arrival, spec)
        unverified = self._read(arrival)
        unverified.require_fresh(self.clock.now())
        if spec.who is not Asker.ADMIN:  # for admins, a valid signature is enough
            self.registry.require_registered(unverified.hotkey)
        proof = unverified.verify()
        hotkey = unverified.hotkey
        with refused_as(hotkey):
            role = self._require_role(hotkey, spec, arrival)
            quota = Quota(self.limits, arrival.verb, hotkey, proof.request_key)
            if charge:
                await quota.charge()
        return Admission(Caller(hotkey, role, arrival.request_id, arrival.source), proof, quota)

    def _read(self, arrival: Arrival) -> Unverified:
        """Read the identity. A legacy identity is accepted only over HTTP and without `btauth/1` headers."""
        if arrival.is_legacy:
            return LegacyRequest.read(arrival, self.opted_out)
        return SignedRequest.read(arrival, self.receivers)

    def _require_role(self, hotkey: Hotkey, spec: VerbSpec, arrival: Arrival) -> str:
        """Check that the hotkey may use the verb, and return `miner`, `validator` or `admin`.

        Raises ServiceError(ADMIN_REQUIRED | VALIDATOR_REQUIRED | COLDKEY_MISMATCH | NOT_REGISTERED |
        REGISTRY_UNAVAILABLE)."""
        if spec.who is Asker.ADMIN:
            if hotkey not in self.admins:
                raise ServiceError(ErrorCode.ADMIN_REQUIRED, "This hotkey is not an admin of the service.")
            return "admin"
        neuron = self.registry.require_registered(hotkey)
        if spec.names_coldkey and neuron.coldkey != named_coldkey(parse_object(arrival.body)):
            raise ServiceError(ErrorCode.COLDKEY_MISMATCH, "The hotkey is not registered under that coldkey.")
        if spec.who is Asker.VALIDATOR:
            self.registry.require_validator(hotkey)
        if spec.mints:
            self.registry.require_young(self.clock.now())
        return "validator" if self.registry.is_validator(neuron) else "miner"


def _require_small(arrival: Arrival, spec: VerbSpec) -> None:
    """Check the size of headers and body. Raises ServiceError(PAYLOAD_TOO_LARGE)."""
    if sum(len(name) + len(value) for name, value in arrival.headers.items()) > MAX_HEADER_BYTES:
        raise ServiceError(
            ErrorCode.PAYLOAD_TOO_LARGE, f"Headers must have at most {MAX_HEADER_BYTES} bytes."
        )
    if len(arrival.body) > spec.max_body_bytes:
        raise ServiceError(
            ErrorCode.PAYLOAD_TOO_LARGE, f"The body must have at most {spec.max_body_bytes} bytes."
        )

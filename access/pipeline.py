"""Checks every request in one order, whichever way it came.

 1. how much its sender sends      (the client's address over HTTP, before the request is read: `front.Guard`)
 2. size and shape                 (`authentication`, `legacy_authentication`)
 3. freshness
 4. registered
 5. signature
 6. role
 7. quota                          (of a verb that mints: together with 9, since a repetition is not charged)
    then, in the verb's handler:
 8. the epoch                      (`responder.uploads`, `reading`, `listing`)
 9. the claim: a row is committed  (`responder.issuing`)
10. the credential is made         (`storage.objects.store`)

Cheap checks come first, and nobody learns anything about a hotkey without its signature.
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
    """The checks of one process. `receivers` are the hotkeys that a request may be addressed to; for hotkeys
    in `opted_out` no legacy text counts; `admins` may send admin requests, registered or not."""

    registry: RegistryView
    receivers: frozenset[Hotkey]
    limits: Limits
    clock: Clock
    opted_out: Container[str] = frozenset()
    admins: frozenset[Hotkey] = frozenset()

    async def admit(self, arrival: Arrival, *, charge: bool) -> Admission:
        """Return who was proven to send the request. `charge`: charge its quota now; otherwise another
        process does, or the handler.

        Raises ServiceError; VerifiedRefusalError once the signature was verified."""
        spec = VERBS[arrival.verb]
        if arrival.owner is not None:
            # Only the owner can publish on the subject, so no other hotkey is charged.
            await self.limits.charge_sender(arrival.owner)
        _require_small(arrival, spec)
        unverified = self._read(arrival)
        unverified.require_fresh(self.clock.now())
        if spec.who is not Asker.ADMIN:  # an admin is recognised by a valid signature alone
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
        """A legacy identity counts over HTTP only, and only where no `btauth/1` header is given."""
        if arrival.is_legacy:
            return LegacyRequest.read(arrival, self.opted_out)
        return SignedRequest.read(arrival, self.receivers)

    def _require_role(self, hotkey: Hotkey, spec: VerbSpec, arrival: Arrival) -> str:
        """Return `miner`, `validator` or `admin`. Raises ServiceError(ADMIN_REQUIRED | VALIDATOR_REQUIRED |
        COLDKEY_MISMATCH | NOT_REGISTERED | REGISTRY_UNAVAILABLE)."""
        if spec.who is Asker.ADMIN:
            if hotkey not in self.admins:
                raise ServiceError(ErrorCode.ADMIN_REQUIRED, "This hotkey is no admin of the service.")
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
        raise ServiceError(ErrorCode.PAYLOAD_TOO_LARGE, f"Headers hold at most {MAX_HEADER_BYTES} bytes.")
    if len(arrival.body) > spec.max_body_bytes:
        raise ServiceError(ErrorCode.PAYLOAD_TOO_LARGE, f"A body holds at most {spec.max_body_bytes} bytes.")

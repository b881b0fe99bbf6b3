"""Who may connect, and what they may do then. No I/O.

Owns both credential forms and the permissions of each role. The signed texts are `zipcast.auth`'s.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field

from broker_service.callout.exchange import ConnectRequest, Permissions
from runtime.registry import RegistryView
from zipcast import auth, subjects
from zipcast.errors import ErrorCode, ServiceError
from zipcast.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey, signature_is_valid

# password = {unix time}.{hex signature}, within this many seconds of our clock, once.
PASSWORD_WINDOW_SECONDS = 60
_PASSWORD = re.compile(r"^([1-9][0-9]{0,10})\.([0-9a-f]{128})$")


class RefusedError(Exception):
    """The reason is for our log and nats-server's; the client only learns that it is refused."""


@dataclass(frozen=True, slots=True)
class Granted:
    hotkey: Hotkey
    permissions: Permissions


@dataclass(slots=True)
class Decider:
    """Decides one connection at a time against the registry in force."""

    registry: RegistryView
    network: str
    netuid: int
    audiences: tuple[str, ...]
    admins: frozenset[Hotkey] = frozenset()
    _spent: dict[tuple[str, str], int] = field(default_factory=dict)

    def decide(self, request: ConnectRequest, now_unix: int) -> Granted:
        """Raises RefusedError. The registry is asked before any cryptography."""
        named = request.token or request.user
        try:
            hotkey = parse_hotkey(named)
            granted = self._permissions(hotkey)
        except (MalformedHotkeyError, ServiceError) as error:
            raise RefusedError(_reason(error)) from None
        if request.token:
            self._check_signed_nonce(request, hotkey)
        else:
            self._check_password(request, hotkey, now_unix)
        return Granted(hotkey, granted)

    def _permissions(self, hotkey: Hotkey) -> Permissions:
        """Raises ServiceError for a stranger. An admin need not be registered."""
        try:
            neuron = self.registry.require_registered(hotkey)
        except ServiceError:
            if hotkey not in self.admins:
                raise
            return admin_permissions(hotkey)
        granted = permissions(hotkey, validator=self.registry.is_validator(neuron))
        return admin_permissions(hotkey, granted.publish) if hotkey in self.admins else granted

    def _check_signed_nonce(self, request: ConnectRequest, hotkey: Hotkey) -> None:
        signature = decode_signature(request.signature)
        for audience in self.audiences:
            try:
                text = auth.connection_text(self.network, self.netuid, audience, hotkey, request.nonce)
            except ValueError:
                raise RefusedError("malformed nonce") from None
            if signature_is_valid(hotkey, text, signature):
                return
        raise RefusedError("bad signature")

    def _check_password(self, request: ConnectRequest, hotkey: Hotkey, now_unix: int) -> None:
        match = _PASSWORD.fullmatch(request.password)
        if match is None:
            raise RefusedError("malformed password")
        at, signature = int(match.group(1)), bytes.fromhex(match.group(2))
        if abs(now_unix - at) > PASSWORD_WINDOW_SECONDS:
            raise RefusedError("stale password")
        if not any(
            signature_is_valid(
                hotkey, auth.connection_at_text(self.network, self.netuid, audience, hotkey, at), signature
            )
            for audience in self.audiences
        ):
            raise RefusedError("bad signature")
        self._spend(hotkey, at, now_unix)

    def _spend(self, hotkey: Hotkey, at: int, now_unix: int) -> None:
        """sr25519 signatures are randomised, so what is spent is (hotkey, time), not the signature."""
        horizon = now_unix - 2 * PASSWORD_WINDOW_SECONDS
        self._spent = {key: when for key, when in self._spent.items() if when >= horizon}
        key = (hotkey, str(at))
        if key in self._spent:
            raise RefusedError("password used twice")
        self._spent[key] = now_unix


def permissions(hotkey: Hotkey, *, validator: bool) -> Permissions:
    """The epoch subject, the hotkey's own request subjects for its role, its own inbox."""
    verbs = subjects.VALIDATOR_VERBS if validator else subjects.MINER_VERBS
    return Permissions(
        publish=tuple(sorted(subjects.request(hotkey, verb) for verb in verbs)),
        subscribe=(subjects.EPOCH, f"{subjects.inbox_prefix(hotkey)}.>"),
    )


def admin_permissions(hotkey: Hotkey, beside: tuple[str, ...] = ()) -> Permissions:
    """An admin's own subjects `beside` what its role may publish; the epoch subject, its own inbox."""
    own = {subjects.request(hotkey, verb) for verb in subjects.ADMIN_VERBS}
    subscribe = (subjects.EPOCH, f"{subjects.inbox_prefix(hotkey)}.>")
    return Permissions(publish=tuple(sorted(own.union(beside))), subscribe=subscribe)


def decode_signature(text: str) -> bytes:
    """64 bytes from base64 or base64url, padded or not. Raises RefusedError."""
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        signature = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError("malformed signature") from None
    if len(signature) != 64:
        raise RefusedError("malformed signature")
    return signature


def _reason(error: MalformedHotkeyError | ServiceError) -> str:
    if isinstance(error, ServiceError):
        return str(error.code)
    return str(ErrorCode.MALFORMED_HOTKEY)

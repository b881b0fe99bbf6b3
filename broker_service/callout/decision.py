"""Decides who may connect, and with which rights. No I/O.

Owns both credential forms and the permissions of each role. The signed texts are
`zipcast.protocol.commitments`'s.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil

from broker_service.callout.connections import Role, role_of
from broker_service.callout.exchange_messages import ConnectRequest, Permissions
from service.registry import RegistryView
from zipcast.protocol import commitments, subjects
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey, signature_is_valid

# password = {unix time}.{hex signature}, within this many seconds of our clock, once (`spent`).
PASSWORD_WINDOW_SECONDS = 60
_PASSWORD = re.compile(r"^([1-9][0-9]{0,10})\.([0-9a-f]{128})$")


class RefusedError(Exception):
    """The reason is for our log and nats-server's; the client only learns that it is refused. `kind` is the
    reason without what differs from case to case."""

    @property
    def kind(self) -> str:
        return str(self)


class KeptOutError(RefusedError):
    """Refused for a while: the hotkey sent too much."""

    kind = "kept out"


class ProofError(RefusedError):
    """Refused for a proof that was checked and does not hold: that cost us cryptography."""


@dataclass(frozen=True, slots=True)
class Granted:
    """`password_at` is the time in the password, if it was one; it remains to be spent."""

    hotkey: Hotkey
    role: Role
    password_at: int | None = None

    @property
    def permissions(self) -> Permissions:
        return permissions(self.hotkey, self.role)


@dataclass(frozen=True, slots=True)
class Decider:
    """Decides about one connection at a time, by the registry in force."""

    registry: RegistryView
    network: str
    netuid: int
    audiences: tuple[str, ...]
    admins: frozenset[Hotkey] = frozenset()
    seconds_kept_out: Callable[[Hotkey], float] = lambda _: 0.0
    """Returns for how many seconds the hotkey is still kept out; 0 if it is not."""
    require_unspent: Callable[[Hotkey, int], None] = lambda _, __: None
    """Raises ProofError if the hotkey's password of that time is known to be spent."""

    def decide(self, request: ConnectRequest, now_unix: int) -> Granted:
        """Raises RefusedError. The registry is asked before any cryptography."""
        named = request.token or request.user
        try:
            hotkey = parse_hotkey(named)
            role = self._role(hotkey)
        except (MalformedHotkeyError, ServiceError) as error:
            raise RefusedError(_reason(error)) from None
        self._require_welcome(hotkey, now_unix)
        if request.token:
            self._check_signed_nonce(request, hotkey)
            return Granted(hotkey, role)
        return Granted(hotkey, role, self._check_password(request, hotkey, now_unix))

    def _require_welcome(self, hotkey: Hotkey, now_unix: int) -> None:
        """Refuse a hotkey that is kept out, before any cryptography. Raises KeptOutError."""
        seconds = self.seconds_kept_out(hotkey)
        if seconds > 0:
            until = datetime.fromtimestamp(now_unix + ceil(seconds), UTC)
            raise KeptOutError(f"kept out until {until:%Y-%m-%dT%H:%M:%SZ}: it sent too much")

    def _role(self, hotkey: Hotkey) -> Role:
        """Return the hotkey's role. Raises ServiceError for a stranger. An admin need not be registered."""
        role = role_of(hotkey, self.registry, self.admins)
        if role is None:
            self.registry.require_registered(hotkey)
            raise ServiceError(ErrorCode.NOT_REGISTERED, "The hotkey is not registered on this subnet.")
        return role

    def _check_signed_nonce(self, request: ConnectRequest, hotkey: Hotkey) -> None:
        signature = decode_signature(request.signature)
        for audience in self.audiences:
            try:
                text = commitments.connection_text(self.network, self.netuid, audience, hotkey, request.nonce)
            except ValueError:
                raise RefusedError("malformed nonce") from None
            if signature_is_valid(hotkey, text, signature):
                return
        raise ProofError("bad signature")

    def _check_password(self, request: ConnectRequest, hotkey: Hotkey, now_unix: int) -> int:
        """The time in it."""
        match = _PASSWORD.fullmatch(request.password)
        if match is None:
            raise RefusedError("malformed password")
        at, signature = int(match.group(1)), bytes.fromhex(match.group(2))
        if abs(now_unix - at) > PASSWORD_WINDOW_SECONDS:
            raise RefusedError("stale password")
        self.require_unspent(hotkey, at)
        if not any(
            signature_is_valid(
                hotkey,
                commitments.connection_at_text(self.network, self.netuid, audience, hotkey, at),
                signature,
            )
            for audience in self.audiences
        ):
            raise ProofError("bad signature")
        return at


def permissions(hotkey: Hotkey, role: Role) -> Permissions:
    """The epoch subject, the hotkey's own request subjects for its role, its own inbox."""
    publish = {subjects.request(hotkey, verb) for verb in role.verbs}
    return Permissions(
        publish=tuple(sorted(publish)),
        subscribe=(subjects.EPOCH, f"{subjects.inbox_prefix(hotkey)}.>"),
    )


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

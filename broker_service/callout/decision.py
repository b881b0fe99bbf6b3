"""Decides who may connect, and with which rights. No I/O.

This module reads both forms of credentials and has the permissions of each role.
`zipcast.protocol.signed_texts` has the signed texts.
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
from zipcast.protocol import signed_texts, subjects
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.hotkeys import Hotkey, MalformedHotkeyError, parse_hotkey, signature_is_valid

# A password is `{unix time}.{hex signature}`. It is valid if its time is within this many seconds of the
# clock, and only once (`used_passwords`).
PASSWORD_WINDOW_SECONDS = 60
_PASSWORD = re.compile(r"^([1-9][0-9]{0,10})\.([0-9a-f]{128})$")


class RefusedError(Exception):
    """A connection is refused. The reason is logged here and by nats-server; the client does not get it.
    `kind` is the reason without variable parts."""

    @property
    def kind(self) -> str:
        """Return the reason without variable parts, as a label of metrics."""
        return str(self)


class KeptOutError(RefusedError):
    """The hotkey sent too much and is blocked for some time."""

    kind = "kept out"


class ProofError(RefusedError):
    """The proof is false. Cryptography was needed to find that out."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A granted connection. `password_at` is the time in the password, if one was used; the caller must mark
    the password as used."""

    hotkey: Hotkey
    role: Role
    password_at: int | None = None

    @property
    def permissions(self) -> Permissions:
        """Return the permissions of the hotkey's role."""
        return permissions(self.hotkey, self.role)


@dataclass(frozen=True, slots=True)
class Decider:
    """Decides about one connection at a time, with the present registry."""

    registry: RegistryView
    network: str
    netuid: int
    audiences: tuple[str, ...]
    admins: frozenset[Hotkey] = frozenset()
    seconds_kept_out: Callable[[Hotkey], float] = lambda _: 0.0
    """Returns for how many seconds the hotkey is still blocked; 0 if it is not."""
    require_unspent: Callable[[Hotkey, int], None] = lambda _, __: None
    """Checks the hotkey's password of that time. Raises ProofError if it was used before, as far as this
    replica knows."""

    def decide(self, request: ConnectRequest, now_unix: int) -> Granted:
        """Decide about a connection. The registry is checked before any cryptography. Raises RefusedError."""
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
        """Refuse a blocked hotkey, before any cryptography. Raises KeptOutError."""
        seconds = self.seconds_kept_out(hotkey)
        if seconds > 0:
            until = datetime.fromtimestamp(now_unix + ceil(seconds), UTC)
            raise KeptOutError(f"blocked until {until:%Y-%m-%dT%H:%M:%SZ} because it sent too much")

    def _role(self, hotkey: Hotkey) -> Role:
        """Return the hotkey's role. An admin need not be registered. Raises ServiceError for an unknown
        hotkey."""
        role = role_of(hotkey, self.registry, self.admins)
        if role is None:
            self.registry.require_registered(hotkey)
            raise ServiceError(ErrorCode.NOT_REGISTERED, "The hotkey is not registered on this subnet.")
        return role

    def _check_signed_nonce(self, request: ConnectRequest, hotkey: Hotkey) -> None:
        signature = decode_signature(request.signature)
        for audience in self.audiences:
            try:
                text = signed_texts.connection_text(
                    self.network, self.netuid, audience, hotkey, request.nonce
                )
            except ValueError:
                raise RefusedError("malformed nonce") from None
            if signature_is_valid(hotkey, text, signature):
                return
        raise ProofError("bad signature")

    def _check_password(self, request: ConnectRequest, hotkey: Hotkey, now_unix: int) -> int:
        """Check a password and return its time."""
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
                signed_texts.connection_at_text(self.network, self.netuid, audience, hotkey, at),
                signature,
            )
            for audience in self.audiences
        ):
            raise ProofError("bad signature")
        return at


def permissions(hotkey: Hotkey, role: Role) -> Permissions:
    """Return the permissions of a role: the subjects of epochs, drafts and sealed epochs, the hotkey's own
    request subjects, and its own inbox."""
    publish = {subjects.request(hotkey, verb) for verb in role.verbs}
    return Permissions(
        publish=tuple(sorted(publish)),
        subscribe=(
            *(subjects.EPOCH, subjects.DRAFT, subjects.SEALED),
            f"{subjects.inbox_prefix(hotkey)}.>",
        ),
    )


def decode_signature(text: str) -> bytes:
    """Read 64 bytes in base64 or base64url, padded or not. Raises RefusedError."""
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

"""Decrypts and verifies nats-server's requests to the auth callout, and signs and encrypts the replies.

The JWTs have the form of NATS ADR-26 and jwt/v2 (`authorization_request`, `authorization_response`, `user`).
No `exp` is set, because after an expiry nats-py would never reconnect.
"""

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from service.nkeys import CurveNkey, Kind, NkeyError, SigningNkey, verify
from service.system_account import ACCOUNT

REQUEST_AUDIENCE = "nats-authorization-request"
_ALGORITHM = "ed25519-nkey"
_HEADER = json.dumps({"typ": "JWT", "alg": _ALGORITHM}, separators=(",", ":")).encode()


class ExchangeError(ValueError):
    """The request was not made by a nats-server of this deployment. It gets no reply."""


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A client's unverified proof, in a verified request of nats-server."""

    server_id: str
    user_nkey: str
    server_xkey: str
    client_host: str
    client_id: int
    nonce: str
    token: str
    signature: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class UnverifiedQuestion:
    """A decrypted request of which nothing is verified yet. `client_host` is the address of the client."""

    client_host: str
    client_id: int
    issued_at: int
    _claims: dict[str, object]
    _signed: bytes
    _signature: bytes
    _server_xkey: str

    def verify(self) -> ConnectRequest:
        """Verify the server's signature. Raises ExchangeError."""
        try:
            verify(Kind.SERVER, str(self._claims["iss"]), self._signed, _decode(self._signature))
            return _connect_request(self._claims, self._server_xkey)
        except (NkeyError, KeyError, TypeError, ValueError) as error:
            raise ExchangeError(type(error).__name__) from error


@dataclass(frozen=True, slots=True)
class Permissions:
    """The subjects to which a connection may publish and subscribe."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class Exchange:
    """Decrypts requests and encrypts replies with the callout's keys."""

    def __init__(self, issuer_seed: str, xkey_seed: str) -> None:
        self._issuer = SigningNkey(issuer_seed, Kind.ACCOUNT)
        self._box = CurveNkey(xkey_seed)

    def unseal(self, data: bytes, server_xkey: str) -> UnverifiedQuestion:
        """Decrypt the request without verifying it, to get the source address, which is needed to limit
        floods. With a cached shared key, this takes a tenth of the time of a decision. Raises
        ExchangeError."""
        try:
            return _unverified(self._box.open(data, server_xkey), server_xkey)
        except (NkeyError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ExchangeError(type(error).__name__) from error

    def grant(self, request: ConnectRequest, name: str, permissions: Permissions, now_unix: int) -> bytes:
        """Return the encrypted reply that lets the client connect as `name`."""
        user = {
            "type": "user",
            "version": 2,
            "pub": {"allow": list(permissions.publish)},
            "sub": {"allow": list(permissions.subscribe)},
            "subs": -1,
            "data": -1,
            "payload": -1,
        }
        claims = {"sub": request.user_nkey, "aud": ACCOUNT, "name": name, "nats": user}
        return self._answer(request, {"jwt": self._sign(claims, now_unix)}, now_unix)

    def refuse(self, request: ConnectRequest, reason: str, now_unix: int) -> bytes:
        """Return the encrypted reply that refuses the client. `reason` appears in the server's log."""
        return self._answer(request, {"error": reason}, now_unix)

    def _answer(self, request: ConnectRequest, outcome: dict[str, str], now_unix: int) -> bytes:
        response = {"type": "authorization_response", "version": 2, **outcome}
        claims = {"sub": request.user_nkey, "aud": request.server_id, "nats": response}
        sealed = self._sign(claims, now_unix).encode()
        return self._box.seal(sealed, request.server_xkey, secrets.token_bytes(24))

    def _sign(self, claims: Mapping[str, object], now_unix: int) -> str:
        dated: dict[str, object] = {**claims, "iss": self._issuer.public, "iat": now_unix}
        digest = hashlib.sha256(_compact(dated)).digest()
        dated["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
        signed = _encode(_HEADER) + b"." + _encode(_compact(dated))
        return (signed + b"." + _encode(self._issuer.sign(signed))).decode()


def _unverified(token: bytes, server_xkey: str) -> UnverifiedQuestion:
    signed, _, signature = token.rpartition(b".")
    header, _, payload = signed.partition(b".")
    stated = json.loads(_decode(header))
    if not isinstance(stated, dict) or stated.get("alg") != _ALGORITHM:
        raise ExchangeError("wrong algorithm")
    claims: dict[str, object] = json.loads(_decode(payload))
    if claims["aud"] != REQUEST_AUDIENCE:
        raise ExchangeError("wrong audience")
    client = _table(_table(claims, "nats"), "client_info")
    return UnverifiedQuestion(
        client_host=str(client.get("host") or ""),
        client_id=int(str(client["id"])),
        issued_at=int(str(claims["iat"])),
        _claims=claims,
        _signed=signed,
        _signature=signature,
        _server_xkey=server_xkey,
    )


def _connect_request(claims: dict[str, object], server_xkey: str) -> ConnectRequest:
    body = _table(claims, "nats")
    offered, client = _table(body, "connect_opts"), _table(body, "client_info")

    def text(table: dict[str, object], name: str) -> str:
        return str(table.get(name) or "")

    return ConnectRequest(
        server_id=str(_table(body, "server_id")["id"]),
        user_nkey=str(body["user_nkey"]),
        server_xkey=server_xkey,
        client_host=text(client, "host"),
        client_id=int(str(client["id"])),
        nonce=text(client, "nonce"),
        token=text(offered, "auth_token"),
        signature=text(offered, "sig"),
        user=text(offered, "user"),
        password=text(offered, "pass"),
    )


def _table(parent: dict[str, object], name: str) -> dict[str, object]:
    value = parent[name]
    if not isinstance(value, dict):
        raise ExchangeError(f"{name} is not an object")
    return value


def _compact(claims: dict[str, object]) -> bytes:
    return json.dumps(claims, separators=(",", ":")).encode()


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        raise ExchangeError("not base64url") from None

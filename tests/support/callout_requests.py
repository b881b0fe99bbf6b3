"""Plays nats-server's side of the auth callout: it seals requests as nats-server does, and opens the
replies."""

import base64
import json
from typing import Any

from nacl.signing import SigningKey

from broker_service.callout.exchange_messages import Exchange
from service.nkeys import CurveNkey, Kind, SigningNkey, encode_public, encode_seed, verify

SERVER_KEY = SigningKey(b"s" * 32)
SERVER_ID = encode_public(Kind.SERVER, bytes(SERVER_KEY.verify_key))
SERVER_BOX = CurveNkey(encode_seed(Kind.CURVE, b"x" * 32))
ISSUER_SEED, XKEY_SEED = encode_seed(Kind.ACCOUNT, b"i" * 32), encode_seed(Kind.CURVE, b"c" * 32)
ISSUER = SigningNkey(ISSUER_SEED, Kind.ACCOUNT).public
CALLOUT_XKEY = CurveNkey(XKEY_SEED).public
USER_NKEY = SigningNkey(encode_seed(Kind.USER, b"u" * 32), Kind.USER).public
HEADER: dict[str, object] = {"typ": "JWT", "alg": "ed25519-nkey"}
NOW = 1_795_320_000


def exchange() -> Exchange:
    return Exchange(ISSUER_SEED, XKEY_SEED)


def claims(**offered: str) -> dict[str, Any]:
    """Return the claims that nats-server 2.15 makes about a connection that offered this."""
    return {
        "aud": "nats-authorization-request",
        "iat": NOW,
        "iss": SERVER_ID,
        "jti": "JTI",
        "sub": "APP",
        "nats": {
            "type": "authorization_request",
            "version": 2,
            "server_id": {"name": "n1", "host": "127.0.0.1", "id": SERVER_ID, "xkey": SERVER_BOX.public},
            "user_nkey": USER_NKEY,
            "client_info": {"host": "192.0.2.7", "id": 5, "kind": "Client", "nonce": "Yk3xN2-_a0Zq9Wc"},
            "connect_opts": {"protocol": 1, "lang": "python3", **offered},
        },
    }


def encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def token(stated: object, header: object = HEADER, key: SigningKey = SERVER_KEY) -> bytes:
    signed = encode(json.dumps(header).encode()) + b"." + encode(json.dumps(stated).encode())
    return signed + b"." + encode(key.sign(signed).signature)


def sealed(message: bytes) -> bytes:
    return SERVER_BOX.seal(message, CALLOUT_XKEY, b"n" * 24)


def opened(answer: bytes) -> dict[str, Any]:
    """Check the box and the signature of the reply, and return its claims."""
    return read_token(SERVER_BOX.open(answer, CALLOUT_XKEY).decode())


def read_token(text: str) -> dict[str, Any]:
    header, payload, signature = text.split(".")
    assert json.loads(_decode(header)) == HEADER
    verify(Kind.ACCOUNT, ISSUER, f"{header}.{payload}".encode(), _decode(signature))
    stated: dict[str, Any] = json.loads(_decode(payload))
    assert stated["iss"] == ISSUER
    return stated


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""Making the keys of one deployment: NATS users, the callout's issuer and box, the signer, the secret.

Owns which key goes to which process. One `.env` file per process, readable by the owner only,
each with nothing but what that process needs; nats-server gets public keys alone.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from service.nkeys import CurveNkey, Kind, SigningNkey, encode_seed
from zipcast.protocol.hotkeys import Keypair

# The NATS service users of `nats.conf`, and the process (env file) that holds each seed.
SERVICE_USERS = {
    "SCHEDULERS": "schedulers",
    "SCHEDULERS_SYS": "schedulers",
    "RESPONDER": "responder",
    "RESPONDER_FOLLOW": "responder",
    "CALLOUT": "callout",
    "CALLOUT_FOLLOW": "callout",
    "CALLOUT_SYS": "callout",
    "BRIDGE": "bridge",
    "BRIDGE_FOLLOW": "bridge",
}


def create_keys() -> dict[str, dict[str, str]]:
    """Fresh keys: {process: {variable: value}}, with `nats` for nats-server's public half."""
    keys: dict[str, dict[str, str]] = {
        name: {} for name in ("nats", "schedulers", "responder", "callout", "bridge")
    }
    for user, process in SERVICE_USERS.items():
        seed = encode_seed(Kind.USER, bytes(SigningKey.generate()))
        keys["nats"][f"NATS_USER_{user}"] = SigningNkey(seed, Kind.USER).public
        keys[process][f"{user}_NATS_SEED"] = seed
    _add_callout_keys(keys)
    _add_signer_and_secret(keys)
    return keys


def _add_callout_keys(keys: dict[str, dict[str, str]]) -> None:
    issuer = encode_seed(Kind.ACCOUNT, bytes(SigningKey.generate()))
    box = encode_seed(Kind.CURVE, bytes(PrivateKey.generate()))
    keys["callout"] |= {"CALLOUT_ISSUER_SEED": issuer, "CALLOUT_XKEY_SEED": box}
    keys["nats"]["NATS_CALLOUT_ISSUER"] = SigningNkey(issuer, Kind.ACCOUNT).public
    keys["nats"]["NATS_CALLOUT_XKEY"] = CurveNkey(box).public


def _add_signer_and_secret(keys: dict[str, dict[str, str]]) -> None:
    seed = secrets.token_bytes(32)
    signer: str = Keypair.create_from_seed(seed).ss58_address
    keys["schedulers"] |= {
        "SCHEDULERS_SIGNER_SEED": seed.hex(),
        "ZIPCODE_SECRET_KEY": secrets.token_hex(32),
    }
    for process in ("responder", "bridge"):
        keys[process]["ZIPCAST_SIGNERS"] = signer


def write_keys(folder: Path, keys: Mapping[str, Mapping[str, str]]) -> None:
    """One `<process>.env` each, mode 0600 in a folder of mode 0700. Raises FileExistsError rather than
    overwrite a key that something may still be using."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = {process: folder / f"{process}.env" for process in keys}
    for path in paths.values():
        if path.exists():  # before anything is written: half of a new set fits nothing
            raise FileExistsError(f"{path} exists")
    for process, values in keys.items():
        path = paths[process]
        path.touch(mode=0o600, exist_ok=False)
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def read_keys(folder: Path) -> dict[str, dict[str, str]]:
    """Read what `write_keys` wrote."""
    return {
        path.stem: dict(line.split("=", 1) for line in path.read_text().splitlines() if line)
        for path in sorted(folder.glob("*.env"))
    }

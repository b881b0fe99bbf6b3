"""Makes the keys of a deployment: those of the NATS users, the callout and the signer, and the secret for
seeds.

It writes one `.env` file per process, which only the owner can read and which has only the keys that the
process needs. nats-server gets only public keys.
"""

import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from service.nkeys import CurveNkey, Kind, SigningNkey, encode_seed
from zipcast.protocol.hotkeys import Keypair

# The NATS service users of `nats.conf`, and the process (env file) that gets each seed.
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
    "OPERATOR": "operator",
}


def create_keys() -> dict[str, dict[str, str]]:
    """Return new keys as {process: {variable: value}}. The entry `nats` has the public keys for
    nats-server."""
    keys: dict[str, dict[str, str]] = {
        name: {} for name in ("nats", "schedulers", "responder", "callout", "bridge", "operator")
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


def create_passwords(owner_url: str) -> dict[str, dict[str, str]]:
    """Return new passwords as {file: {variable: value}}: logins of PostgreSQL, Valkey and Grafana.

    Each process gets the URL of the database with its own login. `owner_url` is the database owner's URL; if
    it has no password, the owner gets one too. Raises ValueError if it is not a URL of PostgreSQL."""
    owner = urlsplit(owner_url)
    if owner.scheme not in ("postgresql", "postgres") or owner.hostname is None or owner.username is None:
        raise ValueError("must be postgresql://OWNER@HOST/DATABASE")
    owner_password = unquote(owner.password or "") or secrets.token_hex(24)
    passwords = {login: secrets.token_hex(24) for login in ("schedulers", "responder", "bridge")}
    valkey = secrets.token_hex(24)
    place = owner.netloc.rpartition("@")[2]

    def url(login: str, password: str) -> str:
        return owner._replace(netloc=f"{login}:{quote(password, safe='')}@{place}").geturl()

    found = {login: {"DATABASE_URL": url(login, password)} for login, password in passwords.items()}
    for process in ("responder", "bridge"):
        found[process]["REDIS_URL"] = f"redis://:{valkey}@valkey:6379/0"
    return {
        **found,
        "owner": {"DATABASE_URL": url(owner.username, owner_password)},
        "postgres": {"POSTGRES_PASSWORD": owner_password}
        | {f"PASSWORD_{login.upper()}": password for login, password in passwords.items()},
        "valkey": {"VALKEY_PASSWORD": valkey},
        "grafana": {"GRAFANA_PASSWORD": secrets.token_hex(12)},
    }


def write_keys(folder: Path, keys: Mapping[str, Mapping[str, str]]) -> None:
    """Write one file `<process>.env` per process, with mode 0600, in a folder of mode 0700. Raises
    FileExistsError if one of the files exists, because its keys may still be in use."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = {process: folder / f"{process}.env" for process in keys}
    for path in paths.values():
        if path.exists():  # check before writing, because half of a new set of keys is useless
            raise FileExistsError(f"{path}")
    for process, values in keys.items():
        path = paths[process]
        path.touch(mode=0o600, exist_ok=False)
        path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def read_keys(folder: Path) -> dict[str, dict[str, str]]:
    """Read the files that `write_keys` wrote."""
    return {
        path.stem: dict(line.split("=", 1) for line in path.read_text().splitlines() if line)
        for path in sorted(folder.glob("*.env"))
    }

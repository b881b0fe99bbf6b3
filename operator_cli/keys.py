"""Defines `zipcast keys`, which makes the keys of a deployment on the operator's machine."""

from pathlib import Path
from typing import Annotated

import typer

from zipcast.cli.console import fail, out

keys_app = typer.Typer(no_args_is_help=True, help="Make the keys of a deployment.")


@keys_app.command("init")
def init(
    folder: Annotated[Path, typer.Option(help="Folder for the files; only you can read them.")] = Path(
        "keys"
    ),
) -> None:
    """Make every key of a deployment: one file of variables per process, and nats.env for nats-server."""
    from service.deployment_keys import create_keys, write_keys

    keys = create_keys()
    try:
        write_keys(folder, keys)
    except FileExistsError as error:
        fail(f"{error} exists, and keys that may be in use are never overwritten: choose another --folder")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    for process in keys:
        out.print(folder / f"{process}.env")
    out.print(
        f"signer: {keys['bridge']['ZIPCAST_SIGNERS']}  (give it to miners and validators: they trust it)"
    )
    out.print("Keep a copy of schedulers.env where only you can read it: its key signs every epoch.")

"""`zipcast keys`: the keys of one deployment, made once, on the operator's own machine."""

from pathlib import Path
from typing import Annotated

import typer

from zipcast.cli.console import fail, out

keys_app = typer.Typer(no_args_is_help=True, help="Keys of the NATS users, the signer and the seeds.")


@keys_app.command("init")
def init(
    folder: Annotated[Path, typer.Option(help="Where the files go; readable by you alone.")] = Path("keys"),
) -> None:
    """Make every key of a deployment: one file of variables a process, and nats.env for nats-server."""
    from service.deployment_keys import create_keys, write_keys

    keys = create_keys()
    try:
        write_keys(folder, keys)
    except FileExistsError as error:
        fail(f"{error}: keys that may be in use are never overwritten")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    for process in keys:
        out.print(folder / f"{process}.env")
    out.print(f"signer: {keys['bridge']['ZIPCAST_SIGNERS']}  (miners and validators pin this address)")
    out.print("Keep a copy of schedulers.env where only you can read it: it signs every epoch.")

"""Defines `zipcast backup` and `zipcast restore`, which save the database and check that it was restored
completely.

The stream of epochs needs no backup: schedulers fill an empty one from the database. Keys are secret and are
not copied; the backup has only their fingerprints, so that a restore can check whether the present keys are
those of the backup.
"""

import hashlib
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from operator_cli.database import DatabaseOption, chosen_database, run_on_database
from zipcast.cli.console import echo_json, err, fail, out
from zipcast.cli.session import DEFAULT_READY, ReadyOption

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

DUMP, MANIFEST = "database.dump", "manifest.json"
SCHEMA = "zipcast"

KeysOption = Annotated[Path, typer.Option("--keys", file_okay=False, help="Folder of `zipcast keys init`.")]
ProgramsOption = Annotated[
    Path | None,
    typer.Option(
        "--programs",
        exists=True,
        file_okay=False,
        help="Folder of pg_dump and pg_restore, at least as new as the server. Default: those in PATH.",
    ),
]


def backup(
    folder: Annotated[Path, typer.Argument(help="Folder for the backup; must not exist.")],
    database_url: DatabaseOption = None,
    keys: KeysOption = Path("keys"),
    programs: ProgramsOption = None,
    ready: ReadyOption = DEFAULT_READY,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest of the backup as JSON.")
    ] = False,
) -> None:
    """Write a backup of the database, with fingerprints of its epochs and of the keys. Services need not
    stop."""
    shown = err if as_json else out
    url = chosen_database(database_url, ready)
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        fail(f"{folder} exists: choose another folder")
    # Take the fingerprint before the dump, so that the dump has at least the epochs in the fingerprint.
    contents = run_on_database(url, _contents)
    shown.print(f"{contents['epochs']} epochs, newest {contents['newest']}")
    shown.print("writing the database …")
    dump = folder / DUMP
    _run("pg_dump", programs, url, "--format=custom", f"--schema={SCHEMA}", "--no-owner", f"--file={dump}")
    manifest = {
        "createdAt": datetime.now(UTC).isoformat(timespec="seconds"),
        "dumpSha256": _sha256(dump),
        "contents": contents,
        "keys": _fingerprints(keys),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    shown.print(f"{dump}: {dump.stat().st_size:,} bytes")
    if not manifest["keys"]:
        shown.print(f"No keys in {keys}: the backup does not show which keys belong to it.")
    shown.print("Keep a copy of the keys elsewhere: they are not in the backup.")
    if as_json:
        echo_json(manifest)


def restore(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of the backup.")],
    database_url: DatabaseOption = None,
    keys: KeysOption = Path("keys"),
    programs: ProgramsOption = None,
    ready: ReadyOption = DEFAULT_READY,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest of the backup as JSON.")
    ] = False,
) -> None:
    """Restore a backup into a database without tables, and compare all signed epochs with those of the
    backup. Run deploy/logins.sql first. Exit status 1 if anything differs."""
    shown = err if as_json else out
    manifest = _manifest(folder)
    url = chosen_database(database_url, ready)
    if _sha256(folder / DUMP) != manifest["dumpSha256"]:
        fail(f"{folder / DUMP} differs from the file that the backup wrote: use another copy")
    present = _fingerprints(keys)
    if not present:
        shown.print(f"No keys in {keys}: they are not compared with those of the backup.")
    differing = _differing(manifest["keys"], present) if present else []
    if differing:
        fail(
            f"the keys in {keys} are not those of the backup: {', '.join(differing)}. "
            "Use the keys that were in use at the time of the backup"
        )
    if run_on_database(url, _has_tables):
        fail("the database has tables already: restore into an empty one")
    shown.print("restoring the database …")
    arguments = ("--no-owner", "--exit-on-error", "--single-transaction", str(folder / DUMP))
    _run("pg_restore", programs, url, *arguments)
    newest = manifest["contents"]["newest"]
    if run_on_database(url, lambda engine: _contents(engine, newest)) != manifest["contents"]:
        fail("the signed epochs differ from those of the backup: do not start services, restore another one")
    shown.print(f"{manifest['contents']['epochs']} signed epochs are the same as in the backup")
    shown.print("Start the schedulers: they fill the stream of NATS from the database.")
    if as_json:
        echo_json(manifest)


async def _contents(engine: "AsyncEngine", newest: str | None = None) -> dict[str, Any]:
    """Return the number of started epochs, the id of the newest one, and a hash of their signed messages in
    order. With `newest`, leave out later epochs."""
    from sqlalchemy import text

    query = (
        "select epoch_id, encode(sha256(payload || convert_to(signature, 'UTF8')), 'hex') "
        "from zipcast.epoch_messages join zipcast.epochs using (epoch_id, message_sha256) "
        "where start_at <= clock_timestamp() "
        "and (cast(:newest as text) is null or epoch_id <= :newest) order by epoch_id"
    )
    digest, count, last = hashlib.sha256(), 0, None
    async with engine.connect() as connection:
        for epoch_id, message in await connection.execute(text(query), {"newest": newest}):
            digest.update(f"{epoch_id} {message}\n".encode())
            count, last = count + 1, epoch_id
    return {"epochs": count, "newest": last, "messagesSha256": digest.hexdigest()}


async def _has_tables(engine: "AsyncEngine") -> bool:
    from sqlalchemy import text

    query = text("select exists (select from pg_tables where schemaname = :schema)")
    async with engine.connect() as connection:
        return bool((await connection.execute(query, {"schema": SCHEMA})).scalar_one())


def _run(program: str, programs: Path | None, url: str, *arguments: str) -> None:
    """Run a program of PostgreSQL on the database. The password is not on its command line."""
    found = shutil.which(program, path=None if programs is None else str(programs))
    if found is None:
        fail(f"{program} is not installed: install PostgreSQL's client programs, or pass --programs")
    parts = urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    plain = parts._replace(netloc=f"{login.partition(':')[0]}@{place}").geturl()
    environment = os.environ | {"PGPASSWORD": unquote(parts.password or "")}
    done = subprocess.run(
        [found, f"--dbname={plain}", *arguments], env=environment, capture_output=True, check=False
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        fail(f"{program}: {lines[0] if lines else f'exit status {done.returncode}'}")


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        fail(f"{folder / MANIFEST}: {error}")
    if not {"dumpSha256", "contents", "keys"} <= manifest.keys() or not (folder / DUMP).is_file():
        fail(f"{folder} is not a backup: name a folder that `zipcast backup` wrote")
    return manifest


def _fingerprints(keys: Path) -> dict[str, str]:
    """Return a short hash of each variable in the folder of keys. It does not reveal the value, because keys
    are random."""
    from service.deployment_keys import read_keys

    return {
        f"{file}.env {name}": hashlib.sha256(f"{name}={value}".encode()).hexdigest()[:16]
        for file, values in (read_keys(keys) if keys.is_dir() else {}).items()
        for name, value in values.items()
        if not name.endswith("_URL")  # the password may change, and the host changes
    }


def _differing(kept: dict[str, str], present: dict[str, str]) -> list[str]:
    """Return the names of the keys that determine epochs and differ from those of the backup."""
    deciding = ("SCHEDULERS_SIGNER_SEED", "ZIPCODE_SECRET_KEY", "ZIPCODE_PREVIOUS_SECRETS")
    return [
        name
        for name, fingerprint in kept.items()
        if name.endswith(deciding) and present.get(name) != fingerprint
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

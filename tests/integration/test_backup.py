"""Tests `zipcast backup` and `zipcast restore`: an empty database gets the same signed epochs, or restoring
is refused."""

import asyncio
import json
import shutil
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner, Result

from devstack.programs import postgres_programs
from devstack.stack import Stack
from service.deployment_keys import create_keys, write_keys
from zipcast.cli.app import app


async def run(*arguments: str) -> Result:
    programs = ("--programs", str(postgres_programs()))
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, *programs], env={"COLUMNS": "300"})


@pytest.fixture
def backed_up(stack: Stack, tmp_path: Path):
    """Make a backup of the stack, with its keys."""

    async def make() -> Path:
        folder = tmp_path / "backup"
        keys = str(stack.servers.state.keys)
        done = await run("backup", str(folder), "--database-url", stack.ready.postgres, "--keys", keys)
        assert done.exit_code == 0, done.output
        return folder

    return make


async def test_a_restored_database_has_the_same_signed_epochs(stack: Stack, backed_up):
    folder = await backed_up()
    empty = await stack.servers.empty_database()
    keys = str(stack.servers.state.keys)
    restored = await run("restore", str(folder), "--database-url", empty, "--keys", keys)
    assert restored.exit_code == 0, restored.output
    contents = json.loads((folder / "manifest.json").read_text())["contents"]
    assert contents["epochs"] > 0
    async with await psycopg.AsyncConnection.connect(empty) as connection:
        query = (
            "select count(*), max(epoch_id) from zipcast.epochs where message_sha256 <> '' and epoch_id <= %s"
        )
        assert await (await connection.execute(query, [contents["newest"]])).fetchone() == (
            contents["epochs"],
            contents["newest"],
        )
        rights = "select has_any_column_privilege('zipcast_bridge', 'zipcast.epochs', 'select')"
        policies = "select count(*) > 0 from pg_policies where schemaname = 'zipcast'"
        for question in (rights, policies):
            row = await (await connection.execute(question)).fetchone()
            assert row is not None
            assert row[0] is True
    again = await run("restore", str(folder), "--database-url", empty, "--keys", keys)
    assert again.exit_code == 1
    await stack.servers.drop_database(empty)


async def test_a_backup_has_no_secret(stack: Stack, backed_up):
    manifest = (await backed_up() / "manifest.json").read_text()
    for process in ("schedulers", "responder", "callout", "bridge"):
        for value in stack.servers.state.keys_of(process).values():
            assert value not in manifest


async def test_a_changed_dump_other_keys_and_other_epochs_are_refused(
    stack: Stack, backed_up, tmp_path: Path
):
    folder = await backed_up()
    empty = await stack.servers.empty_database()
    changed = shutil.copytree(folder, tmp_path / "changed")
    with (changed / "database.dump").open("ab") as dump:
        dump.write(b"x")
    write_keys(tmp_path / "other", create_keys())
    keys = str(stack.servers.state.keys)
    for source, held in ((changed, keys), (folder, str(tmp_path / "other"))):
        refused = await run("restore", str(source), "--database-url", empty, "--keys", held)
        assert refused.exit_code == 1
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["contents"]["messagesSha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    differing = await run("restore", str(folder), "--database-url", empty, "--keys", keys)
    assert differing.exit_code == 1
    assert "differ" in differing.output
    await stack.servers.drop_database(empty)

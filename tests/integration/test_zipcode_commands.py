"""Tests the operator's zipcode commands: options, output and exit status."""

import asyncio
import json
import os
import pty
import re
import sys

import pytest
from typer.testing import CliRunner

from devstack.programs import REPOSITORY
from zipcast.cli.app import app

HEADER = "zipcode,state,recently_sold_listings,city,market_tier\n"
GOOD = HEADER + "19901,DE,300,Dover,PREMIUM\n19958,DE,250,Lewes,\n"
FAULTY = GOOD + "7001,NJ,90,Avenel,\n"
SHORT_RULE = (
    "must be five digits; to restore leading zeros that a spreadsheet removed, use --restore-leading-zeros"
)


@pytest.fixture
def write(tmp_path):
    def write(content, name="zipcodes.csv"):
        path = tmp_path / name
        path.write_text(content)
        return str(path)

    return write


@pytest.fixture
def zipcast(database_url):
    """Return a function that runs the command on a new database and checks its exit status, which is 0 unless
    another is stated."""

    async def zipcast(*arguments, status=0):
        environment = {"DATABASE_URL": database_url}
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
        assert result.exit_code == status, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return zipcast


async def versions(zipcast):
    return len(json.loads((await zipcast("imports", "list", "--json")).stdout))


async def listed(zipcast, *options):
    return [line[:5] for line in (await zipcast("zipcodes", "list", *options)).stdout.splitlines()]


async def test_an_import_reports_in_words(zipcast, write):
    result = await zipcast("import", write(FAULTY), status=3)
    counts, tiers = result.stdout.splitlines()
    assert counts == "version 1: 2 added, 0 changed, 0 unchanged, 1 rejected"
    assert re.findall(r"\d+", tiers) == ["1", "1"]  # derived from the home value; STANDARD without one
    assert result.stderr == f"line 4: zipcode {SHORT_RULE}\n"


async def test_an_import_reports_as_json(zipcast, write):
    result = await zipcast("import", write(FAULTY), "--json", status=3)
    assert json.loads(result.stdout) == {
        "version": 1,
        "added": 2,
        "changed": 0,
        "unchanged": 0,
        "rejected": [{"place": "line 4", "field": "zipcode", "rule": SHORT_RULE}],
        "restored": 0,
        "tiersDerived": 1,
        "tiersDefaulted": 1,
        "tooOld": 0,
    }


async def test_leading_zeros_are_restored_when_asked_for(zipcast, write):
    result = await zipcast("import", write(FAULTY), "--restore-leading-zeros")
    assert "0 rejected\nleading zeros restored: 1\n" in result.stdout
    assert "Avenel" in (await zipcast("zipcodes", "show", "07001")).stdout


async def test_a_dry_run_says_so_and_changes_nothing(zipcast, write):
    result = await zipcast("import", write(FAULTY), "--dry-run", status=3)
    assert result.stdout.startswith("no version: 2 added")
    assert result.stderr.endswith("nothing was changed: --dry-run\n")
    assert await versions(zipcast) == 0


@pytest.mark.long
@pytest.mark.parametrize("also", [[], ["--dry-run"]])
async def test_a_strict_import_reports_changes_nothing_and_fails(zipcast, write, also):
    result = await zipcast("import", write(FAULTY), "--strict", "--json", *also, status=3)
    report = json.loads(result.stdout)
    assert (report["version"], len(report["rejected"])) == (None, 1)
    assert "--strict" in result.stderr
    assert await versions(zipcast) == 0
    await zipcast("import", write(GOOD), "--strict")
    assert await versions(zipcast) == 1


async def test_a_file_without_an_acceptable_row_fails_with_every_row_named(zipcast, write):
    path = write(HEADER + "7001,NJ,90,Avenel,\n19801,XX,1,,\n")
    result = await zipcast("import", path, status=3)
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [
        "line 2",
        "line 3",
        "nothing was changed",
    ]
    report = json.loads((await zipcast("import", path, "--json", status=3)).stdout)
    assert [rejection["place"] for rejection in report["rejected"]] == ["line 2", "line 3"]
    assert await versions(zipcast) == 0


async def test_a_broken_file_fails_with_one_line(zipcast, write):
    path = write(GOOD + '19960,DE,1,"Lin')
    result = await zipcast("import", path, status=1)
    assert (result.stdout, result.stderr) == ("", f"{path}: line 4: broken CSV: unexpected end of data\n")
    assert await versions(zipcast) == 0


async def test_the_format_follows_the_name_or_the_option(zipcast, write):
    content = '[{"zipcode": "19901", "state": "DE", "recentlySoldListings": 300}]'
    await zipcast("import", write(content, "zipcodes.json"))
    await zipcast("import", write(content, "zipcodes.txt"), "--format", "json")
    await zipcast("import", write(GOOD, "other.json"), "--format", "csv")
    await zipcast("import", write(content, "zipcodes.txt"), status=1)
    assert await versions(zipcast) == 3


async def test_zipcodes_are_listed(zipcast, write):
    assert (await zipcast("zipcodes", "list")).stdout == "none\n"
    await zipcast("import", write(FAULTY), "--restore-leading-zeros")
    await zipcast("zipcodes", "deactivate", "19958")
    assert await listed(zipcast) == ["07001", "19901"]
    assert await listed(zipcast, "--state", "de") == ["19901"]
    (inactive,) = json.loads((await zipcast("zipcodes", "list", "--inactive", "--json")).stdout)
    assert (inactive["zipcode"], inactive["active"]) == ("19958", False)
    assert inactive["recentlySoldListings"] == 250


async def test_a_zipcode_is_shown_with_its_history(zipcast, write):
    await zipcast("import", write(GOOD))
    await zipcast("zipcodes", "deactivate", "19901", "--reason", "flood")
    lines = (await zipcast("zipcodes", "show", "19901")).stdout.splitlines()
    assert "active                False" in lines
    assert [line.split("  ")[0] for line in lines if line.startswith("version")] == ["version 2", "version 1"]
    shown = json.loads((await zipcast("zipcodes", "show", "19901", "--json")).stdout)
    assert shown["importId"] == 2
    assert [revision["version"]["sourceName"] for revision in shown["revisions"]] == [
        "zipcodes/deactivate: flood",
        "zipcodes.csv",
    ]


@pytest.mark.parametrize(
    ("content", "status", "counts"), [(GOOD, 0, (2, 0)), (FAULTY, 3, (2, 1)), (HEADER, 3, (0, 0))]
)
async def test_a_file_is_checked_without_a_database(write, content, status, counts, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    arguments = ["import", write(content), "--check"]
    plain = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert plain.exit_code == status, plain.output
    report = json.loads((await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--json"])).stdout)
    assert (report["accepted"], len(report["rejected"])) == counts
    assert len(plain.stderr.splitlines()) == counts[1]


@pytest.mark.parametrize("zipcode", ["19999", "1990", "x"])
async def test_a_zipcode_that_was_never_imported_is_named(zipcast, zipcode):
    for command in ("show", "deactivate", "activate"):
        result = await zipcast("zipcodes", command, zipcode, status=1)
        assert f"never imported: '{zipcode}'" in result.stderr


async def test_activity_changes_say_what_they_did(zipcast, write):
    await zipcast("import", write(GOOD))
    both = ("19901", "19958")
    expected = [
        (("deactivate", *both), "version 2: 2 deactivated, 0 unchanged\n"),
        (("deactivate", *both), "no new version: 0 deactivated, 2 unchanged\n"),
        (("activate", "19901"), "version 3: 1 activated, 0 unchanged\n"),
    ]
    for arguments, output in expected:
        assert (await zipcast("zipcodes", *arguments)).stdout == output
    result = await zipcast("zipcodes", "deactivate", "19901", "--reason", "x" * 201, status=1)
    assert "a reason has at most" in result.stderr


async def test_versions_are_listed_and_rebuilt(zipcast, write):
    assert (await zipcast("imports", "list")).stdout == "none\n"
    await zipcast("import", write(GOOD))
    await zipcast("zipcodes", "deactivate", "19958")
    listed = (await zipcast("imports", "list")).stdout.splitlines()
    assert [line.split()[:2] + line.split()[-1:] for line in listed] == [
        ["version", "1", "zipcodes.csv"],
        ["version", "2", "zipcodes/deactivate"],
    ]
    assert (await zipcast("imports", "show", "1")).stdout.splitlines()[1:] == [
        "2 active, 0 inactive",
        "DE 2",
        "PREMIUM 1  STANDARD 1",
    ]
    assert "there is no version 9" in (await zipcast("imports", "show", "9", status=1)).stderr


async def test_a_rebuilt_version_can_be_imported_again(zipcast, write):
    await zipcast("import", write(GOOD))
    await zipcast("zipcodes", "deactivate", "19958")
    shown = (await zipcast("imports", "show", "2", "--json")).stdout
    rebuilt = json.loads(shown)
    assert (rebuilt["active"], rebuilt["inactive"]) == (1, 1)
    assert (rebuilt["byState"], rebuilt["byTier"]) == ({"DE": 1}, {"PREMIUM": 1})
    result = await zipcast("import", write(shown, "shown.json"))
    assert "0 added, 0 changed, 2 unchanged, 0 rejected" in result.stdout


@pytest.mark.parametrize(
    "arguments", [["migrate"], ["zipcodes", "list"], ["imports", "list"], ["import", __file__]]
)
async def test_what_is_missing_is_one_line(zipcast, tmp_path, arguments):
    ready = str(tmp_path / "ready.json")
    no_stack = await zipcast(*arguments, "--database-url", "", "--ready", ready, status=4)
    assert f"{ready} does not exist" in no_stack.stderr
    no_url = await zipcast(*arguments, "--database-url", "mysql://secret@host/db", status=2)
    assert no_url.stderr == "--database-url must start with postgresql://\n"
    no_server = await zipcast(*arguments, "--database-url", "postgresql://x:secret@127.0.0.1:1/db", status=4)
    assert no_server.stderr.startswith("the database failed: ")
    for result in (no_stack, no_url, no_server):
        assert "secret" not in result.stderr and result.stderr.count("\n") == 1


async def test_a_database_without_tables_asks_for_a_migration(zipcast, servers, write):
    admin = servers.admin_url
    result = await zipcast("import", write(GOOD), "--database-url", admin, status=1)
    assert result.stderr == "the database has no tables yet. Run `zipcast migrate`.\n"


@pytest.mark.parametrize("terminal", [True, False])
async def test_progress_is_shown_to_a_terminal_only(database_url, write, terminal):
    ours, theirs = pty.openpty() if terminal else os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from zipcast.cli.app import main; main()", "import", write(GOOD)),
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database_url, "TERM": "xterm"},
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
    )
    stdout, _ = await process.communicate()
    os.set_blocking(ours, False)
    try:
        shown = os.read(ours, 1 << 16)
    except BlockingIOError:
        shown = b""
    finally:
        os.close(theirs)
        os.close(ours)
    assert process.returncode == 0
    assert stdout.startswith(b"version 1: 2 added")
    assert (b"importing" in shown) is terminal

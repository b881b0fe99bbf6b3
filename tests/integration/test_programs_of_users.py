"""Tests README's miner and validator and the programs in `examples/`, unchanged, against the real stack."""

import asyncio
import functools
import json
import re
import shutil
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from devstack.object_store import admin_client
from devstack.options import StackOptions
from devstack.stack import Stack
from documentation.pages import code_blocks, with_includes
from tests.support.both_clients import arguments
from tests.support.distributions import newcomer_environment
from tests.support.people import coldkey, keypair
from tests.support.processes import GENEROUS, wait_until
from tests.support.programs import ROOT, environment, python, running
from tests.support.readers import EPOCH, Reader
from zipcast import connect
from zipcast.client.local_stack import Ready
from zipcast.errors import TooLateError
from zipcast.protocol.hotkeys import Keypair

MAX_MINER_LINES, MAX_VALIDATOR_LINES = 12, 20
MINERS, FILES = 40, 1_100
COLLECT = """
from pathlib import Path

def collect(epoch):
    file = Path(__file__).with_name("listings.json")
    file.write_text(epoch.id * 200)
    return file
"""
SCORE = """
from pathlib import Path

def score(paths):
    with Path(__file__).with_name("scored").open("a") as file:
        print(len(paths), sum(path.stat().st_size for path in paths), file=file)
    return float(len(paths))
"""


def readme_programs() -> tuple[str, str]:
    """Return the miner and the validator of the README."""
    miner, validator = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return miner, validator


def prepared(folder: Path, name: str, program: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "my_miner.py").write_text(COLLECT)
    (folder / "my_validator.py").write_text(SCORE)
    (folder / name).write_text(program)
    return str(folder / name)


def test_the_programs_of_the_readme_are_short():
    miner, validator = readme_programs()
    assert len(miner.splitlines()) <= MAX_MINER_LINES
    assert len(validator.splitlines()) <= MAX_VALIDATOR_LINES


async def wait_for_report(ready: Ready, wallet: str, miner: str) -> None:
    """Wait until the validator's program has reported the miner as one of the best."""
    ended: list[str] = []
    async with connect(**arguments(ready, wallet)) as validator:
        async for epoch in validator.epochs():
            for epoch_id in ended:
                reports = (await validator.results(epoch_id)).reports
                if any(one.hotkey == miner for report in reports for one in report.top_miners):
                    return
            ended += [epoch.previous_id] if epoch.previous_id else []


async def counted_epoch(ready: Ready, miner: str) -> str:
    """Wait until an epoch ends for which an upload of this hotkey counts, and return its id."""
    async with connect(**arguments(ready, "validator-1")) as watcher:
        async for epoch in watcher.epochs():
            if epoch.via != "push" or epoch.previous_id is None:
                continue
            if [one async for one in watcher.uploads(epoch.previous_id, miner=miner)]:
                return epoch.previous_id
    raise AssertionError("the client ended")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables of an environment into which the pages install the wheel."""
    return newcomer_environment(tmp_path_factory.mktemp("newcomer"))


@pytest.mark.long
@pytest.mark.timeout(500)
async def test_who_follows_the_pages_has_a_running_miner_and_validator(
    ready: Ready, tmp_path: Path, newcomer: dict[str, str]
):
    """The programs on these pages are those of the README."""
    miner = Reader.of(tmp_path / "miner", ready, "miner-1", newcomer)
    validator = Reader.of(tmp_path / "validator", ready, "validator-2", newcomer)
    hotkey = keypair(ready, "miner-1").ss58_address

    async def wait_for_upload() -> None:
        miner.replaced[EPOCH] = validator.replaced[EPOCH] = await counted_epoch(ready, hotkey)

    async def wait_for_reveal() -> None:
        await wait_for_report(ready, "validator-2", hotkey)
        async with connect(**arguments(ready, "validator-1")) as watcher:
            async for _ in watcher.epochs():
                if (await watcher.results(validator.replaced[EPOCH])).revealed:
                    return

    async with AsyncExitStack() as background, asyncio.timeout(300):
        await miner.follow("miner", {"python miner.py": wait_for_upload}, background)
        await validator.follow("validator", {"python validator.py": wait_for_reveal}, background)
    listed = [printed for command, printed in miner.printed.items() if "zipcast uploads" in command]
    assert f"hotkey={hotkey}/epoch=" in "".join(listed)
    assert list((tmp_path / "validator" / "downloads").rglob(f"*{hotkey}*"))
    for output in (miner.output("python miner.py"), validator.output("python validator.py")):
        assert "Traceback" not in output


@pytest.mark.long  # installs packages of npm
async def test_who_follows_the_page_for_other_languages_has_a_miner_in_javascript(
    ready: Ready, tmp_path: Path, newcomer: dict[str, str]
):
    reader = Reader.of(tmp_path / "reader", ready, "miner-4", newcomer)
    shutil.copytree(
        ROOT / "examples", reader.home / "examples", ignore=shutil.ignore_patterns("node_modules")
    )
    (reader.home / "listings.json").write_text(json.dumps(["listing"] * 1000))
    miner = keypair(ready, "miner-4").ss58_address
    counted = functools.partial(counted_epoch, ready, miner)
    async with AsyncExitStack() as background, asyncio.timeout(200):
        await reader.follow("other-languages", {"node miner.js": counted}, background)
    assert f"uploaded data/hotkey={miner}/epoch=" in reader.output("node miner.js")
    reported = [printed for command, printed in reader.printed.items() if "curl.sh" in command]
    assert '"IN_PROGRESS"' in reported[0]
    # The same program refuses epochs if another signer is trusted.
    stranger = Keypair.create_from_uri("//Stranger").ss58_address
    trusting = reader.environment() | environment(ready, tmp_path, "miner-4") | {"ZIPCAST_SIGNER": stranger}
    folder, output = reader.home / "examples" / "node", tmp_path / "refusing"
    program = ["node", "miner.js", str(tmp_path / "wallets/my-wallet/hotkeys/default"), "package.json"]
    async with running(program, trusting, output, folder):
        await wait_until(lambda: f"signer {ready.signer} is not trusted" in output.read_text())
    assert "uploaded" not in output.read_text()


@pytest.mark.long  # a stack of its own
async def test_who_follows_the_page_for_operators_has_a_running_system(tmp_path: Path):
    """The test follows the page in a copy of the checkout without its state. Nothing may be installed from
    there, because the environment is shared."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in {".devstack", ".git", "keys"}:
            (checkout / entry.name).symlink_to(entry)
    real = {"make up": "make --old-file=.venv/.ready up"}
    reader = Reader(checkout, {"UP_OPTIONS": "--epoch-length 10s"}, real)

    async def wait_until_up() -> None:
        await wait_until(lambda: "all is up" in reader.output("make up"), 200)

    async with AsyncExitStack() as background, asyncio.timeout(280):
        await reader.follow("operator", {"make up": wait_until_up}, background)
    assert "stopped; the state is kept" in reader.output("make up")
    assert (checkout / "keys").is_dir()


@pytest.mark.long
async def test_the_validator_with_duckdb_counts_listings_and_survives_other_files(
    ready: Ready, tmp_path: Path
):
    program = python(str(ROOT / "examples" / "validator_duckdb.py"), "my-wallet")
    listings, output = tmp_path / "listings.parquet", tmp_path / "output"
    (tmp_path / "other.parquet").write_text("not parquet " * 200)
    variables = environment(ready, tmp_path, "validator-1")
    async with (
        running(program, variables, output),
        connect(**arguments(ready, "miner-5")) as miner,
        asyncio.timeout(100),
    ):
        async for epoch in miner.epochs():
            if "700 listings of" in output.read_text():
                break
            with duckdb.connect() as database:
                rows = "SELECT ? AS zipcode, md5(range::VARCHAR) AS address FROM range(700)"
                database.execute(f"COPY ({rows}) TO '{listings}'", [epoch.zipcodes[0].zipcode])
            with suppress(
                TooLateError
            ):  # the running epoch may end at any moment, and then the next one follows
                for file in (tmp_path / "other.parquet", listings):
                    await miner.upload(file, epoch=epoch)
    assert "No magic bytes" in output.read_text()
    assert "Traceback" not in output.read_text()


async def test_the_snippet_for_moving_over_works(ready: Ready):
    ((language, _, code),) = code_blocks(with_includes("docs/moving.md"))
    assert language == "python"
    coldkeypub = SimpleNamespace(ss58_address=coldkey(ready, "miner-7"))
    wallet = SimpleNamespace(hotkey=keypair(ready, "miner-7"), coldkeypub=coldkeypub)
    names: dict[str, Any] = {"config": SimpleNamespace(resi_api_url=ready.http), "wallet": wallet}
    await asyncio.to_thread(exec, code, names)
    assert names["form"]["folder"] == f"data/hotkey={wallet.hotkey.ss58_address}/"


async def test_the_longer_examples_work_together(ready: Ready, tmp_path: Path):
    folders = {name: tmp_path / name for name in ("miner", "validator", "http_only")}
    for folder in folders.values():
        folder.mkdir()
    listings = tmp_path / "listings.json"
    listings.write_text(json.dumps(["listing"] * 1000))

    def example(name: str) -> list[str]:
        rest = [str(listings)] if name == "http_only" else []
        return python(str(ROOT / "examples" / f"{name}.py"), "my-wallet", *rest)

    variables = {
        "miner": environment(ready, folders["miner"], "miner-2"),
        "validator": environment(ready, folders["validator"], "validator-1"),
        "http_only": environment(ready, folders["http_only"], "miner-3", http=True),
    }
    outputs = {name: folder / "output" for name, folder in folders.items()}
    async with (
        running(example("miner"), variables["miner"], outputs["miner"]),
        running(example("http_only"), variables["http_only"], outputs["http_only"]),
        running(example("validator"), variables["validator"], outputs["validator"]),
    ):
        await wait_until(lambda: re.search(r"listings of [2-9] miners", outputs["validator"].read_text()))
    for output in outputs.values():
        assert "Traceback" not in output.read_text()


async def test_the_example_for_curl_reports(ready: Ready, tmp_path: Path):
    variables = environment(ready, tmp_path, "miner-8") | {
        "BRIDGE": ready.http,
        "WALLET": "my-wallet",
        "WALLET_PATH": str(tmp_path / "wallets"),
        "PYTHON": sys.executable,
        "no_proxy": "127.0.0.1",
    }
    done = await asyncio.create_subprocess_exec(
        "sh", str(ROOT / "examples" / "curl.sh"), env=variables, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await done.communicate()
    assert done.returncode == 0
    assert json.loads(printed)["status"] == "IN_PROGRESS"


@pytest.mark.long  # a stack of its own, whose servers are restarted
async def test_the_miner_of_the_readme_survives_restarts(tmp_path: Path):
    options = StackOptions(epoch_seconds=5, state=tmp_path / "state", settings=GENEROUS)
    folder = tmp_path / "miner"
    program = python(prepared(folder, "miner.py", readme_programs()[0]))
    async with Stack.running(options) as stack:
        variables = environment(stack.ready, folder, "miner-1")
        miner = keypair(stack.ready, "miner-1").ss58_address
        async with (
            running(program, variables, folder / "output") as process,
            connect(**arguments(stack.ready, "validator-1")) as validator,
        ):
            for part in ("nats", "responder"):
                await stack.servers.supervisor.take_down(part)
                await stack.servers.supervisor.bring_up(part)
                reached: list[str] = []
                async with asyncio.timeout(60):
                    async for epoch in validator.epochs():
                        if epoch.via == "request" or epoch.previous_id is None:
                            continue
                        found = [one async for one in validator.uploads(epoch.previous_id, miner=miner)]
                        reached += [one.key for one in found]
                        if len(reached) >= 2:
                            break
            assert process.returncode is None
    assert "Traceback" not in (folder / "output").read_text()


@pytest.mark.long  # 1,100 uploads
@pytest.mark.timeout(500)
async def test_the_validator_of_the_readme_reads_every_file_of_every_miner(tmp_path: Path):
    folder, registry = tmp_path / "validator", tmp_path / "registry.json"
    program = python(prepared(folder, "validator.py", readme_programs()[1]))
    options = StackOptions(epoch_seconds=40, state=tmp_path / "state", settings=GENEROUS)
    async with Stack.running(options) as stack:
        ready = stack.ready
        miners = [Keypair.create_from_uri(f"//Miner{number}").ss58_address for number in range(MINERS)]
        registry = stack.servers.state.registry
        neurons = json.loads(registry.read_text())
        known = [
            neurons[0] | {"uid": 100 + number, "hotkey": miner, "validator_permit": False, "alpha_stake": 0}
            for number, miner in enumerate(miners)
        ]
        registry.write_text(json.dumps(neurons + known))
        async with connect(**arguments(ready, "validator-1")) as watcher, asyncio.timeout(280):
            async for epoch in watcher.epochs():
                if epoch.via == "push":
                    break
            s3 = admin_client(stack.servers.state, ready.s3.endpoint)

            def put(part: int) -> None:
                for number in range(part, FILES, 4):
                    key = f"data/hotkey={miners[number % MINERS]}/epoch={epoch.id}/{number}.json"
                    s3.put_object(Bucket=ready.s3.miner_bucket, Key=key, Body=b"x" * 1024)

            await asyncio.gather(*(asyncio.to_thread(put, part) for part in range(4)))
            async with running(program, environment(ready, folder, "validator-1"), folder / "output"):
                await wait_until((folder / "scored").exists, timeout_seconds=150)
                await wait_until(lambda: len((folder / "scored").read_text().splitlines()) >= MINERS)
    counts = [int(line.split()[0]) for line in (folder / "scored").read_text().splitlines()]
    assert len(counts) == MINERS
    assert sum(counts) == FILES

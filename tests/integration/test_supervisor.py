"""Tests that parts are kept running, that their deaths are reported, and that they are stopped in time."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import kept_part
from devstack.errors import PartFailedError
from devstack.kept_part import Event, PartDied, PartStarted
from devstack.part import Part
from devstack.programs import inherited_environment
from devstack.supervisor import Supervisor
from tests.support.processes import is_alive, wait_until

pytestmark = pytest.mark.long

STAY = "print('line', flush=True); open('ready', 'w').close(); import time; time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAY
WITH_CHILD = "import subprocess, sys; child = subprocess.Popen(['sleep', '600']); print(child.pid); " + STAY
FAIL = "import sys; [print('line', n) for n in range(30)]; sys.exit(3)"


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def restarts(self) -> list[PartStarted]:
        return [event for event in self.events if isinstance(event, PartStarted) and event.restarted]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest_asyncio.fixture
async def supervisor(recorder: Recorder) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(recorder)
    yield supervisor
    await supervisor.stop()


def make_part(folder: Path, code: str = STAY, name: str = "stand-in") -> Part:
    mark = folder / "ready"

    async def before_start() -> None:
        mark.unlink(missing_ok=True)

    async def is_ready() -> bool:
        return mark.exists()

    return Part(
        name=name,
        address="nowhere",
        argv=(sys.executable, "-c", code),
        environment=inherited_environment(),
        log=folder / f"{name}.log",
        folder=folder,
        is_ready=is_ready,
        before_start=before_start,
    )


async def test_a_killed_part_is_named_with_its_log_and_started_again(tmp_path, supervisor, recorder):
    await supervisor.start(make_part(tmp_path))
    killed = supervisor.pids["stand-in"]
    os.kill(killed, signal.SIGKILL)
    await wait_until(recorder.restarts)
    assert PartDied("stand-in", "killed by SIGKILL", ("line",), 0.5) in recorder.events
    assert supervisor.pids["stand-in"] == recorder.restarts()[0].pid != killed


async def test_a_part_that_does_not_start_is_named_with_ten_lines_of_its_log(tmp_path, supervisor):
    with pytest.raises(PartFailedError, match="stand-in: exit status 3") as failure:
        await supervisor.start(make_part(tmp_path, FAIL))
    assert failure.value.tail == tuple(f"line {number}" for number in range(20, 30))


async def test_a_part_that_never_becomes_ready_is_killed(tmp_path, supervisor):
    part = replace(make_part(tmp_path, "import time; time.sleep(600)"), start_timeout_seconds=0.3)
    with pytest.raises(PartFailedError, match=r"not ready after 0\.3 s"):
        await supervisor.start(part)
    assert not is_alive(supervisor.pids["stand-in"])


async def test_parts_that_ignore_every_request_are_gone(tmp_path, supervisor):
    for name in ("server", "client"):
        await supervisor.start(make_part(tmp_path, STUBBORN, name))
    pids = supervisor.pids
    async with asyncio.timeout(60):
        await supervisor.stop()
    assert not any(map(is_alive, pids.values()))


async def test_what_a_part_started_itself_goes_with_it(tmp_path, supervisor):
    await supervisor.start(make_part(tmp_path, WITH_CHILD))
    child = int((tmp_path / "stand-in.log").read_text().split()[0])
    await supervisor.stop()
    await wait_until(lambda: not is_alive(child))


async def test_a_part_taken_down_stays_down_until_it_is_brought_up(tmp_path, supervisor, recorder):
    await supervisor.start(make_part(tmp_path))
    first = supervisor.pids["stand-in"]
    await supervisor.take_down("stand-in")
    assert not is_alive(first)
    await supervisor.bring_up("stand-in")
    assert is_alive(supervisor.pids["stand-in"])
    assert not any(isinstance(event, PartDied) for event in recorder.events)


async def test_clients_are_stopped_before_servers(tmp_path, supervisor, recorder):
    order: list[str] = []
    for name in ("server", "client"):

        async def after_stop(name: str = name) -> None:
            order.append(name)

        await supervisor.start(replace(make_part(tmp_path, name=name), after_stop=after_stop))
    await supervisor.stop()
    assert order == ["client", "server"]


async def test_stopping_while_a_part_starts_leaves_nothing(tmp_path, supervisor):
    starting = asyncio.create_task(supervisor.start(make_part(tmp_path, "import time; time.sleep(600)")))
    await wait_until(lambda: supervisor.pids)
    starting.cancel()
    await asyncio.wait([starting])
    pid = supervisor.pids["stand-in"]
    await supervisor.stop()
    assert not is_alive(pid)


async def test_a_log_that_grows_too_large_is_begun_anew_and_written_on(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kept_part, "MAX_LOG_BYTES", 10_000)
    monkeypatch.setattr(kept_part, "_INTERVAL_SECONDS", 0.01)
    talk = (
        "import time; open('ready', 'w').close()\nwhile True: print('x' * 99, flush=True); time.sleep(0.001)"
    )
    part = make_part(tmp_path, talk)
    await supervisor.start(part)
    kept = part.log.with_suffix(".log.1")
    await wait_until(kept.exists)
    await wait_until(lambda: kept.stat().st_size > 10_000 > part.log.stat().st_size > 0)
    assert set(part.log.read_bytes()) == set(b"x\n")  # the old lines leave no hole


async def test_a_part_that_runs_and_cannot_recover_is_started_again(
    tmp_path: Path, supervisor: Supervisor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kept_part, "_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(kept_part, "_HOPELESS_SECONDS", 0.2)
    looks = iter([False, True, False])  # it failed once and works again, so it is left alone
    ill = True

    async def cannot_recover() -> bool:
        return next(looks, ill)

    await supervisor.start(replace(make_part(tmp_path), cannot_recover=cannot_recover))
    first = supervisor.pids["stand-in"]
    await wait_until(recorder.restarts)
    ill = False
    (died,) = [event for event in recorder.events if isinstance(event, PartDied)]
    assert died.status == "did not work for 0.2 s"
    assert supervisor.pids["stand-in"] != first
    assert not is_alive(first)

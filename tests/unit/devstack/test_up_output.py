"""Tests the output of `zipcast up`: no terminal breaks its addresses, its commands find the stack, and each
step is named."""

import io
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from devstack.kept_part import PartDied, PartStarted, StepBegan
from devstack.options import DEFAULT_STATE
from devstack.stack import Stack
from devstack.up import show_event, show_next, show_parts
from zipcast.cli.console import LegibleConsole
from zipcast.client.local_stack import Ready, ReadyObjectStore

READY = Ready(
    nats="nats://127.0.0.1:65535",
    monitoring="http://127.0.0.1:65535",
    http="http://127.0.0.1:65534",
    postgres="",
    s3=ReadyObjectStore("", "", ""),
    signer="",
    netuid=1,
    network="local",
    audience="loopback",
    epoch_seconds=60,
    wallets="",
    pids={},
    internal={"http_bridge": "http://127.0.0.1:65533"},
)
PARTS = {
    "nats": ("nats://127.0.0.1:65535", ""),
    "postgres": ("postgresql://127.0.0.1:65535/zipcast", ""),
    "schedulers": ("on NATS", "http://127.0.0.1:65531"),
    "http_bridge": (READY.http, "http://127.0.0.1:65533"),
}


@pytest.fixture
def console() -> LegibleConsole:
    return LegibleConsole(file=io.StringIO(), force_terminal=True, width=80, markup=False, color_system=None)


def lines(console: LegibleConsole) -> list[str]:
    return cast(io.StringIO, console.file).getvalue().splitlines()


def test_every_address_stands_in_one_line_of_80_columns(console: LegibleConsole, tmp_path: Path):
    parts = [
        SimpleNamespace(name=name, address=address, internal=internal)
        for name, (address, internal) in PARTS.items()
    ]
    servers = SimpleNamespace(
        monitoring_url=READY.monitoring, state=SimpleNamespace(logs=DEFAULT_STATE / "logs")
    )
    ready = SimpleNamespace(dashboard=f"{READY.internal['http_bridge']}/ops/nats/")
    show_parts(console, cast(Stack, cast(Any, SimpleNamespace(parts=parts, servers=servers, ready=ready))))
    shown = lines(console)
    assert any(line.startswith("nats dashboard ") and line.endswith(ready.dashboard) for line in shown)
    assert max(map(len, shown)) <= 80
    for name, (address, internal) in PARTS.items():
        (line,) = [line for line in shown if line.partition("  ")[0] == name]
        assert address in line
        assert internal in line


def test_the_hint_names_the_pages(console: LegibleConsole):
    show_next(console, READY, DEFAULT_STATE)
    shown = lines(console)
    assert any(f"{READY.http}/ " in line for line in shown)
    assert any(f"{READY.http}/docs" in line for line in shown)
    assert any(f"{READY.internal['http_bridge']}/ops" in line for line in shown)
    assert not any("--ready" in line for line in shown)
    assert max(map(len, shown)) <= 80


def test_commands_are_hinted_with_the_folder_of_another_state(console: LegibleConsole, tmp_path: Path):
    state = tmp_path / "my state"
    show_next(console, READY, state)
    hinted = [shlex.split(line.strip().split("  ")[0]) for line in lines(console) if "--ready" in line]
    assert len(hinted) == 4
    assert all(words[words.index("--ready") + 1] == str(state / "ready.json") for words in hinted)


def test_each_step_and_part_is_shown(console: LegibleConsole):
    show_event(console, StepBegan("migrating"))
    show_event(console, PartStarted("nats", 7, restarted=False))
    show_event(console, PartDied("nats", "killed by SIGKILL", ("[/old]",), 0.5))
    show_event(console, PartStarted("nats", 8, restarted=True))
    first, second, third, tail, fourth = lines(console)
    assert "migrating" in first
    assert second.startswith("nats: ")
    assert "SIGKILL" in third
    assert tail.endswith("[/old]")
    assert "8" in fourth

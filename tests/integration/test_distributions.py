"""Tests the content of both distributions, and which commands exist with the clients' distribution alone."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.distributions import built, other_packages

REPOSITORY = Path(__file__).resolve().parents[2]
OPERATORS = (
    "up",
    "down",
    "demo",
    "import",
    "migrate",
    "simulate",
    "issuances",
    "s3",
    "zipcodes",
    "config",
    "keys",
    "admin",
)


@pytest.fixture(scope="module")
def clients_alone(tmp_path_factory) -> Path:
    """Return a folder with all installed packages, of which only the wheel for miners and validators is
    ours."""
    folder = other_packages(tmp_path_factory.mktemp("packages"))
    with built(REPOSITORY, tmp_path_factory.mktemp("wheel")) as wheel:
        wheel.extractall(folder)
    return folder


def test_the_clients_wheel_holds_nothing_of_the_service(clients_alone):
    (metadata,) = clients_alone.glob("zipcast-*.dist-info")
    lines = (metadata / "RECORD").read_text().splitlines()
    assert {line.partition("/")[0] for line in lines} == {"zipcast", metadata.name}


def test_with_the_clients_wheel_alone_the_command_has_no_command_of_the_operator(clients_alone, tmp_path):
    def shown(*arguments: str) -> str:
        program = "from zipcast.cli.app import main; main()"
        # Without `site`, Python does not find the checkout's packages.
        done = subprocess.run(
            [sys.executable, "-S", "-c", program, *arguments, "--help"],
            env={"PYTHONPATH": str(clients_alone), "COLUMNS": "200"},
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    commands = {line.split()[0] for line in shown().splitlines() if re.match(r"  [a-z0-9]+  ", line)}
    assert {"watch", "current", "upload", "epoch"} <= commands
    assert not commands & set(OPERATORS)
    assert "preview" not in shown("epoch")


def test_the_server_s_wheel_holds_what_it_is_said_to(tmp_path):
    project = REPOSITORY / "packaging" / "server"
    said = tomllib.loads((project / "pyproject.toml").read_text())
    parts = said["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["parts"].values()
    with built(project, tmp_path) as wheel:
        held = wheel.namelist()
    for part in parts:
        assert any(name == part or name.startswith(f"{part}/") for name in held), part
    assert not [name for name in held if name.endswith(".pyc")]
    outside = [name for name in held if not name.startswith((*parts, "zipcast_server-"))]
    assert outside == []


def test_a_checkout_runs_its_own_files_and_no_copies():
    for package in ("storage", "operator_cli"):
        program = f"import {package}; print({package}.__file__)"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd="/", check=True, capture_output=True, text=True
        )
        assert Path(done.stdout.strip()).is_relative_to(REPOSITORY / package)

"""Tests odd input to the commands: one line names the problem, and there is never a traceback."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zipcast.cli.app import app
from zipcast.cli.errors import Status


def end(*arguments: str) -> tuple[int, str]:
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert shown.exception is None or isinstance(shown.exception, SystemExit), shown.exception
    return shown.exit_code, shown.output


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    file = tmp_path / "noise.env"
    file.write_bytes(b"NATS_URL=\xff\xfe\x80\n")
    return file


@pytest.mark.parametrize(
    "command",
    [
        ("config", "check", "schedulers"),
        ("simulate", "--epochs", "1"),
        ("epoch", "preview"),
        ("s3", "check"),
    ],
)
def test_a_file_of_settings_that_is_no_text(noise: Path, command: tuple[str, ...]) -> None:
    code, told = end(*command, "--env-file", str(noise))
    assert code == 2
    assert f"--env-file {noise}:" in told


@pytest.mark.parametrize("hours", ["inf", "1e300", "nan", "-1"])
def test_hours_that_are_none(hours: str) -> None:
    code, told = end("issuances", "--hours", hours, "--database-url", "postgresql://h/d")
    assert code == 2
    assert "--hours" in told


def test_an_address_of_a_database_that_is_none() -> None:
    code, told = end("issuances", "--database-url", "postgresql://user:hidden@host:port/d")
    assert code == 2
    assert "--database-url must be a URL" in told
    assert "hidden" not in told


def test_two_files_of_one_name(tmp_path: Path) -> None:
    files = [tmp_path / folder / "part.json" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_text("x" * 2_000)
    code, told = end("upload", *map(str, files))
    assert code == 2
    assert "part.json" in told


@pytest.mark.parametrize("command", ["show", "verify", "results"])
def test_an_id_that_is_none(command: str) -> None:
    assert end("epoch", command, "../../../health/live", "--http", "http://127.0.0.1:1")[0] in {1, 2}


class Other(http.server.BaseHTTPRequestHandler):
    """A server that is no bridge. The path of the request decides about its reply."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.split("/")[1].encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("command", [("next",), ("list",), ("show", "2026-01-01T00-00-00")])
@pytest.mark.parametrize("answer", ["html", "{}", "[]", "null", '{"epochStatus":{"nextEpoch":[]}}'])
def test_something_that_is_no_bridge(other: str, command: tuple[str, ...], answer: str) -> None:
    code, told = end("epoch", *command, "--http", f"{other}/{answer}")
    assert code == 1
    assert told.strip()


@pytest.mark.parametrize("command", [("next",), ("list",), ("show", "2026-01-01T00-00-00")])
def test_no_bridge_at_all(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert end("epoch", *command, "--http", "http://127.0.0.1:1")[0] == Status.UNAVAILABLE
    assert end("epoch", *command, "--ready", str(tmp_path / "absent.json"))[0] == Status.UNAVAILABLE

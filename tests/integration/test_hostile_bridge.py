"""Tests that commands which use a hostile bridge end with a one-line error, and read little."""

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from tests.contract.documents import ended_epoch, pool_reply
from tests.support.fakes import SIGNER_HOTKEY
from zipcast.cli import bridge_requests, epoch_sources
from zipcast.cli.app import app
from zipcast.cli.epoch_sources import HttpSource
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import Keypair

# The headers and the body of the reply, by the request's path.
Answer = Callable[[str], tuple[dict[str, str], bytes]]


@contextmanager
def hostile(answer: Answer, status: int = 200) -> Iterator[str]:
    """Run a bridge that replies to everything as `answer` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers, content = answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(content)
            except ConnectionError:
                self.close_connection = True  # the client has read enough

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


def epoch(*arguments: str, http: str) -> Result:
    return CliRunner().invoke(
        app,
        ["epoch", *arguments, "--http", http],
        env={"COLUMNS": "300"},
    )


VERIFY_ALL = ("verify", "--all", "--network", "test", "--netuid", "46", "--signers", SIGNER_HOTKEY)


def one_line(result: Result, said: str) -> None:
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert said in line


ONE_BOMB = bomb(megabytes=256)
TOO_MUCH: dict[str, tuple[dict[str, str], bytes, str]] = {
    "gzip": ({"Content-Encoding": "gzip"}, ONE_BOMB, "more than 8388608 bytes"),
    "gzip in gzip": ({"Content-Encoding": "gzip, gzip"}, ONE_BOMB, "gzip"),
    "plain": ({}, b" " * (bridge_requests.MAX_ANSWER_BYTES + 1), "more than 8388608 bytes"),
    "another encoding": ({"Content-Encoding": "br"}, b"x", "gzip"),
    "no gzip": ({"Content-Encoding": "gzip"}, b"x" * 100, "gzip"),
}


@pytest.mark.parametrize(("headers", "content", "said"), TOO_MUCH.values(), ids=TOO_MUCH)
@pytest.mark.parametrize(
    "command", [("list",), ("show", "2026-11-22T04-00-00"), ("next",)], ids=lambda c: c[0]
)
def test_an_answer_beyond_its_limit_is_one_line(
    command: tuple[str, ...], headers: dict[str, str], content: bytes, said: str
) -> None:
    with hostile(lambda _: (headers, content)) as http:
        one_line(epoch(*command, http=http), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[" * 60_000, "503"), (b"x" * 70_000, "more than 65536 bytes")],
    ids=["deep", "long"],
)
def test_a_refusal_beyond_its_limit_is_one_line(content: bytes, said: str) -> None:
    with hostile(lambda _: ({}, content), status=503) as http:
        one_line(epoch("list", http=http), said)


def test_a_page_of_many_things_that_are_no_epochs_is_one_line() -> None:
    page = b'{"epochs": [' + b"0," * 2_000_000 + b'0], "nextBefore": null}'
    with hostile(lambda _: ({}, page)) as http:
        one_line(epoch("list", http=http), "epochs.0")


def told(epoch_id: str) -> dict[str, object]:
    told: dict[str, object] = json.loads(ended_epoch().to_bytes())
    return told | {"epochId": epoch_id}


def page_of(epoch_id: str, following: str) -> tuple[dict[str, str], bytes]:
    page = {"success": True, "epochs": [told(epoch_id)], "nextBefore": following}
    return {}, json.dumps(page).encode()


@pytest.mark.parametrize("following", ["2026-11-22T04-00-00", "2026-11-22T08-00-00"])
def test_pages_that_lead_nowhere_are_one_line(following: str) -> None:
    asked: list[str] = []

    def answer(path: str) -> tuple[dict[str, str], bytes]:
        asked.append(path)
        return page_of("2026-11-22T04-00-00", following if len(asked) > 1 else "2026-11-22T04-00-00")

    with hostile(answer) as http:
        one_line(epoch(*VERIFY_ALL, http=http), "nextBefore")
    assert len(asked) == 2


def test_pages_that_lead_back_for_ever_end_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_sources, "MAX_HISTORY_BYTES", 100_000)
    years = count(9999, -1)

    def answer(_: str) -> tuple[dict[str, str], bytes]:
        epoch_id = f"{next(years)}-01-01T00-00-00"
        return page_of(epoch_id, epoch_id)

    with hostile(answer) as http:
        one_line(epoch(*VERIFY_ALL, http=http), "--most")


def test_a_pool_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    trust = Trust(frozenset({SIGNER_HOTKEY}), "test", 46)
    validator = Keypair.create_from_uri("//Bob")
    same = pool_reply().to_bytes()
    with hostile(lambda _: ({}, same)) as http:
        source = HttpSource(http, validator, trust)
        with pytest.raises(ValueError, match="nextAfter"):
            source._pages("/api/v1/epochs/2026-11-22T04-00-00/pool", validator)
    zipcodes = count(10_000)

    def answer(_: str) -> tuple[dict[str, str], bytes]:
        return {}, pool_reply().model_copy(update={"next_after": str(next(zipcodes))}).to_bytes()

    monkeypatch.setattr(epoch_sources, "MAX_POOL_BYTES", 100_000)
    with hostile(answer) as http:
        source = HttpSource(http, validator, trust)
        with pytest.raises(ValueError, match="more than 100000 bytes"):
            source._pages("/api/v1/epochs/2026-11-22T04-00-00/pool", validator)

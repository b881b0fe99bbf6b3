"""Tests that traces follow a request from the bridge through the responder to PostgreSQL."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from devstack.options import StackOptions
from devstack.stack import Stack
from tests.support.folder_access import PATH, asked
from tests.support.people import keypair, raw_connection
from tests.support.processes import GENEROUS, wait_until
from zipcast.protocol import subjects
from zipcast.protocol.hotkeys import parse_hotkey
from zipcast.protocol.verbs import Verb

Spans = dict[bytes, list[tuple[str, str]]]


class Collector:
    """An OpenTelemetry collector that keeps (process, name) of each span by trace."""

    def __init__(self) -> None:
        self.traces: Spans = defaultdict(list)
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = next(
            int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:")
        )
        self._keep(await reader.readexactly(size))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    def _keep(self, body: bytes) -> None:
        for batch in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {one.key: one.value.string_value for one in batch.resource.attributes}
            for scope in batch.scope_spans:
                for span in scope.spans:
                    self.traces[span.trace_id].append((about["service.name"], span.name))


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    server = await asyncio.start_server(collector.answer, "127.0.0.1", 0)
    collector.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces"
    yield collector
    server.close()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def traced(collector: Collector, tmp_path_factory) -> AsyncIterator[Stack]:
    """Run the whole system with all traces sent to the collector."""
    settings = {**GENEROUS, "TRACES_URL": collector.url, "TRACES_SHARE": "1"}
    options = StackOptions(state=tmp_path_factory.mktemp("traced") / "state", settings=settings)
    async with Stack.running(options) as stack:
        yield stack


@pytest.mark.long
async def test_a_trace_goes_through_every_part(collector: Collector, traced: Stack):
    async with httpx.AsyncClient(base_url=traced.ready.http) as http:
        answer = await http.post(PATH, json=asked(traced.ready))
    assert answer.status_code == 200, answer.text
    wanted = {
        ("zipcast-http_bridge", "forward s3.folder-access"),
        ("zipcast-responder", "database write"),
    }
    await wait_until(lambda: any(wanted <= set(spans) for spans in collector.traces.values()))


@pytest.mark.long
async def test_headers_of_a_miner_are_in_no_trace(collector: Collector, traced: Stack):
    signer = keypair(traced.ready, "miner-3")
    connection = await raw_connection(traced.ready, signer)
    subject = subjects.request(parse_hotkey(signer.ss58_address), Verb.EPOCH_CURRENT)
    marked = f"00-{'ab' * 16}-{'cd' * 8}-01"
    junk = {"traceparent": marked, "baggage": "a=" + "\u00ff" * 50_000, "correlation_id": "secret" * 100}
    for _ in range(10):
        await connection.publish(subject, b"{}", headers=junk)
    await connection.flush()
    handled = ("zipcast-responder", f"handle {Verb.EPOCH_CURRENT}")
    await wait_until(lambda: sum(spans.count(handled) for spans in collector.traces.values()) >= 1)
    await connection.close()
    log = (traced.servers.state.logs / "responder.log").read_text()
    assert bytes.fromhex("ab" * 16) not in collector.traces
    names = {name for spans in collector.traces.values() for _, name in spans}
    assert all(len(name) < 60 for name in names)
    assert "\u00ff\u00ff" not in log
    assert len(log) < 100_000

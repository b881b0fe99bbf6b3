"""Tests that uv uses the package indexes that pip is configured with."""

from pathlib import Path

import pytest

from devstack.uv_environment import uv_environment

LISTED = "global.index-url='https://mirror.example/simple'\nglobal.timeout='60'\n"


def test_a_mirror_that_only_pip_knows_is_handed_to_uv() -> None:
    assert uv_environment(LISTED, {}) == {"UV_DEFAULT_INDEX": "https://mirror.example/simple"}


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_is_set_for_uv_stays(variable: str) -> None:
    assert uv_environment(LISTED, {variable: "https://own.example"}) == {}


def test_the_environment_is_stronger_than_the_files() -> None:
    listed = ":env:.index-url='https://b.example'\nglobal.index-url='https://a.example'\n"
    assert uv_environment(listed, {}) == {"UV_DEFAULT_INDEX": "https://b.example"}


def test_further_indexes_count_as_pip_counts_them(tmp_path: Path) -> None:
    gone, there = tmp_path / "gone", tmp_path / "there"
    there.mkdir()
    listed = f"global.extra-index-url='https://x.example file://{there} file://{gone}'\n"
    assert uv_environment(listed, {}) == {
        "UV_INDEX": f"https://x.example file://{there}",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert uv_environment(f"global.find-links='{gone}'\n", {}) == {}


def test_several_hosts_and_certificates_go_along() -> None:
    listed = "global.trusted-host='a.example\\nb.example'\nglobal.cert='ca.pem'\nglobal.proxy='http://p:1'\n"
    assert uv_environment(listed, {}) == {
        "UV_INSECURE_HOST": "a.example b.example",
        "SSL_CERT_FILE": "ca.pem",
        "ALL_PROXY": "http://p:1",
    }

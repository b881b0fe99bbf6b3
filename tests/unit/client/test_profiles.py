"""Tests the file of profiles: its content, who can read it, and the errors for a wrong file."""

import json
from pathlib import Path

import pytest

from zipcast.client.profiles import Profile, ProfileError, Profiles, profile_settings, profiles_path
from zipcast.protocol.hotkeys import Keypair

SIGNER = Keypair.create_from_uri("//Signer").ss58_address
FINNEY = Profile("finney", "finney", 46, (SIGNER,), ("tls://nats.example.org:4222",), "https://b.example.org")
TEST = Profile("test", "test", 1, (SIGNER,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "profiles.json"


def test_profiles_are_stored_for_their_owner_alone(path: Path):
    Profiles(path).with_profile(FINNEY).with_profile(TEST).write()
    assert path.stat().st_mode & 0o777 == 0o600
    read = Profiles.read(path)
    assert read.profiles == (FINNEY, TEST)
    assert read.current == "finney"


def test_the_file_lies_in_the_users_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert profiles_path() == tmp_path / "zipcast" / "profiles.json"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profiles_path() == tmp_path / ".config" / "zipcast" / "profiles.json"


def test_a_profile_is_replaced_used_and_removed(path: Path):
    both = Profiles(path).with_profile(FINNEY).with_profile(TEST)
    assert both.using("test").current == "test"
    moved = Profile("test", "test", 2, (SIGNER,))
    assert both.with_profile(moved).find("test") == moved
    assert both.using("test").without("test").current is None
    assert both.without("test").current == "finney"


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_an_unknown_profile_is_told_which_there_are(path: Path, name: str):
    with pytest.raises(ProfileError) as error:
        Profiles(path).with_profile(FINNEY).find(name)
    assert "finney" in error.value.remedy
    with pytest.raises(ProfileError) as error:
        Profiles(path).find(name)
    assert "zipcast profile add" in error.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"current": 1, "profiles": []}',
        '{"current": null, "profiles": [{}]}',
        json.dumps({"current": None, "profiles": [{"name": "a", "network": 1, "netuid": 1, "signers": []}]}),
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_broken_file_is_named(path: Path, content: str):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(ProfileError, match=str(path)):
        Profiles.read(path)


@pytest.mark.parametrize("changes", [{"name": "../x"}, {"name": ""}, {"signers": ("5F",)}, {"signers": ()}])
def test_a_malformed_profile_is_refused(changes: dict[str, object]):
    stated = {"name": "a", "network": "test", "netuid": 1, "signers": (SIGNER,)}
    with pytest.raises(ProfileError):
        Profile(**{**stated, **changes})


def test_the_settings_of_a_profile_are_those_of_the_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert profile_settings() == {}
    Profiles.read().with_profile(FINNEY).with_profile(TEST).write()
    assert profile_settings() == {
        "servers": "tls://nats.example.org:4222",
        "http": "https://b.example.org",
        "signer": SIGNER,
        "network": "finney",
        "netuid": "46",
    }
    monkeypatch.setenv("ZIPCAST_PROFILE", "test")
    assert profile_settings() == {"signer": SIGNER, "network": "test", "netuid": "1"}
    with pytest.raises(ProfileError):
        profile_settings("none")

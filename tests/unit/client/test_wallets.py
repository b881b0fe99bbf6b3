"""Tests hotkeys on disk: btcli's layout, defaults, variables and encryption, and the errors for a wrong
wallet."""

from pathlib import Path

import pytest
from bittensor_core import encrypt_keyfile_data, serialized_keypair_to_keyfile_data
from typer.testing import CliRunner

from zipcast.cli.app import app
from zipcast.cli.errors import Status
from zipcast.client.wallets import MAX_LISTED, WalletError, load_hotkey, wallet_names
from zipcast.protocol.hotkeys import Keypair

PASSWORD = "correct-Horse-9"
ALICE = Keypair.create_from_uri("//Alice")


@pytest.fixture
def wallets(tmp_path: Path) -> Path:
    return tmp_path / "wallets"


def store(wallets: Path, name: str, hotkey: str = "default", *, password: str | None = None) -> Path:
    keypair = Keypair.create_from_mnemonic(Keypair.generate_mnemonic())
    data = bytes(serialized_keypair_to_keyfile_data(keypair))
    path = wallets / name / "hotkeys" / hotkey
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if password is None else bytes(encrypt_keyfile_data(data, password)))
    path.with_name(f"{hotkey}pub.txt").write_text(keypair.ss58_address)
    return path


def refused(wallets: Path, name: str = "default", hotkey: str = "default") -> WalletError:
    with pytest.raises(WalletError) as error:
        load_hotkey(wallets, name, hotkey)
    assert str(wallets) in str(error.value)
    assert error.value.remedy
    assert "\n" not in str(error.value)
    return error.value


def test_an_unencrypted_hotkey_is_loaded(wallets: Path):
    path = store(wallets, "mine", "rig-1")
    loaded = load_hotkey(wallets, "mine", "rig-1")
    assert loaded.ss58_address == path.with_name("rig-1pub.txt").read_text()


def test_a_missing_wallet_is_told_which_there_are(wallets: Path):
    for name in ("a", "b"):
        store(wallets, name, "rig-1")
    error = refused(wallets)
    assert "a/rig-1, b/rig-1" in error.remedy
    assert "pub.txt" not in error.remedy
    assert wallet_names(wallets) == ["a", "b"]
    for number in range(MAX_LISTED + 1):
        store(wallets, f"c{number}")
    assert f"and {2 + 1} more" in refused(wallets).remedy


def test_a_folder_without_wallets_is_named(wallets: Path):
    assert "--wallet-path" in refused(wallets).remedy
    wallets.mkdir()
    assert "--wallet-path" in refused(wallets).remedy
    assert wallet_names(wallets) == []


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"{}", b'{"ss58Address": "x"}', b"$NACL", b"\xff\xfe", b"[" * 5000]
)
def test_what_is_no_hotkey_file_is_named(wallets: Path, content: bytes):
    path = store(wallets, "default")
    path.write_bytes(content)
    refused(wallets)


def test_a_file_in_place_of_a_folder_and_a_folder_in_place_of_a_file(wallets: Path):
    store(wallets, "default").unlink()
    (wallets / "default" / "hotkeys" / "default").mkdir()
    refused(wallets)
    (wallets / "file").write_text("x")
    refused(wallets, "file")
    refused(wallets, "nul\0")


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder whose only hotkey is encrypted. Deriving its key takes four seconds each time."""
    home = tmp_path_factory.mktemp("home")
    store(home / ".bittensor" / "wallets", "default", password=PASSWORD)
    return home


def test_an_encrypted_hotkey_needs_its_password(encrypted: Path, monkeypatch: pytest.MonkeyPatch):
    wallets = encrypted / ".bittensor" / "wallets"
    assert "BT_WALLET_PASSWORD_FILE" in refused(wallets).remedy
    monkeypatch.setenv("BT_WALLET_PASSWORD_FILE", str(encrypted / "absent"))
    with pytest.raises(WalletError, match=str(encrypted / "absent")):
        load_hotkey(wallets)
    (encrypted / "binary").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("BT_WALLET_PASSWORD_FILE", str(encrypted / "binary"))
    with pytest.raises(WalletError, match=str(encrypted / "binary")):
        load_hotkey(wallets)


@pytest.mark.long
def test_a_wrong_password_is_not_repeated(encrypted: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BT_WALLET_PASSWORD", "wrong-Horse-9")
    assert "wrong-Horse-9" not in str(refused(encrypted / ".bittensor" / "wallets"))


# The names are those of btcli 9 and 11, of bittensor-wallet and of the subnets' own programs.
BY_OPTIONS = (
    ("--wallet", "mine", "--hotkey", "rig-1", "--wallet-path"),
    ("--wallet-name", "mine", "--wallet-hotkey", "rig-1", "--wallet-path"),
    ("--wallet.name", "mine", "--wallet.hotkey", "rig-1", "--wallet.path"),
    ("-w", "mine", "-H", "rig-1", "--wallet-path"),
)
BY_VARIABLES = (
    {"BT_WALLET_NAME": "mine", "BT_WALLET_HOTKEY": "rig-1"},
    {"BT_WALLET": "mine", "BT_WALLET_HOTKEY": "rig-1"},
)
SERVICE = ("--signers", ALICE.ss58_address, "--http", "http://127.0.0.1:1", "--json")


@pytest.mark.parametrize("options", BY_OPTIONS)
def test_every_spelling_of_the_options_finds_the_hotkey(wallets: Path, options: tuple[str, ...], monkeypatch):
    monkeypatch.chdir(wallets.parent)
    path = store(wallets, "mine", "rig-1")
    shown = CliRunner().invoke(app, ["curl", "current", *SERVICE, *options, str(wallets)])
    assert shown.exit_code == Status.OK, shown.output
    assert path.with_name("rig-1pub.txt").read_text() in shown.stdout


@pytest.mark.parametrize("variables", BY_VARIABLES)
def test_the_variables_of_btcli_find_the_hotkey(wallets: Path, variables: dict[str, str], monkeypatch):
    monkeypatch.chdir(wallets.parent)
    path = store(wallets, "mine", "rig-1")
    env = {**variables, "BT_WALLET_PATH": str(wallets)}
    shown = CliRunner().invoke(app, ["curl", "current", *SERVICE], env=env)
    assert shown.exit_code == Status.OK, shown.output
    assert path.with_name("rig-1pub.txt").read_text() in shown.stdout


def test_without_options_it_is_btclis_default(encrypted: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(encrypted)
    monkeypatch.setenv("HOME", str(encrypted))
    (encrypted / "password").write_text(f"{PASSWORD}\nsecond line\n")
    arguments = ["curl", "current", *SERVICE, "--password-file", "password"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == Status.OK, shown.output
    hotkeys = encrypted / ".bittensor" / "wallets" / "default" / "hotkeys"
    assert (hotkeys / "defaultpub.txt").read_text() in shown.stdout

"""Tests the sources of a client's settings, and the errors for missing and wrong settings."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from zipcast import SettingsError, WalletError, connect
from zipcast.client.settings import ClientSettings, signer_of
from zipcast.protocol.hotkeys import Keypair

KEY = Keypair.create_from_uri("//Miner")
SIGNER, OTHER = (Keypair.create_from_uri(uri).ss58_address for uri in ("//Signer", "//Other"))
COMPLETE = {"servers": "nats://127.0.0.1:4222", "wallet": KEY, "signer": SIGNER, "netuid": 46}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("ZIPCAST_", "BT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZIPCAST_SERVERS", "tls://one.example:4222, tls://two.example:4222")
    monkeypatch.setenv("ZIPCAST_NETUID", "7")
    monkeypatch.setenv("BT_WALLET_NAME", "from-btcli")
    settings = ClientSettings.of(netuid=46, signer=[SIGNER, OTHER])
    assert settings.addresses() == ("tls://one.example:4222", "tls://two.example:4222")
    assert settings.trust().signers == {SIGNER, OTHER}
    assert settings.trust().netuid == 46
    assert settings.wallet == "from-btcli"
    monkeypatch.setenv("ZIPCAST_WALLET", "ours")
    assert ClientSettings.of().wallet == "ours"
    assert ClientSettings.of(wallet="argument").wallet == "argument"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"servers": None}, "ZIPCAST_SERVERS"),
        ({"signer": None}, "ZIPCAST_SIGNER"),
        ({"netuid": None}, "ZIPCAST_NETUID"),
        ({"netuid": -1}, "netuid"),
        ({"signer": "5nonsense"}, "signer"),
        ({"servers": "nats://nats.example.org:4222"}, "tls://"),
        ({"servers": "http://127.0.0.1:1"}, "nats://"),
        ({"http": "http://bridge.example.org"}, "https://"),
        ({"http": "ftp://bridge.example.org"}, "https://"),
    ],
)
def test_a_missing_or_wrong_setting_is_named(changed: dict[str, object], named: str):
    with pytest.raises(SettingsError, match=named) as refused:
        connect(**(COMPLETE | changed))  # type: ignore[arg-type]
    assert refused.value.code == "settings"


def test_the_wallet_is_a_keypair_or_an_object_with_a_hotkey(tmp_path: Path):
    settings = ClientSettings.of(wallet_path=tmp_path)
    assert signer_of(KEY, settings) is KEY
    assert signer_of(SimpleNamespace(hotkey=KEY, coldkey=None), settings) is KEY
    assert connect(**COMPLETE).hotkey == KEY.ss58_address  # type: ignore[arg-type]
    for wallet in (None, "name", object(), SimpleNamespace(hotkey=None)):
        with pytest.raises(WalletError):
            signer_of(wallet, settings)

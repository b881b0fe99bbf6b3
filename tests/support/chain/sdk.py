"""Keeps the SDK from using the caches in the home folder, which do not fit the stand-in's runtime."""

from pathlib import Path


def sdk_environment(folder: Path) -> dict[str, str]:
    return {
        "BITTENSOR_RUNTIME_CACHE_DIR": str(folder / "runtime"),
        "BTCLI_TOKEN_SYMBOLS_CACHE": str(folder / "token-symbols.json"),
    }

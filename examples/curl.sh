#!/bin/sh
# Reports a miner's progress with curl alone. Only the signature needs another program: btcli, or the SDK as here.
#
#   BRIDGE=https://bridge.example.org WALLET=my-wallet HOTKEY=default sh examples/curl.sh
set -eu
: "${BRIDGE:?Set BRIDGE to the address of the HTTP bridge.}" "${WALLET:?Set WALLET to the name of a wallet.}"
WALLETS=${WALLET_PATH:-${BT_WALLET_PATH:-$HOME/.bittensor/wallets}}
PYTHON=${PYTHON:-python3}

# Prints the hotkey's address and its signature of the text $1.
sign() {
  "$PYTHON" - "$WALLETS" "$WALLET" "${HOTKEY:-default}" "$1" <<'PYTHON'
import sys
from pathlib import Path
from zipcast import load_hotkey
folder, wallet, hotkey, text = sys.argv[1:]
key = load_hotkey(Path(folder), wallet, hotkey)
print(key.ss58_address, bytes(key.sign(text.encode())).hex())
PYTHON
}

field() { "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

NOW=$(date +%s)
SIGNED=$(sign "zipcode:assignment:current:$NOW")
EPOCH=$(curl --fail-with-body --silent --get "$BRIDGE/api/v1/zipcode-assignments/current" \
  -d "hotkey=${SIGNED% *}" -d "timestamp=$NOW" -d "signature=${SIGNED#* }")
ID=$(printf %s "$EPOCH" | field epochId)
NONCE=$(printf %s "$EPOCH" | field nonce)

SIGNED=$(sign "zipcode:status:$ID:$NOW")
curl --fail-with-body --silent "$BRIDGE/api/v1/zipcode-assignments/status" --json "{
  \"hotkey\": \"${SIGNED% *}\", \"timestamp\": $NOW, \"signature\": \"${SIGNED#* }\",
  \"epochId\": \"$ID\", \"nonce\": \"$NONCE\", \"status\": \"IN_PROGRESS\"}"
echo

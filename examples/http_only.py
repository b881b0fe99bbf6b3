"""A miner for networks that allow only HTTPS: epochs, uploads and reports go through the HTTP bridge.

Set ZIPCAST_HTTP, ZIPCAST_SIGNER, ZIPCAST_NETWORK and ZIPCAST_NETUID, but not ZIPCAST_SERVERS. Then run:

    python examples/http_only.py WALLET FILE [HOTKEY]
"""

import sys

import zipcast


def main(wallet: str, file: str, hotkey: str | None = None) -> None:
    """Upload the file for every epoch until the program is stopped."""
    with zipcast.connect_sync(wallet=wallet, hotkey=hotkey) as zc:
        for epoch in zc.epochs():  # server-sent events of the bridge, verified like epochs of NATS
            try:
                done = zc.upload(file, epoch=epoch, progress=show)
                zc.report_status(epoch, "COMPLETED", s3_upload_complete=True)
            except zipcast.TooLateError:
                print(f"{epoch.id}: too late")
            except zipcast.ZipcastError as error:
                print(f"{epoch.id}: {error} {error.remedy}")
            else:
                print(f"{epoch.id}: {done.key}", flush=True)


def show(sent: int, size: int) -> None:
    """Show the progress of an upload."""
    print(f"\r{sent * 100 // size} %", end="\r", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:4])

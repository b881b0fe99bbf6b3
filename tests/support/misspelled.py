"""Contains hotkeys and signatures that are almost valid."""

from bittensor_core import ss58_decode, ss58_encode

ZERO_KEY = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"

# R = 0 and s = 0 with the marker bit. Every library accepts this signature for the zero key.
ZERO_SIGNATURE = bytes(63) + b"\x80"


def misspelled(address: str) -> dict[str, str]:
    key = bytes(ss58_decode(address))
    return {
        "prefix 0": ss58_encode(key, 0),
        "prefix 2": ss58_encode(key, 2),
        "prefix 252": ss58_encode(key, 252),
        "a wrong checksum": address[:-1] + ("a" if address[-1] != "a" else "b"),
        "white space": f" {address}",
        "a line end": f"{address}\n",
        "hex": key.hex(),
        "a wildcard": "*",
        "everything": ">",
        "two tokens": f"{address}.>",
        "no text": "\ud800",
        "nothing": "",
    }


MISSPELLED = tuple(misspelled("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"))

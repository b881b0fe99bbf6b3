"""Loaded by schemathesis: every second case is signed, so that what is judged is not the signature alone.

Owns who signs: an admin for admin requests, else a validator; `btauth/1` over the very bytes that are sent,
or the legacy commitment where a GET carries one. A stream is never opened, since it does not end.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import requests
import schemathesis
from requests.auth import AuthBase

from tests.integration.people import admin_keypair, keypair
from zipcast import auth, btauth
from zipcast.ready import Ready

ready = Ready.read(Path(os.environ["ZIPCAST_READY"]))
VALIDATOR, ADMIN = keypair(ready, "validator-1"), admin_keypair(ready)
COMMITMENTS = {"/current": auth.CURRENT_COMMITMENT, "/epoch/": auth.VALIDATION_COMMITMENT}
_counted = 0


class Signed(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        signer = ADMIN if "/admin/" in request.path_url else VALIDATOR
        headers = btauth.sign(
            signer,
            method=str(request.method),
            path=request.path_url,
            body=body.encode() if isinstance(body, str) else body,
            receiver=ready.signer,
            nonce_ns=time.time_ns(),
        )
        request.headers.update(headers)
        return request


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: dict[str, Any]) -> None:
    global _counted  # noqa: PLW0603 - hooks are functions
    _counted += 1
    if _counted % 2 or case.path.endswith("/stream"):
        return
    if case.method == "GET" and case.path.endswith(("/current", "/epoch/{epoch_id}")):
        _sign_query(case)
    elif case.media_type == "application/x-www-form-urlencoded":
        return
    elif case.method == "POST" or case.path.endswith("/pool"):
        kwargs["auth"] = Signed()


def _sign_query(case: Any) -> None:
    """Over what the case has put into its path. A case that breaks a rule of the identity stays as it is."""
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return
    now = int(time.time())
    epoch_id = (case.path_parameters or {}).get("epoch_id", "")
    text = next(text for part, text in COMMITMENTS.items() if part in case.path)
    signature = VALIDATOR.sign(text.format(timestamp=now, epoch_id=epoch_id).encode())
    identity = {"hotkey": VALIDATOR.ss58_address, "timestamp": str(now), "signature": bytes(signature).hex()}
    case.query = {**(case.query or {}), **identity}


_RUNNING = requests.get(ready.http + "/api/v1/zipcode-assignments/stats", timeout=10).json()["epochStatus"][
    "currentEpoch"
]


@schemathesis.hook
def map_path_parameters(ctx: Any, path_parameters: dict[str, Any]) -> dict[str, Any]:
    """Half the time an epoch that there is."""
    if len(json.dumps(path_parameters)) % 2 and _RUNNING and ctx.operation is not None:
        return {**path_parameters, "epoch_id": _RUNNING["id"]}
    return path_parameters

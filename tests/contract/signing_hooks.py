"""Signs every second case of schemathesis, so that the cases do not only test the check of signatures.

Admin requests are signed by an admin, all others by a validator. They use `btauth/1` over the bytes that are
sent, or the legacy commitment if a GET has one. Event streams are never opened, since they do not end.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import requests
import schemathesis
from requests.auth import AuthBase
from schemathesis.core.parameters import ParameterLocation

from tests.support.people import admin_keypair, keypair
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth, signed_texts

ready = Ready.read(Path(os.environ["ZIPCAST_READY"]))
VALIDATOR, ADMIN = keypair(ready, "validator-1"), admin_keypair(ready)
COMMITMENTS = {"/current": signed_texts.CURRENT_COMMITMENT, "/epoch/": signed_texts.VALIDATION_COMMITMENT}
_counted = 0
_unsigned_on_purpose = False


_HEADERS = (
    *(btauth.HEADER_VERSION, btauth.HEADER_HOTKEY, btauth.HEADER_RECEIVER),
    *(btauth.HEADER_NONCE, btauth.HEADER_SIGNATURE),
)


class Signed(AuthBase):
    """Signs every second request. Requests that lack a header on purpose, and forms, stay unchanged."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        global _counted  # noqa: PLW0603 - schemathesis makes the object once
        _counted += 1
        given = sum(name in request.headers for name in _HEADERS)
        form = "urlencoded" in str(request.headers.get("Content-Type"))
        if _counted % 2 or form or _unsigned_on_purpose or 0 < given < len(_HEADERS):
            return request
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
    """Sign half of the requests whose identity is in the query."""
    global _unsigned_on_purpose  # noqa: PLW0603 - there is one worker
    headers = case.meta.components.get(ParameterLocation.HEADER) if case.meta is not None else None
    _unsigned_on_purpose = headers is not None and headers.mode.is_negative
    if case.method == "GET" and case.path.endswith(("/current", "/epoch/{epoch_id}")) and _counted % 2:
        _sign_query(case)


def _sign_query(case: Any) -> None:
    """Sign the path of the case. A case that breaks a rule of the identity stays unchanged."""
    if case.meta is not None and case.meta.generation.mode.is_negative:
        return
    now = int(time.time())
    epoch_id = (case.path_parameters or {}).get("epoch_id", "")
    text = next(text for part, text in COMMITMENTS.items() if part in case.path)
    signature = VALIDATOR.sign(text.format(timestamp=now, epoch_id=epoch_id).encode())
    identity = {"hotkey": VALIDATOR.ss58_address, "timestamp": str(now), "signature": bytes(signature).hex()}
    case.query = {**(case.query or {}), **identity}


schemathesis.auth.set_from_requests(Signed()).apply_to(method="POST").apply_to(path_regex="/pool$")

_RUNNING = requests.get(ready.http + "/api/v1/zipcode-assignments/stats", timeout=10).json()["epochStatus"][
    "currentEpoch"
]


@schemathesis.hook
def map_path_parameters(ctx: Any, path_parameters: dict[str, Any]) -> dict[str, Any]:
    """In half of the cases, use the id of an existing epoch."""
    if len(json.dumps(path_parameters)) % 2 and _RUNNING and ctx.operation is not None:
        return {**path_parameters, "epoch_id": _RUNNING["id"]}
    return path_parameters

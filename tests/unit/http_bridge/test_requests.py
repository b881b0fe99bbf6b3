"""Tests how an HTTP request becomes a request to the responder: limited in size, and as it was signed."""

import json
from collections.abc import Iterable

import pytest
from starlette.requests import Request

from http_bridge.requests import MAX_TARGET, arrival
from zipcast.protocol import btauth
from zipcast.protocol.errors import ErrorCode, ServiceError
from zipcast.protocol.messages.base import HEADER_CLIENT_ADDRESS, HEADER_HTTP_METHOD, HEADER_HTTP_TARGET
from zipcast.protocol.verbs import VERBS, Verb

PATH = "/api/v1/s3-access/validator-upload"


def request(
    *chunks: bytes, headers: Iterable[tuple[str, str]] = (), query: bytes = b"", path: str = PATH
) -> Request:
    waiting = list(chunks) or [b""]

    async def receive() -> dict[str, object]:
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("192.0.2.7", 5555),
        "path": path,
        "zipcast.correlation_id": "request-1",
        "zipcast.method": "POST",
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    return Request(scope, receive)


async def refusal(asked: Request) -> ErrorCode:
    with pytest.raises(ServiceError) as refused:
        await arrival(asked, Verb.S3_VALIDATOR_UPLOAD)
    return refused.value.code


async def test_method_target_address_and_body_are_handed_on() -> None:
    asked = await arrival(request(b"ab", b"c", query=b"a=%20b&a=c"), Verb.S3_VALIDATOR_UPLOAD)
    assert asked.body == b"abc"
    assert asked.headers == {
        HEADER_HTTP_METHOD: "POST",
        HEADER_HTTP_TARGET: f"{PATH}?a=%20b&a=c",
        HEADER_CLIENT_ADDRESS: "192.0.2.7",
    }


@pytest.mark.parametrize(
    "host", ["h/api/v1/other#", "h?x=", "h#", "user@h", "h/..", "[::1", "h:99999", "", "h\\x"]
)
async def test_a_host_header_does_not_change_what_was_signed(host: str) -> None:
    asked = await arrival(request(headers=[("Host", host)], query=b"q=1"), Verb.S3_VALIDATOR_UPLOAD)
    assert asked.headers[HEADER_HTTP_TARGET] == f"{PATH}?q=1"


async def test_signed_headers_are_named_as_the_responder_looks_for_them_and_no_others_go_on() -> None:
    names = [getattr(btauth, name) for name in dir(btauth) if name.startswith("HEADER_")]
    sent = [(name.upper(), "v") for name in names]
    sent += [("Zipcast-Http-Target", "/forged"), ("Authorization", "x"), ("X-Forwarded-For", "192.0.2.9")]
    asked = await arrival(request(headers=sent), Verb.S3_VALIDATOR_UPLOAD)
    assert {name: asked.headers[name] for name in names} == dict.fromkeys(names, "v")
    assert asked.headers[HEADER_HTTP_TARGET] == PATH
    assert asked.headers[HEADER_CLIENT_ADDRESS] == "192.0.2.7"
    assert len(asked.headers) == len(names) + 3


async def test_a_body_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    whole = b"x" * VERBS[Verb.S3_VALIDATOR_UPLOAD].max_body_bytes
    assert (await arrival(request(whole), Verb.S3_VALIDATOR_UPLOAD)).body == whole
    assert await refusal(request(whole, b"x")) is ErrorCode.PAYLOAD_TOO_LARGE
    assert await refusal(request(whole + b"x")) is ErrorCode.PAYLOAD_TOO_LARGE


@pytest.mark.parametrize("value", ["a\tb", "é", "x" * 513, "a\x7fb"])
async def test_a_header_that_nats_could_not_carry_is_refused(value: str) -> None:
    assert await refusal(request(headers=[(btauth.HEADER_NONCE, value)])) is ErrorCode.MALFORMED_REQUEST


async def test_a_target_that_nats_could_not_carry_is_refused() -> None:
    for query in (b"q=" + b"x" * MAX_TARGET, b"q=\xff", b"q=a b"):
        assert await refusal(request(query=query)) is ErrorCode.MALFORMED_REQUEST


async def test_what_a_client_adds_to_its_query_may_be_long() -> None:
    query = b"q=" + b"x" * 1800
    asked = await arrival(request(query=query), Verb.S3_VALIDATOR_UPLOAD)
    assert asked.headers[HEADER_HTTP_TARGET] == f"{PATH}?{query.decode()}"


FORM = ("Content-Type", "application/x-www-form-urlencoded")


async def test_a_form_post_is_the_json_it_stands_for() -> None:
    body = b"hotkey=5abc&timestamp=1795320000&signature=0xab&epochId=2026-11-22T04-00-00&unknown=%C3%A9"
    asked = await arrival(request(body, headers=[FORM]), Verb.S3_VALIDATOR_UPLOAD)
    assert json.loads(asked.body) == {
        "hotkey": "5abc",
        "timestamp": "1795320000",
        "signature": "0xab",
        "epochId": "2026-11-22T04-00-00",
        "unknown": "é",
    }


@pytest.mark.parametrize(
    "body", [b"hotkey", b"a=1&a=2", b"\xff=1", b"&".join(b"a%d=1" % n for n in range(65))]
)
async def test_a_form_that_is_none_is_refused(body: bytes) -> None:
    charset = ("Content-Type", "Application/x-www-form-urlencoded; charset=utf-8")
    assert await refusal(request(body, headers=[charset])) is ErrorCode.MALFORMED_REQUEST


async def test_json_that_curl_calls_a_form_is_taken_as_it_is() -> None:
    for signed in ([], [(btauth.HEADER_HOTKEY, "5abc")]):
        asked = await arrival(request(b' {"a": 1}', headers=[FORM, *signed]), Verb.S3_VALIDATOR_UPLOAD)
        assert asked.body == b' {"a": 1}'


async def test_what_a_form_leaves_empty_is_left_out() -> None:
    asked = await arrival(request(b"a=1&expiry=&b=", headers=[FORM]), Verb.S3_VALIDATOR_UPLOAD)
    assert json.loads(asked.body) == {"a": "1"}


async def test_a_multipart_form_is_refused_with_what_to_send_instead() -> None:
    multipart = ("Content-Type", "multipart/form-data; boundary=x")
    with pytest.raises(ServiceError, match="Send JSON, or a form as application/x-www-form-urlencoded"):
        await arrival(request(b"--x--", headers=[multipart]), Verb.S3_VALIDATOR_UPLOAD)


async def test_what_signs_its_body_is_sent_as_it_was_signed() -> None:
    signed = request(b"a=1", headers=[FORM, (btauth.HEADER_HOTKEY, "5abc")])
    assert await refusal(signed) is ErrorCode.MALFORMED_REQUEST

"""Tests that one signed text is valid for one body and one signer: status reports, refusals."""

import asyncio
import time
from datetime import UTC, datetime

import httpx
import pytest

from tests.support.legacy_requests import STATUS, report, submission
from tests.support.operator_view import until
from tests.support.people import keypair
from tests.support.refused_requests import recorded
from zipcast.client.local_stack import Ready
from zipcast.protocol import btauth


async def test_a_status_text_that_was_overheard_changes_nothing(
    ready: Ready, http: httpx.AsyncClient, current
):
    victims = report(ready, current, "miner-1", status="IN_PROGRESS")
    assert (await http.post(STATUS, json=victims)).status_code == 200
    for change in (
        {"status": "COMPLETED", "listingsScraped": 10**6},
        {
            "zipcodesCompleted": [
                {"zipcode": "19104", "listingsScraped": 10**6, "completedAt": "2026-11-22T05:00:00"}
            ]
        },
        {"nonce": "00" * 32},
        {"s3UploadComplete": True},
    ):
        answer = await http.post(STATUS, json=victims | change)
        assert (answer.status_code, answer.json()["error"]) == (409, "request_reused"), change
    stored = await submission(ready, "miner-1", current["epochId"])
    assert (stored.status, stored.listings_scraped, stored.most_claimed.get("19104", 12)) == (
        "IN_PROGRESS",
        12,
        12,
    )


async def test_a_status_report_may_be_sent_again_word_for_word(
    ready: Ready, http: httpx.AsyncClient, current
):
    body = report(ready, current, "miner-2", status="COMPLETED", seconds_ago=3)
    answers = [await http.post(STATUS, json=body) for _ in range(3)]

    async def is_over() -> bool:
        return datetime.now(UTC) > datetime.fromisoformat(current["epochEnd"])

    await until(is_over)
    answers.append(await http.post(STATUS, json=body))
    assert [answer.status_code for answer in answers] == [200] * 4
    # This also holds after the deadline, because the stored report came in time.
    assert len({answer.json()["message"] for answer in answers}) == 1


async def test_an_earlier_text_with_a_wrong_nonce_is_not_its_signers_mistake(
    ready: Ready, http: httpx.AsyncClient, current
):
    earlier = report(ready, current, "miner-3", seconds_ago=20)
    assert (await http.post(STATUS, json=earlier)).status_code == 200
    assert (await http.post(STATUS, json=report(ready, current, "miner-3"))).status_code == 200
    overheard = earlier | {"nonce": "00" * 32}
    answer = await http.post(STATUS, json=overheard, headers={"X-Request-Id": "overheard-status"})
    assert (answer.status_code, answer.json()["error"]) == (409, "request_reused")

    async def written() -> bool:
        return bool(await recorded(ready, "overheard-status"))

    await until(written, 5)
    hotkey = keypair(ready, "miner-3").ss58_address
    assert await recorded(ready, "overheard-status") == [("responder", "request_reused", hotkey)]


@pytest.mark.parametrize(("number", "more"), [(8, {}), (7, {"X-Bittensor-Version": "x"})])
async def test_a_wrong_nonce_under_a_legacy_text_counts_against_nobody(
    ready: Ready, http: httpx.AsyncClient, current, number: int, more: dict[str, str]
):
    """Whoever overhears the text can add any nonce and any header, so signals must not count it."""
    body, request_id = report(ready, current, f"miner-{number}", nonce="00" * 32), f"legacy-nonce-{number}"
    answer = await http.post(STATUS, json=body, headers={"X-Request-Id": request_id, **more})
    assert (answer.status_code, answer.json()["error"]) == (400, "nonce_mismatch")

    async def written() -> bool:
        return bool(await recorded(ready, request_id))

    await until(written, 60)
    assert await recorded(ready, request_id) == [("responder", "nonce_mismatch", None)]


async def test_of_reports_signed_at_once_one_is_stored(ready: Ready, http: httpx.AsyncClient, current):
    body = report(ready, current, "miner-4", seconds_ago=7)
    answers = await asyncio.gather(
        *(http.post(STATUS, json=body | {"listingsScraped": count}) for count in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


@pytest.mark.parametrize("other", ["x-bittensor-hotkey", "X-BITTENSOR-HOTKEY", "X-Bittensor-Hotkey"])
async def test_a_header_that_is_given_twice_names_nobody(
    ready: Ready, http: httpx.AsyncClient, current, other: str
):
    """An attacker signs a wrong nonce, and adds the victim's hotkey in a second header."""
    attacker, victim = keypair(ready, "miner-5"), keypair(ready, "miner-6").ss58_address
    body = b'{"epochId":"%s","nonce":"%s","status":"FAILED"}' % (current["epochId"].encode(), b"00" * 32)
    signed = btauth.sign(
        attacker, method="POST", path=STATUS, body=body, receiver=ready.signer, nonce_ns=time.time_ns()
    )
    for headers in (
        [*signed.items(), (other, victim)],
        [(other, victim), *signed.items()],
    ):
        answer = await http.post(STATUS, content=body, headers=[*headers, ("X-Request-Id", "two-hotkeys")])
        assert (answer.status_code, answer.json()["error"]) == (401, "malformed_auth")
    assert {row[2] for row in await recorded(ready, "two-hotkeys")} <= {None}


async def test_who_only_names_a_hotkey_is_not_noted_as_it(ready: Ready, http: httpx.AsyncClient, current):
    body = report(ready, current, "miner-7", nonce="00" * 32) | {"signature": "00" * 64}
    answer = await http.post(STATUS, json=body, headers={"X-Request-Id": "named-only"})
    assert answer.status_code == 401

    async def written() -> bool:
        return bool(await recorded(ready, "named-only"))

    await until(written, 5)
    assert {row[2] for row in await recorded(ready, "named-only")} == {None}

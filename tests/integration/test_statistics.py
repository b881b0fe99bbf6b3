"""Tests `/stats` of a running stack: it has numbers of started epochs, and no secret."""

import httpx

from tests.support.operator_view import until
from tests.support.people import client
from zipcast.client.local_stack import Ready

PATH = "/api/v1/zipcode-assignments/stats"


async def test_stats_describe_the_running_epoch_and_the_pool(ready: Ready, http: httpx.AsyncClient):
    async with client(ready, "miner-1") as connected:
        async for received in connected.epochs():
            if received.via == "push":
                break
        message = (await connected.current()).message
        answers: list[httpx.Response] = []

        async def is_on_record() -> bool:
            """Wait until the row is open, because the message is sent while the database opens the row."""
            answers.append(await http.get(PATH))
            return bool(answers[-1].json()["recentPerformance"][0]["epochId"] == message.epoch_id)

        await until(is_on_record, ready.epoch_seconds)
    answer = answers[-1]
    told = answer.json()
    assert answer.status_code == 200
    current = told["epochStatus"]["currentEpoch"]
    assert current["id"] == message.epoch_id
    assert current["status"] == "ACTIVE"
    assert current["zipcodeCount"] == len(message.zipcodes)
    assert current["actualExpected"] == message.metadata.total_expected_listings
    timing = told["epochStatus"]["timing"]
    assert 0 <= timing["timeUntilEpochEnd"] <= ready.epoch_seconds
    assert told["epochStatus"]["nextEpoch"]["startTime"] == current["endTime"]
    pool = told["zipcodeStatistics"]
    assert 0 < pool["eligibleZipcodes"] <= pool["activeZipcodes"] <= pool["totalZipcodes"]
    assert sum(pool["stateDistribution"].values()) == pool["activeZipcodes"]
    assert sum(pool["tierDistribution"].values()) == pool["activeZipcodes"]
    assert pool["configuration"]["targetListings"] == message.target_listings
    assert set(pool["configuration"]) == {
        *("targetListings", "tolerancePercent", "minZipcodeListings", "maxZipcodeListings"),
        *("cooldownHours", "epochDurationHours"),
    }
    assert told["recentPerformance"][0]["epochId"] == message.epoch_id
    assert {epoch["status"] for epoch in told["recentPerformance"][1:]} <= {"COMPLETED", "MISSED", "LATE"}


async def test_stats_name_no_zipcode_nonce_or_weight(ready: Ready, http: httpx.AsyncClient):
    async with client(ready, "miner-1") as connected:
        message = (await connected.current()).message
    text = (await http.get(PATH)).text
    for secret in (message.nonce, message.seed_commitment, "eight", "nonce", "seed", "riorit"):
        assert secret not in text
    for assigned in message.zipcodes:
        assert f'"{assigned.zipcode}"' not in text

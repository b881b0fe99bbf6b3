"""Tests how many connections of one address are examined before any cryptography."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.source_addresses import counted_as, parse_networks
from broker_service.callout.address_limits import AddressLimits, Limit
from service.token_buckets import Rate

HERE, THERE = "192.0.2.7", "192.0.2.8"


def limits(attempts: Rate | None = None, failures: Rate | None = None, most: int = 100) -> AddressLimits:
    return AddressLimits(attempts or Rate(200, 20), failures or Rate(20, 2), most)


def looked_at(kept: AddressLimits, host: str, times: int, now: float) -> int:
    return sum(kept.exceeded(host, now) is None for _ in range(times))


def test_a_farm_behind_one_address_comes_back_at_once_and_a_flood_from_there_does_not() -> None:
    kept = limits()
    assert looked_at(kept, HERE, 50 * 4, 0.0) == 200
    assert kept.exceeded(HERE, 0.0) is Limit.ATTEMPTS
    assert looked_at(kept, HERE, 500, 1.0) == 20
    assert looked_at(kept, HERE, 500, 1000.0) == 200


def test_another_address_is_not_touched_by_it() -> None:
    kept = limits()
    looked_at(kept, HERE, 1000, 0.0)
    assert kept.exceeded(THERE, 0.0) is None


def test_false_proofs_close_an_address_long_before_attempts_would() -> None:
    kept = limits()
    for _ in range(20):
        assert kept.exceeded(HERE, 0.0) is None
        kept.failed(HERE, 0.0)
    assert kept.exceeded(HERE, 0.0) is Limit.FAILURES
    assert kept.exceeded(HERE, 0.4) is Limit.FAILURES
    assert kept.exceeded(HERE, 0.6) is None
    assert kept.exceeded(THERE, 0.0) is None


def test_what_is_not_looked_at_is_not_charged() -> None:
    kept = limits(failures=Rate(1, 1))
    kept.failed(HERE, 0.0)
    looked_at(kept, HERE, 1000, 0.0)
    assert looked_at(kept, HERE, 1000, 1.0) == 200


def test_failures_that_were_decided_together_are_no_debt() -> None:
    kept = limits(failures=Rate(2, 1))
    for _ in range(50):
        kept.failed(HERE, 0.0)
    assert kept.exceeded(HERE, 1.0) is None


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", "unknown"),
        ("example.org", "unknown"),
        ("192.0.2.007", "unknown"),
    ],
)
def test_an_ipv6_address_counts_as_its_network_and_a_mapped_one_as_what_it_maps(host: str, key: str) -> None:
    assert counted_as(host) == key


@given(st.lists(st.ip_addresses(v=4).map(str), max_size=200))
def test_no_more_addresses_are_remembered_than_the_most(hosts: list[str]) -> None:
    kept = limits(most=8)
    for host in hosts:
        kept.exceeded(host, 0.0)
        assert len(kept._buckets) <= 8
        assert counted_as(host) in kept._buckets


def test_a_flood_of_addresses_pushes_out_those_not_heard_of_the_longest() -> None:
    kept = limits(attempts=Rate(1, 0.001), most=2)
    assert kept.exceeded(HERE, 0.0) is None
    for number in range(10):
        kept.exceeded(f"198.51.100.{number}", 0.0)
        assert kept.exceeded(HERE, 0.0) is Limit.ATTEMPTS


PROXY = "10.0.0.5"


def behind_proxy(**changed: Rate) -> AddressLimits:
    rates = {"attempts": Rate(200, 20), "failures": Rate(20, 2), "proxy": Rate(2000, 200)} | changed
    return AddressLimits(proxies=parse_networks("10.0.0.0/24,2001:db8::1"), **rates)


def test_false_proofs_through_a_trusted_proxy_keep_no_honest_client_out() -> None:
    kept = behind_proxy()
    for second in range(600):
        for _ in range(4):
            assert kept.exceeded(PROXY, second) is None
            kept.failed(PROXY, second)
        assert kept.exceeded(PROXY, second) is None


def test_false_proofs_through_a_proxy_beyond_the_rate_are_not_worth_an_answer() -> None:
    kept = behind_proxy()
    assert [kept.failed(PROXY, 0.0) for _ in range(22)] == [True] * 20 + [False] * 2


def test_a_proxy_has_a_bound_of_its_own() -> None:
    kept = behind_proxy()
    assert looked_at(kept, PROXY, 3000, 0.0) == 2000
    assert kept.exceeded(PROXY, 0.0) is Limit.PROXY
    assert kept.exceeded(HERE, 0.0) is None


@pytest.mark.parametrize("host", [HERE, "10.0.1.5", "2001:db8::2", "", "unknown"])
def test_an_address_that_is_not_trusted_has_the_narrow_limits(host: str) -> None:
    kept = behind_proxy()
    assert looked_at(kept, host, 1000, 0.0) == 200


@pytest.mark.parametrize("host", [PROXY, f"::ffff:{PROXY}", "2001:db8::1"])
def test_a_trusted_address_is_known_in_each_spelling(host: str) -> None:
    assert looked_at(behind_proxy(), host, 3000, 0.0) == 2000

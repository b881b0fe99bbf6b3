"""Tests the counts of requests over time that `/ops` draws."""

from http_bridge.metrics import BridgeMetrics
from http_bridge.request_samples import KEPT, RequestSampler
from service.process_status import ProcessStatus
from tests.support.fakes import FakeClock


def sampler() -> tuple[RequestSampler, BridgeMetrics]:
    process_status = ProcessStatus("http_bridge", FakeClock())
    return RequestSampler(process_status), BridgeMetrics(process_status.registry)


def test_each_sample_counts_what_is_new_by_outcome():
    samples, metrics = sampler()
    samples.sample()
    for result in ("ok", "ok", "rate_limited", "not_found", "internal_error", "cut_off"):
        metrics.request("/", result, 0.1)
    samples.sample()
    metrics.request("/other", "ok", 0.1)
    samples.sample()
    shown = samples.samples()
    assert shown.answered == (0, 2, 1)
    assert shown.refused == (0, 2, 0)
    assert shown.failed == (0, 1, 0)
    assert len(shown.at) == 3


def test_only_the_last_hour_is_kept():
    samples, metrics = sampler()
    metrics.request("/", "ok", 0.1)
    assert samples.samples().at == ()
    for _ in range(KEPT + 1):
        samples.sample()
    assert len(samples.samples().at) == KEPT
    assert sum(samples.samples().answered) == 0

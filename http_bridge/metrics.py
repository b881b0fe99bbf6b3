"""Defines the metrics of the bridge's HTTP requests. The label `route` has one of the application's
patterns."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram

REQUESTS = "zipcast_http_requests"


class BridgeMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            REQUESTS,
            "HTTP requests, by route and result: ok, or the error code.",
            ["route", "result"],
            registry=registry,
        )
        self._duration = Histogram(
            "zipcast_http_request_duration_seconds",
            "Seconds from the arrival of an HTTP request to the end of its reply.",
            ["route"],
            registry=registry,
        )
        self.unanswered = Counter(
            "zipcast_responder_unanswered",
            "Requests forwarded to the responder that got no reply in time.",
            registry=registry,
        )

        # Resolve labels once, because there are few routes and results.
        self._counter = cache(self._requests.labels)
        self._timer = cache(self._duration.labels)

    def request(self, route: str, result: str, seconds: float) -> None:
        self._counter(route, result).inc()
        self._timer(route).observe(seconds)

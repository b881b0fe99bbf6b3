"""Metrics of the bridge's HTTP requests. A route is one of the application's own patterns."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram

REQUESTS = "zipcast_http_requests"


class BridgeMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            REQUESTS,
            "HTTP requests answered (result ok) or refused (the error code), by route.",
            ["route", "result"],
            registry=registry,
        )
        self._duration = Histogram(
            "zipcast_http_request_duration_seconds",
            "Seconds from an HTTP request's arrival to the end of its reply.",
            ["route"],
            registry=registry,
        )
        self.unanswered = Counter(
            "zipcast_responder_unanswered",
            "Requests for the responder that found none, or no answer in time.",
            registry=registry,
        )

        # Labels are resolved once: routes and results are few.
        self._counter = cache(self._requests.labels)
        self._timer = cache(self._duration.labels)

    def request(self, route: str, result: str, seconds: float) -> None:
        self._counter(route, result).inc()
        self._timer(route).observe(seconds)

"""Defines the metrics of the callout. Reasons of refusals are defined in `decision`, reasons of closed
connections in `connections`, and reasons of unanswered requests in `address_limits`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from broker_service.callout.address_limits import Limit
from broker_service.callout.connections import Connections, KickReason


class CalloutMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.granted = Counter(
            "zipcast_connections_granted", "Connections that were granted.", registry=registry
        )
        self._refused = Counter(
            "zipcast_connections_refused",
            "Connections that were refused, by reason.",
            ["reason"],
            registry=registry,
        )
        self.stale = Counter(
            "zipcast_callout_requests_stale",
            "Connection requests dropped because they waited too long or newer ones took their place.",
            registry=registry,
        )
        self._limited = Counter(
            "zipcast_callout_requests_limited",
            "Connection requests without a reply because of a limit of their address or hotkey.",
            ["reason"],
            registry=registry,
        )
        self._kicked = Counter(
            "zipcast_connections_kicked",
            "Connections that the callout closed, by reason.",
            ["reason"],
            registry=registry,
        )
        self.kept_out = Counter(
            "zipcast_hotkeys_kept_out",
            "Number of times that a hotkey was blocked because it sent too much.",
            registry=registry,
        )
        self.listings_failed = Counter(
            "zipcast_connection_listings_failed",
            "Failed attempts to list all connections, after which none were closed.",
            registry=registry,
        )
        self.malformed = Counter(
            "zipcast_callout_requests_malformed",
            "Connection requests that no nats-server of this deployment can have sent.",
            registry=registry,
        )
        self.duration = Histogram(
            "zipcast_callout_duration_seconds",
            "Seconds from the arrival of a connection request to its reply.",
            registry=registry,
        )

    def measure(self, registry: CollectorRegistry, connections: Connections) -> None:
        """Add a gauge of the number of connections."""
        live = Gauge(
            "zipcast_hotkey_connections", "Number of hotkeys' connections on all servers.", registry=registry
        )
        live.set_function(lambda: len(connections))

    def limited(self, limit: Limit) -> None:
        self._limited.labels(limit).inc()

    def kicked(self, reason: KickReason) -> None:
        self._kicked.labels(reason).inc()

    def refused(self, reason: str) -> None:
        self._refused.labels(reason.replace(" ", "_")).inc()

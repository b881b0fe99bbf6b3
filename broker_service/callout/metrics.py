"""Metrics of the connections that the callout decides about. A reason of a refusal is one of
`decision`'s, of a kick one of `connections`', of a question that gets no answer one of `addresses`'."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from broker_service.callout.address_limits import Limit
from broker_service.callout.connections import Connections, KickReason


class CalloutMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.granted = Counter("zipcast_connections_granted", "Connections let in.", registry=registry)
        self._refused = Counter(
            "zipcast_connections_refused", "Connections kept out, by reason.", ["reason"], registry=registry
        )
        self.stale = Counter(
            "zipcast_callout_requests_stale",
            "Questions dropped unanswered: waited for too long, or pushed out by newer ones.",
            registry=registry,
        )
        self._limited = Counter(
            "zipcast_callout_requests_limited",
            "Questions left unanswered: too many from their address or hotkey, or too many false proofs.",
            ["reason"],
            registry=registry,
        )
        self._kicked = Counter(
            "zipcast_connections_kicked", "Connections ended by us, by reason.", ["reason"], registry=registry
        )
        self.kept_out = Counter(
            "zipcast_hotkeys_kept_out",
            "Times a hotkey sent so much that it is kept out for a while.",
            registry=registry,
        )
        self.listings_failed = Counter(
            "zipcast_connection_listings_failed",
            "Times nats-server did not list its connections in full, so that nobody was kicked.",
            registry=registry,
        )
        self.malformed = Counter(
            "zipcast_callout_requests_malformed",
            "Questions that no nats-server of ours can have asked.",
            registry=registry,
        )
        self.duration = Histogram(
            "zipcast_callout_duration_seconds",
            "Seconds from a question's arrival to its answer.",
            registry=registry,
        )

    def measure(self, registry: CollectorRegistry, connections: Connections) -> None:
        """Show how many connections there are."""
        live = Gauge(
            "zipcast_hotkey_connections", "Connections of hotkeys, on all servers.", registry=registry
        )
        live.set_function(lambda: len(connections))

    def limited(self, limit: Limit) -> None:
        self._limited.labels(limit).inc()

    def kicked(self, reason: KickReason) -> None:
        self._kicked.labels(reason).inc()

    def refused(self, reason: str) -> None:
        self._refused.labels(reason.replace(" ", "_")).inc()

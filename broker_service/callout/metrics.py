"""What the callout measures of the connections it decides about. A reason is one of `decision`'s."""

from prometheus_client import CollectorRegistry, Counter, Histogram


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

    def refused(self, reason: str) -> None:
        self._refused.labels(reason.replace(" ", "_")).inc()

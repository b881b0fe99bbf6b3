"""Metrics of the requests that the responder answers. Labels are verbs, doors and codes: no hotkey."""

from prometheus_client import CollectorRegistry, Counter, Histogram

ANSWERED = "ok"


class ResponderMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "zipcast_requests",
            "Requests answered (result ok) or refused (the error code), by verb and by door: nats or bridge.",
            ["verb", "door", "result"],
            registry=registry,
        )
        self._duration = Histogram(
            "zipcast_request_duration_seconds",
            "Seconds from a request's arrival to its reply.",
            ["verb"],
            registry=registry,
        )
        self.hostile_replies = Counter(
            "zipcast_hostile_replies_dropped",
            "Requests dropped because their reply subject was not the caller's own.",
            registry=registry,
        )
        self.dropped = Counter(
            "zipcast_requests_dropped",
            "Messages dropped before they were parsed: their hotkey sends too many.",
            registry=registry,
        )
        self.object_store_errors = Counter(
            "zipcast_object_store_errors",
            "Calls that the object store or STS refused or did not answer in time.",
            registry=registry,
        )
        self.sealed_epochs = Counter(
            "zipcast_sealed_epochs",
            "Epochs whose manifest of uploads this replica wrote.",
            registry=registry,
        )
        self.sealing_failures = Counter(
            "zipcast_sealing_failures",
            "Attempts to write a manifest that failed; each is tried again.",
            registry=registry,
        )
        self.miner_reports = Counter(
            "zipcast_miner_reports",
            "Status reports of miners that were kept, by status, and late ones apart.",
            ["status", "late"],
            registry=registry,
        )
        self.validator_reports = Counter(
            "zipcast_validator_reports",
            "Validators' results that were kept, late ones apart.",
            ["late"],
            registry=registry,
        )
        self.files_checked = Counter(
            "zipcast_files_checked",
            "Validators' files that were found as reported, by how: the store's checksum, or their content.",
            ["by"],
            registry=registry,
        )

    def request(self, verb: str, door: str, result: str, seconds: float) -> None:
        """`result`: ANSWERED or an error code."""
        self._requests.labels(verb, door, result).inc()
        self._duration.labels(verb).observe(seconds)

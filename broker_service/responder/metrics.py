"""Defines the metrics of the responder. Labels contain verbs, sources and error codes, but never a hotkey."""

from collections import Counter as Counts

from prometheus_client import CollectorRegistry, Counter, Histogram

ANSWERED = "ok"


class ResponderMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "zipcast_requests",
            "Requests by verb, by result (ok or the error code), and by door (nats or bridge).",
            ["verb", "door", "result"],
            registry=registry,
        )
        self._duration = Histogram(
            "zipcast_request_duration_seconds",
            "Seconds from the arrival of a request to its reply.",
            ["verb"],
            registry=registry,
        )
        self.hostile_replies = Counter(
            "zipcast_hostile_replies_dropped",
            "Requests dropped because their reply subject was not in the sender's inbox.",
            registry=registry,
        )
        self.dropped = Counter(
            "zipcast_requests_dropped",
            "Messages dropped before parsing because their hotkey sent too many.",
            registry=registry,
        )
        self.object_store_errors = Counter(
            "zipcast_object_store_errors",
            "Calls that the object store or STS refused or did not reply to in time.",
            registry=registry,
        )
        self.batch_rows = Histogram(
            "zipcast_batch_rows",
            "Rows that one statement and its commit wrote, by kind: issuances or reports.",
            ["kind"],
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.uploads_sealed = Counter(
            "zipcast_uploads_sealed",
            "Uploads that manifests list, by whether a status report of their miner names the epoch.",
            ["reported"],
            registry=registry,
        )
        self.manifests_written = Counter(
            "zipcast_manifests_written",
            "Epochs whose manifest of uploads this replica wrote.",
            registry=registry,
        )
        self.sealing_failures = Counter(
            "zipcast_sealing_failures",
            "Failed attempts to write a manifest; each is retried.",
            registry=registry,
        )
        self.miner_reports = Counter(
            "zipcast_miner_reports",
            "Stored status reports of miners, by status and by whether they were late.",
            ["status", "late"],
            registry=registry,
        )
        self.validator_reports = Counter(
            "zipcast_validator_reports",
            "Stored reports of validators, by whether they were late.",
            ["late"],
            registry=registry,
        )
        self.files_checked = Counter(
            "zipcast_files_checked",
            "Validators' files that matched the report, by method: the store's checksum or the content.",
            ["by"],
            registry=registry,
        )

    def of_verb(self, verb: str) -> tuple[int, int, float]:
        """Return the number of requests of a verb since the start, how many of them failed, and the sum of
        their durations in seconds."""
        counts: Counts[bool] = Counts()
        for metric in self._requests.collect():
            for sample in metric.samples:
                if sample.name.endswith("_total") and sample.labels["verb"] == verb:
                    counts[sample.labels["result"] == ANSWERED] += round(sample.value)
        (durations,) = self._duration.collect()
        seconds = sum(
            sample.value
            for sample in durations.samples
            if sample.name.endswith("_sum") and sample.labels["verb"] == verb
        )
        return counts.total(), counts[False], seconds

    def request(self, verb: str, door: str, result: str, seconds: float) -> None:
        """Count a request. `result` is ANSWERED or an error code."""
        self._requests.labels(verb, door, result).inc()
        self._duration.labels(verb).observe(seconds)

"""Sends traces of requests to an OpenTelemetry collector, if TRACES_URL is set.

A trace follows a request from the bridge through NATS to the responder, PostgreSQL and the object store. The
spans contain names of verbs and times, and nothing that a client sends. Whether a trace is sent depends only
on its id, so bridge and responder decide the same.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.settings import ServiceSettings

_PROPAGATOR = TraceContextTextMapPropagator()
TRACER = trace.get_tracer("zipcast")
"""Makes spans. Without TRACES_URL, they cost a microsecond and are not recorded."""


@contextmanager
def sending(process: str, settings: ServiceSettings) -> Iterator[None]:
    """Send spans of the block, if TRACES_URL is set. At the end, wait until they are sent."""
    if settings.traces_url is None:
        yield
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

    provider = TracerProvider(
        sampler=TraceIdRatioBased(settings.traces_share),
        resource=Resource.create({"service.name": f"zipcast-{process}"}),
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.traces_url)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def inject(headers: MutableMapping[str, str]) -> None:
    """Add the present trace to the headers of a message."""
    _PROPAGATOR.inject(headers)


def extract(headers: Mapping[str, str]) -> Context:
    """Return the trace that the bridge states in the headers of a message. Use it only for messages of the
    bridge: clients choose the headers of their own messages."""
    return _PROPAGATOR.extract({"traceparent": headers.get("traceparent", "")})

"""Spans by OpenTelemetry, sent to a collector by OTLP over HTTP.

Its other variables (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`
and so on) are heeded by OpenTelemetry itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from darkroom import __version__
from darkroom.errors import DarkroomError, Interrupted
from darkroom.logs import masked
from darkroom.watch import tracing

HEADER = "traceparent"

_propagator = TraceContextTextMapPropagator()


class CollectorTracer:
    """Sends spans in the background; what the collector does not take is dropped."""

    def __init__(self, endpoint: str, part: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create(
                {"service.name": f"darkroom-{part}", "service.version": __version__}
            )
        )
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("darkroom", __version__)

    @contextmanager
    def span(
        self, name: str, *, kind: tracing.Kind, parent: str | None, attributes: dict[str, object]
    ) -> Iterator[tracing.Span]:
        with self._tracer.start_as_current_span(
            name,
            context=_context(parent),
            kind=SpanKind[kind.upper()],
            attributes=_told(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield _Noted(span)
            except Interrupted:
                raise
            except DarkroomError as error:
                span.set_status(StatusCode.ERROR, masked(error.detail))
                span.set_attribute("error.type", error.code)
                raise
            except Exception as error:
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", type(error).__qualname__)
                raise

    def past(
        self,
        name: str,
        *,
        began_at: float,
        ended_at: float,
        parent: str | None,
        attributes: dict[str, object],
    ) -> None:
        self._tracer.start_span(
            name,
            context=_context(parent),
            start_time=int(began_at * 1e9),
            attributes=_told(attributes),
        ).end(int(max(began_at, ended_at) * 1e9))

    def carrier(self) -> str | None:
        carried: dict[str, str] = {}
        _propagator.inject(carried)
        return carried.get(HEADER)

    def stop(self) -> None:
        self._provider.shutdown()


class _Noted:
    def __init__(self, span: Span) -> None:
        self._span = span

    def note(self, **attributes: object) -> None:
        self._span.set_attributes(_told(attributes))


def _context(parent: str | None) -> Context | None:
    # None is the span that is going on; a `parent` that cannot be read begins a new trace.
    return None if parent is None else _propagator.extract({HEADER: parent}, context=Context())


def _told(attributes: Mapping[str, object]) -> dict[str, str | int | float]:
    """Attributes by the names OpenTelemetry gives them, or ours."""
    return {
        NAMES.get(name, f"darkroom.{name}"): value if isinstance(value, int | float) else str(value)
        for name, value in attributes.items()
        if value is not None
    }


NAMES = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "host": "server.address",
    "path": "url.path",
}

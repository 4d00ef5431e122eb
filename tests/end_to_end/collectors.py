"""Stand-ins for what operators collect with: an OpenTelemetry collector and Sentry."""

import gzip
import json
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.engines.servers.stand_in import Call, Handler, StandIn


class Collected:
    """One span as it arrived."""

    def __init__(self, service: str, span: Span) -> None:
        self.service = service
        self.name: str = span.name
        self.trace_id: str = span.trace_id.hex()
        self.id: str = span.span_id.hex()
        self.parent_id: str = span.parent_span_id.hex()
        self.began_ns: int = span.start_time_unix_nano
        self.ended_ns: int = span.end_time_unix_nano
        self.attributes = _values(span.attributes)


class Collector(StandIn):
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(_CollectorHandler)

    def spans(self) -> list[Collected]:
        return [
            Collected(str(_values(resource.resource.attributes)["service.name"]), span)
            for call in self.calls_to("/v1/traces")
            for resource in ExportTraceServiceRequest.FromString(call.body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class Sentry(StandIn):
    """Takes events as Sentry does."""

    def __init__(self) -> None:
        super().__init__(_SentryHandler)

    @property
    def dsn(self) -> str:
        return self.origin.replace("://", "://0123456789abcdef0123456789abcdef@") + "/42"

    def events(self) -> list[Any]:
        return [
            event for call in self.calls_to("/api/42/envelope/") for event in _events(_body(call))
        ]

    def said(self) -> str:
        """Everything that arrived, as text."""
        return "\n".join(_body(call).decode() for call in self.calls)


class _CollectorHandler(Handler):
    def answer(self, call: Call) -> None:
        done = ExportTraceServiceResponse().SerializeToString()
        self.reply(200, done, "application/x-protobuf")


class _SentryHandler(Handler):
    def answer(self, call: Call) -> None:
        self.reply_json(200, {"id": "0123456789abcdef0123456789abcdef"})


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def _body(call: Call) -> bytes:
    packed = call.headers.get("content-encoding") == "gzip"
    return gzip.decompress(call.body) if packed else call.body


def _events(envelope: bytes) -> list[Any]:
    """The events of an envelope: a header line, then a header line and a line for each item."""
    lines = [json.loads(each) for each in envelope.splitlines()]
    return [
        content
        for head, content in zip(lines[1::2], lines[2::2], strict=True)
        if head["type"] == "event"
    ]

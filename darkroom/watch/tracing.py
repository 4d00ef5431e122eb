"""Traces, when somebody collects them: spans that begin at a request and go on in a worker.

A trace crosses the queue as a W3C `traceparent`. Without a collector a span is nothing.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from darkroom.errors import SettingsError
from darkroom.settings import Settings

Kind = Literal["internal", "server", "consumer", "client"]


class Span(Protocol):
    """A piece of work that is going on."""

    def note(self, **attributes: object) -> None:
        """Say more of it. What is None is left out."""


class Tracer(Protocol):
    """Where spans go."""

    def span(
        self, name: str, *, kind: Kind, parent: str | None, attributes: dict[str, object]
    ) -> AbstractContextManager[Span]: ...

    def past(
        self,
        name: str,
        *,
        began_at: float,
        ended_at: float,
        parent: str | None,
        attributes: dict[str, object],
    ) -> None: ...

    def carrier(self) -> str | None: ...

    def stop(self) -> None: ...


class _NoSpan:
    def note(self, **attributes: object) -> None:
        pass


NO_SPAN: AbstractContextManager[Span] = nullcontext(_NoSpan())

_tracer: Tracer | None = None


def start(settings: Settings, part: str) -> None:
    """Send spans to the configured collector, if there is one. Raises SettingsError."""
    global _tracer
    if settings.otlp_endpoint is None:
        return
    try:
        from darkroom.watch.otlp import CollectorTracer
    except ImportError as error:
        raise SettingsError(
            "Traces need OpenTelemetry: install `darkroom[otel]`, or unset"
            " DARKROOM_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_ENDPOINT."
        ) from error
    _tracer = CollectorTracer(settings.otlp_endpoint, part)


def stop() -> None:
    """Send what was not sent yet."""
    if _tracer is not None:
        _tracer.stop()


def span(
    name: str, *, kind: Kind = "internal", parent: str | None = None, **attributes: object
) -> AbstractContextManager[Span]:
    """A span around a block, below the one that is going on, or below `parent` from elsewhere."""
    if _tracer is None:
        return NO_SPAN
    return _tracer.span(name, kind=kind, parent=parent, attributes=attributes)


def past(
    name: str, *, began_at: float, ended_at: float, parent: str | None, **attributes: object
) -> None:
    """A span that is over already (Unix times, in seconds)."""
    if _tracer is not None:
        _tracer.past(
            name, began_at=began_at, ended_at=ended_at, parent=parent, attributes=attributes
        )


def carrier() -> str | None:
    """What to hand on, so that a span elsewhere can be below this one; None without a trace."""
    return None if _tracer is None else _tracer.carrier()

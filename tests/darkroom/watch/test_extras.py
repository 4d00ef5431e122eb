"""What is off costs nothing, and what is asked for and not installed is said."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from darkroom.errors import SettingsError
from darkroom.settings import Settings, load_settings
from darkroom.watch import failures, tracing


def test_nothing_is_loaded_that_is_off() -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, worker.process, api, darkroom.watch; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    # Redis' client looks for OpenTelemetry itself.
    assert not {"darkroom.watch.otlp", "sentry_sdk"} & set(loaded)


def test_without_a_collector_there_is_no_trace() -> None:
    with tracing.span("a request") as span:
        span.note(status=200)

        assert tracing.carrier() is None


@pytest.mark.parametrize(
    ("package", "start", "asked", "extra"),
    [
        ("opentelemetry", tracing.start, Settings(otlp_endpoint="http://127.0.0.1:9"), "otel"),
        ("sentry_sdk", failures.start, Settings(sentry_dsn="http://k@127.0.0.1:9/1"), "sentry"),
    ],
    ids=["otel", "sentry"],
)
def test_what_is_not_installed_is_said(
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    start: Callable[[Settings, str], None],
    asked: Settings,
    extra: str,
) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "darkroom.watch.otlp", raising=False)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(SettingsError, match=rf"darkroom\[{extra}\]"):
        start(asked, "api")


def test_a_dsn_that_is_none_is_said(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="DARKROOM_SENTRY_DSN is no DSN"):
        failures.start(replace(settings, sentry_dsn="nonsense"), "api")


def test_the_usual_variable_names_the_collector_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert load_settings().otlp_endpoint == "http://collector:4318"

    monkeypatch.setenv("DARKROOM_OTLP_ENDPOINT", "http://ours:4318")
    assert load_settings().otlp_endpoint == "http://ours:4318"

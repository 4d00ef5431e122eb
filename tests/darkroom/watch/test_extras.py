"""What is off costs nothing, and what is asked for and not installed is said."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sentry_sdk

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


@pytest.mark.parametrize(
    "said",
    [
        "can't adapt 'a boat nobody may read of'",
        """bad value: 'it\\'s "my" boat nobody may read of'""",
        """not in ("it's mine", "a boat nobody may read of")""",
    ],
)
def test_no_value_that_an_exception_quotes_is_reported(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, said: str
) -> None:
    told: list[Any] = []

    class Kept(sentry_sdk.Transport):
        def capture_envelope(self, envelope: Any) -> None:
            told.extend(each.get_event() for each in envelope.items)

    monkeypatch.setattr(failures, "_is_on", False)
    with sentry_sdk.isolation_scope():
        failures.start(replace(settings, sentry_dsn="http://k@127.0.0.1:9/1"), "api")
        client = sentry_sdk.get_client()
        monkeypatch.setattr(client, "transport", Kept(client.options))
        try:
            failures.report(ValueError(said))
        finally:
            client.close()
            sentry_sdk.get_global_scope().set_client(None)

    [event] = told
    assert "boat" not in str(event["exception"]["values"][-1]["value"])


def test_the_usual_variable_names_the_collector_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert load_settings().otlp_endpoint == "http://collector:4318"

    monkeypatch.setenv("DARKROOM_OTLP_ENDPOINT", "http://ours:4318")
    assert load_settings().otlp_endpoint == "http://ours:4318"

"""What is told of an attempt, whatever becomes of it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest
import structlog

from darkroom.errors import EngineFailed
from darkroom.watch import tracing
from tests.worker.conftest import Submit
from worker import watching

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorder:
    """Keeps the spans instead of sending them: name and parent."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str | None]] = []
        self.notes: list[dict[str, object]] = []

    def span(
        self, name: str, *, kind: tracing.Kind, parent: str | None, attributes: dict[str, object]
    ) -> AbstractContextManager[tracing.Span]:
        self.spans.append((name, parent))

        @contextmanager
        def noted() -> Iterator[Recorder]:
            yield self

        return noted()

    def note(self, **attributes: object) -> None:
        self.notes.append(attributes)

    def past(
        self,
        name: str,
        *,
        began_at: float,
        ended_at: float,
        parent: str | None,
        attributes: dict[str, object],
    ) -> None:
        self.spans.append((name, parent))

    def carrier(self) -> str | None:
        return TRACE

    def stop(self) -> None:
        pass


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(tracing, "_tracer", recorder)
    return recorder


def test_every_attempt_belongs_to_the_trace_of_the_request(
    submit: Submit, recorder: Recorder
) -> None:
    job = replace(submit(trace=TRACE), started_at=0.0)
    for number in (1, 2):
        with watching.attempt(replace(job, attempt=number)):
            pass

    # It is known only of the first how long it waited.
    assert recorder.spans == [("wait in queue", TRACE), ("attempt", TRACE), ("attempt", TRACE)]


def test_a_failed_draw_tells_the_code_of_its_error(submit: Submit, recorder: Recorder) -> None:
    with pytest.raises(EngineFailed), watching.drawing(submit()):
        raise EngineFailed("It broke.")

    assert recorder.notes == [{"outcome": "engine_failed", "server": None}]


def test_the_ids_of_an_attempt_end_with_it(submit: Submit) -> None:
    job = submit()

    with watching.attempt(job):
        assert structlog.contextvars.get_contextvars()["job_id"] == job.id

    assert "job_id" not in structlog.contextvars.get_contextvars()

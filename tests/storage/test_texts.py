"""What engines say is kept, whatever characters they send."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from darkroom.domain import JobError
from storage import Storage
from storage.tables import LONGEST_UPSTREAM_ID
from tests.storage.builders import a_picture, queued, running

SENT = "a \0lamp\ud800"
KEPT = "a lamp?"

ERROR = JobError(
    code="engine_failed",
    detail=SENT,
    retryable=True,
    param=SENT,
    upstream_status=500,
    upstream_code=SENT,
    upstream_request_id=SENT,
)


def test_a_picture_is_kept_with_its_revised_prompt(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)
    kept = storage.gallery.keep(job, [replace(a_picture(), revised_prompt=SENT)])

    assert storage.attempts.succeed(job, kept, warnings=[SENT])

    (image,) = storage.images.of_job(job.id)
    assert image.revised_prompt == KEPT
    assert storage.jobs.get(job.id).warnings == (KEPT,)


def test_a_failure_is_kept_with_its_words(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)

    assert storage.attempts.fail(job, ERROR)

    assert storage.jobs.get(job.id).error == replace(
        ERROR, detail=KEPT, param=KEPT, upstream_code=KEPT, upstream_request_id=KEPT
    )
    (attempt,) = storage.attempts.of_job(job.id)
    assert attempt.detail == KEPT


def test_a_job_waits_again_after_such_a_failure(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)

    storage.attempts.hand_back(job, outcome="engine_failed", detail=SENT)

    (attempt,) = storage.attempts.of_job(job.id)
    assert attempt.detail == KEPT


def test_a_job_goes_to_another_model_after_such_a_failure(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)

    storage.attempts.reroute(job, ERROR, engine="e", model="m", request=job.request, warning=SENT)

    assert storage.jobs.get(job.id).warnings == (KEPT,)


def test_an_engine_rests_with_such_a_reason(storage: Storage) -> None:
    storage.health.note_failure("openai", code="engine_unreachable", reason=SENT)

    assert storage.health.ailments()["openai"].reason == KEPT


@pytest.mark.parametrize(
    "upstream_id", ["x" * (LONGEST_UPSTREAM_ID + 1), "run\x00-1", "run-\ud800"]
)
def test_an_upstream_id_that_cannot_be_kept_whole_is_not_kept(
    storage: Storage, owner_id: str, upstream_id: str
) -> None:
    job = running(storage, owner_id)

    with capture_logs() as logs:
        storage.attempts.note(job, progress=0.5, upstream_id=upstream_id)

    noted = storage.jobs.get(job.id)
    assert (noted.progress, noted.upstream_id) == (0.5, None)
    assert [each["event"] for each in logs] == ["upstream id not noted"]


def test_the_longest_upstream_id_is_kept(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)
    longest = "x" * LONGEST_UPSTREAM_ID

    storage.attempts.note(job, upstream_id=longest)

    assert storage.jobs.get(job.id).upstream_id == longest


def test_a_job_is_rerouted_with_such_a_warning_while_it_waits(
    storage: Storage, owner_id: str
) -> None:
    job = queued(storage, owner_id)

    storage.jobs.reroute_waiting(job, engine="e", model="m", request=job.request, warning=SENT)

    assert storage.jobs.get(job.id).warnings == (KEPT,)

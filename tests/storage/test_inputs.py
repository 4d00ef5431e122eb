"""The pictures jobs work on: kept once, as long as a job may need them, and no longer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
from sqlalchemy import func, select, update

from darkroom.domain import ImageRequest, InputImage, Job, NewBatch, Operation, Size
from darkroom.errors import EngineFailed, FileStoreUnavailable, Unavailable
from darkroom.settings import Settings
from storage import Storage
from storage.batches import new_batch_id
from storage.chunks import Draft
from storage.contents import key_of
from storage.files import Files
from storage.inputs import ACCEPTED_WITHIN_S, RETRYABLE_FOR_S, Inputs
from storage.jobs import new_job_id
from storage.tables import file_claims, files, job_inputs
from tests.storage.builders import (
    AN_ERROR,
    Process,
    a_job,
    a_picture,
    an_item,
    claimed,
    content,
    encoded,
    running,
    shown,
    together,
    with_times,
)

HOUR_S = 3600.0


def an_input(color: str = "red") -> InputImage:
    return InputImage(data=encoded(color=color), content_type="image/png", size=Size(64, 48))


RED, BLUE = an_input("red"), an_input("blue")


@dataclass
class BrokenFiles(Files):
    """A store that cannot delete the files of these keys."""

    store: Files
    stuck: set[str]

    def delete(self, key: str) -> None:
        if any(key.endswith(each) for each in self.stuck):
            raise FileStoreUnavailable("The store is away.")
        self.store.delete(key)


def edit(
    storage: Storage, owner_id: str, *images: InputImage, mask: InputImage | None = None
) -> Job:
    """A queued edit of these pictures."""
    job_id = new_job_id()
    storage.inputs.keep(job_id, [*images, *([] if mask is None else [mask])])
    request = ImageRequest(
        prompt="add a boat",
        operation=Operation.EDIT,
        images=tuple(key_of(each.data) for each in images),
        mask=None if mask is None else key_of(mask.data),
    )
    job, _ = storage.jobs.submit(a_job(owner_id, request=request), job_id=job_id)
    return job


def succeeded(storage: Storage, job: Job, data: bytes) -> None:
    shown(storage, claimed(storage, job), a_picture(data))


def failed(storage: Storage, job: Job, *, age_s: float = 0.0) -> Job:
    storage.attempts.fail(claimed(storage, job), AN_ERROR)
    job = storage.jobs.get(job.id)
    assert job.finished_at is not None
    with_times(storage, job, finished_at=job.finished_at - age_s)
    return job


def as_old(storage: Storage, seconds: float) -> None:
    """Everything that is held now was held so long ago."""
    with storage.database.writing() as connection:
        connection.execute(update(job_inputs).values(created_at=job_inputs.c.created_at - seconds))


def hashes(storage: Storage) -> list[str]:
    """The contents of the store, by their names."""
    stored = storage.files.keys()
    return [key.rpartition("/")[2] for key in stored]


def rows(storage: Storage) -> int:
    """How many rows name files, or stand for them."""
    with storage.database.reading() as connection:
        return sum(
            connection.scalar(select(func.count()).select_from(each)) or 0
            for each in (files, job_inputs, file_claims)
        )


def test_pictures_and_mask_come_back_as_they_were(storage: Storage, owner_id: str) -> None:
    mask = an_input("white")
    job = edit(storage, owner_id, RED, BLUE, mask=mask)

    images, repaint = storage.inputs.load(storage.jobs.get(job.id).request)

    assert images == (RED, BLUE)
    assert repaint == mask.data


def test_a_request_without_pictures_has_none(storage: Storage) -> None:
    assert storage.inputs.load(ImageRequest(prompt="a lighthouse")) == ((), None)


def test_the_same_picture_of_many_jobs_is_one_file(storage: Storage, owner_id: str) -> None:
    for _ in range(20):
        edit(storage, owner_id, RED, RED)

    assert len(storage.files.keys()) == 1


def test_inputs_are_in_no_list(storage: Storage, owner_id: str) -> None:
    job = edit(storage, owner_id, RED)

    assert storage.images.list() == []
    assert storage.images.of_job(job.id) == []


def test_a_job_that_waits_or_runs_keeps_its_pictures(storage: Storage, owner_id: str) -> None:
    waiting, working = edit(storage, owner_id, RED), edit(storage, owner_id, BLUE)
    claimed(storage, working)
    as_old(storage, 30 * 24 * HOUR_S)

    storage.inputs.release()

    assert storage.inputs.load(waiting.request)[0] == (RED,)
    assert storage.inputs.load(working.request)[0] == (BLUE,)


def test_a_job_that_succeeded_leaves_only_its_result(storage: Storage, owner_id: str) -> None:
    job = edit(storage, owner_id, RED, BLUE)
    succeeded(storage, job, encoded(color="green"))

    storage.inputs.release()

    (image,) = storage.images.of_job(job.id)
    assert hashes(storage) == [image.file_key]


@pytest.mark.parametrize(("age_s", "is_kept"), [(-HOUR_S, True), (HOUR_S, False)])
def test_a_failed_job_keeps_its_pictures_for_a_week(
    storage: Storage, owner_id: str, age_s: float, is_kept: bool
) -> None:
    failed(storage, edit(storage, owner_id, RED), age_s=RETRYABLE_FOR_S + age_s)

    storage.inputs.release()

    assert bool(storage.files.keys()) is is_kept


def test_a_canceled_job_does_not_keep_them_longer(storage: Storage, owner_id: str) -> None:
    job = storage.jobs.request_cancel(edit(storage, owner_id, RED).id)
    with_times(storage, job, finished_at=1000.0)

    storage.inputs.release()

    assert storage.files.keys() == []


def test_a_call_that_died_before_its_job_leaves_nothing(storage: Storage) -> None:
    storage.inputs.keep(new_job_id(), [RED, BLUE])
    storage.inputs.release()
    assert len(storage.files.keys()) == 2

    as_old(storage, ACCEPTED_WITHIN_S + 1)
    storage.inputs.release()

    assert storage.files.keys() == []
    assert rows(storage) == 0


def test_a_process_that_is_killed_before_its_job_leaves_nothing(
    storage: Storage, settings: Settings
) -> None:
    program = """
import os
from darkroom.domain import InputImage, Size
from darkroom.settings import Settings
from storage import open_storage
from tests.storage.builders import encoded
storage = open_storage(Settings(database_url=sys.argv[1], storage_url=sys.argv[2],
                                secret_key=sys.argv[3]))
picture = InputImage(data=encoded(), content_type="image/png", size=Size(64, 48))
storage.inputs.keep("a job that never was", [picture])
os._exit(9)
"""
    opening = (settings.database, settings.storage, str(settings.secret_key))
    process = Process(program, *opening)
    process.go()
    code, _ = process.outcome()
    assert (code, len(storage.files.keys())) == (9, 1)

    as_old(storage, ACCEPTED_WITHIN_S + 1)
    storage.inputs.release()

    assert storage.files.keys() == []
    assert rows(storage) == 0


def test_pictures_are_held_before_their_bytes_are_written(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise FileStoreUnavailable("The store is away.")

    with monkeypatch.context() as patch:
        patch.setattr(storage.files, "put", die)
        with pytest.raises(Unavailable):
            storage.inputs.keep(new_job_id(), [RED])
    as_old(storage, ACCEPTED_WITHIN_S + 1)
    storage.inputs.release()

    assert rows(storage) == 0


class TestSharing:
    """Files are kept as long as somebody names them, whoever that is."""

    def test_an_image_stays_when_the_job_that_changed_it_lets_go(
        self, storage: Storage, owner_id: str
    ) -> None:
        (image,) = shown(storage, running(storage, owner_id), a_picture(RED.data))
        succeeded(storage, edit(storage, owner_id, RED), encoded(color="green"))

        storage.inputs.release()

        assert content(storage, image) == RED.data

    def test_an_input_stays_when_the_image_it_came_from_is_deleted(
        self, storage: Storage, owner_id: str
    ) -> None:
        (image,) = shown(storage, running(storage, owner_id), a_picture(RED.data))
        job = edit(storage, owner_id, RED)

        storage.gallery.delete(image)

        assert storage.inputs.load(job.request)[0] == (RED,)

    def test_the_last_to_let_go_removes_the_file(self, storage: Storage, owner_id: str) -> None:
        (image,) = shown(storage, running(storage, owner_id), a_picture(RED.data))
        job = edit(storage, owner_id, RED)
        storage.gallery.delete(image)
        failed(storage, job, age_s=RETRYABLE_FOR_S + 1)

        storage.inputs.release()

        assert storage.files.keys() == []
        assert rows(storage) == 0

    def test_a_job_that_returns_its_input_unchanged_loses_nothing(
        self, storage: Storage, owner_id: str
    ) -> None:
        job = edit(storage, owner_id, RED)
        succeeded(storage, job, RED.data)

        storage.inputs.release()

        (image,) = storage.images.of_job(job.id)
        assert content(storage, image) == RED.data

    def test_keeping_and_letting_go_of_the_same_bytes_at_once_loses_no_file(
        self, storage: Storage, owner_id: str
    ) -> None:
        for _ in range(20):
            failed(storage, edit(storage, owner_id, RED), age_s=RETRYABLE_FOR_S + 1)

            release: Callable[[], Job | None] = storage.inputs.release
            job, *_ = together(partial(edit, storage, owner_id, RED), release, release)

            assert job is not None
            assert storage.inputs.load(job.request)[0] == (RED,)
            storage.jobs.request_cancel(job.id)


class TestRetries:
    """A retry works on the pictures that its first try left."""

    def test_the_pictures_are_those_of_both(self, storage: Storage, owner_id: str) -> None:
        first = failed(storage, edit(storage, owner_id, RED, mask=BLUE))
        job_id = new_job_id()

        assert storage.inputs.share(first.request, first.id, job_id)
        second, _ = storage.jobs.submit(a_job(owner_id, request=first.request), job_id=job_id)
        with_times(storage, first, finished_at=1000.0)
        storage.inputs.release()

        assert storage.inputs.load(second.request) == ((RED,), BLUE.data)

    def test_it_is_too_late_once_they_are_gone(self, storage: Storage, owner_id: str) -> None:
        first = failed(storage, edit(storage, owner_id, RED), age_s=RETRYABLE_FOR_S + 1)
        storage.inputs.release()

        assert not storage.inputs.share(first.request, first.id, new_job_id())

        assert rows(storage) == 0

    def test_a_job_without_pictures_can_always_be_retried(
        self, storage: Storage, owner_id: str
    ) -> None:
        job, _ = storage.jobs.submit(a_job(owner_id))

        assert storage.inputs.share(job.request, job.id, new_job_id())

    def test_a_retry_and_letting_go_at_once_leave_all_or_nothing(
        self, storage: Storage, owner_id: str
    ) -> None:
        for _ in range(20):
            first = failed(storage, edit(storage, owner_id, RED), age_s=RETRYABLE_FOR_S + 1)

            release: Callable[[], bool | None] = storage.inputs.release
            is_shared, _ = together(
                partial(storage.inputs.share, first.request, first.id, new_job_id()), release
            )

            if is_shared:
                assert storage.inputs.load(first.request)[0] == (RED,)
            as_old(storage, ACCEPTED_WITHIN_S + 1)
            storage.inputs.release()
            assert rows(storage) == 0


def test_one_file_that_cannot_be_deleted_does_not_keep_the_others(
    storage: Storage, owner_id: str
) -> None:
    for each in (RED, BLUE):
        failed(storage, edit(storage, owner_id, each), age_s=RETRYABLE_FOR_S + 1)
    store = BrokenFiles(storage.files, stuck={key_of(RED.data)})

    Inputs(storage.database, store).release()
    assert hashes(storage) == [key_of(RED.data)]

    store.stuck.clear()
    Inputs(storage.database, store).release()
    assert storage.files.keys() == []


def test_letting_go_is_done_in_batches(storage: Storage, owner_id: str) -> None:
    for color in ("red", "green", "blue"):
        failed(storage, edit(storage, owner_id, an_input(color)), age_s=RETRYABLE_FOR_S + 1)

    storage.inputs.release(most=2)
    assert len(storage.files.keys()) == 1

    storage.inputs.release(most=2)
    assert storage.files.keys() == []


def test_a_picture_whose_file_is_gone_fails_with_the_next_step(
    storage: Storage, owner_id: str
) -> None:
    job = edit(storage, owner_id, RED)
    (key,) = storage.files.keys()
    storage.files.delete(key)

    with pytest.raises(EngineFailed, match="send the request again"):
        storage.inputs.load(job.request)


def test_a_batch_that_cannot_be_deleted_does_not_keep_those_behind_it(
    storage: Storage, owner_id: str
) -> None:
    pictures = [an_input(color) for color in ("red", "blue", "green", "black")]
    for each in pictures:
        failed(storage, edit(storage, owner_id, each), age_s=RETRYABLE_FOR_S + 1)
    stuck = set(sorted_by_row(storage)[:2])
    inputs = Inputs(storage.database, BrokenFiles(storage.files, stuck=stuck))

    for _ in range(2):
        inputs.release(most=2)

    assert set(hashes(storage)) == stuck


def test_letting_go_ends_in_time_and_goes_on_the_next_time(storage: Storage, owner_id: str) -> None:
    for color in ("red", "blue", "green"):
        failed(storage, edit(storage, owner_id, an_input(color)), age_s=RETRYABLE_FOR_S + 1)

    storage.inputs.release(within_s=-1)
    assert rows(storage) == 6

    storage.inputs.release()
    assert rows(storage) == 0


def sorted_by_row(storage: Storage) -> list[str]:
    """The files in the order in which they are let go of."""
    query = select(job_inputs.c.file_key).order_by(job_inputs.c.job_id, job_inputs.c.file_key)
    with storage.database.reading() as connection:
        return list(connection.scalars(query))


def test_pictures_of_a_batch_are_kept_until_its_items_are_jobs(
    storage: Storage, owner_id: str
) -> None:
    request = ImageRequest(prompt="x", operation=Operation.EDIT, images=(key_of(RED.data),))
    batch_id = new_batch_id()
    storage.inputs.keep(batch_id, [RED])
    with Draft() as draft:
        draft.add(an_item(1, request=request))
        storage.batches.submit(NewBatch(owner_id=owner_id), draft, batch_id=batch_id)

    as_old(storage, ACCEPTED_WITHIN_S + 1)
    storage.inputs.release()
    storage.batches.plant(batch_id)
    storage.inputs.release()
    storage.inputs.load(request)

    [job] = storage.jobs.list(batch_id=batch_id)
    succeeded(storage, job, encoded(color="green"))
    storage.inputs.release()
    with pytest.raises(EngineFailed):
        storage.inputs.load(request)

"""Pictures that are kept no longer are deleted with their files, a little at a time."""

from collections.abc import Callable

import fakeredis
import pytest
from sqlalchemy import text

from darkroom.domain import Action, Job, StoredImage
from darkroom.errors import NotFound, Unavailable
from storage import Storage
from storage.retention import DAY_S, Limits
from tests.worker.doubles import (
    Caretaker,
    OutageDatabase,
    OutageFiles,
    Worker,
    a_picture,
    returning,
)
from worker import retention
from worker.retention import PLACE, Batch, prune, prune_audit

Submit = Callable[..., Job]

A_MONTH = Limits(days=30, mb_per_user=None)


@pytest.fixture
def drawn(storage: Storage, submit: Submit) -> Callable[..., StoredImage]:
    """A picture of this color that is so old."""

    def make(color: str, *, age_days: float) -> StoredImage:
        job = Worker(storage, returning(a_picture(color))).run(submit())
        (image,) = storage.images.of_job(job.id)
        with storage.database.writing() as connection:
            connection.execute(
                text("UPDATE images SET created_at = created_at - :age_s WHERE id = :id"),
                {"age_s": age_days * DAY_S, "id": image.id},
            )
        return image

    return make


def is_kept(storage: Storage, image: StoredImage) -> bool:
    try:
        return storage.images.get(image.id).id == image.id
    except NotFound:
        return False


def test_old_pictures_are_gone_with_their_files(
    storage: Storage, drawn: Callable[..., StoredImage]
) -> None:
    old, fresh = drawn("red", age_days=31), drawn("blue", age_days=1)

    assert prune(storage, A_MONTH).deleted == 1

    assert (is_kept(storage, old), is_kept(storage, fresh)) == (False, True)
    (key,) = storage.files.keys()
    assert fresh.file_key in key
    assert storage.jobs.get(old.job_id).id == old.job_id


def test_bytes_stay_while_another_picture_shows_them(
    storage: Storage, drawn: Callable[..., StoredImage]
) -> None:
    drawn("red", age_days=31)
    fresh = drawn("red", age_days=1)

    prune(storage, A_MONTH)

    with storage.gallery.open(fresh) as file:
        assert file.read() == a_picture("red").data


def test_the_upkeep_deletes_what_is_due(
    storage: Storage, hire: Callable[..., Caretaker], drawn: Callable[..., StoredImage]
) -> None:
    old = drawn("red", age_days=31)

    hire(limits=A_MONTH).round()

    assert not is_kept(storage, old)


def test_the_upkeep_looks_seldom(
    storage: Storage,
    hire: Callable[..., Caretaker],
    drawn: Callable[..., StoredImage],
    broker: fakeredis.FakeRedis,
) -> None:
    caretaker = hire(limits=A_MONTH)
    caretaker.round()
    old = drawn("red", age_days=31)

    caretaker.round()
    was_kept = is_kept(storage, old)
    broker.delete(PLACE)
    caretaker.round()

    assert was_kept
    assert not is_kept(storage, old)


@pytest.fixture
def _one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is over as soon as one picture was looked at."""
    monkeypatch.setattr(retention, "BATCH_S", -1.0)


@pytest.mark.usefixtures("_one_by_one")
def test_the_upkeep_deletes_one_batch_in_a_round(
    storage: Storage, hire: Callable[..., Caretaker], drawn: Callable[..., StoredImage]
) -> None:
    images = [drawn(color, age_days=31) for color in ("red", "green", "blue")]
    caretaker, another = hire(limits=A_MONTH), hire(limits=A_MONTH)

    left = []
    for each in (caretaker, another, caretaker):
        each.round()
        left.append(sum(is_kept(storage, image) for image in images))

    assert left == [2, 1, 0]


@pytest.mark.usefixtures("_one_by_one")
def test_a_picture_that_cannot_be_deleted_keeps_no_other(
    storage: Storage,
    hire: Callable[..., Caretaker],
    drawn: Callable[..., StoredImage],
    broker: fakeredis.FakeRedis,
    files: OutageFiles,
) -> None:
    stuck, *others = (
        drawn(color, age_days=age) for color, age in (("red", 33), ("green", 32), ("blue", 31))
    )
    files.undeletable = stuck.file_key
    caretaker = hire(limits=A_MONTH)

    for _ in range(4):
        caretaker.round()
    left = [is_kept(storage, each) for each in (stuck, *others)]
    files.undeletable = None
    caretaker.round()
    was_kept = is_kept(storage, stuck)
    broker.delete(PLACE)
    caretaker.round()

    assert left == [True, False, False]
    assert was_kept
    assert not is_kept(storage, stuck)


def test_a_batch_says_what_came_of_it(
    storage: Storage, drawn: Callable[..., StoredImage], files: OutageFiles
) -> None:
    stuck = drawn("red", age_days=33)
    drawn("green", age_days=32)
    files.undeletable = stuck.file_key

    first = prune(storage, A_MONTH)
    second = prune(storage, A_MONTH, after=first.place)

    assert (first.deleted, first.refused) == (1, 1)
    assert second == Batch()


def test_a_database_that_goes_away_is_no_picture_that_cannot_be_deleted(
    storage: Storage, drawn: Callable[..., StoredImage], database: OutageDatabase
) -> None:
    drawn("red", age_days=31)
    database.dies_next = True

    with pytest.raises(Unavailable, match="database"):
        prune(storage, A_MONTH)


def test_pictures_are_kept_another_while_when_the_broker_is_away(
    storage: Storage,
    hire: Callable[..., Caretaker],
    drawn: Callable[..., StoredImage],
    redis_server: fakeredis.FakeServer,
) -> None:
    old = drawn("red", age_days=31)
    redis_server.connected = False

    hire(limits=A_MONTH).round()

    assert is_kept(storage, old)


def test_without_limits_everything_is_kept(
    storage: Storage, hire: Callable[..., Caretaker], drawn: Callable[..., StoredImage]
) -> None:
    old = drawn("red", age_days=10_000)

    hire().round()

    assert is_kept(storage, old)


def test_the_audit_log_is_pruned_once_in_a_while_for_all_workers(
    storage: Storage, broker: fakeredis.FakeRedis
) -> None:
    storage.audit.add(Action.SIGN_IN, address="::1")
    prune_audit(storage, broker, days=0)
    storage.audit.add(Action.SIGN_OUT, address="::1")

    prune_audit(storage, broker, days=0)

    assert [each.action for each in storage.audit.list()] == [Action.SIGN_OUT]

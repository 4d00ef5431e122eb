"""The gallery: bytes are kept once, as long as somebody needs them, and no longer."""

import hashlib
from functools import partial

import pytest

from darkroom.domain import Job, StoredImage
from darkroom.errors import FileStoreUnavailable, InvalidPicture, NotFound, Unavailable
from darkroom.settings import Settings
from storage import Storage
from storage.files import Files
from storage.gallery import Gallery
from tests.storage.builders import (
    AN_ERROR,
    a_picture,
    claimed,
    content,
    encoded,
    running,
    shown,
    together,
)

RED, BLUE = encoded(color="red"), encoded(color="blue")


class BrokenFiles(Files):
    """A store that does not answer while `is_away`."""

    is_away = False
    #: A file that it does not delete.
    undeletable = ""

    def put(self, key: str, data: bytes) -> None:
        self._check()
        super().put(key, data)

    def delete(self, key: str) -> None:
        self._check()
        if key == self.undeletable:
            raise FileStoreUnavailable("The store does not delete it.")
        super().delete(key)

    def _check(self) -> None:
        if self.is_away:
            raise FileStoreUnavailable("The store is away.")


@pytest.fixture
def broken_files(settings: Settings) -> BrokenFiles:
    return BrokenFiles(settings.storage)


def originals(storage: Storage) -> list[str]:
    keys = storage.files.keys()
    return [each for each in keys if each.startswith("images/")]


def test_a_picture_is_kept_with_all_that_is_known_of_it(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id, metadata={"chat_id": "c1", "message_id": "m1"})

    (image,) = shown(storage, job, a_picture(RED, seed=2**40))

    assert content(storage, image) == RED
    assert image == StoredImage(
        id=image.id,
        job_id=job.id,
        owner_id=owner_id,
        position=0,
        file_key=hashlib.sha256(RED).hexdigest(),
        content_type="image/png",
        width=64,
        height=48,
        size_bytes=len(RED),
        seed=2**40,
        revised_prompt=None,
        chat_id="c1",
        message_id="m1",
        created_at=image.created_at,
    )
    assert storage.images.get(image.id) == image


@pytest.mark.parametrize(("told", "kept"), [(2**63 - 1, 2**63 - 1), (2**63, None), (-1, -1)])
def test_a_picture_is_kept_without_a_seed_that_no_database_keeps(
    storage: Storage, owner_id: str, told: int, kept: int | None
) -> None:
    (image,) = shown(storage, running(storage, owner_id), a_picture(RED, seed=told))

    assert image.seed == kept


def test_pictures_keep_their_order(storage: Storage, owner_id: str) -> None:
    images = shown(storage, running(storage, owner_id), a_picture(RED), a_picture(BLUE))

    assert [content(storage, each) for each in images] == [RED, BLUE]
    assert [each.position for each in images] == [0, 1]


def test_the_same_bytes_of_two_jobs_are_one_file(storage: Storage, owner_id: str) -> None:
    shown(storage, running(storage, owner_id), a_picture(RED))
    shown(storage, running(storage, owner_id), a_picture(RED))

    assert len(originals(storage)) == 1


def test_the_same_bytes_twice_in_one_job_are_two_images(storage: Storage, owner_id: str) -> None:
    images = shown(storage, running(storage, owner_id), a_picture(RED), a_picture(RED))

    assert len(images) == 2
    assert len(originals(storage)) == 1


def test_deleting_an_image_leaves_the_file_to_the_other(storage: Storage, owner_id: str) -> None:
    (first,) = shown(storage, running(storage, owner_id), a_picture(RED))
    (second,) = shown(storage, running(storage, owner_id), a_picture(RED))

    storage.gallery.delete(first)

    assert content(storage, second) == RED
    with pytest.raises(NotFound):
        storage.images.get(first.id)


def test_deleting_the_last_image_removes_file_and_thumbnails(
    storage: Storage, owner_id: str
) -> None:
    data = encoded(size=(300, 300))
    (first,) = shown(storage, running(storage, owner_id), a_picture(data))
    (second,) = shown(storage, running(storage, owner_id), a_picture(data))
    for width in (64, 128):
        thumbnail = storage.gallery.open_thumbnail(first, width)
        assert thumbnail is not None
        thumbnail.close()

    storage.gallery.delete(first)
    storage.gallery.delete(second)

    assert storage.files.keys() == []


def test_deleting_twice_does_no_harm(storage: Storage, owner_id: str) -> None:
    (image,) = shown(storage, running(storage, owner_id))

    storage.gallery.delete(image)
    storage.gallery.delete(image)

    assert storage.files.keys() == []


def test_an_image_stays_when_its_file_cannot_be_deleted(
    storage: Storage, owner_id: str, broken_files: BrokenFiles
) -> None:
    (image,) = shown(storage, running(storage, owner_id))
    gallery = Gallery(storage.database, broken_files)
    broken_files.is_away = True

    with pytest.raises(Unavailable):
        gallery.delete(image)
    kept = storage.images.get(image.id)
    broken_files.is_away = False
    gallery.delete(kept)

    assert storage.files.keys() == []


def test_a_broken_picture_leaves_nothing_of_its_job(storage: Storage, owner_id: str) -> None:
    job = running(storage, owner_id)

    with pytest.raises(InvalidPicture):
        storage.gallery.keep(job, [a_picture(RED), a_picture(b"no picture")])

    assert storage.files.keys() == []


def test_a_lost_race_leaves_no_file(storage: Storage, owner_id: str) -> None:
    late = running(storage, owner_id)
    kept = storage.gallery.keep(late, [a_picture(RED)])
    storage.attempts.hand_back(late)

    assert not storage.attempts.succeed(late, kept, warnings=[])
    storage.gallery.release(late, kept)

    assert storage.files.keys() == []


def test_a_lost_race_leaves_the_file_the_winner_shows(storage: Storage, owner_id: str) -> None:
    late = running(storage, owner_id)
    kept = storage.gallery.keep(late, [a_picture(RED)])
    storage.attempts.hand_back(late)
    (image,) = shown(storage, claimed(storage, late), a_picture(RED))

    assert not storage.attempts.succeed(late, kept, warnings=[])
    storage.gallery.release(late, kept)

    assert content(storage, image) == RED


def test_a_lost_race_leaves_the_file_the_winner_is_about_to_show(
    storage: Storage, owner_id: str
) -> None:
    late = running(storage, owner_id)
    kept = storage.gallery.keep(late, [a_picture(RED)])
    storage.attempts.hand_back(late)
    winner = claimed(storage, late)
    kept_by_winner = storage.gallery.keep(winner, [a_picture(RED)])

    storage.gallery.release(late, kept)
    assert storage.attempts.succeed(winner, kept_by_winner, warnings=[])

    (image,) = storage.images.of_job(late.id)
    assert content(storage, image) == RED


def test_a_late_file_goes_even_when_its_claim_was_dropped(storage: Storage, owner_id: str) -> None:
    late = running(storage, owner_id)
    storage.attempts.hand_back(late)
    cleaning = CleaningFiles(storage)

    kept = Gallery(storage.database, cleaning).keep(late, [a_picture(RED)])
    storage.gallery.release(late, kept)

    assert storage.files.keys() == []


class CleaningFiles(Files):
    """A store that is so slow that the upkeep comes by before the bytes are there."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def put(self, key: str, data: bytes) -> None:
        self._storage.gallery.release_abandoned()
        self._storage.files.put(key, data)


def test_what_dead_attempts_left_is_removed(storage: Storage, owner_id: str) -> None:
    dead = running(storage, owner_id)
    storage.gallery.keep(dead, [a_picture(RED)])
    storage.attempts.hand_back(dead)
    failed = running(storage, owner_id)
    storage.gallery.keep(failed, [a_picture(BLUE)])
    storage.attempts.fail(failed, AN_ERROR)

    storage.gallery.release_abandoned()

    assert storage.files.keys() == []


def test_what_living_attempts_hold_is_left_alone(storage: Storage, owner_id: str) -> None:
    dead = running(storage, owner_id)
    storage.gallery.keep(dead, [a_picture(RED)])
    storage.attempts.hand_back(dead)
    living = claimed(storage, dead)
    kept = storage.gallery.keep(living, [a_picture(RED)])

    storage.gallery.release_abandoned()
    assert storage.attempts.succeed(living, kept, warnings=[])

    (image,) = storage.images.of_job(living.id)
    assert content(storage, image) == RED


def test_claims_outlast_a_store_that_is_away(
    storage: Storage, owner_id: str, broken_files: BrokenFiles
) -> None:
    dead = running(storage, owner_id)
    storage.gallery.keep(dead, [a_picture(RED)])
    storage.attempts.hand_back(dead)
    broken_files.is_away = True

    Gallery(storage.database, broken_files).release_abandoned()
    kept = originals(storage)
    storage.gallery.release_abandoned()

    assert len(kept) == 1
    assert storage.files.keys() == []


def test_a_file_that_cannot_be_deleted_keeps_no_other(
    storage: Storage, owner_id: str, broken_files: BrokenFiles
) -> None:
    for color in ("red", "green", "blue"):
        dead = running(storage, owner_id)
        storage.gallery.keep(dead, [a_picture(encoded(color=color))])
        storage.attempts.hand_back(dead)
    broken_files.undeletable = originals(storage)[1]

    Gallery(storage.database, broken_files).release_abandoned()

    assert originals(storage) == [broken_files.undeletable]


def test_deleting_and_keeping_the_same_bytes_at_once_loses_no_file(
    storage: Storage, owner_id: str
) -> None:
    (image,) = shown(storage, running(storage, owner_id), a_picture(RED))
    for _ in range(30):
        job = running(storage, owner_id)

        together(partial(storage.gallery.delete, image), partial(_show, storage, job))

        (image,) = storage.images.of_job(job.id)
        assert content(storage, image) == RED
        assert len(originals(storage)) == 1


def test_many_losers_and_winners_of_the_same_bytes_at_once_lose_no_file(
    storage: Storage, owner_id: str
) -> None:
    for _ in range(10):
        winners = [running(storage, owner_id) for _ in range(3)]
        losers = [running(storage, owner_id) for _ in range(3)]
        for each in losers:
            storage.attempts.hand_back(each)

        together(
            *(partial(_show, storage, each) for each in winners),
            *(partial(_lose, storage, each) for each in losers),
            storage.gallery.release_abandoned,
        )

        images = [each for job in winners for each in storage.images.of_job(job.id)]
        assert [content(storage, each) for each in images] == [RED] * 3
        together(*(partial(storage.gallery.delete, each) for each in images))
        assert storage.files.keys() == []


def _show(storage: Storage, job: Job) -> None:
    shown(storage, job, a_picture(RED))


def _lose(storage: Storage, job: Job) -> None:
    kept = storage.gallery.keep(job, [a_picture(RED)])
    assert not storage.attempts.succeed(job, kept, warnings=[])
    storage.gallery.release(job, kept)


def test_the_gallery_can_be_used_while_its_store_answers(storage: Storage) -> None:
    storage.gallery.check()


def test_a_picture_whose_file_is_gone_is_not_found(storage: Storage, owner_id: str) -> None:
    (image,) = shown(storage, running(storage, owner_id))
    (key,) = storage.files.keys()
    storage.files.delete(key)

    with pytest.raises(NotFound, match="gone"):
        storage.gallery.open(image)

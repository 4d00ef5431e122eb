"""Retention: which pictures are over a limit."""

from dataclasses import replace
from typing import Any

import pytest

from darkroom.domain import StoredImage
from storage import Storage
from storage.retention import DAY_S, MIB, Limits, Place
from tests.storage.builders import a_picture, encoded, running, shown, with_times

NO_LIMITS = Limits(days=None, mb_per_user=None)


def a_stored(storage: Storage, owner_id: str, *, age_days: float, mib: float = 0) -> StoredImage:
    """A picture that is so old and, as far as its row says, so large."""
    (image,) = shown(storage, running(storage, owner_id), a_picture(encoded()))
    with_times(
        storage,
        image,
        created_at=image.created_at - age_days * DAY_S,
        size_bytes=int(mib * MIB),
    )
    return image


def due(storage: Storage, **limits: Any) -> list[str]:
    wanted = replace(NO_LIMITS, **limits)
    return [each.id for each in storage.retention.due(wanted)]


@pytest.fixture
def other_id(storage: Storage) -> str:
    return storage.users.create(email="bert@example.org", name="Bert").id


def test_without_a_limit_everything_is_kept(storage: Storage, owner_id: str) -> None:
    a_stored(storage, owner_id, age_days=10_000, mib=1_000)

    assert not NO_LIMITS.are_set
    assert due(storage) == []


def test_pictures_over_an_age_are_due_the_oldest_first(storage: Storage, owner_id: str) -> None:
    old = a_stored(storage, owner_id, age_days=31)
    a_stored(storage, owner_id, age_days=29)
    oldest = a_stored(storage, owner_id, age_days=90)

    assert due(storage, days=30) == [oldest.id, old.id]


def test_an_age_of_nothing_keeps_nothing(storage: Storage, owner_id: str) -> None:
    image = a_stored(storage, owner_id, age_days=1)

    assert due(storage, days=0) == [image.id]


def test_the_newest_pictures_of_each_user_are_kept(
    storage: Storage, owner_id: str, other_id: str
) -> None:
    oldest, middle, _newest = (
        a_stored(storage, owner_id, age_days=age, mib=4) for age in (3, 2, 1)
    )
    a_stored(storage, other_id, age_days=100, mib=4)

    assert due(storage, mb_per_user=7) == [oldest.id, middle.id]
    assert due(storage, mb_per_user=8) == [oldest.id]
    assert due(storage, mb_per_user=12) == []


def test_a_picture_larger_than_all_that_may_be_kept_is_due(storage: Storage, owner_id: str) -> None:
    image = a_stored(storage, owner_id, age_days=0, mib=9)

    assert due(storage, mb_per_user=8) == [image.id]


def test_either_limit_is_enough(storage: Storage, owner_id: str, other_id: str) -> None:
    old = a_stored(storage, other_id, age_days=31, mib=1)
    too_much = a_stored(storage, owner_id, age_days=2, mib=5)
    a_stored(storage, owner_id, age_days=1, mib=5)

    assert due(storage, days=30, mb_per_user=6) == [old.id, too_much.id]


def test_only_so_many_are_named_at_once(storage: Storage, owner_id: str) -> None:
    images = [a_stored(storage, owner_id, age_days=age) for age in (9, 8, 7)]

    found = storage.retention.due(Limits(days=1, mb_per_user=None), most=2)

    assert [each.id for each in found] == [each.id for each in images[:2]]


def test_those_behind_a_place_come_next(storage: Storage, owner_id: str) -> None:
    images = [a_stored(storage, owner_id, age_days=age) for age in (9, 8, 7)]
    same_time = storage.images.get(images[1].id).created_at
    with_times(storage, images[2], created_at=same_time)
    limits = Limits(days=1, mb_per_user=None)

    found, place = [], None
    while batch := storage.retention.due(limits, after=place, most=1):
        found += [each.id for each in batch]
        place = Place.parse(str(Place.of(batch[-1])))

    assert found == [images[0].id, *sorted(each.id for each in images[1:])]


def test_a_picture_that_is_due_comes_whole(storage: Storage, owner_id: str) -> None:
    image = a_stored(storage, owner_id, age_days=2)

    (found,) = storage.retention.due(Limits(days=1, mb_per_user=None))

    assert found == storage.images.get(image.id)

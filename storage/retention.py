"""Retention: which pictures are kept no longer.

Two optional limits: how old a picture may get, and how much of each user's newest pictures is kept.
Jobs stay, without their pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import FromClause, func, or_, select, tuple_

from darkroom.domain import StoredImage
from storage.database import Database, epoch_now
from storage.images import image_of
from storage.tables import images

DAY_S = 24 * 3600.0
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is kept; None keeps everything."""

    days: float | None
    mb_per_user: int | None

    @property
    def are_set(self) -> bool:
        return self.days is not None or self.mb_per_user is not None


@dataclass(frozen=True, kw_only=True)
class Place:
    """A picture's place in the order in which pictures are deleted."""

    created_at: float
    image_id: str

    @classmethod
    def of(cls, image: StoredImage) -> Self:
        return cls(created_at=image.created_at, image_id=image.id)

    @classmethod
    def parse(cls, text: str) -> Self:
        created_at, _, image_id = text.partition(" ")
        return cls(created_at=float(created_at), image_id=image_id)

    def __str__(self) -> str:
        return f"{self.created_at} {self.image_id}"


class Retention:
    """Finds the pictures that are over a limit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(
        self, limits: Limits, *, after: Place | None = None, most: int = 500
    ) -> Sequence[StoredImage]:
        """Pictures to delete now, oldest first, at most so many; only those behind `after`."""
        if not limits.are_set:
            return []
        found: FromClause = images
        over = []
        if limits.mb_per_user is not None:
            # Adds up all pictures that there are: only where that is asked for.
            newer_of_owner = func.sum(images.c.size_bytes).over(
                partition_by=images.c.owner_id,
                order_by=(images.c.created_at.desc(), images.c.id.desc()),
            )
            found = select(images, newer_of_owner.label("total")).subquery()
            over.append(found.c.total > limits.mb_per_user * MIB)
        if limits.days is not None:
            over.append(found.c.created_at < epoch_now() - limits.days * DAY_S)
        columns = [found.c[column.name] for column in images.columns]
        order = (found.c.created_at, found.c.id)
        query = select(*columns).where(or_(*over)).order_by(*order).limit(most)
        if after is not None:
            query = query.where(tuple_(*order) > tuple_(after.created_at, after.image_id))
        with self._database.reading() as connection:
            return [image_of(row) for row in connection.execute(query)]

"""Retention: which pictures are kept no longer.

Two optional limits: how old a picture may get, and how much of each user's newest pictures is kept.
Jobs stay, without their pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select

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


class Retention:
    """Finds the pictures that are over a limit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, limits: Limits, *, most: int = 500) -> Sequence[StoredImage]:
        """Pictures to delete now, oldest first, at most so many."""
        if not limits.are_set:
            return []
        newer_of_owner = func.sum(images.c.size_bytes).over(
            partition_by=images.c.owner_id,
            order_by=(images.c.created_at.desc(), images.c.id.desc()),
        )
        ranked = select(images, newer_of_owner.label("total")).subquery()
        over = []
        if limits.days is not None:
            over.append(ranked.c.created_at < epoch_now() - limits.days * DAY_S)
        if limits.mb_per_user is not None:
            over.append(ranked.c.total > limits.mb_per_user * MIB)
        columns = [ranked.c[column.name] for column in images.columns]
        query = select(*columns).where(or_(*over)).order_by(ranked.c.created_at).limit(most)
        with self._database.reading() as connection:
            return [image_of(row) for row in connection.execute(query)]

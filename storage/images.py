"""Images: the rows that say which pictures there are and whose they are."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Row, bindparam, insert, select, tuple_

from darkroom.domain import Job, StoredImage
from darkroom.errors import NotFound
from storage.database import Database, epoch_now
from storage.inspection import Picture
from storage.tables import files, images

log = structlog.get_logger(__name__)

#: The largest seed that a database keeps.
LARGEST_SEED = 2**63 - 1

# Built once, because building a statement takes longer than running it.
FIND = select(images).where(images.c.id == bindparam("image_id"))
OF_JOBS = (
    select(images)
    .where(images.c.job_id.in_(bindparam("job_ids", expanding=True)))
    .order_by(images.c.position)
)
ADD = insert(images).values(created_at=epoch_now())
LOCK_FILES = (
    select(files.c.key)
    .where(files.c.key.in_(bindparam("keys", expanding=True)))
    .order_by(files.c.key)
    .with_for_update(read=True, key_share=True)
)


@dataclass(frozen=True, kw_only=True)
class KeptPicture:
    """A picture whose file is in the store and claimed, but that no image row names yet."""

    file_key: str
    picture: Picture
    seed: int | None
    revised_prompt: str | None


class Images:
    """All images, without their bytes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, image_id: str, *, owner_id: str | None = None) -> StoredImage:
        """One image, of that owner if one is named. Raises NotFound."""
        with self._database.reading() as connection:
            row = connection.execute(FIND, {"image_id": image_id}).one_or_none()
        if row is None or owner_id not in (None, row.owner_id):
            raise NotFound(f"There is no file {image_id!r}.")
        return image_of(row)

    def of_job(self, job_id: str) -> Sequence[StoredImage]:
        """A job's images in the order they were drawn."""
        return self.of_jobs([job_id])[job_id]

    def of_jobs(self, job_ids: Collection[str]) -> Mapping[str, Sequence[StoredImage]]:
        """The images of a few hundred jobs at most, by job, in the order they were drawn."""
        found: dict[str, list[StoredImage]] = {job_id: [] for job_id in job_ids}
        with self._database.reading() as connection:
            for row in connection.execute(OF_JOBS, {"job_ids": list(found)}):
                found[row.job_id].append(image_of(row))
        return found

    def list(
        self,
        *,
        owner_id: str | None = None,
        chat_id: str | None = None,
        message_id: str | None = None,
        job_id: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Sequence[StoredImage]:
        """The newest images first; `after` continues behind the image of that id."""
        query = select(images).order_by(images.c.created_at.desc(), images.c.id.desc())
        for column, wanted in (
            (images.c.owner_id, owner_id),
            (images.c.chat_id, chat_id),
            (images.c.message_id, message_id),
            (images.c.job_id, job_id),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if after is not None:
            last = self.get(after, owner_id=owner_id)
            query = query.where(
                tuple_(images.c.created_at, images.c.id) < tuple_(last.created_at, last.id)
            )
        with self._database.reading() as connection:
            return [image_of(row) for row in connection.execute(query.limit(limit))]


def insert_images(connection: Connection, job: Job, pictures: Sequence[KeptPicture]) -> None:
    """Add a job's images, inside the transaction that finishes it."""
    if len(pictures) > 1:
        # Each image locks its file: in the order in which all others lock several.
        connection.execute(LOCK_FILES, {"keys": [each.file_key for each in pictures]}).all()
    for position, kept in enumerate(pictures):
        row = {
            "id": str(uuid.uuid4()),
            "job_id": job.id,
            "owner_id": job.owner_id,
            "position": position,
            "file_key": kept.file_key,
            "content_type": kept.picture.content_type,
            "width": kept.picture.width,
            "height": kept.picture.height,
            "size_bytes": kept.picture.size_bytes,
            "seed": _as_kept(kept.seed),
            "revised_prompt": kept.revised_prompt,
            "chat_id": job.metadata.get("chat_id"),
            "message_id": job.metadata.get("message_id"),
        }
        connection.execute(ADD, row)


def _as_kept(seed: int | None) -> int | None:
    """None for a seed that no column holds: the picture is worth more."""
    if seed is not None and abs(seed) > LARGEST_SEED:
        log.warning("seed not kept", seed=seed)
        return None
    return seed


def image_of(row: Row[Any]) -> StoredImage:
    return StoredImage(**row._mapping)

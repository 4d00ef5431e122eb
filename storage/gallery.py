"""The gallery: files and their rows, kept in step.

A file is named by the hash of its bytes and kept once, however many images show it. Between
writing it and committing the image rows a *claim* holds it, so that deleting another image of
the same bytes never takes it away, and a worker that lost its job leaves nothing behind.
"""

import io
from collections.abc import Sequence
from functools import cache
from typing import BinaryIO

import structlog
from PIL import Image
from sqlalchemy import Insert, delete, or_, select

from darkroom.domain import GeneratedImage, Job, JobStatus, StoredImage
from darkroom.errors import FileStoreUnavailable
from storage.contents import THUMBNAIL_WIDTHS, Contents, key_of, thumbnail_path
from storage.database import Database, upsert_for
from storage.files import Files
from storage.images import KeptPicture
from storage.inspection import inspect
from storage.tables import file_claims, files, images, jobs

log = structlog.get_logger(__name__)


class Gallery:
    """Keeps pictures and lets go of them."""

    def __init__(self, database: Database, store: Files) -> None:
        self._database = database
        self._files = store
        self._contents = Contents(store)

    def keep(self, held: Job, pictures: Sequence[GeneratedImage]) -> list[KeptPicture]:
        """Verify pictures and put their files into the store, claimed by this attempt.

        `Attempts.succeed` turns the claims into images; `release` drops them. Raises InvalidPicture
        before anything is written, or Unavailable.
        """
        kept = [
            KeptPicture(
                file_key=key_of(each.data),
                picture=inspect(each.data),
                seed=each.seed,
                revised_prompt=each.revised_prompt,
            )
            for each in pictures
        ]
        self._claim(held, {each.file_key for each in kept})
        for picture, each in zip(pictures, kept, strict=True):
            self._contents.put(each.file_key, picture.data)
        return kept

    def release(self, held: Job, kept: Sequence[KeptPicture]) -> None:
        """Drop an attempt's claims, and the files of `kept` that nothing else uses.

        Names the files too: the claims may be gone, dropped as abandoned before the bytes came.
        """
        self._release(held.id, held.attempt, {each.file_key for each in kept})

    def release_abandoned(self) -> None:
        """Drop the claims of attempts that will never finish: their worker died.

        A claim whose file cannot be deleted now is left for the next time.
        """
        with self._database.reading() as connection:
            abandoned = connection.execute(
                select(file_claims.c.job_id, file_claims.c.attempt)
                .join(jobs, jobs.c.id == file_claims.c.job_id)
                .where(
                    or_(
                        jobs.c.attempt > file_claims.c.attempt,
                        jobs.c.status.not_in([JobStatus.RUNNING, JobStatus.CANCELING]),
                    )
                )
                .distinct()
            ).all()
        for job_id, attempt in abandoned:
            try:
                self._release(job_id, attempt, set())
            except FileStoreUnavailable as error:
                log.warning("files not released", job_id=job_id, reason=error.detail)

    def open(self, image: StoredImage) -> BinaryIO:
        """An image's bytes. Raises NotFound or Unavailable."""
        return self._contents.open(image.file_key)

    def open_thumbnail(self, image: StoredImage, width: int) -> BinaryIO | None:
        """A WebP of at least `width` pixels, made at the first call.

        None when the image itself is no wider than that, or cannot be decoded. Raises NotFound or
        Unavailable.
        """
        fitting = min((each for each in THUMBNAIL_WIDTHS if each >= width), default=image.width)
        if fitting >= image.width:
            return None
        path = thumbnail_path(image.file_key, fitting)
        if not self._files.exists(path):
            with self.open(image) as original:
                small = _shrunk(original, fitting)
            if small is None:
                return None
            self._keep_thumbnail(image.file_key, path, small)
        return self._files.open(path)

    def keep_preview(self, job_id: str, data: bytes) -> None:
        """Show an unfinished picture until the next preview, or the job's end."""
        self._files.replace(_preview_path(job_id), data)

    def open_preview(self, job_id: str) -> BinaryIO:
        """The newest preview of a running job. Raises NotFound."""
        return self._files.open(_preview_path(job_id))

    def has_preview(self, job_id: str) -> bool:
        return self._files.exists(_preview_path(job_id))

    def drop_preview(self, job_id: str) -> None:
        """Forget a job's preview; one that is not there is no error."""
        self._files.delete(_preview_path(job_id))

    def delete(self, image: StoredImage) -> None:
        """Forget an image, and its file when no other image shows it.

        Raises Unavailable, and nothing has changed then.
        """
        with self._database.writing() as connection:
            connection.execute(delete(images).where(images.c.id == image.id))
            self._contents.remove_unused(connection, image.file_key)

    def check(self) -> None:
        """Raises Unavailable when no file can be kept."""
        self._files.check()

    def _claim(self, held: Job, keys: set[str]) -> None:
        with self._database.writing() as connection:
            for key in sorted(keys):
                self._contents.lock(connection, key)
                connection.execute(
                    _claiming(connection.dialect.name),
                    {"file_key": key, "job_id": held.id, "attempt": held.attempt},
                )

    def _release(self, job_id: str, attempt: int, keys: set[str]) -> None:
        mine = (file_claims.c.job_id == job_id, file_claims.c.attempt == attempt)
        with self._database.writing() as connection:
            claimed = connection.scalars(
                delete(file_claims).where(*mine).returning(file_claims.c.file_key)
            )
            for key in sorted(keys.union(claimed)):
                self._contents.remove_unused(connection, key)

    def _keep_thumbnail(self, key: str, path: str, data: bytes) -> None:
        self._files.put(path, data)
        with self._database.writing() as connection:
            row = select(files.c.key).where(files.c.key == key).with_for_update()
            if connection.scalar(row) is None:
                # The picture was deleted meanwhile, and its thumbnails before this one came.
                self._files.delete(path)


@cache
def _claiming(dialect: str) -> Insert:
    return upsert_for(dialect, file_claims).on_conflict_do_nothing()


def _preview_path(job_id: str) -> str:
    return f"previews/{job_id}"


def _shrunk(original: BinaryIO, width: int) -> bytes | None:
    """The picture at `width` pixels, as WebP; None when it cannot be decoded."""
    buffer = io.BytesIO()
    try:
        with Image.open(original) as image:
            height = max(1, round(image.height * width / image.width))
            # Lets a JPEG decode at a fraction of its size; no effect on the others.
            image.draft("RGB", (width, height))
            mode = "RGBA" if image.has_transparency_data else "RGB"
            small = image.convert(mode).resize((width, height), Image.Resampling.LANCZOS)
        small.save(buffer, "WEBP", quality=82)
    except (OSError, SyntaxError, ValueError):
        return None
    return buffer.getvalue()

"""All pictures of a batch as one ZIP, written while it is sent.

Nothing is compressed: pictures are already. `manifest.jsonl` at its end has the result of every
item, with the names of its files.
"""

import io
import re
import time
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import structlog

from api.batches.results import finished_jobs, never_begun, result_of_item, result_of_job
from api.batches.schemas import ResultSchema
from api.services import Services
from darkroom.domain import Batch, Job, StoredImage
from darkroom.errors import NotFound
from darkroom.spool import Spool

log = structlog.get_logger(__name__)

MANIFEST = "manifest.jsonl"

PIECE_BYTES = 256 * 1024

#: What a custom id may bring into the name of a file.
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST_NAME = 80


class _Outlet(io.RawIOBase):
    """Where a ZIP is written to: it is taken away again piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._position

    def taken(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def archive_of(batch: Batch, services: Services) -> Iterator[bytes]:
    """The ZIP of the pictures there are now, in pieces."""
    outlet = _Outlet()
    with (
        Spool() as manifest,
        zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive,
    ):
        schema = ResultSchema()
        for job, images in finished_jobs(batch, services):
            files = []
            for image in images:
                name = _name_of(job, image, images)
                try:
                    yield from _written(archive, outlet, name, image, services)
                except NotFound:
                    # Deleted since; the manifest says so by naming no file.
                    log.info("picture deleted meanwhile", image_id=image.id)
                    continue
                files.append(name)
            line = schema.dump(result_of_job(job, images)) | {"files": files}
            manifest.write(orjson.dumps(line) + b"\n")
        for item in never_begun(batch, services):
            line = schema.dump(result_of_item(item)) | {"files": []}
            manifest.write(orjson.dumps(line) + b"\n")
        manifest.seek(0)
        with archive.open(MANIFEST, "w", force_zip64=True) as target:
            while piece := manifest.read(PIECE_BYTES):
                target.write(piece)
                yield outlet.taken()
    yield outlet.taken()


def _written(
    archive: zipfile.ZipFile,
    outlet: _Outlet,
    name: str,
    image: StoredImage,
    services: Services,
) -> Iterator[bytes]:
    with (
        services.storage.gallery.open(image) as source,
        archive.open(zipfile.ZipInfo(name, _date_of(image)), "w") as target,
    ):
        while piece := source.read(PIECE_BYTES):
            target.write(piece)
            yield outlet.taken()


def _name_of(job: Job, image: StoredImage, images: Sequence[StoredImage]) -> str:
    """`00012-custom-id.png`, with `-1`, `-2` for several: in the order of the batch, and unique."""
    place = job.place
    position, custom_id = (place.position, place.custom_id) if place else (0, job.id)
    called = UNSAFE.sub("-", custom_id)[:LONGEST_NAME].strip("-.")
    number = str(image.position + 1) if len(images) > 1 else ""
    suffix = image.content_type.removeprefix("image/").partition("+")[0]
    parts = (f"{position + 1:05}", called, number)
    return f"{'-'.join(each for each in parts if each)}.{suffix}"


def _date_of(image: StoredImage) -> tuple[int, int, int, int, int, int]:
    return time.gmtime(image.created_at)[:6]

"""Pictures as files on this machine."""

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.errors import InvalidRequest

if TYPE_CHECKING:
    from darkroom.client import Client, Image, Job

#: How much of a prompt goes into a file's name.
SLUG_CHARS = 40


def save_pictures(client: "Client", job: "Job", folder: Path) -> list[Path]:
    """Download a job's pictures. Doing it again writes the same files. Raises InvalidRequest when
    the folder cannot be used."""
    make_folder(folder)
    return [save_picture(client, each, job.prompt, folder) for each in job.images]


def save_picture(client: "Client", image: "Image", prompt: str | None, folder: Path) -> Path:
    try:
        return client.files.download(image, folder / file_name(image, prompt))
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be written to: {error.strerror}.") from error


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be used as a folder: {error.strerror}.") from error


def file_name(image: "Image", prompt: str | None) -> str:
    """A name that says what the picture shows and that no other picture has: it ends with the
    picture's id."""
    plain = unicodedata.normalize("NFKD", prompt or "").encode("ascii", "ignore").decode()
    slug = "-".join(re.findall(r"[a-z0-9]+", plain.lower()))[:SLUG_CHARS].strip("-")
    # The server's own name is not trusted with more than a name.
    own = Path(image.name).name
    return f"{slug}-{own}" if slug else own

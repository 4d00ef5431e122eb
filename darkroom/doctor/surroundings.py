"""What the machine gives a Darkroom: the secret's file, and how much may be open at once."""

import resource
import stat
from collections.abc import Iterator

from darkroom.doctor.diagnosis import Diagnosis, doubtful, failed, well
from darkroom.secrets import SECRET_FILE
from darkroom.settings import Settings, exposed_files

#: Descriptors of an API process besides one for each of its threads: files, database, broker.
OTHER_DESCRIPTORS = 256


def surroundings(settings: Settings) -> Iterator[Diagnosis]:
    yield _secret(settings)
    for name, path in exposed_files():
        yield doubtful(
            "secret files",
            f"Others on this machine may read or change {path} ({name}): run `chmod 600` on it.",
        )
    yield _descriptors(settings)


def _secret(settings: Settings) -> Diagnosis:
    if settings.secret_key is not None:
        return well("secret", "DARKROOM_SECRET_KEY is set.")
    if settings.is_shared:
        return failed(
            "secret",
            "DARKROOM_SECRET_KEY is not set: with a shared database every process needs the same"
            " one. Make it with `openssl rand -hex 32`.",
        )
    file = settings.data_dir.absolute() / SECRET_FILE
    if not file.exists():
        return well("secret", "It will be made at the first start.")
    if stat.S_IMODE(file.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        return doubtful("secret", f"Others can read {file}: run `chmod 600` on it.")
    return well("secret", "It is kept in the data folder, readable by its owner only.")


def _descriptors(settings: Settings) -> Diagnosis:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.api_threads + OTHER_DESCRIPTORS
    if most != resource.RLIM_INFINITY and most < needed:
        return doubtful(
            "open files",
            f"A process may have {most} open, and an API process of {settings.api_threads} threads"
            f" wants {needed}: raise the hard limit (`ulimit -Hn`), or lower DARKROOM_API_THREADS.",
        )
    return well("open files", "The limit is high enough for every thread of an API process.")

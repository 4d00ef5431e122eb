"""The newest schema in a new database, without running every migration for every test."""

import functools
import tempfile
from pathlib import Path

from storage.database import Database
from storage.migrations import upgrade


def prepare(database: Database) -> None:
    """Give a database that nobody has used yet the newest schema."""
    path = database.engine.url.database
    assert path is not None
    Path(path).write_bytes(_sqlite())


@functools.cache
def _sqlite() -> bytes:
    """The file of a database that was upgraded and not used."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "darkroom.db"
        database = Database(f"sqlite:///{path}")
        upgrade(database)
        database.close()
        return path.read_bytes()

"""The newest schema in a new database, without running every migration for every test."""

import functools
import tempfile
from pathlib import Path

from storage.database import Database
from storage.migrations import upgrade


def upgrade_once(url: str) -> None:
    """Run every migration, and leave no connection."""
    database = Database(url)
    upgrade(database)
    database.close()


def copy_sqlite(database: Database) -> None:
    """Give a database that nobody has used yet the newest schema."""
    path = database.engine.url.database
    assert path is not None
    Path(path).write_bytes(_sqlite())


@functools.cache
def _sqlite() -> bytes:
    """The file of a database that was upgraded and not used."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "darkroom.db"
        upgrade_once(f"sqlite:///{path}")
        return path.read_bytes()

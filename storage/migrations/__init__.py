"""The schema's history, and the two things done with it: upgrade, and ask where it stands."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from storage.database import Database

#: The number PostgreSQL knows our upgrades by; any that nobody else uses in the same database.
LOCK = 0x6461726B


def upgrade(database: Database) -> None:
    """Bring the schema to the newest revision. Doing it twice, or by two processes at once, does
    no harm: the second waits and finds nothing to do. A schema of a later release is left alone."""
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        config = _config()
        if _is_later(connection, ScriptDirectory.from_config(config)):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_current(database: Database) -> bool:
    """Whether this code can work on the schema: it is the one it expects, or that of a later
    release, whose migrations only add to it (docs/decisions/0017)."""
    with database.reading() as connection:
        scripts = ScriptDirectory.from_config(_config())
        return _revision(connection) == scripts.get_current_head() or _is_later(connection, scripts)


def _is_later(connection: Connection, scripts: ScriptDirectory) -> bool:
    """Whether a migration has been here that this code does not know."""
    revision = _revision(connection)
    return revision is not None and revision not in {
        each.revision for each in scripts.walk_revisions()
    }


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config

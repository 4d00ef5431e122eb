"""The schema's history, and the two things done with it: upgrade, and ask where it stands."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select

from storage.database import Database

#: The number PostgreSQL knows our upgrades by; any that nobody else uses in the same database.
LOCK = 0x6461726B


def upgrade(database: Database) -> None:
    """Bring the schema to the newest revision. Doing it twice, or by two processes at once, does
    no harm: the second waits and finds nothing to do."""
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_current(database: Database) -> bool:
    """Whether the schema is the one this code expects."""
    with database.reading() as connection:
        context = MigrationContext.configure(connection)
        return context.get_current_revision() == newest()


def newest() -> str | None:
    """The revision this code expects."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config

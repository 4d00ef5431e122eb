"""The schema that migrations make, one after the other, is the one the code declares."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, MetaData, String, Table, text
from sqlalchemy.schema import ColumnCollectionConstraint

from storage import migrations
from storage.database import Database
from storage.migrations import is_current, upgrade
from storage.tables import metadata
from tests.storage.builders import Process


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def test_an_empty_database_is_not_current(database: Database) -> None:
    assert not is_current(database)


def test_an_upgraded_database_is_current(database: Database) -> None:
    upgrade(database)

    assert is_current(database)


def test_the_migrations_make_the_declared_tables(database: Database) -> None:
    upgrade(database)

    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_upgrading_again_does_no_harm(database: Database) -> None:
    upgrade(database)

    upgrade(database)

    assert is_current(database)


def test_two_processes_can_upgrade_at_once(database: Database, database_url: str) -> None:
    program = """
from storage.database import Database
from storage.migrations import upgrade
upgrade(Database(sys.argv[1]))
"""
    processes = [Process(program, database_url) for _ in range(3)]

    for each in processes:
        each.go()

    assert [each.outcome() for each in processes] == [(0, "")] * 3
    assert is_current(database)


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config


def revisions() -> list[str]:
    """Every migration, the oldest first."""
    scripts = ScriptDirectory.from_config(alembic_config())
    return [each.revision for each in scripts.walk_revisions()][::-1]


def test_every_migration_only_adds(database: Database) -> None:
    """Processes of the release before go on working on the schema, and may start on it."""
    before: dict[str, Table] = {}
    for revision in revisions():
        with database.writing() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        found = MetaData()
        with database.reading() as connection:
            found.reflect(connection)
        assert narrowings(before, found.tables) == [], f"migration {revision}"
        before = dict(found.tables)


def narrowings(before: Mapping[str, Table], after: Mapping[str, Table]) -> list[str]:
    """What could stop code that knows only the tables of before."""
    found = [f"{name} is gone" for name in before if name not in after]
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            continue
        for column in old.columns:
            kept = new.columns.get(column.name)
            if kept is None:
                found.append(f"{name}.{column.name} is gone")
            elif str(kept.type) != str(column.type) and not is_longer(kept, column):
                found.append(f"{name}.{column.name} was {column.type} and is {kept.type}")
            elif column.nullable and not kept.nullable:
                found.append(f"{name}.{column.name} must not be empty any more")
        for column in new.columns:
            must_be_given = not column.nullable and column.server_default is None
            if column.name not in old.columns and must_be_given:
                found.append(f"{name}.{column.name} is new and must be given")
        found += [f"{name} has a new rule: {each}" for each in rules(new) - rules(old)]
    return found


def is_longer(new: Column[Any], old: Column[Any]) -> bool:
    """Whether a column holds all the texts that it held, and longer ones."""
    if not (isinstance(new.type, String) and isinstance(old.type, String)):
        return False
    return new.type.length is None or new.type.length >= (old.type.length or math.inf)


def rules(table: Table) -> set[str]:
    """What refuses a row, other than its columns."""
    return {
        f"{type(each).__name__} of {', '.join(column.name for column in each.columns)}"
        for each in table.constraints
        if isinstance(each, ColumnCollectionConstraint)
    } | {
        f"unique index of {', '.join(column.name for column in each.columns)}"
        for each in table.indexes
        if each.unique
    }


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE things",
        "ALTER TABLE things DROP COLUMN name",
        "ALTER TABLE things RENAME COLUMN name TO title",
        "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL",
        "CREATE UNIQUE INDEX one_name ON things (name)",
    ],
)
def test_a_migration_that_takes_something_away_is_found_out(
    database: Database, change: str
) -> None:
    before, after = MetaData(), MetaData()
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE things (id INTEGER, name TEXT)"))
        before.reflect(connection)
        if "NOT NULL" in change and connection.dialect.name == "sqlite":
            # SQLite refuses it by itself; a table made anew would have it.
            connection.execute(text("DROP TABLE things"))
            change = "CREATE TABLE things (id INTEGER, name TEXT, size INTEGER NOT NULL)"
        connection.execute(text(change))
        after.reflect(connection)

    assert narrowings(before.tables, after.tables)


def add_a_later_migration(database: Database) -> None:
    """What a release to come might do, as far as this one can tell."""
    with database.writing() as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN mood VARCHAR DEFAULT 'calm' NOT NULL"))
        connection.execute(text("CREATE TABLE moods (name VARCHAR PRIMARY KEY)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))


def test_a_schema_of_a_later_release_is_current_and_left_alone(database: Database) -> None:
    upgrade(database)
    add_a_later_migration(database)

    upgrade(database)

    assert is_current(database)
    with database.reading() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_a_schema_of_an_earlier_release_is_not_current(database: Database) -> None:
    upgrade(database)
    with database.writing() as connection:
        first = {"first": revisions()[0]}
        connection.execute(text("UPDATE alembic_version SET version_num = :first"), first)

    assert not is_current(database)

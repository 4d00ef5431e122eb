"""The schema that migrations make, one after the other, is the one the code declares."""

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

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

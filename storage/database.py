"""The database: connections, transactions, and the little that differs between dialects.

SQLite runs in WAL mode with full syncs, so that an accepted job survives a power cut. Its write
transactions start with `BEGIN IMMEDIATE`, because one that starts reading and then writes cannot
wait for another writer: it fails with "database is locked" at once. Writers of one process queue
on a lock, which does not poll; those of other processes ask again after a nap of less than a
millisecond at first, because SQLite's own naps grow to a tenth of a second.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Table,
    create_engine,
    event,
    func,
    literal,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from darkroom.errors import SettingsError, Unavailable
from darkroom.watch.meters import meters

#: How long a connection is waited for, and how long SQLite waits for another process's write,
#: in seconds.
PATIENCE_S = 10.0

#: How long the end of statements under way is waited for when the database is closed, in seconds.
CLOSES_WITHIN_S = 1.0

#: How long a writer sleeps before it asks again whether another process has written, at first and
#: at most, in seconds.
FIRST_NAP_S = 0.0002
LONGEST_NAP_S = 0.005

#: What lets PostgreSQL's client notice within 10 to 20 s that the server's host is gone, and not
#: when TCP gives up. In seconds, but for `tcp_user_timeout`: in milliseconds.
POSTGRESQL_LIMITS = {
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
}

AWAY = "The database does not answer at the moment. Try again in a few seconds."


class epoch_now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it stands for
    """Unix time by the database's clock: the one clock that several machines share."""

    type = Double()
    inherit_cache = True


@compiles(epoch_now, "sqlite")
def _epoch_now_sqlite(element: epoch_now, compiler: SQLCompiler, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(epoch_now, "postgresql")
def _epoch_now_postgresql(element: epoch_now, compiler: SQLCompiler, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Database:
    """One database, for all threads of a process. Raises SettingsError for a URL it cannot use."""

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        is_sqlite = url.startswith("sqlite")
        try:
            self.engine = create_engine(
                _with_driver(url),
                json_serializer=lambda value: orjson.dumps(value).decode(),
                json_deserializer=orjson.loads,
                # Values of a failed statement are people's: they must not reach a log.
                hide_parameters=True,
                pool_size=16,
                max_overflow=16,
                pool_timeout=patience_s,
                pool_pre_ping=not is_sqlite,
                connect_args=(
                    {"timeout": patience_s, "check_same_thread": False}
                    if is_sqlite
                    else _postgresql_limits(url)
                ),
            )
        except (ArgumentError, ImportError, ValueError) as error:
            raise SettingsError(
                "DARKROOM_DATABASE_URL cannot be used: give sqlite:////folder/file.db or"
                " postgresql://user:password@host/name."
            ) from error
        self._patience_s = patience_s
        self._in_use = 0
        self._idle = threading.Condition()
        self._writers = threading.Lock() if is_sqlite else None
        self._reading = {} if is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        if is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", partial(_begin_sqlite, patience_s))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose every statement sees the newest committed state.

        Raises Unavailable when the database does not answer.
        """
        with _translated(), self._connected() as connection:
            yield connection.execution_options(**self._reading)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back when anything is raised.

        Keep it short, nothing slow belongs inside. Raises Unavailable when the database does
        not answer, or stays locked.
        """
        with (
            _translated(),
            self._turn_to_write(),
            self._connected() as connection,
            connection.execution_options(is_write=True).begin(),
        ):
            yield connection

    @contextmanager
    def counting(self, what: str) -> Iterator[Connection]:
        """A transaction as in `writing`, for what holds only while nobody else counts `what`."""
        with self.writing() as connection:
            hold(connection, literal(what))
            yield connection

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        if self._writers is None:
            yield
            return
        if not self._writers.acquire(timeout=self._patience_s):
            raise Unavailable(AWAY)
        try:
            yield
        finally:
            self._writers.release()

    def check(self) -> None:
        """Raises Unavailable when the database does not answer."""
        with self.reading() as connection:
            connection.execute(text("SELECT 1"))

    def now(self) -> float:
        """Unix time by the database's clock. Raises Unavailable."""
        with self.reading() as connection:
            return connection.scalars(select(epoch_now())).one()

    def copy_to(self, path: Path) -> None:
        """Write a SQLite database as it is at this moment to a new file. Raises Unavailable."""
        with self.reading() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (str(path),))

    def close(self) -> None:
        """Close all connections, those that other threads are about to give back too."""
        with self._idle:
            self._idle.wait_for(lambda: not self._in_use, CLOSES_WITHIN_S)
        self.engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self._idle:
            self._in_use += 1
        try:
            with self.engine.connect() as connection:
                yield connection
        finally:
            with self._idle:
                self._in_use -= 1
                self._idle.notify_all()


def hold(
    connection: Connection, name: ColumnElement[str], *conditions: ColumnElement[bool]
) -> None:
    """Be the only transaction that holds `name` until this one ends; not where a condition fails.

    On SQLite every write transaction is the only one already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(
            select(func.pg_advisory_xact_lock(func.hashtext(name))).where(*conditions)
        )


def upsert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can say what to do when the row is there already."""
    return upsert_for(connection.dialect.name, table)


def upsert_for(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """The same, for a statement that is built once."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        meters().is_away("database")
        raise Unavailable(AWAY) from error


def _with_driver(url: str) -> str:
    """Name the PostgreSQL driver we ship, for URLs that name none."""
    for plain in ("postgres://", "postgresql://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def _postgresql_limits(url: str) -> dict[str, Any]:
    """What a URL says itself goes before."""
    said = make_url(url).query
    return {name: said.get(name, usual) for name, usual in POSTGRESQL_LIMITS.items()}


def _prepare_sqlite(connection: Any, record: object) -> None:
    # No implicit transactions by the driver: reads stand alone, writes begin below.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(patience_s: float, connection: Connection) -> None:
    """Raises Unavailable when another process writes for too long."""
    if not connection.get_execution_options().get("is_write"):
        return
    driver: Any = connection.connection.driver_connection
    give_up_at = time.monotonic() + patience_s
    nap_s = FIRST_NAP_S
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while not _has_begun(driver):
            if time.monotonic() > give_up_at:
                raise Unavailable(AWAY)
            time.sleep(nap_s)
            nap_s = min(nap_s * 1.5, LONGEST_NAP_S)
    finally:
        driver.execute(f"PRAGMA busy_timeout={1000 * patience_s:.0f}")


def _has_begun(driver: sqlite3.Connection) -> bool:
    """Begin to write; False when another process does."""
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise Unavailable(AWAY) from error
    return True

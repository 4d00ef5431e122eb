"""The database: writers wait for each other, and who waits too long is told in words."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from darkroom.errors import SettingsError, Unavailable
from darkroom.settings import Settings
from storage import Storage, open_storage
from storage.database import PATIENCE_S, Database, epoch_now
from storage.migrations import upgrade
from storage.tables import jobs
from tests.backends.choice import only_shared
from tests.storage.builders import Process, a_job, queued, together


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "darkroom.db"


@pytest.fixture
def other_writer(file: Path) -> Iterator[sqlite3.Connection]:
    """Another program that is in the middle of a long write to the same SQLite file."""
    database = Database(f"sqlite:///{file}")
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE notes (text TEXT)"))
    database.close()
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


def write(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text("INSERT INTO notes VALUES ('mine')"))


def test_a_writer_waits_for_another_program(file: Path, other_writer: sqlite3.Connection) -> None:
    database = Database(f"sqlite:///{file}")
    about_to_write = threading.Event()
    event.listen(database.engine, "checkout", lambda *_: about_to_write.set())

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write, database)
        assert about_to_write.wait(30)
        other_writer.execute("INSERT INTO notes VALUES ('theirs')")
        other_writer.execute("COMMIT")
        writing.result()

    with database.reading() as connection:
        assert connection.scalars(text("SELECT text FROM notes")).all() == ["theirs", "mine"]
    database.close()


def test_a_writer_that_waits_too_long_is_told_so(
    file: Path, other_writer: sqlite3.Connection
) -> None:
    database = Database(f"sqlite:///{file}", patience_s=0.05)

    with pytest.raises(Unavailable, match="Try again"):
        write(database)

    other_writer.execute("COMMIT")
    write(database)
    database.close()


def test_a_reader_waits_for_no_writer(file: Path, other_writer: sqlite3.Connection) -> None:
    database = Database(f"sqlite:///{file}", patience_s=0.05)

    with database.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM notes")) == 0
    database.close()


def test_processes_that_write_at_once_all_succeed(
    storage: Storage, owner_id: str, settings: Settings
) -> None:
    program = """
from storage.database import Database
from storage.attempts import Attempts
from storage.jobs import Jobs
from tests.storage.builders import a_job
database = Database(sys.argv[1])
jobs, attempts = Jobs(database), Attempts(database)
for _ in range(25):
    job, _ = jobs.submit(a_job(sys.argv[2]))
    held = attempts.claim(job.id, worker="w", lease_s=30)
    attempts.renew("w", {held.id: held.attempt}, lease_s=30)
"""
    processes = [Process(program, settings.database, owner_id) for _ in range(4)]

    for each in processes:
        each.go()

    assert [each.outcome() for each in processes] == [(0, "")] * 4
    with storage.database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(jobs)) == 100


def test_threads_that_write_at_once_all_succeed(storage: Storage, owner_id: str) -> None:
    def submit() -> None:
        for _ in range(5):
            storage.jobs.submit(a_job(owner_id))

    together(*[submit] * 24)

    assert len(storage.jobs.list(limit=500)) == 120


def test_what_fails_half_way_changes_nothing(storage: Storage, owner_id: str) -> None:
    def fail_half_way() -> None:
        with storage.database.writing() as connection:
            connection.execute(text("DELETE FROM users"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()

    assert storage.users.get(owner_id)


def test_a_read_sees_what_was_committed_since_the_last(storage: Storage, owner_id: str) -> None:
    count = select(func.count()).select_from(jobs)

    with storage.database.reading() as connection:
        before = connection.scalar(count)
        queued(storage, owner_id)
        after = connection.scalar(count)

    assert (before, after) == (0, 1)


def test_foreign_keys_are_enforced(storage: Storage) -> None:
    with pytest.raises(IntegrityError):
        queued(storage, "nobody")


def test_the_database_tells_the_time(storage: Storage, owner_id: str) -> None:
    with storage.database.reading() as connection:
        earlier = connection.scalar(select(epoch_now()))
        job = queued(storage, owner_id)
        later = connection.scalar(select(epoch_now()))

    assert earlier is not None
    assert later is not None
    assert 1.7e9 < earlier <= job.created_at <= later


def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = Database("postgresql://darkroom@127.0.0.1:1/darkroom")

    with pytest.raises(Unavailable):
        database.check()


@only_shared
def test_a_server_whose_machine_is_gone_without_a_word_is_given_up_on(storage: Storage) -> None:
    """Else a call on an open connection waits for as long as the system sends again: 15 minutes."""
    with storage.database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        agreed = driver.info.get_parameters()

    assert 0 < int(agreed["tcp_user_timeout"]) <= PATIENCE_S * 1000
    # Also while an answer is waited for, and nothing is sent.
    assert int(agreed["keepalives_idle"]) <= PATIENCE_S


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'darkroom.db'}")

    with pytest.raises(Unavailable):
        database.check()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name", "postgresql://a:pw@host:port/x"])
def test_a_url_that_cannot_be_used_says_what_to_give(url: str) -> None:
    with pytest.raises(SettingsError, match=r"DARKROOM_DATABASE_URL.*postgresql://") as caught:
        Database(url)

    assert "pw" not in caught.value.detail


def test_an_unmade_data_folder_is_made(tmp_path: Path) -> None:
    storage = open_storage(Settings(data_dir=tmp_path / "new" / "data"))

    upgrade(storage.database)

    assert storage.users.list() == []
    storage.close()


@pytest.mark.parametrize(
    ("query", "limits"),
    [("", ("5", "10000")), ("?connect_timeout=9&tcp_user_timeout=1000", ("9", "1000"))],
)
def test_a_postgresql_whose_host_is_gone_is_not_waited_for_as_long_as_tcp_would(
    query: str, limits: tuple[str, str]
) -> None:
    said: dict[str, object] = {}

    def connect(dialect: object, record: object, arguments: object, options: object) -> None:
        assert isinstance(options, dict)
        said.update(options)
        raise OperationalError("connect", {}, Exception())

    database = Database(f"postgresql://user@nowhere.invalid/name{query}")
    event.listen(database.engine, "do_connect", connect)

    with pytest.raises(Unavailable):
        database.check()

    assert (said["connect_timeout"], said["tcp_user_timeout"]) == limits
    database.close()


def test_what_another_thread_still_reads_is_closed_with_the_rest(storage: Storage) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def read() -> None:
        with storage.database.reading():
            begun.set()
            goes_on.wait(10)

    with ThreadPoolExecutor() as others:
        reading = others.submit(read)
        assert begun.wait(10)
        closing = others.submit(storage.database.close)
        assert wait([closing], timeout=0.2).not_done

        goes_on.set()

        reading.result()
        closing.result()

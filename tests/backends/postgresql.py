"""A PostgreSQL server of our own, in a temporary folder and reached by a unix socket."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

#: PostgreSQL refuses to run as root; Debian's package brings this account to run it.
ACCOUNT = "postgres"

#: The data is thrown away anyway. A commit still outlives the server, but not the machine.
OPTIONS = (
    "-c fsync=off -c full_page_writes=off -c listen_addresses='' -c max_connections=500"
    " -c autovacuum=off -c wal_level=minimal -c max_wal_senders=0"
)


def programs() -> Path | None:
    """The folder of the server's programs, wherever the system keeps them."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((each.parent for each in versions), key=_version, default=None)


def _version(folder: Path) -> float:
    return float(folder.parent.name)


class PostgreSQL:
    """Runs while the block does."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs

    def __enter__(self) -> Self:
        # Not in pytest's own folder: a socket's path must be short, and the account reach it.
        self._folder = Path(tempfile.mkdtemp(prefix="darkroom-postgresql-"))
        if os.getuid() == 0:
            shutil.chown(self._folder, ACCOUNT)
        self._run("initdb", "--no-locale", "--encoding=UTF8", "--auth=trust", "--username=darkroom")
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Returns once it answers."""
        options = f"{OPTIONS} -c unix_socket_directories={self._folder}"
        self._run(
            "pg_ctl", "--wait", f"--log={self._folder / 'log'}", f"--options={options}", "start"
        )

    def stop(self) -> None:
        """Stop it as a crash would; what was committed stays."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def new_database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://darkroom@/{database}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        as_whom = ["runuser", "-u", ACCOUNT, "--"] if os.getuid() == 0 else []
        subprocess.run(
            [
                *as_whom,
                str(self._programs / program),
                f"--pgdata={self._folder / 'data'}",
                *arguments,
            ],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )

"""Bare callers: the standard library's HTTP client on kept connections, nothing else."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

#: How long one answer may take, in seconds.
PATIENCE_S = 300.0


class Connection:
    """One kept connection."""

    def __init__(self, origin: str) -> None:
        parts = urlsplit(origin)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(
            parts.hostname, parts.port, timeout=PATIENCE_S
        )

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Send one request; returns the status and the body of the answer."""
        self._connection.request(
            method,
            path,
            None if body is None else json.dumps(body),
            {"Content-Type": "application/json", **(headers or {})},
        )
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def call_json(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """The same, for an answer that must be a success with JSON."""
        status, content = self.call(method, path, body, headers)
        assert 200 <= status < 300, (status, content[:500])
        return json.loads(content)

    def close(self) -> None:
        self._connection.close()


def each_of(
    callers: int, count: int, origin: str, work: Callable[[Connection, int], None]
) -> tuple[float, list[float]]:
    """Do `work` so often, shared among so many callers with a connection each.

    Returns how long all took, and each one alone, in seconds. What a caller raises is raised here.
    """
    numbers = iter(range(count))
    took: list[float] = []
    errors: list[BaseException] = []
    lock = threading.Lock()

    def call() -> None:
        try:
            with closing(Connection(origin)) as connection:
                while True:
                    with lock:
                        number = next(numbers, None)
                    if number is None or errors:
                        return
                    started = time.monotonic()
                    work(connection, number)
                    took.append(time.monotonic() - started)
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    started = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    whole = time.monotonic() - started
    if errors:
        raise errors[0]
    return whole, took

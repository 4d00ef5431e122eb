"""The built-in engine's account of its calls: one file for each run, in a folder.

A remote engine keeps such an account by itself. Here it lets tests count calls, and lets a run
outlive the worker that began it.
"""

import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, kw_only=True)
class Run:
    """One call, as it was when it began. Times are Unix seconds."""

    #: Names the run's file; the engine's upstream id.
    id: str
    job_id: str
    attempt: int
    #: The first picture's.
    seed: int
    started_at: float
    finishes_at: float

    @classmethod
    def begin(cls, *, job_id: str, attempt: int, seed: int, takes_s: float) -> "Run":
        now = time.time()
        return cls(
            id=str(uuid.uuid4()),
            job_id=job_id,
            attempt=attempt,
            seed=seed,
            started_at=now,
            finishes_at=now + takes_s,
        )


class Ledger:
    """All runs in one folder, shared by any number of processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def enter(self, run: Run) -> None:
        """Keep a run: all of it or nothing."""
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"{run.id}.draft"
        draft.write_bytes(orjson.dumps(asdict(run)))
        draft.replace(self._path(run.id))

    def find(self, run_id: str) -> Run | None:
        try:
            return Run(**orjson.loads(self._path(run_id).read_bytes()))
        except FileNotFoundError:
            return None

    def runs(self) -> Iterator[Run]:
        """Every run, in no order."""
        for path in self._folder.glob("*.json"):
            yield Run(**orjson.loads(path.read_bytes()))

    def _path(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.json"

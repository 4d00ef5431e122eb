"""Things the tests of storage need; a test names only what matters to it."""

import io
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from sqlalchemy import Table, update

from darkroom.domain import (
    Batch,
    BatchItem,
    GeneratedImage,
    ImageRequest,
    Job,
    JobError,
    JobStatus,
    NewBatch,
    NewJob,
    StoredImage,
)
from storage import Storage
from storage.batches import new_batch_id
from storage.chunks import Draft
from storage.tables import images, jobs

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

AN_ERROR = JobError(code="engine_failed", detail="It broke.")


def a_job(owner_id: str, prompt: str = "a lighthouse", **rest: Any) -> NewJob:
    usual: dict[str, Any] = {
        "owner_id": owner_id,
        "engine": "builtin",
        "model": "placeholder",
        "request": ImageRequest(prompt=prompt),
    }
    return NewJob(**usual | rest)


def queued(storage: Storage, owner_id: str, **rest: Any) -> Job:
    job, _ = storage.jobs.submit(a_job(owner_id, **rest))
    return job


def an_item(number: int = 1, **rest: Any) -> BatchItem:
    usual: dict[str, Any] = {
        "line": number,
        "custom_id": f"line-{number}",
        "engine": "builtin",
        "model": "placeholder",
        "request": ImageRequest(prompt=f"prompt {number}"),
    }
    return BatchItem(**usual | rest)


def accepted(
    storage: Storage, owner_id: str, *items: BatchItem, batch_id: str | None = None, **rest: Any
) -> Batch:
    """A batch of which nothing is planted yet."""
    with Draft() as draft:
        for each in items:
            draft.add(each)
        batch, _ = storage.batches.submit(
            NewBatch(owner_id=owner_id, **rest), draft, batch_id=batch_id or new_batch_id()
        )
    return batch


def planted(storage: Storage, owner_id: str, count: int, **rest: Any) -> tuple[Batch, list[Job]]:
    """A batch whose items are all jobs, and these in order."""
    batch = accepted(storage, owner_id, *(an_item(number + 1) for number in range(count)), **rest)
    while storage.batches.plant(batch.id):
        pass
    return batch, list(reversed(storage.jobs.list(batch_id=batch.id, limit=count)))


def claimed(storage: Storage, job: Job, *, worker: str = "w1", lease_s: float = 30) -> Job:
    held = storage.attempts.claim(job.id, worker=worker, lease_s=lease_s)
    assert held is not None
    return held


def running(storage: Storage, owner_id: str, *, lease_s: float = 30, **rest: Any) -> Job:
    return claimed(storage, queued(storage, owner_id, **rest), lease_s=lease_s)


def sent(storage: Storage, *, engine: str = "builtin", window: int = 100, **rest: Any) -> list[str]:
    """The ids that are next; they count as sent from now on."""
    return [each.id for each in storage.backlog.take(engine, window=window, **rest)]


def with_times(storage: Storage, thing: Job | StoredImage, **times: float | None) -> None:
    """Change when something happened, as if time had passed."""
    table: Table = jobs if isinstance(thing, Job) else images
    with storage.database.writing() as connection:
        connection.execute(update(table).where(table.c.id == thing.id).values(**times))


def back_in_queue(storage: Storage, job: Job) -> None:
    """A canceled job as it was before."""
    with storage.database.writing() as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id)
            .values(status=JobStatus.QUEUED, finished_at=None)
        )


def status_of(storage: Storage, job: Job) -> JobStatus:
    return storage.jobs.get(job.id).status


def encoded(
    kind: str = "PNG", *, color: str = "red", size: tuple[int, int] = (64, 48), mode: str = "RGB"
) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, kind)
    return buffer.getvalue()


def a_picture(data: bytes | None = None, *, seed: int | None = None) -> GeneratedImage:
    return GeneratedImage(data=data or encoded(), seed=seed)


def shown(storage: Storage, job: Job, *pictures: GeneratedImage) -> list[StoredImage]:
    """Finish a running job with these pictures."""
    kept = storage.gallery.keep(job, pictures or [a_picture()])
    assert storage.attempts.succeed(job, kept, warnings=[])
    return list(storage.images.of_job(job.id))


def content(storage: Storage, image: StoredImage) -> bytes:
    with storage.gallery.open(image) as file:
        return file.read()


def together(*works: Callable[[], T]) -> list[T]:
    """Run all of these at one moment, each in a thread of its own; their results, in order."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        barrier.wait(timeout=30)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


class Process:
    """Another process that runs a few lines of Python, once it is told to go."""

    def __init__(self, program: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import sys\ninput()\n{program}", *arguments],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def outcome(self) -> tuple[int, str]:
        """Its exit code and what it complained of."""
        _, complaints = self._process.communicate(timeout=60)
        return self._process.returncode, complaints

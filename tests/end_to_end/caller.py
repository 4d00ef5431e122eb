"""Someone who uses a Darkroom over HTTP, and looks into its folder afterwards."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import requests

from storage.files import Files
from tests.backends import choice

T = TypeVar("T")

#: How long a condition is waited for, in seconds. Generous: it only costs when a test fails.
PATIENCE_S = 60.0


def until(condition: Callable[[], T | None], what: str, *, within_s: float = PATIENCE_S) -> T:
    """The condition's value once it is true; fails when it never is."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        pause.wait(0.02)
    return value


class Caller:
    """Calls one Darkroom as its admin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        #: The admin's key; only the first start prints one.
        self.key = ""
        #: Settings that say where it keeps everything; empty for the usual places.
        self.places = choice.places()

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """A call as the admin, or whoever the headers say."""
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return requests.request(
            method, self.url + path, headers=headers, timeout=PATIENCE_S, **options
        )

    def generate(self, headers: dict[str, str] | None = None, **body: object) -> requests.Response:
        """Ask for a small picture."""
        return self.call(
            "POST",
            "/api/images/generations",
            json={"prompt": "a lighthouse", "size": "64x64"} | body,
            headers=headers or {},
        )

    def submit(self, headers: dict[str, str] | None = None, **body: object) -> str:
        """Ask for a small picture without waiting; the job's id."""
        answer = self.generate({"Prefer": "respond-async", **(headers or {})}, **body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> Any:
        return self.call("GET", f"/api/v1/jobs/{job_id}").json()

    def finished(self, job_id: str) -> Any:
        """The job, once it is finished."""
        return until(
            lambda: job if (job := self.job(job_id))["finished_at"] is not None else None,
            f"job {job_id} is finished",
        )

    def stored_files(self) -> list[str]:
        """The name of every file in the store: pictures, and what should not be there."""
        if choice.IS_SHARED:
            keys = Files(self.places["storage_url"]).keys()
            return [each.rpartition("/")[2] for each in keys]
        # Drafts too, which a store does not list.
        return [each.name for each in (self.folder / "files").rglob("*") if each.is_file()]

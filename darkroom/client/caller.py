"""The client."""

import json
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from darkroom.client.batches import Batches
from darkroom.client.bodies import Picture, said, sent_picture, sent_pictures
from darkroom.client.files import Files
from darkroom.client.following import follow_job
from darkroom.client.records import Account, EngineState, Job, Model, NewKey
from darkroom.client.transport import Call, Retries, Transport

GENERATIONS = "/api/v1/images/generations"
EDITS = "/api/v1/images/edit"
USAGE = "/api/v1/usage/"


class Client:
    """One account at one Darkroom.

    Without `url` or `key` they are found where the command line finds them: DARKROOM_SERVER and
    DARKROOM_KEY, `darkroom login`, a `darkroom up` in the data folder. An empty `key` stands for
    none. `timeout_s` is how long one call waits for an answer, not for pictures.

    Calls that ask for work carry an idempotency key, so that they are repeated after a broken
    connection or a refusal for now without being done twice; so are calls that only read. Other
    calls are made once. Usable from several threads; close it, or use it in a `with` block.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
    ) -> None:
        if url is None or key is None:
            from darkroom.client.finding import find_server

            found = find_server(url=url, key=key)
            url, key = found.url, found.key
        self._transport = Transport(
            url, key or None, timeout_s=timeout_s, retries=retries or Retries()
        )
        self.batches = Batches(self._transport)
        self.files = Files(self._transport)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    @property
    def url(self) -> str:
        return self._transport.url

    def generate(
        self,
        prompt: str,
        *,
        timeout_s: float | None = None,
        on_change: Callable[[Job], None] | None = None,
        **fields: Any,
    ) -> Job:
        """Draw pictures and wait for them, at most `timeout_s`, by default as long as it takes.

        `fields` are those of a request: `model`, `size`, `n`, `seed`, `steps`, `negative_prompt`,
        `quality`, `output_format`, `background`, `strict`, `lane`, `deadline_s`, `metadata`,
        `engine`. `on_change` gets the job as it goes on. Raises the job's failure, and NotFinished
        when the time is over; the job goes on then.
        """
        return self._finished(self.submit(prompt, **fields), timeout_s, on_change)

    def edit(
        self,
        prompt: str,
        image: Picture | Sequence[Picture],
        *,
        mask: Picture | None = None,
        timeout_s: float | None = None,
        on_change: Callable[[Job], None] | None = None,
        **fields: Any,
    ) -> Job:
        """Change pictures by a prompt and wait for the result, as `generate` does.

        A `Path` or bytes are sent along; text is an id, a URL, a data URL or base64. `mask` says
        where to repaint the first picture.
        """
        job = self.submit(prompt, image=image, mask=mask, **fields)
        return self._finished(job, timeout_s, on_change)

    def submit(
        self,
        prompt: str,
        *,
        image: Picture | Sequence[Picture] | None = None,
        mask: Picture | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        """Ask for pictures, or with `image` for changed ones, and return at once.

        The same `idempotency_key` with the same fields is the same job; without one the call makes
        its own.
        """
        if image is not None:
            fields["image"] = sent_pictures(image)
            fields["mask"] = None if mask is None else sent_picture(mask)
        return self._accepted(
            GENERATIONS if image is None else EDITS,
            said({"prompt": prompt, **fields}),
            idempotency_key,
        )

    def job(self, job: Job | str) -> Job:
        """A job as it stands. Raises NotFound."""
        return Job.read(self._get(_path(job)))

    def jobs(
        self,
        *,
        limit: int = 50,
        after: str | None = None,
        status: str | None = None,
        batch: str | None = None,
    ) -> list[Job]:
        """Own jobs, newest first; continue behind the one with the id `after`."""
        found = self._get("/api/v1/jobs/", limit=limit, after=after, status=status, batch=batch)
        return [Job.read(each) for each in found]

    def follow(self, job: Job | str, *, timeout_s: float | None = None) -> Iterator[Job]:
        """The job now and after every change, the last time when it is finished.

        Connects again by itself. Raises NotFinished when the time is over, and Unavailable after a
        minute without answer.
        """
        known = self.job(job)
        return follow_job(self._transport, known, lambda: self.job(job), timeout_s)

    def wait(self, job: Job | str, *, timeout_s: float | None = None) -> Job:
        """The job once it is finished, whatever became of it: see `Job.checked`.

        Raises NotFinished when the time is over; the job goes on then.
        """
        return deque(self.follow(job, timeout_s=timeout_s), maxlen=1).pop()

    def cancel(self, job: Job | str) -> Job:
        """Cancel a queued job at once, or ask a running one to stop."""
        return Job.read(self._transport.ask(Call(method="POST", path=f"{_path(job)}/cancel")))

    def retry(self, job: Job | str, *, idempotency_key: str | None = None) -> Job:
        """Ask once more for what a failed or canceled job was to draw: a new job, returned at
        once. Raises Conflict when it did not fail."""
        return self._accepted(f"{_path(job)}/retry", None, idempotency_key)

    def models(self, engine: str | None = "all") -> list[Model]:
        """The models of one engine, of `all`, or with None of the default engine; best first."""
        return [Model.read(each) for each in self._get("/api/v1/images/models", engine=engine)]

    def engines(self) -> list[EngineState]:
        """Every engine that the server knows, and how it is doing."""
        return [EngineState.read(each) for each in self._get("/api/v1/engines/")]

    def usage(
        self,
        *,
        first: str | None = None,
        last: str | None = None,
        group_by: str | None = None,
        as_csv: bool = False,
    ) -> Any:
        """What was drawn and spent from the first day to the last (`2026-11-01`, UTC), by default
        this month: a report with `lines`, or its lines as the text of a CSV table.

        Admins see everybody's. `group_by` names some of `user`, `model` and `day`.
        """
        params = {"from": first, "to": last, "group_by": group_by}
        if as_csv:
            params["format"] = "csv"
            call = Call(method="GET", path=USAGE, params=params, is_repeatable=True)
            with self._transport.send(call) as response:
                return response.text
        return self._get(USAGE, **params)

    def quota(self) -> Any:
        """The limits of this account, and what is left of each."""
        return self._get(f"{USAGE}quota")

    def account(self) -> Account:
        """Whose key it is. Raises NotSignedIn."""
        return Account.read(self._get("/api/v1/auths/"))

    def sign_in(self, email: str, password: str) -> str:
        """Trade e-mail and password for a token, which works as a key for some days."""
        return str(self._post("/api/v1/auths/signin", email=email, password=password)["token"])

    def create_key(self, name: str) -> NewKey:
        """Make another API key for this account."""
        return NewKey.read(self._post("/api/v1/auths/api_key", name=name))

    def delete_key(self, key_id: str) -> None:
        """Revoke an API key of this account. Raises NotFound."""
        self._transport.ask(Call(method="DELETE", path=f"/api/v1/auths/api_key/{key_id}"))

    def _finished(
        self, job: Job, timeout_s: float | None, on_change: Callable[[Job], None] | None
    ) -> Job:
        last = job
        for last in follow_job(self._transport, job, lambda: self.job(job), timeout_s):
            if on_change is not None:
                on_change(last)
        return last.checked()

    def _accepted(
        self, path: str, content: Mapping[str, Any] | None, idempotency_key: str | None
    ) -> Job:
        call = Call(
            method="POST",
            path=path,
            headers={
                "Prefer": "respond-async",
                "Idempotency-Key": idempotency_key or str(uuid.uuid4()),
            },
            content=content,
            is_repeatable=True,
        )
        with self._transport.send(call) as response:
            # A repeated call may find the job finished already, and is answered with its pictures.
            job_id = response.headers.get("Darkroom-Job")
            return Job.read(json.loads(response.content)) if job_id is None else self.job(job_id)

    def _get(self, path: str, **params: Any) -> Any:
        return self._transport.ask(Call(method="GET", path=path, params=params, is_repeatable=True))

    def _post(self, path: str, **content: Any) -> Any:
        return self._transport.ask(Call(method="POST", path=path, content=content))


def _path(job: Job | str) -> str:
    return f"/api/v1/jobs/{job if isinstance(job, str) else job.id}"

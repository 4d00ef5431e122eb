"""What a server tells, as frozen records. Times are Unix seconds.

Fields that this release does not know are passed over, so that a newer server can be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from darkroom.client.problems import error_of_job
from darkroom.domain import JobStatus
from darkroom.errors import Canceled, Unavailable


@dataclass(frozen=True, kw_only=True)
class Record:
    """One JSON object."""

    @classmethod
    def read(cls, document: Any) -> Self:
        """Raises Unavailable when it is not what a Darkroom would send."""
        try:
            known = {
                each.name: document[each.name] for each in fields(cls) if each.name in document
            }
            return cls(**cls._with_parts(known))
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(
                f"The server's answer is no {cls.__name__} ({error}): is it a Darkroom, and not"
                " much older than this program?"
            ) from error

    @classmethod
    def _with_parts(cls, known: dict[str, Any]) -> dict[str, Any]:
        """The fields, with records in place of the JSON objects in them."""
        return known


@dataclass(frozen=True, kw_only=True)
class Image(Record):
    """One stored picture."""

    id: str
    #: The path of its bytes on the server.
    url: str
    #: A file name to save it under.
    name: str
    content_type: str
    job_id: str | None = None
    #: In pixels.
    width: int | None = None
    height: int | None = None
    size_bytes: int | None = None
    seed: int | None = None
    revised_prompt: str | None = None
    chat_id: str | None = None
    message_id: str | None = None
    created_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """One request for pictures, as it stood when the server was asked."""

    id: str
    status: JobStatus
    operation: str
    engine: str
    model: str
    prompt: str
    n: int = 1
    size: str | None = None
    seed: int | None = None
    #: Share done, 0.0 to 1.0.
    progress: float = 0.0
    attempt: int = 0
    images: tuple[Image, ...] = ()
    #: What the model could not honour.
    warnings: tuple[str, ...] = ()
    #: Why it failed: `code`, `detail` and so on.
    error: Mapping[str, Any] | None = None
    #: Tokens that the engine counted, where it tells.
    usage: Mapping[str, int] | None = None
    #: What it costs: `estimated`, `actual`, `currency` and `is_known`; amounts are decimal text.
    cost: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    lane: str = "interactive"
    deadline: float | None = None
    retry_of: str | None = None
    batch_id: str | None = None
    custom_id: str | None = None
    not_before: float | None = None
    #: Grows with every change.
    revision: int = 0
    #: Its place in its engine's queue, from 1; None unless it is queued.
    queue_position: int | None = None
    estimated_start_at: float | None = None
    estimated_finish_at: float | None = None
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None

    @classmethod
    def _with_parts(cls, known: dict[str, Any]) -> dict[str, Any]:
        return known | {
            "status": JobStatus(known["status"]),
            "images": tuple(Image.read(each) for each in known.get("images") or ()),
            "warnings": tuple(known.get("warnings") or ()),
        }

    def checked(self) -> Self:
        """The job itself. Raises its failure, or Canceled, when it ended without pictures."""
        if self.error is not None:
            raise error_of_job(self.error, job=self.id, engine=self.engine, model=self.model)
        if self.status is JobStatus.CANCELED:
            canceled = Canceled(f"Job {self.id} was canceled.")
            canceled.problem = {"code": canceled.code, "job": self.id}
            raise canceled
        return self


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """One model that can be asked for."""

    #: What to send as `model`.
    id: str
    name: str
    engine: str
    can_generate: bool = True
    can_edit: bool = False
    #: The day its vendor switches it off (ISO date).
    retired_on: str | None = None
    #: Sizes, counts and parameters it takes, as the server describes them.
    capabilities: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EngineState(Record):
    """How one engine is doing."""

    name: str
    enabled: bool
    #: `ready`, `resting` or `disabled`.
    state: str
    rests_until: float | None = None
    #: The code of the failure that made it rest.
    reason: str | None = None
    #: Why, in a sentence; for admins only.
    detail: str | None = None
    queued: int = 0
    running: int = 0
    models: int = 0


@dataclass(frozen=True, kw_only=True)
class Counts(Record):
    """How many items of a batch are where."""

    total: int = 0
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.canceled


@dataclass(frozen=True, kw_only=True)
class Batch(Record):
    """Many requests accepted as one, as they stood when the server was asked."""

    id: str
    #: `queued`, `running`, `canceling`, `finished` or `canceled`.
    status: str
    counts: Counts
    name: str | None = None
    #: Share done, 0.0 to 1.0.
    progress: float = 0.0
    #: What its items cost together, as of a job; `actual` is of those that are finished.
    cost: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    retry_of: str | None = None
    created_at: float | None = None
    finished_at: float | None = None
    cancel_requested_at: float | None = None
    estimated_finish_at: float | None = None

    @classmethod
    def _with_parts(cls, known: dict[str, Any]) -> dict[str, Any]:
        return known | {"counts": Counts.read(known["counts"])}

    @property
    def is_finished(self) -> bool:
        return self.status in {"finished", "canceled"}


@dataclass(frozen=True, kw_only=True)
class BatchResult(Record):
    """One finished item of a batch."""

    custom_id: str
    #: Which line of the input it came from, from 1.
    line: int
    #: `succeeded`, `failed` or `canceled`.
    status: str
    #: The path of its job on the server; None for one that was canceled before it had a job.
    job: str | None = None
    engine: str | None = None
    model: str | None = None
    prompt: str | None = None
    images: tuple[Image, ...] = ()
    error: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def _with_parts(cls, known: dict[str, Any]) -> dict[str, Any]:
        return known | {
            "images": tuple(Image.read(each) for each in known.get("images") or ()),
            "warnings": tuple(known.get("warnings") or ()),
        }


@dataclass(frozen=True, kw_only=True)
class Account(Record):
    """Who the key belongs to."""

    id: str
    email: str
    name: str
    role: str
    permissions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NewKey(Record):
    """An API key that was just made; its secret is shown this once."""

    id: str
    name: str
    api_key: str = field(repr=False)

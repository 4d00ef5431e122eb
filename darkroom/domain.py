"""The things Darkroom is about, as frozen records.

Packages hand these to each other, never rows, web requests or dicts. A change makes a copy
(`dataclasses.replace`).

A job's life:

```
 submit ─► queued ─► running ─► succeeded
             │ ▲        ├─────► failed
             │ └────────┤          (to be tried again, handed back, or its lease ran out)
             │          └─► canceling ─► canceled | succeeded | failed
             ├────────────────────────► canceled
             └────────────────────────► failed   (nobody wanted it any more)
```
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Protocol, Self

#: The code of a failure after which the pictures may have been drawn, and charged.
OUTCOME_UNKNOWN = "outcome_unknown"

GENERATE_IMAGES = "features.image_generation"
"""The permission to ask for images, by the name Open WebUI gives it."""


class JobStatus(StrEnum):
    """Where a job stands. Finished states never change."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_finished(self) -> bool:
        return not TRANSITIONS[self]


#: The states each state may change to; every change is one compare-and-set in the database.
TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELED, JobStatus.FAILED}),
        JobStatus.RUNNING: frozenset(
            {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.QUEUED, JobStatus.CANCELING}
        ),
        JobStatus.CANCELING: frozenset({JobStatus.CANCELED, JobStatus.SUCCEEDED, JobStatus.FAILED}),
        JobStatus.SUCCEEDED: frozenset(),
        JobStatus.FAILED: frozenset(),
        JobStatus.CANCELED: frozenset(),
    }
)


def states_before(status: JobStatus) -> frozenset[JobStatus]:
    """The states from which `status` may be reached."""
    return frozenset(before for before, after in TRANSITIONS.items() if status in after)


class Lane(IntEnum):
    """Which of two lines a job waits in; the lower number goes first."""

    INTERACTIVE = 0
    BATCH = 1


class Operation(StrEnum):
    """What is asked of an engine."""

    GENERATE = "generate"
    EDIT = "edit"


SIZE_PATTERN = re.compile(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})")


@dataclass(frozen=True, order=True)
class Size:
    """Width and height of a picture, in pixels."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `WIDTHxHEIGHT`. Raises ValueError for anything else."""
        match = SIZE_PATTERN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not WIDTHxHEIGHT")
        return cls(int(match[1]), int(match[2]))

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def aspect(self) -> float:
        return self.width / self.height

    def of_at_most(self, pixels: int) -> Self:
        """This size, or the same shape with no more than so many pixels."""
        if self.pixels <= pixels:
            return self
        scale = math.sqrt(pixels / self.pixels)
        return replace(
            self, width=max(1, int(self.width * scale)), height=max(1, int(self.height * scale))
        )

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """What to draw. `None` leaves a choice to the model."""

    prompt: str
    operation: Operation = Operation.GENERATE
    count: int = 1
    size: Size | None = None
    steps: int | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    quality: str | None = None
    output_format: str | None = None
    background: str | None = None
    #: The pictures to change, by the keys of their files in the store; only for edits.
    images: tuple[str, ...] = ()
    #: Where to repaint the first of them, by the key of its file; the rest is kept.
    mask: str | None = None


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """One picture to change: verified, upright, and a PNG, JPEG or WebP."""

    data: bytes
    #: `image/png`, `image/jpeg` or `image/webp`.
    content_type: str
    size: Size


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens that an engine counted, and may charge for."""

    input_tokens: int
    output_tokens: int
    #: Of the input, as far as the engine tells them apart.
    input_text_tokens: int = 0
    input_image_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Self) -> Self:
        mine, theirs = asdict(self), asdict(other)
        return type(self)(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """One picture as an engine returned it: encoded bytes, not verified yet."""

    data: bytes
    #: The seed that was really used, where the engine tells.
    seed: int | None = None
    #: The prompt that was really used, where the engine rewrites it.
    revised_prompt: str | None = None
    #: What the call that drew it took, where the engine tells: on the first picture of a call.
    usage: Usage | None = None


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """One picture that is kept."""

    id: str
    job_id: str
    owner_id: str
    #: Place among the job's pictures, from 0.
    position: int
    #: SHA-256 of the bytes, in hex; names the file in the store.
    file_key: str
    content_type: str
    width: int
    height: int
    size_bytes: int
    seed: int | None
    revised_prompt: str | None
    chat_id: str | None
    message_id: str | None
    #: Unix time, in seconds.
    created_at: float

    @property
    def name(self) -> str:
        """A file name for people who save it."""
        return f"{self.id}.{self.content_type.removeprefix('image/')}"


@dataclass(frozen=True, kw_only=True)
class JobError:
    """Why a job failed, as it is kept and shown."""

    code: str
    detail: str
    retryable: bool = False
    param: str | None = None
    upstream_status: int | None = None
    #: The vendor's own word for it, and its id of the call, for whoever asks its support.
    upstream_code: str | None = None
    upstream_request_id: str | None = None


#: Longest name that an owner may give an item of a batch, in characters.
LONGEST_CUSTOM_ID = 256


@dataclass(frozen=True, kw_only=True)
class BatchPlace:
    """Where in a batch a job belongs."""

    batch_id: str
    #: Counts the jobs of a batch from 0.
    position: int
    #: The line of the batch it was asked for in, from 1; several jobs may come from one.
    line: int
    #: What its owner calls it; unique in the batch.
    custom_id: str


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A validated request, ready to be accepted."""

    owner_id: str
    engine: str
    model: str
    request: ImageRequest
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: The request id of the call that made it; carried into the worker's logs.
    request_id: str | None = None
    idempotency_key: str | None = None
    #: Hash of what was asked, to tell a replay from a reused key.
    request_hash: str | None = None
    lane: Lane = Lane.INTERACTIVE
    #: When it is no longer wanted (Unix time, in seconds).
    deadline: float | None = None
    #: The failed job that this one repeats.
    retry_of: str | None = None
    place: BatchPlace | None = None
    #: What it is expected to cost at most, in millionths of the currency; None where nobody knows.
    estimated_cost: int | None = None
    #: Where in a trace it was accepted, as a W3C `traceparent`.
    trace: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job(NewJob):
    """One accepted request for images. Times are Unix seconds."""

    id: str
    status: JobStatus
    #: How often a worker took it. Also the fencing token: a write that names an older attempt
    #: is refused.
    attempt: int
    #: Which worker process took it last.
    worker: str | None
    #: Until when that worker owns it.
    lease_until: float | None
    #: The engine's own id for the run, where it gives one.
    upstream_id: str | None
    #: Which server of the engine it was given to last; None where the engine has no list of them.
    server: str | None = None
    #: Servers that could not draw it since it last waited.
    avoided: tuple[str, ...] = ()
    #: Share done, 0.0 to 1.0.
    progress: float
    error: JobError | None
    #: What its pictures took, where the engine tells.
    usage: Usage | None
    #: Counts every change of this record, so that a reader can tell whether it saw the newest.
    revision: int
    #: Not to be tried again before this (Unix time, in seconds).
    not_before: float | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    #: What its pictures cost, in millionths; None where nobody knows, and before it succeeded.
    cost: int | None = None

    @property
    def actual_cost(self) -> int | None:
        """What it cost once it is finished; None where nobody knows, as after a paid call whose
        end was not seen."""
        match self.status:
            case JobStatus.SUCCEEDED:
                return self.cost
            case JobStatus.FAILED:
                may_be_charged = self.error is not None and self.error.code == OUTCOME_UNKNOWN
            case JobStatus.CANCELED:
                may_be_charged = self.worker is not None
            case _:
                return None
        return None if may_be_charged and self.estimated_cost != 0 else 0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One worker's try at a job. Times are Unix seconds."""

    number: int
    engine: str
    model: str
    worker: str
    #: Which server of the engine it was given to; None where the engine has no list of them.
    server: str | None = None
    started_at: float
    ended_at: float | None
    #: `succeeded`, `canceled`, `handed_back`, `lease_lost`, or the code of an error; None while
    #: it runs.
    outcome: str | None
    detail: str | None


@dataclass(frozen=True, kw_only=True)
class BatchItem:
    """One validated item of a batch: a job that is still to be made."""

    line: int
    custom_id: str
    engine: str
    model: str
    request: ImageRequest
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: When it is no longer wanted (Unix time, in seconds).
    deadline: float | None = None
    #: The job that it repeats.
    retry_of: str | None = None
    #: What it is expected to cost at most, in millionths of the currency; None where nobody knows.
    estimated_cost: int | None = None


class BatchStatus(StrEnum):
    """Where a batch stands; it follows from its jobs."""

    #: No job has begun.
    QUEUED = "queued"
    RUNNING = "running"
    #: Canceled, but some of its jobs are not stopped yet.
    CANCELING = "canceling"
    FINISHED = "finished"
    CANCELED = "canceled"

    @property
    def is_finished(self) -> bool:
        return self in (BatchStatus.FINISHED, BatchStatus.CANCELED)


@dataclass(frozen=True, kw_only=True)
class NewBatch:
    """Many requests handed over at once."""

    owner_id: str
    name: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    #: The batch whose failed items this one repeats.
    retry_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class Batch(NewBatch):
    """One accepted batch. Times are Unix seconds."""

    id: str
    total: int
    #: How many of its items are jobs by now.
    planted: int
    created_at: float
    cancel_requested_at: float | None


@dataclass(frozen=True, kw_only=True)
class BatchCounts:
    """How many items of a batch stand where; together they are all of them."""

    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    canceled: int = 0

    @property
    def total(self) -> int:
        return self.queued + self.running + self.finished

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.canceled

    def status(self, *, was_canceled: bool) -> BatchStatus:
        if self.finished == self.total:
            return BatchStatus.CANCELED if was_canceled else BatchStatus.FINISHED
        if was_canceled:
            return BatchStatus.CANCELING
        has_begun = self.running or self.finished
        return BatchStatus.RUNNING if has_begun else BatchStatus.QUEUED


@dataclass(frozen=True, kw_only=True)
class BatchCosts:
    """What the items of a batch cost together, in millionths; None where nobody knows of one."""

    #: All items, at most.
    estimated: int | None = None
    #: Those that are finished; nothing where none is yet.
    actual: int | None = None


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file that is no picture of a job: one that was uploaded, or that a batch wrote."""

    id: str
    owner_id: str
    filename: str
    #: What it is for, in OpenAI's words, such as `batch`.
    purpose: str
    size_bytes: int
    #: SHA-256 of the bytes, in hex; None for one that is written anew each time it is read.
    file_key: str | None
    #: The batch that wrote it, if one did.
    batch_id: str | None = None
    created_at: float
    #: When it is deleted (Unix time, in seconds).
    expires_at: float | None


@dataclass(frozen=True, kw_only=True)
class LineError:
    """What is wrong with one line of an input file, in OpenAI's words."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, kw_only=True)
class OpenAIBatch:
    """What OpenAI's dialect says of a batch beside what the batch of the same id does."""

    id: str
    owner_id: str
    input_file_id: str
    #: The route that each line is for.
    endpoint: str
    completion_window: str
    metadata: Mapping[str, Any] | None = None
    #: Why nothing of it was accepted; there is no batch then.
    errors: tuple[LineError, ...] = ()
    #: How long what it writes is kept, in seconds.
    output_expires_s: int | None = None
    #: What it wrote: set once when it is finished, None where there is nothing to write.
    output_file_id: str | None = None
    error_file_id: str | None = None
    is_settled: bool = False
    #: Whether its time was over before all of it had begun.
    is_expired: bool = False
    created_at: float = 0.0


class Role(StrEnum):
    """The roles there always are. Admins may do everything; users what their permissions say.

    Admins make others: a role is a name for some limits.
    """

    ADMIN = "admin"
    USER = "user"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much an account may ask for; None where nothing is said about it."""

    #: The rectangle that a picture fits in, upright or on its side.
    max_size: Size | None = None
    #: Most pixels of one picture.
    max_pixels: int | None = None
    #: Most pictures of one request.
    max_count: int | None = None
    max_steps: int | None = None
    #: Most jobs that are queued, and as many items of batches.
    max_queued: int | None = None
    #: Most jobs that run at once.
    max_running: int | None = None
    #: Most calls for pictures in a minute, of the account and of each of its API keys.
    requests_per_minute: int | None = None
    requests_per_minute_per_key: int | None = None
    #: Patterns of the models it may use, as `engine/model`; `*` stands for anything.
    models: tuple[str, ...] | None = None

    def over(self, others: "Limits") -> "Limits":
        """These where they say something, and the others elsewhere."""
        said = {name: value for name, value in vars(self).items() if value is not None}
        return replace(others, **said) if said else others

    def allow_model(self, full_id: str) -> bool:
        return self.models is None or any(fnmatchcase(full_id, each) for each in self.models)

    def allow_size(self, size: Size) -> bool:
        if self.max_pixels is not None and size.pixels > self.max_pixels:
            return False
        if self.max_size is None:
            return True
        sides = sorted((size.width, size.height))
        most = sorted((self.max_size.width, self.max_size.height))
        return sides[0] <= most[0] and sides[1] <= most[1]


NO_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class NamedRole:
    """A role and its limits."""

    name: str
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class User:
    """Someone with an account."""

    id: str
    email: str
    name: str
    role: str
    permissions: frozenset[str]
    active: bool
    created_at: float
    #: What an admin set for this user in the place of the default quotas; None lifts one.
    quotas: Mapping[str, int | None] = field(default_factory=dict)
    #: What holds for the account: its own limits, and those of its role elsewhere.
    limits: Limits = NO_LIMITS
    #: The account's own limits.
    own_limits: Limits = NO_LIMITS
    #: Goes up when all tokens of the account end.
    token_epoch: int = 0

    @property
    def is_admin(self) -> bool:
        return self.role == Role.ADMIN

    def may(self, permission: str) -> bool:
        return self.is_admin or permission in self.permissions


@dataclass(frozen=True, kw_only=True)
class FirstAdmin:
    """The admin that was just made, with the API key that can be shown this once only."""

    email: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A long-lived token, as it is shown after it was made: without its secret."""

    id: str
    user_id: str
    name: str
    #: The first characters, so that a person can tell keys apart.
    prefix: str
    created_at: float
    last_used_at: float | None
    #: Unix time after which it opens nothing; None for never.
    expires_at: float | None = None


class Action(StrEnum):
    """What the audit log tells of."""

    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    SIGN_UP = "sign_up"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a word
    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    USER_CREATED = "user_created"
    USER_CHANGED = "user_changed"
    SESSIONS_ENDED = "sessions_ended"
    CONFIG_CHANGED = "config_changed"
    ENGINE_KEY_CHANGED = "engine_key_changed"
    ROLE_CHANGED = "role_changed"
    ROLE_DELETED = "role_deleted"
    SECRET_ROTATED = "secret_rotated"  # noqa: S105 - a word


class Outcome(StrEnum):
    """Whether it was done."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One thing that somebody did, or was refused."""

    id: str
    #: Unix time.
    at: float
    #: An `Action`, or a word of a newer release.
    action: str
    outcome: str
    #: Who did it, and with which API key; None where nobody was signed in.
    user_id: str | None
    key_id: str | None
    #: The caller's network address, or words for the command line.
    address: str
    #: The id or name of what it was done to.
    target: str | None
    #: The names of what was changed, never values.
    fields: tuple[str, ...]
    request_id: str | None


@dataclass(frozen=True, kw_only=True)
class FreeSizes:
    """A model that draws any size within limits."""

    #: Each side is a multiple of this, in pixels.
    multiple: int = 1
    min_edge: int = 64
    max_edge: int = 4096
    min_pixels: int = 0
    max_pixels: int = 4096 * 4096
    #: Longest side over shortest.
    max_aspect: float = 64.0


class MaskSupport(StrEnum):
    """What a model does with a mask."""

    #: It has none.
    NONE = "none"
    #: It is shown the mask as a hint, and may repaint more or less.
    APPROXIMATE = "approximate"
    #: It repaints there and nowhere else.
    EXACT = "exact"


#: The largest whole number that every JSON reader keeps exactly.
MAX_SEED = 2**53 - 1


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What one model can do. Data, checked in one place: `engines.fitting`."""

    #: The only sizes it draws, none where it decides itself, or the rule for any size.
    sizes: Sequence[Size] | FreeSizes = FreeSizes()
    max_count: int = 10
    max_prompt_chars: int = 32_000
    negative_prompt: bool = False
    seed: bool = False
    max_seed: int = MAX_SEED
    #: Largest number of sampling steps, or None where there are none to choose.
    max_steps: int | None = None
    #: Values it accepts; empty where there is no choice.
    qualities: tuple[str, ...] = ()
    output_formats: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    #: Whether it can edit pictures, and how many it takes at once.
    max_input_images: int = 0
    mask: MaskSupport = MaskSupport.NONE
    #: How many unfinished pictures it can be asked to show while it draws one.
    max_partial_images: int = 0


@dataclass(frozen=True, kw_only=True)
class Model:
    """One AI model that an engine offers."""

    id: str
    name: str
    engine: str
    capabilities: Capabilities
    #: The day its vendor switches it off, or did (ISO date); it may still exist elsewhere.
    retired_on: str | None = None

    @property
    def full_id(self) -> str:
        return f"{self.engine}/{self.id}"


class Progress(Protocol):
    """How an engine tells what it is doing.

    Call it often; it is cheap. It raises `Canceled`, `LeaseLost` or `DeadlineExceeded` when the
    work must stop, and the engine then cleans up after itself and lets the exception pass.
    """

    def __call__(
        self,
        share: float | None = None,
        *,
        preview: bytes | None = None,
        upstream_id: str | None = None,
    ) -> None:
        """`share` of the work is done (0.0 to 1.0), and looks like `preview`, an encoded picture,
        so far; the run is called `upstream_id` upstream."""

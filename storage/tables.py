"""The tables. Times are Unix seconds, ids are UUIDs, JSON holds what is never searched."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from darkroom.domain import LONGEST_CUSTOM_ID
from storage.texts import EngineJSON, EngineText

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


#: Longest id of a run upstream that is kept, in characters.
LONGEST_UPSTREAM_ID = 200

#: Longest name of a server, in characters.
LONGEST_SERVER = 40
#: Longest name of a role, in characters.
LONGEST_ROLE = 16

#: Longest name of what an entry of the audit log is about, in characters.
LONGEST_TARGET = 254

#: Longest name of a document that is kept, in characters.
LONGEST_FILENAME = 255


def _partial(name: str, condition: str, *columns: str) -> Index:
    """An index of the few rows that meet a condition."""
    where = text(condition)
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


users = Table(
    "users",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("email", String(254), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("role", String(LONGEST_ROLE), nullable=False),
    Column("permissions", JSON, nullable=False),
    Column("password_hash", Text),
    Column("active", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    #: What an admin set for this user instead of the defaults: see `darkroom.quotas.Quotas`.
    Column("quotas", JSON),
    #: Tokens that name a smaller number are over.
    Column("token_epoch", Integer, nullable=False, server_default="0"),
    #: The account's own limits, and the one of them that `storage.backlog` reads.
    Column("limits", JSON),
    Column("max_running", Integer),
)

#: The limits of each role that has some.
roles = Table(
    "roles",
    metadata,
    Column("name", String(LONGEST_ROLE), primary_key=True),
    Column("limits", JSON, nullable=False),
    Column("max_running", Integer),
    Column("updated_at", Double, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("key_hash", String(64), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("last_used_at", Double),
    Column("expires_at", Double),
)

#: Tokens that were signed out, until they would have expired.
revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("expires_at", Double, nullable=False),
)

#: Who changed what, and who signed in. Rows are added and grow old; none is ever changed.
audit = Table(
    "audit",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("action", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    #: No foreign keys: what is written down outlives whom it is about.
    Column("user_id", String(36)),
    Column("key_id", String(36)),
    Column("address", String(64), nullable=False),
    Column("target", String(LONGEST_TARGET), nullable=True),
    #: Names of what was changed, never values.
    Column("fields", JSON, nullable=False),
    Column("request_id", String(128)),
)

#: Many requests handed over at once. Where a batch stands follows from its jobs.
batches = Table(
    "batches",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("name", String(200)),
    Column("metadata", JSON, nullable=False),
    Column("request_id", String(128)),
    Column("idempotency_key", String(255)),
    Column("request_hash", String(64)),
    Column("retry_of", String(36)),
    Column("total", Integer, nullable=False),
    #: How many items are jobs by now; the others are in chunks.
    Column("planted", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("cancel_requested_at", Double),
    UniqueConstraint("owner_id", "idempotency_key"),
    Index("ix_batches_owner_id_created_at", "owner_id", "created_at"),
    _partial("ix_batches_canceled", "cancel_requested_at IS NOT NULL", "cancel_requested_at"),
    _partial(
        "ix_batches_unplanted",
        "planted < total AND cancel_requested_at IS NULL",
        "owner_id",
        "created_at",
    ),
)

#: Items of batches that are no jobs yet: a few hundred a row, as `storage.chunks` packs them.
batch_chunks = Table(
    "batch_chunks",
    metadata,
    Column("batch_id", ForeignKey("batches.id"), primary_key=True),
    #: The place of its first item in the batch, from 0.
    Column("position", Integer, primary_key=True),
    Column("packed", LargeBinary, nullable=False),
    #: How many pictures they ask for, and what these cost as far as it is known, in millionths;
    #: then what each item costs.
    Column("images", Integer),
    Column("cost", BigInteger),
    Column("costs", JSON),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("status", String(16), nullable=False),
    Column("engine", String(64), nullable=False),
    Column("model", String(200), nullable=False),
    Column("request", JSON, nullable=False),
    Column("warnings", EngineJSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("worker", String(200)),
    Column("lease_until", Double),
    Column("upstream_id", String(LONGEST_UPSTREAM_ID)),
    #: Which server of its engine it was given to last; NULL where there is no list of them.
    Column("server", String(LONGEST_SERVER)),
    #: A list of servers that could not draw it since it last waited.
    Column("avoided", JSON(none_as_null=True)),
    Column("progress", Double, nullable=False),
    Column("error", EngineJSON),
    Column("usage", JSON),
    Column("request_id", String(128)),
    Column("idempotency_key", String(255)),
    Column("request_hash", String(64)),
    Column("lane", Integer, nullable=False, server_default="0"),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("not_before", Double),
    Column("deadline", Double),
    Column("retry_of", String(36)),
    Column("batch_id", String(36)),
    Column("batch_position", Integer),
    Column("batch_line", Integer),
    Column("custom_id", String(LONGEST_CUSTOM_ID)),
    Column("trace", String(64)),
    Column("created_at", Double, nullable=False),
    #: When the id was last handed to Celery; a queued job that was not is sent again.
    Column("sent_at", Double),
    Column("started_at", Double),
    Column("finished_at", Double),
    #: What it is expected to cost, and what it did, in millionths; None where nobody knows.
    Column("estimated_cost", BigInteger),
    Column("cost", BigInteger),
    #: How many pictures it made, and their size: kept when the pictures are not.
    Column("drawn", Integer),
    Column("drawn_bytes", BigInteger),
    UniqueConstraint("owner_id", "idempotency_key"),
    Index("ix_jobs_owner_id_created_at", "owner_id", "created_at"),
    Index("ix_jobs_created_at", "created_at"),
    # What `storage.backlog` looks at all the time, however many jobs are finished or wait.
    _partial(
        "ix_jobs_waiting",
        "status = 'queued' AND sent_at IS NULL",
        "engine",
        "lane",
        "owner_id",
        "created_at",
    ),
    _partial("ix_jobs_queued", "status = 'queued' AND batch_id IS NULL", "owner_id"),
    _partial("ix_jobs_batched", "status = 'queued' AND batch_id IS NOT NULL", "owner_id"),
    _partial("ix_jobs_sent", "status = 'queued' AND sent_at IS NOT NULL", "engine", "lane"),
    _partial("ix_jobs_owned", "status IN ('running', 'canceling')", "owner_id"),
    _partial("ix_jobs_batch", "batch_id IS NOT NULL", "batch_id", "status"),
    _partial(
        "ix_jobs_results",
        "batch_id IS NOT NULL AND finished_at IS NOT NULL",
        "batch_id",
        "finished_at",
        "id",
    ),
    _partial("ix_jobs_deadline", "deadline IS NOT NULL AND finished_at IS NULL", "deadline"),
)

#: Every try at a job, for people and for counting.
attempts = Table(
    "attempts",
    metadata,
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("engine", String(64), nullable=False),
    Column("model", String(200), nullable=False),
    Column("worker", String(200), nullable=False),
    Column("server", String(LONGEST_SERVER)),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("outcome", String(32)),
    Column("detail", EngineText),
    # The newest of one model, to tell how long a picture takes.
    Index("ix_attempts_engine_model_ended_at", "engine", "model", "ended_at"),
)

#: What the jobs that a user handed over on one day (UTC, counted from 1970) count for together. The
#: database keeps them by triggers on jobs and batches, so that they always add up; see migration
#: 0011. The slots of a day are summed: writers use different ones to stay out of each other's way.
tallies = Table(
    "tallies",
    metadata,
    Column("owner_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("images", BigInteger, nullable=False),
    #: In millionths.
    Column("cost", BigInteger, nullable=False),
)

#: When each user was last served.
turns = Table(
    "turns",
    metadata,
    Column("owner_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("taken_at", Double, nullable=False),
)

#: When each server of an engine that has several was last given a job.
server_turns = Table(
    "server_turns",
    metadata,
    Column("engine", String(64), primary_key=True),
    Column("server", String(LONGEST_SERVER), primary_key=True),
    Column("taken_at", Double, nullable=False),
)

#: Engines that failed since they last worked, or single servers of them as `engine/server`.
engine_health = Table(
    "engine_health",
    metadata,
    Column("engine", String(64 + 1 + LONGEST_SERVER), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("rests_until", Double),
    Column("code", String(32), nullable=False),
    Column("reason", EngineText, nullable=False),
)

#: One row for each file in the store; the same bytes are kept once, however often they are used.
files = Table(
    "files",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("created_at", Double, nullable=False),
)

#: Which attempt is about to use a file: it stands between writing the bytes and the image row,
#: so that nobody deletes the file in between, and a lost race leaves none behind.
file_claims = Table(
    "file_claims",
    metadata,
    Column("file_key", ForeignKey("files.key"), primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
)

#: Which files a job works on. They come before the job, so that it never has to wait for them; a
#: job that was not accepted after all leaves rows that name none.
job_inputs = Table(
    "job_inputs",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("file_key", ForeignKey("files.key"), primary_key=True, index=True),
    Column("created_at", Double, nullable=False),
)

images = Table(
    "images",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("file_key", ForeignKey("files.key"), nullable=False, index=True),
    Column("content_type", String(64), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("seed", BigInteger),
    Column("revised_prompt", EngineText),
    Column("chat_id", String(200)),
    Column("message_id", String(200)),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("job_id", "position"),
    Index("ix_images_owner_id_created_at", "owner_id", "created_at"),
    Index("ix_images_chat_id_message_id", "chat_id", "message_id"),
)

#: Files that are no pictures of jobs: uploaded ones, and what batches wrote.
documents = Table(
    "documents",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("filename", String(LONGEST_FILENAME), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    #: None for one that is written anew each time it is read.
    Column("file_key", ForeignKey("files.key"), index=True),
    #: The batch that wrote it, if one did.
    Column("batch_id", String(36)),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Index("ix_documents_owner_id_created_at", "owner_id", "created_at"),
    _partial("ix_documents_expires_at", "expires_at IS NOT NULL", "expires_at"),
)

#: What OpenAI's dialect says of a batch beside what the row of the same id in `batches` does.
openai_batches = Table(
    "openai_batches",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("input_file_id", String(36), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("metadata", JSON),
    Column("errors", JSON, nullable=False),
    Column("output_expires_s", Integer),
    Column("output_file_id", String(36)),
    Column("error_file_id", String(36)),
    Column("is_settled", Boolean, nullable=False),
    Column("is_expired", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_openai_batches_owner_id_created_at", "owner_id", "created_at"),
)

config = Table(
    "config",
    metadata,
    Column("name", String(100), primary_key=True),
    #: JSON text; encrypted for secret fields.
    Column("value", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
)

"""The backlog: which queued job is next.

Celery's queues hold a short window of each engine's jobs; all others wait here, where they can be
put in order. Interactive jobs go before batches, and within a lane the user who was served least
recently goes first, then the oldest job. A job is *waiting* until it is handed to Celery and
*sent* from then on until a worker claims it.

A limit on what runs at once is counted when jobs are taken; `Attempts.claim` counts once more for
engines, because an id can be in Celery's queues twice.

`take` is called by whoever notices that there may be room: the API when it accepted a job, a worker
when it finished one, and every worker on a timer. Marking jobs as sent is a compare-and-set, so
that two of them never take the same job.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import zip_longest
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Insert,
    Integer,
    and_,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    union,
    union_all,
    update,
)

from darkroom.domain import JobStatus, Lane
from darkroom.pools import Place, Pool, single
from storage.database import Database, epoch_now, hold, upsert_for
from storage.placing import loads, openings, well_places, with_room
from storage.tables import attempts, engine_health, jobs, turns
from storage.transitions import locked

# The conditions of the partial indexes, to the letter: a bound parameter in the place of a constant
# would hide from the database that the index holds all there is.
QUEUED: ColumnElement[bool] = jobs.c.status == literal_column("'queued'")
WAITING = and_(QUEUED, jobs.c.sent_at.is_(None))
SENT = and_(QUEUED, jobs.c.sent_at.is_not(None))

OWNED: ColumnElement[bool] = literal_column("jobs.status IN ('running', 'canceling')")

#: Every owner with a waiting job, and how many may run at once if their account or its role says
#: so, by jumping from one to the next in the index: as quick for one owner with fifty thousand jobs
#: as for one with two.
OWNERS = text(
    """
    WITH RECURSIVE owners(id) AS (
        SELECT min(owner_id) FROM jobs
        WHERE status = 'queued' AND sent_at IS NULL AND engine = :engine AND lane = :lane
        UNION ALL
        SELECT (
            SELECT min(owner_id) FROM jobs
            WHERE status = 'queued' AND sent_at IS NULL AND engine = :engine AND lane = :lane
                AND owner_id > owners.id
        ) FROM owners WHERE owners.id IS NOT NULL
    )
    SELECT owners.id, coalesce(users.max_running, roles.max_running) AS max_running
    FROM owners
    JOIN users ON users.id = owners.id
    LEFT JOIN roles ON roles.name = users.role
    LEFT JOIN turns ON turns.owner_id = owners.id
    ORDER BY coalesce(turns.taken_at, 0), owners.id
    """
)

# Asked for every job; built once, because building a statement takes longer than running it.

_FOR_ENGINE = jobs.c.engine == bindparam("engine", type_=jobs.c.engine.type)
_IN_LANE = jobs.c.lane == bindparam("lane", type_=jobs.c.lane.type)

#: Whether jobs wait, by lane, and whether the engine rests. Mostly the answer is no.
LANES = select(
    *(
        exists().where(WAITING, _FOR_ENGINE, jobs.c.lane == int(lane)).label(f"lane_{lane:d}")
        for lane in Lane
    ),
    exists()
    .where(
        engine_health.c.engine == bindparam("engine", type_=engine_health.c.engine.type),
        engine_health.c.rests_until.is_not(None),
    )
    .label("rests"),
)
HAS_UNSENT = select(exists().where(WAITING, _FOR_ENGINE))
SENT_IN_LANE = select(func.count()).where(SENT, _FOR_ENGINE, _IN_LANE)
OLDEST = (
    select(jobs.c.id, jobs.c.model, jobs.c.server, jobs.c.upstream_id, jobs.c.avoided)
    .where(
        WAITING,
        _FOR_ENGINE,
        _IN_LANE,
        jobs.c.owner_id == bindparam("owner", type_=jobs.c.owner_id.type),
        or_(jobs.c.not_before.is_(None), jobs.c.not_before <= epoch_now()),
    )
    .order_by(jobs.c.created_at)
    .limit(bindparam("most", type_=Integer()))
)
# Not one query with an OR, which would go through all jobs there ever were.
_RUN_OR_SENT = union_all(
    *(select(jobs.c.owner_id).where(each) for each in (OWNED, SENT))
).subquery()
#: How many jobs of each owner run or are sent.
HELD = select(_RUN_OR_SENT.c.owner_id, func.count().label("held")).group_by(_RUN_OR_SENT.c.owner_id)
QUEUED_BY_OWNER = select(func.count()).select_from(
    select(jobs.c.owner_id)
    .where(QUEUED, jobs.c.owner_id == bindparam("owner"), jobs.c.batch_id.is_(None))
    .limit(bindparam("most", type_=Integer()))
    .subquery()
)
#: Passes over what is being changed: by somebody who takes it too, or cancels it. Whoever accepts
#: a job takes in the same transaction, and must not wait for them.
MARK = (
    update(jobs)
    .where(
        jobs.c.id.in_(
            locked(jobs.c.id.in_(bindparam("chosen", expanding=True)), WAITING, pass_over=True)
        )
    )
    .values(sent_at=epoch_now())
    .returning(jobs.c.id, jobs.c.owner_id)
)


@cache
def _taking_turn(dialect: str) -> Insert:
    row = upsert_for(dialect, turns).values(
        taken_at=epoch_now() + bindparam("later_s", type_=Double())
    )
    return row.on_conflict_do_update(
        index_elements=[turns.c.owner_id], set_={"taken_at": row.excluded.taken_at}
    )


#: Tells whether a job of which this much is known could go to a server now.
HasOpening = Callable[[Any], object]

#: How many of an owner's jobs are looked through for one that a free server can draw.
LOOKED_THROUGH = 300

#: How often a batch goes first where an engine takes few jobs at once, as a share of all takes.
BATCH_SHARE = 1 / 8


@dataclass(frozen=True, kw_only=True)
class Next:
    """A job to hand to Celery now."""

    id: str
    engine: str
    lane: Lane


class _Allowances:
    """How many more jobs of each owner may run or be sent, in one look at the backlog."""

    def __init__(self, connection: Connection, usual: int | None) -> None:
        self._connection = connection
        self._usual = usual
        self._held: Counter[str] | None = None

    @property
    def are_counted(self) -> bool:
        """Whether any owner that was asked about has a limit."""
        return self._held is not None

    def of(self, owner_id: str, own: int | None) -> int:
        """For one owner, whose account or role may have a limit of its own."""
        limit = self._usual if own is None else own
        if limit is None:
            return sys.maxsize
        if self._held is None:
            self._held = Counter({row.owner_id: row.held for row in self._connection.execute(HELD)})
        return limit - self._held[owner_id]

    def use(self, owner_id: str) -> None:
        """Count one more."""
        if self._held is not None:
            self._held[owner_id] += 1


class Backlog:
    """Decides who is next."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(
        self,
        engine: str,
        *,
        window: int,
        running_limit: int | None = None,
        pool: Pool | None = None,
    ) -> Sequence[Next]:
        """Mark the next jobs of one engine as sent and return them, in order; send them now.

        Each lane may have `window` sent jobs. An owner with `running_limit` jobs running or sent
        is passed over, unless their account or role has a limit of its own. The engine's servers
        that do not rest get no more than make up their limits with those they have; where all rest
        there is nothing to take.
        """
        pool = pool or single(engine)
        with self._database.reading() as connection:
            allowances = _Allowances(connection, running_limit)
            chosen = self._next(pool, window, connection, allowances)
        if not chosen:
            return []
        with self._database.writing() as connection:
            if pool.is_limited or allowances.are_counted:
                return self._take_alone(connection, pool, window, running_limit)
            return self._mark(connection, chosen)

    def take_within(
        self, connection: Connection, *, window: int, pool: Pool, running_limit: int | None = None
    ) -> Sequence[Next]:
        """The same, as a part of a transaction that writes; send them once it is committed."""
        allowances = _Allowances(connection, running_limit)
        chosen = self._next(pool, window, connection, allowances)
        if chosen and (pool.is_limited or allowances.are_counted):
            return self._take_alone(connection, pool, window, running_limit)
        return self._mark(connection, chosen)

    def has_unsent(self, engine: str) -> bool:
        """Whether any job of an engine waits to be sent."""
        with self._database.reading() as connection:
            return bool(connection.scalar(HAS_UNSENT, {"engine": engine}))

    def put_back(self, job_ids: Collection[str]) -> None:
        """Let sent jobs wait again: they could not be handed over, or must not run now."""
        self._put_back(jobs.c.id.in_(sorted(job_ids)))

    def put_back_lost(self, engine: str, *, is_queue_empty: bool, older_than_s: float) -> int:
        """Let jobs wait again whose ids Celery lost. Returns how many.

        That is certain of jobs sent so long ago when Celery's queue is empty, or when a job of the
        same lane that was sent so much later runs already: the queues keep their order.
        """
        overtaker = jobs.alias("overtaker")
        newest_running = (
            select(func.max(overtaker.c.sent_at))
            .where(
                text("overtaker.status IN ('running', 'canceling')"),
                overtaker.c.engine == engine,
                overtaker.c.lane == jobs.c.lane,
            )
            .scalar_subquery()
        )
        horizon = epoch_now() if is_queue_empty else newest_running
        return self._put_back(jobs.c.engine == engine, jobs.c.sent_at < horizon - older_than_s)

    def put_back_all(self) -> int:
        """Let every sent job wait again: Celery's queues are known to be lost. Returns how many."""
        return self._put_back()

    def take_overdue(self, engine: str, *, older_than_s: float) -> Next | None:
        """Move the batch job that was sent first to the interactive lane, when that was too long
        ago; send it again. Batches get a turn this way however busy the other lane is."""
        with self._database.writing() as connection:
            oldest = (
                select(jobs.c.id)
                .where(
                    SENT,
                    jobs.c.engine == engine,
                    jobs.c.lane == Lane.BATCH,
                    jobs.c.sent_at < epoch_now() - older_than_s,
                )
                .order_by(jobs.c.sent_at)
                .limit(1)
                .scalar_subquery()
            )
            job_id = connection.scalar(
                update(jobs)
                .where(jobs.c.id == oldest, SENT)
                .values(lane=Lane.INTERACTIVE, sent_at=epoch_now())
                .returning(jobs.c.id)
            )
        return Next(id=job_id, engine=engine, lane=Lane.INTERACTIVE) if job_id else None

    def has_room_for(self, owner_id: str, *, most: int, more: int = 1) -> bool:
        """Whether an owner may queue so many more jobs when `most` may be queued at once.

        Those of batches do not count: `Batches.has_room_for` counts them.
        """
        with self._database.reading() as connection:
            queued = connection.scalar(QUEUED_BY_OWNER, {"owner": owner_id, "most": most}) or 0
        return queued + more <= most

    def unattended(self, known: Collection[str], *, for_s: float) -> Sequence[str]:
        """Engines that have queued jobs, are none of those `known`, and for which no worker has
        drawn anything for so long, nor does now."""
        waited_for = union(
            *(
                select(jobs.c.engine)
                .where(state, jobs.c.engine.not_in(known))
                .group_by(jobs.c.engine)
                for state in (WAITING, SENT)
            )
        )
        with self._database.reading() as connection:
            engines = connection.scalars(waited_for).all()
            return [each for each in engines if not self._is_attended(connection, each, for_s)]

    def counts(self) -> dict[tuple[str, Lane, JobStatus], int]:
        """How many unfinished jobs there are, by engine, lane and state."""
        # In parts, each of which one partial index answers however many jobs are finished.
        parts = union_all(
            *(
                select(jobs.c.engine, jobs.c.lane, jobs.c.status, func.count().label("held"))
                .where(state)
                .group_by(jobs.c.engine, jobs.c.lane, jobs.c.status)
                for state in (WAITING, SENT, OWNED)
            )
        )
        found: Counter[tuple[str, Lane, JobStatus]] = Counter()
        with self._database.reading() as connection:
            for row in connection.execute(parts):
                found[row.engine, Lane(row.lane), JobStatus(row.status)] += row.held
        return dict(found)

    def _is_attended(self, connection: Connection, engine: str, within_s: float) -> bool:
        draws = exists().where(OWNED, jobs.c.engine == engine)
        drew = exists().where(
            attempts.c.engine == engine, attempts.c.ended_at > epoch_now() - within_s
        )
        return bool(connection.scalar(select(or_(draws, drew))))

    def _put_back(self, *conditions: ColumnElement[bool]) -> int:
        with self._database.writing() as connection:
            return connection.execute(
                update(jobs).where(jobs.c.id.in_(locked(SENT, *conditions))).values(sent_at=None)
            ).rowcount

    def _take_alone(
        self, connection: Connection, pool: Pool, window: int, running_limit: int | None
    ) -> Sequence[Next]:
        """Two who count at the same moment would both find room for the last one."""
        hold(connection, literal("backlog"))
        allowances = _Allowances(connection, running_limit)
        return self._mark(connection, self._next(pool, window, connection, allowances))

    def _next(
        self, pool: Pool, window: int, connection: Connection, allowances: "_Allowances"
    ) -> list[Next]:
        engine, chosen = pool.engine, list[Next]()
        waiting = connection.execute(LANES, {"engine": engine}).one()
        lanes = {lane for lane in Lane if waiting._mapping[f"lane_{lane:d}"]}
        if not lanes:
            return []
        well = well_places(connection, pool, engine_rests=waiting.rests)
        if not well:
            return []
        slots, held = self._slots(connection, pool, well)
        has_opening = partial(openings, pool, well, held) if pool.has_choice else None
        places = dict.fromkeys(Lane, slots)
        if pool.is_limited and random.random() < BATCH_SHARE:  # noqa: S311 - guards nothing
            # The lanes share the slots, and the first would leave the other none.
            places = {Lane.BATCH: 1, Lane.INTERACTIVE: slots}
        for lane, most in places.items():
            if lane not in lanes:
                continue
            room = min(self._room(connection, engine, lane, window), most, slots - len(chosen))
            if room <= 0:
                continue
            for owner_id, job_id in self._choose(
                connection, engine, lane, room, allowances, has_opening
            ):
                allowances.use(owner_id)
                chosen.append(Next(id=job_id, engine=engine, lane=lane))
        return chosen

    def _room(self, connection: Connection, engine: str, lane: Lane, window: int) -> int:
        sent = connection.scalar(SENT_IN_LANE, {"engine": engine, "lane": lane})
        # A batch is topped up by half a window at a time; one by one would cost a look per job.
        if lane is Lane.BATCH and sent and sent > window // 2:
            return 0
        return window - (sent or 0)

    def _slots(
        self, connection: Connection, pool: Pool, well: Sequence[Place]
    ) -> tuple[int, Mapping[str | None, int]]:
        """How many more jobs of an engine may run or be sent, and how busy its servers are."""
        if not pool.is_limited:
            return sys.maxsize, {}
        held = loads(connection, pool.engine)
        free = with_room(well, held)
        if any(each.limit is None for each in free):
            return sys.maxsize, held
        room = sum((each.limit or 0) - held[each.server] for each in free)
        sent = connection.scalar(select(func.count()).where(SENT, jobs.c.engine == pool.engine))
        return room - (sent or 0), held

    def _choose(
        self,
        connection: Connection,
        engine: str,
        lane: Lane,
        room: int,
        allowances: "_Allowances",
        has_opening: HasOpening | None,
    ) -> Sequence[tuple[str, str]]:
        """Owner and id of one job of each owner in turn, those served least recently first."""
        queues: list[list[tuple[str, str]]] = []
        for row in connection.execute(OWNERS, {"engine": engine, "lane": int(lane)}).all():
            if len(queues) >= room:
                break
            limit = min(room, allowances.of(row.id, row.max_running))
            # None of an owner's jobs may be due: that must not keep the others waiting.
            if limit <= 0:
                continue
            if ids := self._oldest(connection, engine, lane, row.id, limit, has_opening):
                queues.append([(row.id, each) for each in ids])
        rounds = zip_longest(*queues)
        return [each for turn in rounds for each in turn if each is not None][:room]

    def _oldest(
        self,
        connection: Connection,
        engine: str,
        lane: Lane,
        owner: str,
        limit: int,
        has_opening: HasOpening | None,
    ) -> list[str]:
        asked = {"engine": engine, "lane": lane, "owner": owner, "most": limit}
        rows = connection.execute(OLDEST, asked).all()
        if has_opening is not None and not all(map(has_opening, rows)):
            # They may have to wait for a full server while others are free. Of so many and no
            # more, because all of an owner's jobs may have to.
            some = connection.execute(OLDEST, asked | {"most": max(limit, LOOKED_THROUGH)})
            rows = [each for each in some if has_opening(each)][:limit]
        return [row.id for row in rows]

    def _mark(self, connection: Connection, chosen: Sequence[Next]) -> Sequence[Next]:
        if not chosen:
            return []
        rows = connection.execute(MARK, {"chosen": [each.id for each in chosen]}).all()
        marked = {row.id: row.owner_id for row in rows}
        taken = [each for each in chosen if each.id in marked]
        last_turn = {marked[each.id]: place for place, each in enumerate(taken)}
        for owner_id, place in sorted(last_turn.items()):
            # A hair later for each place, so that the next round keeps this one's order.
            connection.execute(
                _taking_turn(connection.dialect.name),
                {"owner_id": owner_id, "later_s": place * 1e-6},
            )
        return taken

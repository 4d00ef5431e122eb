"""Placing: which server of an engine the next job goes to, and how much room there is.

The jobs that run are few and have an index of their own, so that counting them costs the same
however many wait.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, Row, bindparam, func, select

from darkroom.pools import Place, Pool
from storage.database import epoch_now, upsert_for
from storage.tables import engine_health, jobs, server_turns
from storage.transitions import STILL_OWNED

#: What counts as many jobs for a server that takes any number: it makes such servers comparable.
MANY = 100


# Asked for every job; built once, because building a statement takes longer than running it.

RESTING = select(engine_health.c.engine).where(
    engine_health.c.engine.in_(bindparam("keys", expanding=True)),
    engine_health.c.rests_until.is_not(None),
)
LOADS = (
    select(jobs.c.server, func.count().label("held"))
    .where(STILL_OWNED, jobs.c.engine == bindparam("engine", type_=jobs.c.engine.type))
    .group_by(jobs.c.server)
)
TURNS = select(server_turns).where(
    server_turns.c.engine == bindparam("engine", type_=server_turns.c.engine.type)
)


@cache
def _taking_turn(dialect: str) -> Insert:
    row = upsert_for(dialect, server_turns).values(taken_at=epoch_now())
    return row.on_conflict_do_update(
        index_elements=[server_turns.c.engine, server_turns.c.server],
        set_={"taken_at": row.excluded.taken_at},
    )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where a job goes."""

    server: str | None
    #: Whether it goes on with the run that an earlier attempt began, if there is one.
    goes_on: bool = True


def well_places(connection: Connection, pool: Pool, *, engine_rests: bool) -> tuple[Place, ...]:
    """The servers that are not to be left alone; whether the engine rests is known of one without
    a list of them."""
    if pool.is_unnamed:
        return () if engine_rests else pool.places
    return pool.well(set(connection.scalars(RESTING, {"keys": pool.keys})))


def loads(connection: Connection, engine: str) -> Counter[str | None]:
    """How many jobs each server of an engine is busy with."""
    rows = connection.execute(LOADS, {"engine": engine})
    return Counter({row.server: row.held for row in rows})


def with_room(places: Collection[Place], held: Mapping[str | None, int]) -> list[Place]:
    """Those of some servers that take another job now."""
    return [each for each in places if each.limit is None or held.get(each.server, 0) < each.limit]


def openings(
    pool: Pool, well: Collection[Place], held: Mapping[str | None, int], job: Row[Any]
) -> list[Choice]:
    """Where a job could go now, of the servers that are `well` and busy with so many jobs; nowhere
    when it has to wait.

    `job` has its `model`, `server`, `upstream_id` and `avoided`.
    """
    goes_on = True
    if pool.resumes and job.upstream_id is not None:
        stays = [each for each in well if each.server == job.server]
        if stays:
            return [Choice(server=job.server)] if with_room(stays, held) else []
        if not pool.begins_anew:
            # It waits for its server; one that is no more is told by whoever looks for it.
            is_gone = all(each.server != job.server for each in pool.places)
            return [Choice(server=job.server)] if is_gone else []
        goes_on = False
    candidates = [each for each in pool.with_model(job.model) if each in well]
    untried = [each for each in candidates if each.server not in (job.avoided or ())]
    return [
        Choice(server=each.server, goes_on=goes_on)
        for each in with_room(untried or candidates, held)
    ]


def choose(connection: Connection, pool: Pool, job: Row[Any]) -> Choice | None:
    """The server for a job, or None when it has to wait: they rest, or are full.

    `job` is as in `openings`, and has whether its engine `rests`. Where servers are counted nobody
    else may count those of the engine meanwhile.
    """
    well = well_places(connection, pool, engine_rests=job.rests)
    if not well:
        return None
    held = loads(connection, pool.engine) if pool.is_counted else Counter()
    found = openings(pool, well, held, job)
    if len(found) > 1:
        turns = _turns(connection, pool.engine)
        limits = {each.server: each.limit or MANY for each in pool.places}
        found.sort(
            key=lambda each: (
                held[each.server] / limits[each.server],
                turns.get(each.server or "", 0.0),
            )
        )
    return found[0] if found else None


def take_turn(connection: Connection, engine: str, server: str) -> None:
    """Remember that a server was chosen, for the next choice among equals."""
    connection.execute(_taking_turn(connection.dialect.name), {"engine": engine, "server": server})


def _turns(connection: Connection, engine: str) -> Mapping[str, float]:
    rows = connection.execute(TURNS, {"engine": engine})
    return {row.server: row.taken_at for row in rows}

"""How engines are doing: the circuit breaker's memory.

It knows each server of an engine by its key (`darkroom.pools.health_key`): the engine's name, and
the server's where there are several. An engine that fails again and again, and not for a request's
fault, *rests*: its jobs wait instead of failing one by one. When the rest is over, one worker asks
the engine (`Engine.check`). Only a good answer ends the rest; a bad one makes the next twice as
long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, or_, select, update

from storage.database import Database, epoch_now, upsert
from storage.tables import engine_health

#: Failures in a row until an engine rests.
FAILURES_TO_REST = 3

#: How long the first rest is, and the longest, in seconds.
FIRST_REST_S = 5.0
LONGEST_REST_S = 300.0

AILING = select(engine_health).order_by(engine_health.c.engine)


@dataclass(frozen=True, kw_only=True)
class Ailment:
    """What is known of an engine that failed lately."""

    #: Its key: `engine`, or `engine/server`.
    engine: str
    #: Failures in a row, checks included.
    failures: int
    #: Until when it rests (Unix time, in seconds), at least; None while it is still used.
    rests_until: float | None
    #: The last failure's stable code, and its words.
    code: str
    reason: str

    @property
    def rests(self) -> bool:
        return self.rests_until is not None


class Health:
    """What is known of engines that failed lately; one that is not listed is well."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ailments(self) -> Mapping[str, Ailment]:
        """Every engine that failed since it last worked, by name."""
        with self._database.reading() as connection:
            rows = connection.execute(AILING)
            return {row.engine: Ailment(**row._mapping) for row in rows}

    def rests(self, engine: str) -> bool:
        """Whether the engine is to be left alone."""
        found = self.ailments().get(engine)
        return found is not None and found.rests

    def resting(self) -> Mapping[str, Ailment]:
        """Those that are to be left alone, by key."""
        return {key: each for key, each in self.ailments().items() if each.rests}

    def note_failure(
        self, engine: str, *, code: str, reason: str, rest_s: float | None = None
    ) -> bool:
        """Count a failure that is the engine's own fault. Returns whether it rests from now on:
        for `rest_s` at once, where that is given.

        Jobs that were running when a rest began, and fail during it, are no news: all failed for
        one reason, and would make the rest far too long.
        """
        with self._database.writing() as connection:
            row = upsert(connection, engine_health).values(
                engine=engine, failures=1, rests_until=None, code=code, reason=reason
            )
            failures = connection.scalar(
                row.on_conflict_do_update(
                    index_elements=[engine_health.c.engine],
                    set_={
                        "failures": engine_health.c.failures + 1,
                        "code": row.excluded.code,
                        "reason": row.excluded.reason,
                    },
                    where=or_(
                        engine_health.c.rests_until.is_(None),
                        engine_health.c.rests_until <= epoch_now(),
                    ),
                ).returning(engine_health.c.failures)
            )
            if failures is None or (rest_s is None and failures < FAILURES_TO_REST):
                return False
            if rest_s is None:
                rest_s = FIRST_REST_S * 2.0 ** (failures - FAILURES_TO_REST)
            rest_s = min(rest_s, LONGEST_REST_S)
            connection.execute(
                update(engine_health)
                .where(engine_health.c.engine == engine)
                .values(rests_until=epoch_now() + rest_s)
            )
        return True

    def note_success(self, engine: str) -> bool:
        """A job succeeded: forget the engine's failures. Returns whether there were any.

        A rest goes on: no job begins during one, so the job is older than what the rest is for.
        """
        ailment = self.ailments().get(engine)
        if ailment is None or ailment.rests:
            return False
        with self._database.writing() as connection:
            return bool(
                connection.execute(
                    delete(engine_health).where(
                        engine_health.c.engine == engine, engine_health.c.rests_until.is_(None)
                    )
                ).rowcount
            )

    def forget_one(self, key: str) -> None:
        """An engine or server that is well again, or is not configured any more."""
        with self._database.writing() as connection:
            connection.execute(delete(engine_health).where(engine_health.c.engine == key))

    def forget(self) -> None:
        """Give every engine a fresh start: the configuration changed."""
        with self._database.writing() as connection:
            connection.execute(delete(engine_health))

    def due_for_check(self) -> Sequence[str]:
        """Engines whose rest is over."""
        with self._database.reading() as connection:
            return list(
                connection.scalars(
                    select(engine_health.c.engine).where(engine_health.c.rests_until <= epoch_now())
                )
            )

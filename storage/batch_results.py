"""The results of a batch: its finished jobs, page by page, while more of them end."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Row, literal, literal_column, select, tuple_

from darkroom.domain import Batch, Job
from storage.database import Database
from storage.records import job_of
from storage.tables import jobs
from storage.transitions import CHUNK

#: To the letter the condition of a partial index.
FINISHED: ColumnElement[bool] = literal_column("batch_id IS NOT NULL AND finished_at IS NOT NULL")

#: How far back of the newest result seen others may still turn up, in seconds: a job's time is
#: taken before its transaction is committed.
COMMITTED_WITHIN_S = 30.0


class Results:
    """The finished jobs of a batch in the order they ended, each once.

    What `more` returns comes again until it is `done`: who could not pass it on loses nothing.
    """

    def __init__(self, database: Database, batch: Batch) -> None:
        self._database = database
        self._batch_id = batch.id
        self._seen = bytearray(batch.total)
        #: The end and the id of the last job looked at.
        self._place = (0.0, "")
        self._rows: Sequence[Row[str, int, float]] = []

    def more(self) -> Sequence[Job]:
        """Some that are not done yet; none when there are none now."""
        while rows := self._look():
            self._rows = rows
            fresh = [row.id for row in rows if not self._seen[row.batch_position]]
            if fresh:
                return jobs_in_order(self._database, fresh)
            self.done()
        # A job takes its time before its transaction is committed, and one that ended before the
        # last we saw may turn up yet.
        self._place = (self._place[0] - COMMITTED_WITHIN_S, "")
        return []

    def done(self) -> None:
        """What `more` returned last was passed on."""
        for row in self._rows:
            self._seen[row.batch_position] = True
            self._place = (row.finished_at, row.id)

    def from_the_start(self) -> None:
        """Look once more for what was committed later than anybody expects; nothing is repeated."""
        self._place = (0.0, "")

    def _look(self) -> Sequence[Row[str, int, float]]:
        order = (jobs.c.finished_at, jobs.c.id)
        query = (
            select(jobs.c.id, jobs.c.batch_position, jobs.c.finished_at)
            .where(
                FINISHED,
                jobs.c.batch_id == self._batch_id,
                tuple_(*order) > tuple_(*map(literal, self._place)),
            )
            .order_by(*order)
            .limit(CHUNK)
        )
        with self._database.reading() as connection:
            return connection.execute(query).all()


def jobs_in_order(database: Database, ids: Sequence[str]) -> Sequence[Job]:
    """The jobs of these ids, few enough for one statement."""
    with database.reading() as connection:
        found = {
            row.id: job_of(row)
            for row in connection.execute(select(jobs).where(jobs.c.id.in_(ids)))
        }
    return [found[each] for each in ids]

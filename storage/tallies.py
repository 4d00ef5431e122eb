"""Tallies: what each user's jobs of a day count for, and reserving a share of what is left.

The database adds them up itself, by triggers on jobs and batches (migration 0011): accepting a job
counts all it asks for, and its end, whichever way it comes, what it drew. Here they are only read.
"""

from sqlalchemy import Connection, bindparam, case, func, literal, select

from darkroom.quotas import DAY_S, Quotas, Spent, refuse_excess, start_of_month
from storage.database import Database, epoch_now, hold
from storage.tables import tallies

_TODAY = tallies.c.day == bindparam("today")

# Asked for every job of a user with a limit; built once, which takes longer than running it.
SUMS = select(
    func.coalesce(func.sum(case((_TODAY, tallies.c.images), else_=0)), 0).label("images_day"),
    func.coalesce(func.sum(tallies.c.images), 0).label("images_month"),
    func.coalesce(func.sum(case((_TODAY, tallies.c.cost), else_=0)), 0).label("cost_day"),
    func.coalesce(func.sum(tallies.c.cost), 0).label("cost_month"),
).where(
    tallies.c.owner_id == bindparam("owner_id"),
    tallies.c.day >= bindparam("first_of_month"),
)
NOW = select(epoch_now())


class Reservation:
    """A share of what a user may have, taken in the transaction that accepts what it is for."""

    def __init__(self, owner_id: str, quotas: Quotas, *, images: int, cost: int) -> None:
        self._owner_id = owner_id
        self._images = images
        self._cost = cost
        self.quotas = quotas
        #: What the user's jobs count for, with this one if it could be made.
        self.seen: Spent | None = None

    def make(self, connection: Connection) -> None:
        """Raises QuotaExceeded or BudgetExceeded; nothing is accepted then."""
        # Until the transaction ends, so that nobody else takes the same share.
        hold(connection, literal(f"quota of {self._owner_id}"))
        spent = _spent(connection, self._owner_id)
        self.seen = spent
        refuse_excess(self.quotas, spent, images=self._images, cost=self._cost)
        self.seen = spent.plus(self._images, self._cost)


class Tallies:
    """What users have had drawn and spent so far."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def spent(self, owner_id: str) -> Spent:
        """What the user's jobs of this day and month count for."""
        with self._database.reading() as connection:
            return _spent(connection, owner_id)


def _spent(connection: Connection, owner_id: str) -> Spent:
    now = connection.scalar(NOW) or 0.0
    row = connection.execute(
        SUMS,
        {
            "owner_id": owner_id,
            "today": int(now // DAY_S),
            "first_of_month": int(start_of_month(now) // DAY_S),
        },
    ).one()
    # PostgreSQL sums big whole numbers up to decimal ones.
    return Spent(at=now, **{name: int(value) for name, value in row._mapping.items()})

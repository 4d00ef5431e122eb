"""Estimates, quotas and the usage report in JSON."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from api.fields import Text, WholeNumber, about
from api.schemas import CostSchema, QuotaSchema
from darkroom.quotas import MOST_IMAGES, MOST_MONEY, amount, millionths
from storage.usage import Grouping

#: The longest time a report may be about, in days.
LONGEST_DAYS = 3660

FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(9998, 12, 31)


class Money(fields.Field[int]):
    """An amount of money, counted in millionths; decimal text in JSON, or a number."""

    def _serialize(self, value: int | None, attr: str | None, obj: Any, **_: Any) -> str | None:
        return None if value is None else amount(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> int:
        try:
            read = Decimal(str(value))
        except ArithmeticError:
            read = Decimal("nan")
        if isinstance(value, bool) or not read.is_finite() or not 0 <= read <= MOST_MONEY:
            raise ValidationError(f"It must be an amount from 0 to {MOST_MONEY:,}.")
        return millionths(read)


def _images(meaning: str) -> WholeNumber:
    return WholeNumber(
        allow_none=True,
        validate=validate.Range(0, MOST_IMAGES),
        **about(f"{meaning} Null lifts the limit."),
    )


def _money(meaning: str) -> Money:
    return Money(
        allow_none=True,
        **about(
            f"{meaning} Null lifts the limit.",
            type=["string", "number"],
            example="12.50",
        ),
    )


class QuotasSchema(Schema):
    """Limits of one user; the defaults hold for what is not in it."""

    images_per_day = _images("Most images in a day of UTC.")
    images_per_month = _images("Most images in a month of UTC.")
    budget_per_day = _money("Most money in a day of UTC.")
    budget_per_month = _money("Most money in a month of UTC.")


class EstimateSchema(Schema):
    """What a request would be drawn with, and cost."""

    engine = fields.String(required=True)
    model = fields.String(required=True)
    n = fields.Integer(required=True)
    size = fields.String(required=True, allow_none=True)
    quality = fields.String(required=True, allow_none=True)
    warnings = fields.List(fields.String(), required=True)
    cost = fields.Nested(CostSchema, required=True)


class OwnQuotaSchema(Schema):
    """How the limits of whoever asks stand."""

    currency = fields.String(required=True)
    quotas = fields.List(fields.Nested(QuotaSchema), required=True)


class UsageQuerySchema(Schema):
    first = fields.Date(
        data_key="from",
        validate=validate.Range(FIRST_DAY, LAST_DAY),
        **about("The first day (UTC). Default: the first of the month of the last day."),
    )
    last = fields.Date(
        data_key="to",
        validate=validate.Range(FIRST_DAY, LAST_DAY),
        **about("The last day (UTC). Default: today."),
    )
    group_by = Text(
        load_default="user,model,day",
        **about("What lines are about: any of `user`, `model` and `day`, separated by commas."),
    )
    format = Text(load_default="json", validate=validate.OneOf(["json", "csv"]))

    @validates_schema
    def _days_are_in_order(self, data: dict[str, Any], **_: Any) -> None:
        first, last = data.get("first"), data.get("last")
        if first and last and not timedelta() <= last - first < timedelta(LONGEST_DAYS):
            raise ValidationError(
                f"It must not be before `from`, nor {LONGEST_DAYS} days behind it.", "to"
            )

    @validates_schema
    def _grouping_is_known(self, data: dict[str, Any], **_: Any) -> None:
        names = [each for each in data["group_by"].split(",") if each]
        if len(set(names)) < len(names) or not set(names) <= set(Grouping):
            raise ValidationError(
                f"It must name some of {', '.join(Grouping)}, each once.", "group_by"
            )


class UsageLineSchema(Schema):
    """What some jobs came to. `null` stands for what lines are not grouped by."""

    user_id = fields.String(required=True, allow_none=True)
    email = fields.String(required=True, allow_none=True)
    engine = fields.String(required=True, allow_none=True)
    model = fields.String(required=True, allow_none=True)
    day = fields.Date(
        required=True, allow_none=True, **about("On which the jobs were accepted (UTC).")
    )
    jobs = fields.Integer(required=True)
    succeeded = fields.Integer(required=True)
    failed = fields.Integer(required=True)
    canceled = fields.Integer(required=True)
    unfinished = fields.Integer(required=True)
    images = fields.Integer(
        required=True, **about("Drawn; of what is unfinished all that is asked for.")
    )
    bytes = fields.Integer(required=True, **about("Of what was drawn, whether it is kept or not."))
    cost = Money(
        required=True, **about("As far as it is known; estimates where that is all.", type="string")
    )
    unknown_cost = fields.Integer(
        required=True, **about("How many jobs cost nobody knows how much.")
    )
    input_tokens = fields.Integer(required=True)
    output_tokens = fields.Integer(required=True)


class UsageReportSchema(Schema):
    """The usage report."""

    first = fields.Date(required=True, data_key="from")
    last = fields.Date(required=True, data_key="to")
    currency = fields.String(required=True)
    lines = fields.List(fields.Nested(UsageLineSchema), required=True)

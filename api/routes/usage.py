"""Usage: what was drawn and spent, and what is left."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Response, json

from api.auth import accessible_owner, current_user, signed_in
from api.blueprints import Blueprint
from api.money import standing_view
from api.quotas import quotas_of
from api.services import services
from api.usage_schemas import (
    LONGEST_DAYS,
    OwnQuotaSchema,
    UsageLineSchema,
    UsageQuerySchema,
    UsageReportSchema,
)
from darkroom.errors import InvalidRequest
from darkroom.quotas import standings
from storage.usage import Grouping, UsageLine

REPORT = {
    "200": {
        "description": "The report, or its lines as a table.",
        "content": {
            "application/json": {"schema": UsageReportSchema},
            "text/csv": {"schema": {"type": "string"}},
        },
    }
}

usage = Blueprint("usage", __name__, description="What was drawn and spent")


@usage.get("/")
@signed_in
@usage.doc(responses=REPORT)
@usage.arguments(UsageQuerySchema, location="query")
@usage.response(200, UsageReportSchema)
@usage.problems(400, 401, 503)
def read_usage(query: dict[str, Any]) -> Response:
    """What was drawn and spent, by user, model and day: everybody's for admins, else one's own.

    It is read from the jobs, which stay when their pictures are deleted. With `format=csv` the
    lines come as a table.
    """
    first, last = _days(query)
    group_by = [Grouping(each) for each in query["group_by"].split(",") if each]
    lines = list(
        services().storage.usage.report(first, last, group_by=group_by, owner_id=accessible_owner())
    )
    if query["format"] == "csv":
        name = f"usage-{first}-{last}.csv"
        return Response(
            _table(lines),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
    report = {
        "first": first,
        "last": last,
        "currency": services().settings.currency,
        "lines": lines,
    }
    return Response(json.dumps(UsageReportSchema().dump(report)), content_type="application/json")


@usage.get("/quota")
@signed_in
@usage.response(200, OwnQuotaSchema)
@usage.problems(401, 503)
def read_quota() -> dict[str, Any]:
    """The limits of whoever asks, and what is left of each."""
    user_id = current_user().id
    spent = services().storage.tallies.spent(user_id)
    quotas = quotas_of(user_id, services())
    return {
        "currency": services().settings.currency,
        "quotas": [standing_view(each) for each in standings(quotas, spent)],
    }


def _days(query: dict[str, Any]) -> tuple[date, date]:
    last: date = query.get("last") or datetime.now(UTC).date()
    first: date = query.get("first") or last.replace(day=1)
    if not timedelta() <= last - first < timedelta(LONGEST_DAYS):
        raise InvalidRequest(
            f"from: It must not be behind `to`, nor {LONGEST_DAYS} days before it.", param="from"
        )
    return first, last


def _table(lines: Sequence[UsageLine]) -> str:
    schema = UsageLineSchema()
    file = io.StringIO()
    table = csv.DictWriter(file, list(schema.fields))
    table.writeheader()
    table.writerows(
        {name: _safe(value) for name, value in line.items()}
        for line in schema.dump(lines, many=True)
    )
    return file.getvalue()


def _safe(value: Any) -> Any:
    """Text that a spreadsheet does not take for a formula."""
    return (
        f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
    )

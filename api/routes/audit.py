"""The audit log, for admins."""

from typing import Any

from marshmallow import Schema, fields, validate

from api.auth import admins_only
from api.blueprints import Blueprint
from api.fields import Text, about
from api.schemas import PageSchema
from api.services import services
from darkroom.domain import Action, AuditEntry, Outcome

audit_log = Blueprint("audit", __name__, description="Who changed what, and who signed in")

#: Far from now, and no number that JSON cannot hold.
IN_TIME = validate.Range(0, 1e11)


class AuditQuerySchema(PageSchema):
    action = fields.Enum(Action, by_value=True)
    outcome = fields.Enum(Outcome, by_value=True)
    user_id = Text(validate=validate.Length(max=64), **about("Who did it."))
    target = Text(validate=validate.Length(max=254), **about("What it was done to."))
    since = fields.Float(validate=IN_TIME, **about("Unix time of the oldest entry."))
    until = fields.Float(validate=IN_TIME, **about("Unix time before which all entries are."))


class AuditEntrySchema(Schema):
    """One thing that somebody did, or was refused."""

    id = fields.String(required=True)
    at = fields.Float(required=True, **about("Unix time."))
    action = fields.String(required=True)
    outcome = fields.String(required=True, **about("`done` or `refused`."))
    user_id = fields.String(required=True, allow_none=True, **about("Who did it."))
    key_id = fields.String(required=True, allow_none=True, **about("With which API key."))
    address = fields.String(required=True, **about("From where."))
    target = fields.String(required=True, allow_none=True, **about("What it was done to."))
    fields_ = fields.List(
        fields.String(),
        required=True,
        data_key="fields",
        attribute="fields",
        **about("The names of what was changed."),
    )
    request_id = fields.String(required=True, allow_none=True)


@audit_log.get("/")
@admins_only
@audit_log.arguments(AuditQuerySchema, location="query")
@audit_log.response(200, AuditEntrySchema(many=True))
@audit_log.problems(400, 401, 403, 404, 503)
def list_entries(query: dict[str, Any]) -> list[AuditEntry]:
    """What admins changed and who signed in, newest first."""
    return list(services().storage.audit.list(**query))

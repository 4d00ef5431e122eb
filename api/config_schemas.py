"""The configuration in JSON, and what engines make of it."""

from typing import Any

from marshmallow import Schema, fields, pre_load, validate

from api.fields import Address, Flag, SizeText, Text, WholeNumber, about
from darkroom.configuration import FIELDS, Field
from darkroom.domain import Operation
from darkroom.pools import MOST_IN_FLIGHT, NAME


class VerifySchema(Schema):
    engine = Text(validate=validate.Length(1, 64), allow_none=True)


class EngineCheckSchema(Schema):
    """What came of asking one engine whether it can be used."""

    engine = fields.String(required=True)
    server = fields.String(
        required=True,
        allow_none=True,
        **about("Which of its servers; null where there is no list of them."),
    )
    operations = fields.List(
        fields.Enum(Operation, by_value=True),
        required=True,
        **about("What it is used for; empty when it is not enabled."),
    )
    configuration = fields.Dict(
        required=True,
        **about("What it made of its configuration, by operation, such as a workflow's nodes."),
    )
    ok = fields.Boolean(required=True)
    detail = fields.String(required=True)


class PoolServerSchema(Schema):
    """One server of several; what it does not say is as for the whole engine."""

    name = Text(
        validate=validate.Regexp(
            f"^({NAME.pattern})?$",
            error="It must have 1 to 40 letters, digits, dots, dashes and underscores.",
        ),
        **about("Default: its host and port, or `server-` and its place in the list."),
    )
    base_url = Address(validate=validate.Length(max=2000))
    api_key = Text(validate=validate.Length(max=10_000), **about("Masked when it is shown."))
    max_in_flight = WholeNumber(
        allow_none=True,
        validate=validate.Range(1, MOST_IN_FLIGHT),
        **about("Jobs it gets at once; null as for the whole engine."),
    )


def _config_field(entry: Field) -> fields.Field[Any]:
    said: dict[str, Any] = {"required": False, **about(entry.help)}
    match entry.kind:
        case "flag":
            return Flag(**said)
        case "number":
            return WholeNumber(allow_none=True, validate=validate.Range(1, 1000), **said)
        case "object":
            return fields.Dict(keys=fields.String(), **said)
        case "servers":
            return fields.List(
                fields.Nested(PoolServerSchema), validate=validate.Length(max=100), **said
            )
        case "list":
            return fields.List(fields.Dict(), **said)
    if entry.name.endswith("_SIZE"):
        return SizeText(**said)
    if entry.name.endswith("BASE_URL"):
        return Address(validate=validate.Length(max=2000), **said)
    return Text(validate=validate.Length(max=1_000_000), **said)


class _ConfigSchema(Schema):
    engines = fields.Dict(
        dump_only=True,
        **about("What engines made of it, by engine and operation; ignored when it is sent back."),
    )

    @pre_load
    def _without_what_was_only_shown(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if key != "engines"}


#: Open WebUI's flat images configuration; every field may be left out of an update.
ConfigSchema = _ConfigSchema.from_dict(
    {entry.name: _config_field(entry) for entry in FIELDS}, name="ConfigSchema"
)

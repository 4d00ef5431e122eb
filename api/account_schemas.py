"""Accounts, sign-ins and API keys in JSON."""

from typing import Any

from marshmallow import Schema, fields, validate

from api.fields import Flag, SortedList, Text, about
from api.role_schemas import ROLE_NAME, LimitsSchema
from api.usage_schemas import QuotasSchema
from darkroom.domain import GENERATE_IMAGES, Role

PERMISSIONS = (GENERATE_IMAGES,)

OWN_LIMITS = about("Limits of this account alone, before those of its role. All are replaced.")


def _password(**rest: Any) -> Text:
    return Text(validate=validate.Length(8, 200), load_only=True, **rest)


class SigninSchema(Schema):
    email = Text(required=True, validate=validate.Length(1, 254))
    password = Text(required=True, load_only=True, validate=validate.Length(1, 200))


class SignupSchema(Schema):
    name = Text(required=True, validate=validate.Length(1, 200))
    email = fields.Email(required=True, validate=validate.Length(max=254))
    password = _password(required=True)


class PasswordChangeSchema(Schema):
    password = Text(required=True, load_only=True, **about("The one that holds now."))
    new_password = _password(required=True)


class UserSchema(Schema):
    """An account."""

    id = fields.String(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    role = fields.String(required=True, **about("`admin`, `user`, or a role that was made."))
    permissions = SortedList(fields.String(), required=True)
    active = fields.Boolean(required=True)
    quotas = fields.Nested(
        QuotasSchema,
        required=True,
        **about("What holds for this user in the place of the defaults; null lifts a limit."),
    )
    created_at = fields.Float(required=True)
    limits = fields.Nested(
        LimitsSchema, required=True, **about("What holds: its own limits, else its role's.")
    )
    own_limits = fields.Nested(LimitsSchema, required=True)


class SessionSchema(UserSchema):
    """An account, and a token to act for it."""

    token = fields.String(required=True)
    token_type = fields.String(required=True)
    expires_at = fields.Integer(required=True, **about("Unix time, in seconds."))


class NewUserSchema(SignupSchema):
    password = _password(allow_none=True)
    role = Text(load_default=Role.USER.value, validate=ROLE_NAME)
    permissions = fields.List(Text(validate=validate.OneOf(PERMISSIONS)))
    own_limits = fields.Nested(LimitsSchema, **OWN_LIMITS)


class UserChangeSchema(Schema):
    name = Text(validate=validate.Length(1, 200))
    role = Text(validate=ROLE_NAME)
    permissions = fields.List(Text(validate=validate.OneOf(PERMISSIONS)))
    own_limits = fields.Nested(LimitsSchema, **OWN_LIMITS)
    active = Flag()
    quotas = fields.Nested(
        QuotasSchema, **about("In the place of all that was set before; `{}` for the defaults.")
    )
    password = _password()


class SessionsEndSchema(Schema):
    api_keys = Flag(load_default=False, **about("Whether to revoke the API keys, too."))


class UserQuerySchema(Schema):
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 500))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, 2**31 - 1))


class NewApiKeySchema(Schema):
    name = Text(load_default="api key", validate=validate.Length(1, 200))
    expires_at = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, 1e11),
        **about("Unix time after which it opens nothing; null for never."),
    )


class ApiKeySchema(Schema):
    """An API key, without its secret."""

    id = fields.String(required=True)
    name = fields.String(required=True)
    prefix = fields.String(required=True, **about("Its first characters."))
    created_at = fields.Float(required=True)
    last_used_at = fields.Float(required=True, allow_none=True, **about("To the minute."))
    expires_at = fields.Float(required=True, allow_none=True)


class CreatedApiKeySchema(ApiKeySchema):
    """A new API key: the only time its secret is shown."""

    api_key = fields.String(required=True)

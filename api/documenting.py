"""What the OpenAPI document says of headers and bytes: those heeded, and those answered with."""

from typing import Any

from api.submission import MAX_KEY_CHARS

Header = dict[str, Any]

#: A file, as a body.
BYTES = {"type": "string", "format": "binary"}


def _heeded(name: str, description: str, example: str, **schema: Any) -> Header:
    return {
        "in": "header",
        "name": name,
        "description": description,
        "schema": {"type": "string", **schema},
        "example": example,
    }


def _answered(description: str, kind: str = "string", *, required: bool = False) -> Header:
    return {"description": description, "required": required, "schema": {"type": kind}}


PREFER = _heeded(
    "Prefer",
    "`wait=N` waits N seconds for the pictures at most, `respond-async` not at all (RFC 7240).",
    "respond-async",
)
IDEMPOTENCY_KEY = _heeded(
    "Idempotency-Key",
    "Chosen by the caller: the same call with the same key does nothing twice.",
    "8e03978e-40d5-43dd-bc93-6894a57f9324",
    minLength=1,
    maxLength=MAX_KEY_CHARS,
)
LAST_EVENT_ID = _heeded("Last-Event-ID", "The last event that was seen; it is not sent again.", "7")
IF_MATCH = _heeded("If-Match", "Answer 412 when the picture has none of these ETags.", '"0a1b"')
IF_NONE_MATCH = _heeded(
    "If-None-Match", "Answer 304 when the picture has one of these ETags.", '"0a1b"'
)
RANGE = _heeded(
    "Range",
    "One part of the bytes. Several parts and other units are answered with the whole.",
    "bytes=0-1023",
)

LOCATION = {"Location": _answered("Where it is.", required=True)}
RETRY_AFTER = {"Retry-After": _answered("When to try again, in seconds.", "integer")}
#: What a call that is counted is told, where its account has a limit.
OF_A_RATE = {
    "RateLimit-Limit": _answered("How many calls for pictures a minute lets through.", "integer"),
    "RateLimit-Remaining": _answered("How many more are let through now.", "integer"),
    "RateLimit-Reset": _answered("When all of them are again, in seconds.", "integer"),
}
OF_AN_OPENAI_RATE = {
    **OF_A_RATE,
    "x-ratelimit-limit-requests": _answered("As `RateLimit-Limit`.", "integer"),
    "x-ratelimit-remaining-requests": _answered("As `RateLimit-Remaining`.", "integer"),
    "x-ratelimit-reset-requests": _answered("As `RateLimit-Reset`, such as `1m15s`."),
}
SIGN_IN = {"WWW-Authenticate": _answered("`Bearer`.", required=True)}
WARNING = {"Warning": _answered('`299 darkroom "…"`: what could not be honoured.')}
OF_A_JOB = {"Darkroom-Job": _answered("The id of the job.", required=True), **WARNING}
OF_A_WAIT = {**OF_A_JOB, "Preference-Applied": _answered("What of `Prefer` was granted.")}
OF_CONTENT = {
    "ETag": _answered("Names these bytes.", required=True),
    "Accept-Ranges": _answered("`bytes`.", required=True),
    "Cache-Control": _answered("For how long the caller may keep it.", required=True),
    "Content-Disposition": _answered("A file name to save it under.", required=True),
}
OF_A_PART = {**OF_CONTENT, "Content-Range": _answered("Which part it is.", required=True)}

"""What only OpenAI's dialect tells apart: which way a field is wrong, and what is not ready yet."""

from darkroom.errors import DarkroomError, InvalidRequest


class UnknownParameter(InvalidRequest):
    """A field that neither OpenAI's schema nor ours has."""

    code = "unknown_parameter"
    title = "Unknown parameter"


class MissingParameter(InvalidRequest):
    """A field that must be sent was not, or was null."""

    code = "missing_required_parameter"
    title = "Missing parameter"


class StillDrawing(DarkroomError):
    """The wait ended before the job did: the same call, sent again, goes on waiting for it."""

    code = "timeout"
    title = "Not finished yet"

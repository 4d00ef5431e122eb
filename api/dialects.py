"""Which dialect an answer is in: the place where every failure gets its form."""

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from api.errors import problem_of, problem_of_http
from api.openai.envelope import envelope_of, envelope_of_http
from darkroom.errors import DarkroomError

#: Where OpenAI's dialect is spoken, on its own paths and on Azure's.
OPENAI = ("/v1/", "/openai/")


def register_error_handlers(app: Flask) -> None:
    """Answer everything that is raised in a request in the dialect of its path."""
    app.register_error_handler(DarkroomError, _answer)
    app.register_error_handler(HTTPException, _answer_http)


def _answer(error: DarkroomError) -> Response:
    return envelope_of(error) if is_openai(request.path) else problem_of(error)


def _answer_http(error: HTTPException) -> Response:
    return envelope_of_http(error) if is_openai(request.path) else problem_of_http(error)


def is_openai(path: str) -> bool:
    """Whether a path speaks OpenAI's dialect."""
    return path.startswith(OPENAI)

"""Log lines: structured, on stderr, as text for people or JSON for machines; never a secret.

Our own lines and those of the libraries take the same way out. Libraries are heard from warnings
on; at level `debug`, in full.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from darkroom.settings import Settings

OURS = ("darkroom", "api", "worker", "engines", "storage")

MASK = "***"

#: Names whose values are secrets, whatever stands before them: `engine_api_key`, `set-cookie`.
SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:api_?key|authorization|cookie|password|secret|secret_key|token)$", re.IGNORECASE
)

#: What secrets look like inside a text; the first group is kept.
SECRET_SHAPES = (
    re.compile(r"\b(dk_|sk-)[\w-]{8,}"),
    re.compile(r"\b(AIza)[\w-]{20,}"),
    re.compile(r"\b(eyJ)[\w-]+\.[\w-]+\.[\w-]+"),
    re.compile(r"\b((?:Bearer|Basic) )[\w.+/=-]{8,}", re.IGNORECASE),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"),
)


def configure(settings: Settings) -> None:
    """Set up logging for this process, in the configured format and from the configured level."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_context(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(settings.log_format, is_terminal=sys.stderr.isatty()))
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(
        handlers=[handler],
        level=level if level == logging.DEBUG else max(level, logging.WARNING),
        force=True,
    )
    for name in OURS:
        logging.getLogger(name).setLevel(level)


def mask_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """A structlog processor that hides values by their name, and secrets inside any text."""
    return {name: _masked(name, value) for name, value in event.items()}


def masked(value: Any) -> Any:
    """The same without secrets, in texts, lists and mappings."""
    return _masked("", value)


def _masked(name: str, value: Any) -> Any:
    if SECRET_NAME.search(name) and value:
        return MASK
    match value:
        case str():
            for shape in SECRET_SHAPES:
                value = shape.sub(rf"\g<1>{MASK}", value)
            return value
        case Mapping():
            return {key: _masked(str(key), each) for key, each in value.items()}
        case list() | tuple():
            return [_masked("", each) for each in value]
        case None | bool() | int() | float():
            return value
        case _:
            return _masked("", str(value))


def _context() -> list[Processor]:
    """What every line says besides its event: ids that are bound, where from, how bad, when."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(log_format: str, *, is_terminal: bool) -> logging.Formatter:
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=is_terminal, exception_formatter=structlog.dev.plain_traceback
        )
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_context(), structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # Turned into text before the masks: a traceback can quote a URL with its password.
            structlog.processors.format_exc_info,
            mask_secrets,
            renderer,
        ],
    )

"""Calls into drivers, which may be anybody's."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from darkroom.errors import EngineError, EngineFailed

logger = logging.getLogger(__name__)


@contextmanager
def guarded(engine: str, doing: str) -> Iterator[None]:
    """Turn what a driver did not mean to raise into EngineFailed, and log it.

    One from elsewhere may raise anything, which must end neither the thread that asks nor what is
    done for other engines.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        logger.exception("The driver of engine %r broke while it %s", engine, doing)
        raise EngineFailed(
            f"The driver of engine {engine!r} broke while it {doing}; the log says how."
        ) from error

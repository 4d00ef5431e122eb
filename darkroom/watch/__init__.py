"""What a process tells of itself: numbers, traces, and exceptions that nobody expected.

All of it is off, and costs next to nothing, until `start` was called with settings that ask for it.
"""

import structlog

from darkroom.settings import Settings
from darkroom.watch import failures, tracing
from darkroom.watch.meters import share_meters

log = structlog.get_logger(__name__)


def start(settings: Settings, part: str) -> None:
    """Watch this process, which is the `api` or a `worker`. Call it once, after any fork.

    Raises SettingsError when what the settings ask for is not installed.
    """
    try:
        share_meters(settings)
    except OSError as error:
        # Numbers are worth no picture.
        log.warning("metrics are not shared", reason=str(error))
    tracing.start(settings, part)
    failures.start(settings, part)


def stop() -> None:
    """Send what was not sent yet."""
    tracing.stop()
    failures.stop()

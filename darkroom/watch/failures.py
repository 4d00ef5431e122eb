"""Exceptions that nobody expected, for Sentry.

An event has the traceback, the release and our ids. It has no request, no local variables and no
breadcrumbs, which would hold prompts and keys; the masks of the log go over the rest.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

from darkroom import __version__
from darkroom.errors import DarkroomError, SettingsError
from darkroom.logs import masked
from darkroom.settings import Settings

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

_is_on = False

#: How long the end of a process may wait until everything is sent, in seconds.
FLUSH_S = 2.0


def start(settings: Settings, part: str) -> None:
    """Send what is reported to the configured project, if there is one. Raises SettingsError."""
    global _is_on
    if settings.sentry_dsn is None:
        return
    try:
        import sentry_sdk
        from sentry_sdk.integrations.dedupe import DedupeIntegration
        from sentry_sdk.integrations.excepthook import ExcepthookIntegration
        from sentry_sdk.integrations.threading import ThreadingIntegration
    except ImportError as error:
        raise SettingsError(
            "DARKROOM_SENTRY_DSN needs Sentry's library: install `darkroom[sentry]`, or unset it."
        ) from error
    try:
        sentry_sdk.init(
            dsn=settings.sentry_dsn,
            release=f"darkroom@{__version__}",
            integrations=[DedupeIntegration(), ExcepthookIntegration(), ThreadingIntegration()],
            # The others listen to Flask, Celery, Redis and the log, and send what they see there.
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            before_send=_scrubbed,
        )
    except sentry_sdk.utils.BadDsn as error:
        raise SettingsError(
            "DARKROOM_SENTRY_DSN is no DSN: copy it from the project's settings in Sentry."
        ) from error
    sentry_sdk.set_tag("part", part)
    _is_on = True


def stop() -> None:
    """Send what was not sent yet."""
    if _is_on:
        import sentry_sdk

        sentry_sdk.flush(FLUSH_S)


def report(error: BaseException) -> None:
    """Tell of an exception that is a mistake of ours, with the ids that are on the log lines."""
    if not _is_on:
        return
    import sentry_sdk

    ids = structlog.contextvars.get_contextvars()
    with sentry_sdk.new_scope() as scope:
        for name, value in ids.items():
            scope.set_tag(name, str(value))
        sentry_sdk.capture_exception(error)


@contextmanager
def reported() -> Iterator[None]:
    """Report what leaves the block and is none of our own exceptions, and let it pass."""
    try:
        yield
    except DarkroomError:
        raise
    except Exception as error:
        report(error)
        raise


def _scrubbed(event: "Event", hint: "Hint") -> "Event":
    kept: Any = {name: value for name, value in event.items() if name not in UNTOLD}
    for each in kept.get("exception", {}).get("values", ()):
        # Libraries quote the value at fault, which may be a prompt.
        each["value"] = QUOTED.sub("'…'", str(each.get("value") or ""))[:LONGEST]
    clean: Event = masked(kept)
    return clean


#: From the first quotation mark to the last one: values have some of their own, and words (can't).
QUOTED = re.compile(r"""['"].*['"]""", re.DOTALL)
LONGEST = 500

#: What is of no use, and may tell of people or machines.
UNTOLD = frozenset({"request", "user", "extra", "breadcrumbs", "modules", "server_name"})

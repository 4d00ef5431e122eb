"""A job's life as server-sent events: its state at once, and again after every change.

Each event is a whole snapshot, as `GET` on the job answers it, so that whoever missed some needs
only the next. Its id is the job's revision.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import orjson
import structlog
from flask import Response, request

from api.auth import accessible_owner, current_user, ended
from api.details import job_detail
from api.schemas import JobDetailSchema
from api.services import Services
from api.waiting import Following, caller_is_gone
from darkroom.domain import Job
from darkroom.errors import Unavailable

log = structlog.get_logger(__name__)

#: After so long without an event a comment is sent, in seconds. Looked at every two seconds, so
#: that something is sent at least every fifteen: proxies end connections that are silent.
HEARTBEAT_S = 12.0
PING = b": ping\n\n"

# Made once, because making a schema takes longer than using it.
DETAIL = JobDetailSchema()

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def events_of(job_id: str, services: Services) -> Response:
    """Answer with the events of a job until it is finished or this process stops.

    204 when the caller has seen the end (`Last-Event-ID`), which keeps browsers from connecting
    again. Raises NotFound, or Unavailable when as many calls wait as this process can hold.
    """
    find = partial(services.storage.jobs.get, job_id, owner_id=accessible_owner())
    show = partial(job_detail, services=services, to_admin=current_user().is_admin)
    seen = request.headers.get("Last-Event-ID", "")
    job = find()
    if job.status.is_finished and seen == str(job.revision):
        return Response(status=204, headers=HEADERS)
    response = Response(content_type="text/event-stream", headers=HEADERS)
    if request.method == "HEAD":
        return response
    with ExitStack() as held:
        if not held.enter_context(services.waiter.place()):
            raise Unavailable("As many calls wait here as can: try again in a few seconds.")
        following = held.enter_context(services.waiter.follow(job_id))
        is_gone, has_ended = partial(caller_is_gone, request.environ), ended(services)
        response.response = _events(seen, find, show, following, lambda: is_gone() or has_ended())
        # The place is held until the answer ends, however it ends.
        response.call_on_close(held.pop_all().close)
    return response


def _events(
    seen: str,
    find: Callable[[], Job],
    show: Callable[[Job], dict[str, Any]],
    following: Following,
    is_gone: Callable[[], bool],
) -> Iterator[bytes]:
    is_finished = False
    # Something is sent at once, if only a comment: the headers go with it.
    said_at = -math.inf
    while True:
        text = None
        try:
            job = find()
            if str(job.revision) != seen:
                text = _event(job, show(job))
        except Unavailable as error:
            # The caller keeps its place until the database is back.
            log.warning("followed job not read", reason=error.detail)
        else:
            seen, is_finished = str(job.revision), job.status.is_finished
        if text is None and time.monotonic() - said_at >= HEARTBEAT_S:
            text = PING
        if text is not None:
            yield text
            said_at = time.monotonic()
        if is_finished or following.is_over or is_gone():
            return
        following.wait()


def _event(job: Job, view: dict[str, Any]) -> bytes:
    data = orjson.dumps(DETAIL.dump(view))
    return b"id: %d\nevent: job\ndata: %b\n\n" % (job.revision, data)

"""A picture as OpenAI streams it: how it looks so far, then the finished one.

A stream ends with a `completed` event for each picture, or with an `error` event, whatever happens:
the SDK takes one that just ends for a good one.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import orjson
import pybase64
import structlog
from flask import Response, request

from api.auth import ended
from api.details import DRAWING
from api.events import HEADERS, HEARTBEAT_S, PING
from api.openai.answers import encoded, headers_of, known_of, still_drawing, usage_answer
from api.openai.envelope import body_of_error, body_of_job
from api.openai.repeats import accept, answered
from api.openai.schemas import Asked
from api.previews import content_type_of
from api.services import Services
from api.waiting import Following, caller_is_gone
from darkroom.domain import Job, JobStatus, Operation, Usage
from darkroom.errors import DarkroomError, NotFound, NotSignedIn, Unavailable

log = structlog.get_logger(__name__)

#: What an event says of a picture that nothing was said of.
UNSAID = {"size": "auto", "quality": "auto", "background": "auto", "output_format": "png"}

#: What is told where the engine does not count: the SDK expects the numbers.
NO_USAGE = Usage(input_tokens=0, output_tokens=0)

PREFIXES = {Operation.GENERATE: "image_generation", Operation.EDIT: "image_edit"}


def draw_and_stream(asked: Asked, services: Services) -> Response:
    """Accept an order, and answer with its events until it is finished, however long that takes.

    Raises Unavailable, before anything is accepted, when as many calls wait as this process can
    hold.
    """
    with ExitStack() as held:
        if not held.enter_context(services.waiter.place()):
            raise Unavailable("As many calls wait here as can: try again in a few seconds.")
        job = accept(asked.order, services)
        following = held.enter_context(services.waiter.follow(job.id))
        story = Story(job, services, partial_images=asked.partial_images)
        events = _events(
            story,
            following,
            is_gone=partial(caller_is_gone, request.environ),
            has_ended=ended(services),
            told=partial(answered, job.id, services),
        )
        response = Response(events, content_type="text/event-stream", headers=HEADERS)
        response.headers.extend(headers_of(job))
        # The place is held until the answer ends, however it ends.
        response.call_on_close(held.pop_all().close)
    return response


class Story:
    """What there is to tell of a job, one event after another."""

    def __init__(self, job: Job, services: Services, *, partial_images: int) -> None:
        self._job = job
        self._services = services
        self._partial_images = partial_images
        self._shown: list[bytes] = []
        self.is_over = False

    def news(self) -> list[bytes]:
        """The events since the last call. Raises Unavailable."""
        try:
            self._job = self._services.storage.jobs.get(self._job.id)
            events = self._ending() if self._job.status.is_finished else self._previews()
        except Unavailable:
            raise
        except DarkroomError as error:
            return self.break_off(error)
        self.is_over = self._job.status.is_finished
        return events

    def break_off(self, error: DarkroomError | None = None) -> list[bytes]:
        """The event that ends the stream early, although the job may go on."""
        self.is_over = True
        return [_event("error", body_of_error(error or still_drawing(self._job)))]

    def _previews(self) -> list[bytes]:
        if self._job.status not in DRAWING or len(self._shown) >= self._partial_images:
            return []
        try:
            with self._services.storage.gallery.open_preview(self._job.id) as file:
                preview = file.read()
        except NotFound:
            return []
        if self._shown and self._shown[-1] == preview:
            return []
        self._shown.append(preview)
        request = self._job.request
        known = known_of(self._job, ()) | {
            "output_format": content_type_of(preview).removeprefix("image/")
        }
        if request.size is not None:
            known["size"] = str(request.size)
        return [
            self._picture(
                "partial_image",
                pybase64.b64encode(preview).decode(),
                known,
                at=time.time(),
                partial_image_index=len(self._shown) - 1,
            )
        ]

    def _ending(self) -> list[bytes]:
        job = self._job
        if job.status is not JobStatus.SUCCEEDED:
            return [_event("error", body_of_job(job))]
        return [
            self._picture(
                "completed",
                encoded(each, self._services),
                known_of(job, [each]),
                at=job.finished_at or job.created_at,
                usage=usage_answer(job.usage or NO_USAGE),
            )
            for each in self._services.storage.images.of_job(job.id)
        ]

    def _picture(
        self, what: str, picture: str, known: dict[str, str], *, at: float, **more: Any
    ) -> bytes:
        kind = f"{PREFIXES[self._job.request.operation]}.{what}"
        members = UNSAID | known | {"created_at": int(at), **more}
        return _event(kind, {"type": kind, "b64_json": picture, **members})


def _events(
    story: Story,
    following: Following,
    *,
    is_gone: Callable[[], bool],
    has_ended: Callable[[], bool],
    told: Callable[[], None],
) -> Iterator[bytes]:
    # Something is sent at once, if only a comment: the headers go with it.
    said_at = -math.inf
    while True:
        try:
            events = story.news()
        except Unavailable as error:
            # The caller keeps its place until the database is back.
            log.warning("streamed job not read", reason=error.detail)
            events = []
        if following.is_over and not story.is_over:
            events += story.break_off()
        if not story.is_over and has_ended():
            events = story.break_off(NotSignedIn("The token or API key was ended: sign in again."))
        if not events and time.monotonic() - said_at >= HEARTBEAT_S:
            events = [PING]
        for each in events:
            yield each
            said_at = time.monotonic()
        if story.is_over:
            told()
            return
        if is_gone():
            return
        following.wait()


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))

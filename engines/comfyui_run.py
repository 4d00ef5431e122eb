"""One prompt on a ComfyUI server: queued, followed to its end, and canceled.

The server's history says that it is over, and its queue that it is not; one that is in neither was
lost. The WebSocket only says when to look.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from darkroom.domain import Progress
from darkroom.errors import (
    Canceled,
    DeadlineExceeded,
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    OutcomeUnknown,
)
from engines.comfyui_api import ComfyServer, PartlyAccepted
from engines.comfyui_errors import refused_prompt
from engines.comfyui_events import Events
from engines.comfyui_socket import EventSocket
from engines.comfyui_workflow import Nodes

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How often the history is asked at first and at last, in seconds.
FIRST_LOOK_S = 0.2
LOOK_EVERY_S = 1.5
#: How soon after the server said that a prompt is over.
LOOK_AGAIN_S = 0.05
#: Longest time between two calls of `progress` while there is no news, in seconds.
PULSE_S = 0.5
#: Least time between two previews, in seconds: each is stored, and samplers may be quick.
PREVIEW_EVERY_S = 1.0
#: How long a server may be away before a run on it is given up for now, in seconds.
AWAY_S = 30.0
#: Between two looks for a prompt that is nowhere, in seconds.
BETWEEN_LOOKS_S = 0.5
#: How long canceling may take, in seconds.
CANCEL_WITHIN_S = 1.8

Entry = Mapping[str, Any]


class Run:
    """One prompt, by the id we gave it."""

    def __init__(
        self, server: ComfyServer, prompt_id: str, *, deadline: float, progress: Progress
    ) -> None:
        """`deadline` is on the monotonic clock."""
        self.server = server
        self.prompt_id = prompt_id
        self.deadline = deadline
        self.progress = progress
        #: Whether the server was heard to have it, so that it cannot come later.
        self._has_arrived = False
        self.is_out_of_time = False
        self._next_preview = 0.0

    def find(self) -> Entry | bool:
        """Its history when it is over; else whether it is queued or running.

        The queue comes first: a prompt that ends between the two questions is then seen.
        """
        if self.prompt_id in self.server.queue(tick=self.tick):
            return True
        return self.server.history(self.prompt_id, tick=self.tick) or False

    def start(self, nodes: Nodes, samplers: tuple[str, ...]) -> Entry:
        """Queue it, and follow it to its end.

        Whatever stops us stops it on the server too, unless another attempt may go on with it.
        """
        client_id = uuid.uuid4().hex
        # Listening before it is queued: a quick one is over before the answer is here.
        socket = EventSocket.open(self.server.address.socket, client_id, self.server.headers)
        try:
            self.progress(upstream_id=self.prompt_id)
            with _CanceledWith(self):
                self._queue(nodes, client_id)
                return self._follow(socket, Events(self.prompt_id, samplers))
        finally:
            socket.close()

    def resume(self, samplers: tuple[str, ...]) -> Entry | None:
        """Follow one that an earlier attempt queued, to its end; None when it is nowhere."""
        self._has_arrived = True
        with _CanceledWith(self):
            self.progress(0.0)
            found = self.find()
            if found is True:
                return self._follow(EventSocket(None), Events(self.prompt_id, samplers))
            return found or None

    def cancel(self) -> None:
        """Stop it on the server, queued or running, and nobody else's. Raises nothing.

        The call that queues it may still be on its way; it is then looked for again.
        """
        until = time.monotonic() + CANCEL_WITHIN_S
        with suppress(EngineError):
            while not self._canceled(until) and not self._has_arrived:
                time.sleep(LOOK_AGAIN_S)

    def _canceled(self, until: float) -> bool:
        def left_s() -> float:
            return until - time.monotonic()

        path = f"/api/jobs/{self.prompt_id}/cancel"
        answer = self.server.send(path, {}, timeout_s=left_s())
        content = answer.json()
        if answer.is_success and isinstance(content, dict) and content.get("cancelled"):
            return True
        self.server.send("/queue", {"delete": [self.prompt_id]}, timeout_s=left_s())
        queue = self.server.queue(tick=lambda: None, timeout_s=left_s())
        if self.prompt_id in queue.running:
            # Old servers interrupt whatever runs, so this is only for when that is ours.
            self.server.send("/interrupt", {"prompt_id": self.prompt_id}, timeout_s=left_s())
            return True
        return False

    def _queue(self, nodes: Nodes, client_id: str) -> None:
        try:
            accepted = self.server.post(
                nodes, prompt_id=self.prompt_id, client_id=client_id, tick=self.tick
            )
        except PartlyAccepted as partly:
            self.prompt_id, self._has_arrived = partly.prompt_id, True
            self.cancel()
            raise refused_prompt(
                partly.content, engine=self.server.engine, scrub=self.server.scrub
            ) from None
        except (OutcomeUnknown, EngineUnreachable) as lost:
            if isinstance(lost, EngineUnreachable) and lost.upstream_status is None:
                raise
            # A proxy that gave up on the server is no better than silence.
            logger.warning("Looking for prompt %s: %s", self.prompt_id, lost.detail)
            self._find_lost()
        else:
            self._has_arrived = True
            if accepted != self.prompt_id:
                self.prompt_id = accepted
                self.progress(upstream_id=accepted)

    def _find_lost(self) -> None:
        """The answer to queueing it was lost: is it there? It is never queued again to find out."""
        for _ in range(2):
            if self.patiently(self.find):
                self._has_arrived = True
                return
            self._pause(BETWEEN_LOOKS_S)
        raise EngineUnreachable(
            f"Engine {self.server.engine!r} hung up before it took the request: try again."
        )

    def _follow(self, socket: EventSocket, events: Events) -> Entry:
        wait_s, missed = FIRST_LOOK_S, 0
        next_look = time.monotonic() + wait_s
        while True:
            socket.listen(events, min(PULSE_S, max(next_look - time.monotonic(), 0.0)))
            self._report(events)
            self._mind_the_time()
            if events.is_over:
                events.is_over, wait_s = False, LOOK_AGAIN_S
                next_look = time.monotonic()
            if time.monotonic() < next_look:
                continue
            found = self.patiently(self.find)
            if found is not True and found is not False:
                return found
            missed = 0 if found else missed + 1
            if missed == 2:
                raise EngineFailed(
                    f"Engine {self.server.engine!r} lost the run: it was restarted, or someone"
                    " cleared its queue. Ask again."
                )
            wait_s = BETWEEN_LOOKS_S if missed else min(wait_s * 2, LOOK_EVERY_S)
            next_look = time.monotonic() + wait_s

    def _report(self, events: Events) -> None:
        events.is_news = False
        now = time.monotonic()
        if events.preview is None or now < self._next_preview:
            self.progress(events.share)
            return
        self._next_preview = now + PREVIEW_EVERY_S
        preview, events.preview = events.preview, None
        self.progress(events.share, preview=preview)

    def patiently(self, call: Callable[[], T]) -> T:
        """Ask a server that may be away, or behind a proxy's own page, for a moment.

        Raises OutcomeUnknown when it stays away: the run is not given up, and found again later.
        """
        away_since: float | None = None
        while True:
            try:
                return call()
            except (EngineUnreachable, EngineBusy, Misconfigured) as error:
                now = time.monotonic()
                away_since = away_since or now
                if now - away_since > AWAY_S:
                    if isinstance(error, Misconfigured):
                        raise
                    raise OutcomeUnknown(
                        f"Engine {self.server.engine!r} went away while it was drawing:"
                        f" {error.detail}"
                    ) from error
                self._pause(PULSE_S)

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)
        self.tick()

    def tick(self) -> None:
        """Called often while something is waited for. Raises whatever must end the wait."""
        self.progress()
        self._mind_the_time()

    def _mind_the_time(self) -> None:
        if time.monotonic() > self.deadline:
            self.is_out_of_time = True
            raise EngineFailed(
                f"Engine {self.server.engine!r} did not finish in time, and the run was canceled:"
                " ask for less, or allow more time with DARKROOM_JOB_TIMEOUT_S."
            )


class _CanceledWith:
    """Cancels a run when what happens in its `with` block says that nobody wants it any more."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_unwanted = kind is not None and issubclass(kind, Canceled | DeadlineExceeded)
        if is_unwanted or self._run.is_out_of_time:
            self._run.cancel()

"""Follows one run on an AUTOMATIC1111 server while its answer is awaited, and stops it.

The server runs one job at a time, whoever sent it. What it says of "the" job, and its interrupt,
are about that one; only `/internal/progress` knows runs by their ids, and some servers lack it.
"""

import logging
from collections.abc import Callable
from typing import Any

from darkroom.domain import Progress
from darkroom.errors import EngineFailed, EngineUnreachable, Misconfigured, OutcomeUnknown
from engines.answers import Answer
from engines.automatic1111_answer import decoded
from engines.automatic1111_server import CONNECT_TIMEOUT_S, Server, wait_on

logger = logging.getLogger(__name__)

#: The longest a look may take, in seconds: it must not hold up the run that it is about.
LOOK_TIMEOUT_S = 2.0
#: How a look may fail. A picture is never lost for that.
LOOK_FAILURES = (EngineUnreachable, OutcomeUnknown, EngineFailed, Misconfigured)


class Watch:
    """Reports how far a run is. Call it often while the answer is awaited."""

    def __init__(self, server: Server, run_id: str, progress: Progress) -> None:
        self._server = server
        self._run_id = run_id
        self._progress = progress
        self._knows_ids = True
        #: When the job began that was there before ours, by the server's clock.
        self._before: str | None = None
        self._share = 0.0
        self._preview_id = -1
        #: When jobs began that were seen to be interrupted; and whether ours surely was.
        self._interrupted: set[str] = set()
        self._was_interrupted = False

    def begin(self) -> None:
        """Look around before the run is sent."""
        self._look_at_run(self._progress)
        if not self._knows_ids:
            self._before = _began(self._look_at_server(self._progress))

    def __call__(self) -> None:
        """Look once, and report. Raises what the progress raises."""
        self._progress()
        preview = None
        if self._knows_ids:
            preview = self._look()
        else:
            self._look_without_ids()
        self._progress(self._share, preview=preview)

    def interrupt(self) -> None:
        """Stop the run, if it is surely the one that the server is drawing.

        One that still waits there cannot be taken back: it is drawn for nobody.
        """
        run = self._look_at_run(wait_on)
        if not run.get("active"):
            logger.info("Run %s is left alone: it is not known to be running.", self._run_id)
            return
        self._call("POST", self._server.url("interrupt"), wait_on)
        logger.info("Run %s was interrupted.", self._run_id)

    def was_interrupted(self, began: str | None) -> bool:
        """Whether the run that began then was stopped by anyone, and its pictures are unfinished.

        Nothing in its answer says so.
        """
        self._note(self._look_at_server(wait_on))
        return self._was_interrupted if began is None else began in self._interrupted

    def _look(self) -> bytes | None:
        run = self._look_at_run(self._progress)
        if not run.get("active"):
            return None
        self._advance(run.get("progress"))
        if self._note(self._look_at_server(self._progress)):
            self._was_interrupted = True
        preview_id = run.get("id_live_preview")
        self._preview_id = preview_id if isinstance(preview_id, int) else -1
        return decoded(run.get("live_preview"))

    def _look_without_ids(self) -> None:
        """What is seen may be another client's, so no preview is shown, only how far it is."""
        content = self._look_at_server(self._progress)
        self._note(content)
        if _began(content) not in {None, self._before}:
            self._advance(content.get("progress"))

    def _advance(self, share: Any) -> None:
        if isinstance(share, int | float):
            self._share = min(max(self._share, float(share)), 1.0)

    def _note(self, content: dict[str, Any]) -> bool:
        """Remember the job that is running, or ran last, if it was interrupted."""
        state, began = _state(content), _began(content)
        is_interrupted = bool(state.get("interrupted") or state.get("skipped"))
        if is_interrupted and began is not None:
            self._interrupted.add(began)
        return is_interrupted

    def _look_at_run(self, keep_waiting: Callable[[], None]) -> dict[str, Any]:
        if not self._knows_ids:
            return {}
        question = {
            "id_task": self._run_id,
            "id_live_preview": self._preview_id,
            "live_preview": True,
        }
        url = f"{self._server.root}/internal/progress"
        answer = self._call("POST", url, keep_waiting, question)
        self._knows_ids = answer is None or answer.status not in {404, 405}
        return _content(answer)

    def _look_at_server(self, keep_waiting: Callable[[], None]) -> dict[str, Any]:
        url = self._server.url("progress?skip_current_image=true")
        return _content(self._call("GET", url, keep_waiting))

    def _call(
        self, method: str, url: str, keep_waiting: Callable[[], None], json: object = None
    ) -> Answer | None:
        try:
            return self._server.http.call(
                method,
                url,
                json=json,
                timeout_s=LOOK_TIMEOUT_S,
                connect_timeout_s=CONNECT_TIMEOUT_S,
                keep_waiting=keep_waiting,
            )
        except LOOK_FAILURES as error:
            logger.debug("A look at engine %r failed: %s", self._server.engine, error.detail)
            return None


def _content(answer: Answer | None) -> dict[str, Any]:
    content = answer.json() if answer is not None and answer.is_success else None
    return content if isinstance(content, dict) else {}


def _state(content: dict[str, Any]) -> dict[str, Any]:
    state = content.get("state")
    return state if isinstance(state, dict) else {}


def _began(content: dict[str, Any]) -> str | None:
    began = _state(content).get("job_timestamp")
    return began if isinstance(began, str) and began else None

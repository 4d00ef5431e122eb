"""What the AUTOMATIC1111 stand-in is doing: one lock, its runs, the state it tells."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Condition

from PIL import Image

from tests.engines.servers.automatic1111_rules import Json


class FifoLock:
    """Lets one in at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket)
        try:
            yield
        finally:
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()


@dataclass
class Run:
    """One call to draw, from its arrival on."""

    kind: str
    prompt: str
    task_id: str
    is_begun: bool = False
    was_interrupted: bool = False
    is_over: bool = False
    #: The name of the checkpoint that really drew, and how many pictures it finished.
    checkpoint: str | None = None
    drawn: int = 0


@dataclass
class State:
    """What `progress` tells: of the job that runs, whoever sent it, or of the last one."""

    skipped: bool = False
    interrupted: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    #: Not reset when a job begins: at first it is the previous job's.
    sampling_steps: int = 0
    preview_id: int = 0
    preview: Image.Image | None = None

    def begin(self, kind: str) -> None:
        stale = self.sampling_steps
        moment = datetime.now().strftime("%Y%m%d%H%M%S")  # noqa: DTZ005 - so does the server
        # Two jobs of one second would look like one; real ones take longer.
        if moment <= self.job_timestamp:
            moment = str(int(self.job_timestamp) + 1)
        self.__init__(  # type: ignore[misc]
            job=f"scripts_{kind}", job_count=-1, job_timestamp=moment, sampling_steps=stale
        )

    def view(self) -> Json:
        hidden = {"preview_id", "preview"}
        shown = {name: value for name, value in vars(self).items() if name not in hidden}
        return shown | {"stopping_generation": False}

    @property
    def share(self) -> float:
        if self.job_count <= 0:
            return 0.0
        steps = self.sampling_step / self.sampling_steps if self.sampling_steps else 0.0
        return min((self.job_no + steps) / self.job_count, 1.0)

"""Keeps programs running, and stops them in order."""

import signal
import subprocess
import time

import structlog

from darkroom.processes import Program, signal_group, spawn
from darkroom.signals import STOP, Signals

log = structlog.get_logger(__name__)

#: A program that dies is started again after this many seconds, doubling with each death …
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 10.0

#: … and starting over once it lived this long.
STEADY_AFTER_S = 60.0

#: What is left of every grace once someone asks to stop for the second time, in seconds.
HURRY_S = 1.0


class Supervisor:
    """A few programs, started one after the other and stopped the other way round."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._children: list[_Child] = []
        self._stop_requests = 0

    @property
    def stop_requested(self) -> bool:
        """Whether SIGTERM, SIGINT or SIGHUP arrived."""
        return self._stop_requests > 0

    def start(self, program: Program) -> None:
        """Run a program from now on."""
        child = _Child(program)
        self._children.append(child)
        child.start()

    def tend(self, timeout_s: float | None = None) -> None:
        """Wait until something happens, at most `timeout_s`, and see to it.

        A program that died is started again when its time has come.
        """
        limits = (timeout_s, *(child.start_in_s for child in self._children))
        self._listen(min((each for each in limits if each is not None), default=None))
        for child in self._children:
            child.tend()

    def deaths(self) -> dict[str, int]:
        """How often each program died, by name."""
        return {child.program.name: child.deaths for child in self._children}

    def stop(self) -> None:
        """Stop every program, the last started first, each within its grace.

        What does not stop in time is killed, and said so. A stop signal that arrives meanwhile
        leaves nobody more than `HURRY_S`.
        """
        while self._children:
            self._stop(self._children.pop())

    def _stop(self, child: "_Child") -> None:
        child.ask_to_stop()
        asked_at = time.monotonic()
        while child.is_running:
            grace_s = child.program.grace_s
            if self._stop_requests > 1:
                grace_s = min(grace_s, HURRY_S)
            left_s = asked_at + grace_s - time.monotonic()
            if left_s <= 0:
                log.warning("did not stop in time, killed", program=child.program.name)
                break
            self._listen(left_s)
        child.clear_away()

    def _listen(self, timeout_s: float | None) -> None:
        self._stop_requests += sum(each in STOP for each in self._signals.wait(timeout_s))


class _Child:
    """One program, running or waiting to be started again."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.deaths = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._delay_s = FIRST_DELAY_S
        self._start_at: float | None = None
        self._started_at = 0.0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def start_in_s(self) -> float | None:
        """Seconds until it is started again; None while it runs."""
        return None if self._start_at is None else max(0.0, self._start_at - time.monotonic())

    def start(self) -> None:
        self._start_at = None
        self._started_at = time.monotonic()
        try:
            self._process = spawn(self.program)
        except OSError as error:
            self._note_death(str(error))

    def tend(self) -> None:
        if self.start_in_s == 0.0:
            self.start()
        elif self._process is not None and not self.is_running:
            leader, outcome = self._process.pid, self._process.returncode
            self._process = None
            # Processes of its own may have outlived it; they would be in the successor's way.
            signal_group(leader, signal.SIGTERM)
            self._note_death(_in_words(outcome))

    def ask_to_stop(self) -> None:
        self._start_at = None
        if self._process is not None and self.is_running:
            self._process.terminate()

    def clear_away(self) -> None:
        """Kill whatever is left of it."""
        if self._process is not None:
            signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _note_death(self, outcome: str) -> None:
        self.deaths += 1
        if time.monotonic() - self._started_at >= STEADY_AFTER_S:
            self._delay_s = FIRST_DELAY_S
        log.warning(
            "died, starting it again",
            program=self.program.name,
            outcome=outcome,
            delay_s=self._delay_s,
        )
        self._start_at = time.monotonic() + self._delay_s
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)


def _in_words(return_code: int) -> str:
    if return_code < 0:
        return f"signal {-return_code} ({signal.strsignal(-return_code)})"
    return f"exit code {return_code}"

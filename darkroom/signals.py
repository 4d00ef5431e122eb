"""Signals as something to wait for, instead of something that interrupts."""

import select
import signal
import socket
from types import TracebackType
from typing import Any, Self

#: Signals that ask a process to stop.
STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

WATCHED = STOP | {signal.SIGCHLD}


class Signals:
    """While entered, stop signals and deaths of children are kept until `wait` returns them.

    Only the main thread can enter, and only once at a time.
    """

    def __enter__(self) -> Self:
        self._arrivals, self._bell = socket.socketpair()
        self._arrivals.setblocking(False)
        self._bell.setblocking(False)
        self._replaced: dict[signal.Signals, Any] = {
            each: signal.signal(each, _note)
            for each in WATCHED
            # `nohup` starts programs with SIGHUP ignored, and means it.
            if (each, signal.getsignal(each)) != (signal.SIGHUP, signal.SIG_IGN)
        }
        self._replaced_bell = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._replaced_bell)
        for each, handler in self._replaced.items():
            signal.signal(each, handler)
        self._arrivals.close()
        self._bell.close()

    def wait(self, timeout_s: float | None) -> list[signal.Signals]:
        """The signals that arrived since the last call, in order; waits for the first of them.

        Empty after `timeout_s`. None waits for ever.
        """
        ready, _, _ = select.select([self._arrivals], [], [], timeout_s)
        return [signal.Signals(number) for number in self._arrivals.recv(4096)] if ready else []


def _note(number: int, frame: object) -> None:
    """Python writes the number of a signal to the bell only if the signal has a handler."""

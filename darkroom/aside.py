"""Work that a long-lived process has done once, by a child, so that it need not keep what it took.

A library that was imported stays in memory until its process ends. What the launcher does to the
database takes three quarters of a second and twice the memory of all else that it does.
"""

import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

from darkroom.errors import Unavailable
from darkroom.processes import tie_to_parent
from darkroom.signals import STOP

P = ParamSpec("P")
R = TypeVar("R")


def in_a_child(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `work` returns or raises, done by a fork of this process.

    Call it while there is one thread only, with a function of a module and what pickle knows. The
    child hears no stop signals, and is killed when we are. Raises Unavailable when it dies.
    """
    # Signals that come between the fork and the child's first step would ring our bell twice.
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        pool = ProcessPoolExecutor(
            1, mp_context=get_context("fork"), initializer=tie_to_parent(signal.SIGKILL)
        )
        outcome = pool.submit(work, *args, **kwargs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    with pool:
        try:
            return outcome.result()
        except BrokenProcessPool as error:
            raise Unavailable(
                f"The process for `{work.__name__}` was killed before it was done: is there enough"
                " memory? Start again."
            ) from error

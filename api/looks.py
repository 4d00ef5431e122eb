"""Looks at the parts behind the API, which may not answer, and not even refuse.

Who watches gives up after some seconds, and then knows nothing, not even which part is away. So all
parts are looked at together, and none is waited for longer than that.
"""

import contextvars
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

#: How long a look may take, in seconds: less than Kubernetes' probes and Prometheus wait.
PATIENCE_S = 3.0


class Looks:
    """Looks at parts by name. One that is late goes on, and is not begun again until it is over."""

    def __init__(self) -> None:
        self._late: dict[str, Future[Any]] = {}

    def at(self, parts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        """What is found at each part; None for one whose look is late.

        Raises what a look raises.
        """
        late = {name for name, each in self._late.copy().items() if not each.done()}
        begun = {name: _begin(name, look) for name, look in parts.items() if name not in late}
        wait(begun.values(), timeout=PATIENCE_S)
        found = dict.fromkeys(parts)
        for name, each in begun.items():
            if each.done():
                found[name] = each.result()
            else:
                self._late[name] = each
        return found


def _begin(name: str, look: Callable[[], Any]) -> Future[Any]:
    """Look in a thread that keeps no process from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(look())
        except BaseException as error:  # noqa: BLE001 - raised again where the caller waits
            future.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name=f"look at {name}", daemon=True).start()
    return future

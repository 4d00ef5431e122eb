"""Whether an AUTOMATIC1111 server has the sampler an admin chose."""

from collections.abc import Iterable
from typing import Any

from darkroom.errors import Misconfigured
from engines.automatic1111_errors import PARAMS_SETTING
from engines.automatic1111_request import Params
from engines.automatic1111_server import Questions, Server


def check_sampler(params: Params, server: Server, questions: Questions) -> None:
    """Raise Misconfigured when the server lacks it: silently, it would take another.

    Servers that do not list their samplers or schedulers are trusted.
    """
    sampler, scheduler = params.sampler, params.scheduler
    if sampler is None and scheduler is None:
        return
    schedulers = server.entries("schedulers", questions)
    if scheduler and schedulers and scheduler not in _names(schedulers, "name", "label"):
        raise _no_such("scheduler", scheduler, server)
    samplers = _names(server.entries("samplers", questions), "name") if sampler else set()
    if sampler is None or not samplers or sampler in samplers:
        return
    # "DPM++ 2M Karras" is a sampler and a scheduler.
    endings = _names(schedulers, "name", "label", "aliases")
    if not any(sampler.removesuffix(f" {each}") in samplers for each in endings):
        raise _no_such("sampler", sampler, server)


def _names(entries: Iterable[dict[str, Any]], *keys: str) -> set[str]:
    values = [each.get(key) for each in entries for key in keys]
    words = [word for each in values for word in (each if isinstance(each, list) else [each])]
    return {each for each in words if isinstance(each, str)}


def _no_such(what: str, name: str, server: Server) -> Misconfigured:
    return Misconfigured(
        f"Engine {server.engine!r} has no {what} {name!r}: correct {PARAMS_SETTING}."
    )

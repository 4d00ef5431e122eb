"""Asks engines whether they can be used, all at the same time."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from darkroom.configuration import ImagesConfig
from darkroom.domain import Operation
from darkroom.errors import EngineError, Misconfigured
from engines.base import Engine
from engines.foreign import guarded
from engines.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What came of asking one engine."""

    engine: str
    #: Which of its servers; None where there is no list.
    server: str | None = None
    #: What it is used for as it was asked; an engine whose edits go elsewhere is asked twice.
    operations: Sequence[Operation]
    is_usable: bool
    #: What it made of its configuration, by operation.
    configuration: Mapping[str, Any] = field(default_factory=dict)
    #: One sentence: what answered, or what is wrong and how to put it right.
    detail: str


def ask(engine: Engine) -> str:
    """What an engine answers to its check.

    Raises EngineError, for a driver that breaks with an error of no known kind too: one from
    elsewhere must not end the thread that asks.
    """
    with guarded(engine.config.name, "was asked how it is"):
        return engine.check()


def check_engines(
    registry: Registry, config: ImagesConfig, name: str | None = None
) -> list[Finding]:
    """Ask every server of every enabled engine, the default one first, or of the one called `name`.
    Takes up to 10 s.

    An engine that is asked for by name and not enabled is a finding, too.
    """
    uses: dict[Engine, list[Operation]] = {}
    for operation in Operation:
        engines = registry.engines(config, operation)
        for each_name in engines.enabled:
            if name is None or name == each_name:
                for each in (*engines.servers[each_name], *engines.unusable[each_name]):
                    uses.setdefault(each, []).append(operation)
    if uses:
        with ThreadPoolExecutor(max_workers=len(uses), thread_name_prefix="checkup") as pool:
            return list(pool.map(_ask, uses.keys(), uses.values()))
    return [_not_enabled(registry, config, name)] if name is not None else []


def _ask(engine: Engine, operations: Sequence[Operation]) -> Finding:
    described: dict[str, Mapping[str, Any]] = {}
    try:
        with guarded(engine.config.name, "was asked what it made of its configuration"):
            described = {each: said for each in operations if (said := engine.describe(each))}
        if engine.missing is not None:
            raise Misconfigured(engine.missing)
        detail, is_usable = ask(engine), True
    except EngineError as error:
        detail, is_usable = error.detail, False
    return Finding(
        engine=engine.config.name,
        server=engine.config.server,
        operations=operations,
        is_usable=is_usable,
        detail=detail,
        configuration=described,
    )


def _not_enabled(registry: Registry, config: ImagesConfig, name: str) -> Finding:
    reason = ""
    try:
        registry.engines(config).get(name)
    except Misconfigured as error:
        reason = error.detail
    return Finding(engine=name, operations=(), is_usable=False, detail=reason)

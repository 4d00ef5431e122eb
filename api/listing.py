"""The models that can be asked for, as their engines list them now."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from api.configuring import known_engine
from api.services import Services
from darkroom.domain import Capabilities, FreeSizes, Limits, Model, Operation

#: Stands for every engine where one could be named.
ALL = "all"


def list_models(
    asked: str | None, services: Services, limits: Limits
) -> tuple[list[dict[str, Any]], list[str]]:
    """The models of the engine asked for, or the default one, or of all, as far as the limits
    allow them; and a sentence for each engine that did not say what it offers now.

    Raises InvalidRequest for an engine there is not, Misconfigured for one that is not enabled.
    """
    views = [services.engines(each) for each in Operation]
    name = views[0].default_engine if asked is None else asked
    if name != ALL and not any(name in each.enabled for each in views):
        views[0].get(known_engine(name, services))
    used = {
        operation: [each for each in view.enabled.values() if name in (ALL, each.config.name)]
        for operation, view in zip(Operation, views, strict=True)
    }
    listings = services.registry.listings
    engines = {
        id(server): server
        for operation, view in zip(Operation, views, strict=True)
        for each in used[operation]
        for server in view.servers[each.config.name]
    }.values()
    listings.refresh(engines)
    can = {
        operation: {
            model.full_id: model
            for each in used[operation]
            for model in view.offers(each)
            if limits.allow_model(model.full_id)
        }
        for operation, view in zip(Operation, views, strict=True)
    }
    models = can[Operation.EDIT] | can[Operation.GENERATE]
    ordered = dict.fromkeys([*can[Operation.GENERATE], *can[Operation.EDIT]])
    return [
        _view(models[each], operations=[one for one in Operation if each in can[one]])
        for each in ordered
    ], [problem for each in engines if (problem := listings.problem(each))]


def _view(model: Model, operations: Sequence[Operation]) -> dict[str, Any]:
    return {
        "id": model.full_id,
        "name": model.name,
        "engine": model.engine,
        "can_generate": Operation.GENERATE in operations,
        "can_edit": Operation.EDIT in operations,
        "retired_on": model.retired_on,
        "capabilities": _capabilities(model.capabilities),
    }


def _capabilities(capabilities: Capabilities) -> dict[str, Any]:
    sizes = capabilities.sizes
    shown = {} if isinstance(sizes, FreeSizes) else {"sizes": [str(each) for each in sizes]}
    return asdict(capabilities) | shown

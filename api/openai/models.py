"""The models of all engines, as OpenAI lists its own."""

from collections.abc import Mapping
from typing import Any

from api.auth import current_user
from api.listing import ALL, list_models
from api.services import Services
from darkroom.errors import UnknownModel


def listed_models(services: Services) -> tuple[list[dict[str, Any]], list[str]]:
    """All models, and a sentence for each engine that did not say what it offers now."""
    models, problems = list_models(ALL, services, current_user().limits)
    return [_view(each) for each in models], problems


def model_called(name: str, services: Services) -> dict[str, Any]:
    """The model of that id, with its engine before it or without. Raises UnknownModel."""
    models, _ = list_models(ALL, services, current_user().limits)
    for each in models:
        if each["id"] == name:
            return _view(each)
    alike = [each for each in models if each["id"] == f"{each['engine']}/{name}"]
    if len(alike) > 1 and alike[0]["engine"] != services.engines().default_engine:
        choices = ", ".join(each["id"] for each in alike)
        raise UnknownModel(
            f"Several engines offer the model {name!r}: name one of {choices}.", param="model"
        )
    if not alike:
        raise UnknownModel(
            f"The model {name!r} does not exist: GET /v1/models lists all there are.",
            param="model",
        )
    return _view(alike[0])


def _view(model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": model["id"],
        "object": "model",
        "created": 0,
        "owned_by": model["engine"],
        "shutdown_date": model["retired_on"],
    }

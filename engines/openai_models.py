"""Which models an OpenAI-style server offers: what it lists, and what is known of that."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from darkroom.domain import Model
from engines.catalog import KNOWN, Catalog

#: How models that draw are called, by OpenAI and by those who publish the free ones. Servers list
#: models that chat and listen beside them.
DRAWS = re.compile(
    r"image|dall-e|diffusion|flux|sdxl|\bsd[-_]?[1-4]|kandinsky|pixart|hidream|recraft|ideogram"
    r"|seedream|playground-v",
    re.IGNORECASE,
)
KNOWN_IDS = frozenset(each.full_id for each in KNOWN)


def living_first(models: Iterable[Model]) -> list[Model]:
    """The same models; those that are switched off by now come last."""
    today = datetime.now(UTC).date().isoformat()
    return sorted(models, key=lambda each: each.retired_on is not None and each.retired_on <= today)


def merge(entries: Sequence[Any], catalog: Catalog, engine: str, *, is_vendor: bool) -> list[Model]:
    """The models that draw among the `entries` of a server's list, best first.

    The vendor's are called so that they can be told. Other servers call theirs as they like: where
    none can be told, all are taken. Those that an admin described are there without being listed.
    """
    shutdowns = {
        entry["id"]: _day(entry.get("shutdown_date"))
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"]
    }
    described = [each.id for each in catalog.models(engine)]
    drawing = [each for each in shutdowns if each in described or DRAWS.search(each)]
    if not drawing and not is_vendor:
        drawing = list(shutdowns)
    own = [each for each in described if f"{engine}/{each}" not in KNOWN_IDS]
    ordered = sorted(
        dict.fromkeys([*drawing, *own]),
        key=lambda each: described.index(each) if each in described else len(described),
    )
    models = (catalog.model(engine, each) for each in ordered)
    return living_first(
        replace(each, retired_on=shutdowns.get(each.id) or each.retired_on) for each in models
    )


def _day(value: Any) -> str | None:
    """An ISO date, or None for anything else."""
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        return None

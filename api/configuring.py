"""The admin's view of the configuration: keys masked on the way out, masks undone on the way in."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from api.auditing import audit
from api.services import Services
from darkroom.configuration import FIELDS_BY_NAME
from darkroom.domain import Action, Operation
from darkroom.errors import InvalidRequest
from darkroom.pools import read_servers

MASK = "********"

#: A key shorter than this shows none of its characters.
SHOWN_FROM_CHARS = 16


def shown_config(services: Services) -> dict[str, Any]:
    """Every field, secrets masked, and what engines made of them."""
    described: dict[str, dict[str, Any]] = {}
    for operation in Operation:
        for name, engine in services.engines(operation).enabled.items():
            if description := engine.describe(operation):
                described.setdefault(name, {})[operation] = description
    return {
        name: _shown(name, value) for name, value in services.storage.config.values().items()
    } | {"engines": described}


def update_config(changes: Mapping[str, Any], services: Services) -> None:
    """Keep changed fields. Raises InvalidRequest when an engine is named that has no driver."""
    known = services.registry.names()
    for name in ("IMAGE_GENERATION_ENGINE", "IMAGE_EDIT_ENGINE"):
        engine = changes.get(name)
        is_optional = FIELDS_BY_NAME[name].default == ""
        if engine is None or engine in known or (is_optional and engine == ""):
            continue
        raise InvalidRequest(
            f"{name}: there is no engine {engine!r}; there are {', '.join(known)}.", param=name
        )
    changed = {
        name: _servers(name, value, services) if _holds_servers(name) else value
        for name, value in changes.items()
        if _holds_servers(name)
        or not (FIELDS_BY_NAME[name].secret and _is_mask_of_current(name, value, services))
    }
    services.storage.config.update(changed)
    for action, is_secret in ((Action.CONFIG_CHANGED, False), (Action.ENGINE_KEY_CHANGED, True)):
        if names := [name for name in changed if FIELDS_BY_NAME[name].secret is is_secret]:
            audit(action, services, fields=names)
    # An engine that failed may do better with what was changed.
    services.storage.health.forget()


def _shown(name: str, value: Any) -> Any:
    if _holds_servers(name):
        return [asdict(each) | {"api_key": mask(each.api_key)} for each in read_servers(value)]
    return mask(str(value)) if FIELDS_BY_NAME[name].secret else value


def _holds_servers(name: str) -> bool:
    return FIELDS_BY_NAME[name].kind == "servers"


def _servers(name: str, entries: Any, services: Services) -> list[Any]:
    """The servers to keep: each with its name, and its key where the mask of that came back.

    Raises InvalidRequest for names that are not unique, and for masks of no key.
    """
    try:
        servers = read_servers(entries)
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}.", param=name) from error
    kept = []
    for each in servers:
        api_key = each.api_key
        if api_key.startswith(MASK):
            current = read_servers(services.storage.config.values()[name])
            known = {one.name: one.api_key for one in current}
            if api_key != mask(known.get(each.name, "")):
                raise InvalidRequest(
                    f"{name}: server {each.name!r} came with a mask that is not its key's: send the"
                    " key itself.",
                    param=name,
                )
            api_key = known[each.name]
        kept.append(asdict(replace(each, api_key=api_key)))
    return kept


def _is_mask_of_current(name: str, value: str, services: Services) -> bool:
    """Whether a key came back as it was shown. Only then must the old one be readable."""
    if not value.startswith(MASK):
        return False
    return value == mask(str(services.storage.config.values()[name]))


def known_engine(name: str, services: Services) -> str:
    """`name`, when there is a driver of that name. Raises InvalidRequest."""
    known = services.registry.names()
    if name not in known:
        raise InvalidRequest(
            f"engine: there is no engine {name!r}; there are {', '.join(known)}.", param="engine"
        )
    return name


def mask(secret: str) -> str:
    """A key as it may be shown: enough to tell it from another, too little to use it."""
    if not secret:
        return ""
    return MASK + (secret[-4:] if len(secret) >= SHOWN_FROM_CHARS else "")

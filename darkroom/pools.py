"""Pools: the servers of one engine, and which of them a job may go to.

An engine has one server, or a list of them that an admin wrote. Everything here is data; the claim
(`storage.placing`) chooses.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from darkroom.domain import Operation

#: What a server's name may look like.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")

#: Most jobs at once that can be configured.
MOST_IN_FLIGHT = 1000

_TEXTS = ("name", "base_url", "api_key")


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server of an engine; empty values are as for the whole engine."""

    name: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    max_in_flight: int | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """One server of an engine, as far as it matters for who gets the next job."""

    #: None where the engine has no list of servers.
    server: str | None = None
    #: How many jobs it takes at once; None for any number.
    limit: int | None = None
    #: The models it said it offers; None while it was not asked.
    models: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Pool:
    """All servers of one engine."""

    engine: str
    places: tuple[Place, ...] = (Place(),)
    #: Whether a later attempt can go on with the run of an earlier one, on the same server.
    resumes: bool = False
    #: Whether a run that began may begin anew at another server: it costs nothing.
    begins_anew: bool = False

    @property
    def has_choice(self) -> bool:
        return len(self.places) > 1

    @property
    def is_limited(self) -> bool:
        return any(each.limit is not None for each in self.places)

    @property
    def is_counted(self) -> bool:
        """Whether it matters how much its servers run."""
        return self.is_limited or self.has_choice

    @property
    def is_unnamed(self) -> bool:
        """Whether it is the one server of an engine without a list."""
        return not self.has_choice and self.places[0].server is None

    @property
    def keys(self) -> tuple[str, ...]:
        """What its servers are called in the breaker's memory."""
        return tuple(health_key(self.engine, each.server) for each in self.places)

    def well(self, resting: Collection[str]) -> tuple[Place, ...]:
        """The servers that do not rest; `resting` holds keys."""
        return tuple(
            each for each in self.places if health_key(self.engine, each.server) not in resting
        )

    def rests(self, resting: Collection[str]) -> bool:
        """Whether the engine as a whole is to be left alone."""
        return not self.well(resting)

    def with_model(self, model: str) -> tuple[Place, ...]:
        """The servers to try for a model: those that list it, and those that were not asked.

        All of them for a model that none lists: an engine may have more than it tells.
        """
        if not any(each.models and model in each.models for each in self.places):
            return self.places
        return tuple(each for each in self.places if each.models is None or model in each.models)


#: The pool of an engine for one operation.
PoolOf = Callable[[str, Operation], Pool]


def single(engine: str, operation: Operation = Operation.GENERATE) -> Pool:
    """The pool of an engine with one server and no limit."""
    return Pool(engine=engine)


def merged(pools: Iterable[Pool]) -> Pool:
    """Pools of one engine for several operations as one; servers are told apart by their names."""
    found = list(pools)
    places = {place.server: place for each in found for place in each.places}
    return Pool(
        engine=found[0].engine,
        places=tuple(places.values()),
        resumes=found[0].resumes,
        begins_anew=found[0].begins_anew,
    )


def health_key(engine: str, server: str | None) -> str:
    """What one server of an engine is called in the breaker's memory."""
    return engine if server is None else f"{engine}/{server}"


def of_key(key: str) -> tuple[str, str | None]:
    """The engine and the server behind a key."""
    engine, _, server = key.partition("/")
    return engine, server or None


def read_servers(value: Any) -> tuple[Server, ...]:
    """The servers of a JSON list. Raises ValueError in words for what is none."""
    entries = [_checked(each) for each in value or ()]
    names = named(entries)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"two servers are called {repeated[0]!r}: give each a name of its own")
    return tuple(
        Server(
            name=name,
            base_url=entry.get("base_url") or "",
            api_key=entry.get("api_key") or "",
            max_in_flight=entry.get("max_in_flight"),
        )
        for name, entry in zip(names, entries, strict=True)
    )


def named(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """The servers' names: those given; else the host and port where there is an address, else
    `server-1` and so on by their place."""
    return [
        entry.get("name") or _host(entry.get("base_url") or "") or f"server-{number}"
        for number, entry in enumerate(entries, start=1)
    ]


def _host(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
    except ValueError:
        return ""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", parts.netloc.rpartition("@")[2]).strip("-.")[:40]


def _checked(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError("it must be a JSON list of objects")  # noqa: TRY004 - a wrong value
    unknown = entry.keys() - {*_TEXTS, "max_in_flight"}
    if unknown:
        raise ValueError(
            f"a server has no {sorted(unknown)[0]!r}, only {', '.join(_TEXTS)} and max_in_flight"
        )
    for key in _TEXTS:
        if not isinstance(entry.get(key, ""), str | None):
            raise ValueError(f"a server's {key} must be a string")  # noqa: TRY004 - as above
    name, most = entry.get("name"), entry.get("max_in_flight")
    if name and not NAME.fullmatch(name):
        raise ValueError(
            "a server's name must have 1 to 40 letters, digits, dots, dashes and underscores"
        )
    is_number = isinstance(most, int) and not isinstance(most, bool)
    if most is not None and not (is_number and 1 <= most <= MOST_IN_FLIGHT):
        raise ValueError(f"a server's max_in_flight must be from 1 to {MOST_IN_FLIGHT}")
    return entry

"""Which engines there are, and which one draws what.

Drivers are found by name among the entry points of the group `darkroom.engines`, and imported when
they are first needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points

from darkroom.configuration import EngineConfig, ImagesConfig, Purpose, Value, assemble
from darkroom.domain import Model, Operation
from darkroom.errors import (
    EngineFailed,
    EngineUnreachable,
    InvalidRequest,
    Misconfigured,
    UnknownModel,
)
from darkroom.pools import Place, Pool, merged
from darkroom.settings import Settings
from engines.base import Engine
from engines.catalog import Catalog
from engines.foreign import guarded
from engines.listings import Listings

GROUP = "darkroom.engines"
LISTING = "GET /api/images/models?engine=all lists all there are"


def installed_engines() -> tuple[str, ...]:
    """The engines that have a driver, in alphabetical order. Imports none of them."""
    return tuple(sorted({each.name for each in entry_points(group=GROUP)}))


class Registry:
    """The drivers that are installed. Make one per process."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.listings = Listings()
        #: The engine last made for each server, once for generating and once for editing: it is
        #: made anew only when its configuration changed.
        self._made: dict[tuple[str, str | None], list[Engine]] = {}
        #: What was configured last, and from what.
        self._configured: tuple[Mapping[str, Value], Settings, ImagesConfig] | None = None

    def names(self) -> tuple[str, ...]:
        """The engines that have a driver, in alphabetical order."""
        return tuple(sorted(self._drivers))

    def configure(self, values: Mapping[str, Value], settings: Settings) -> ImagesConfig:
        """The configuration that these flat values and the settings add up to. The same object
        as before for the same ones."""
        made = self._configured
        if made is None or made[0] is not values or made[1] is not settings:
            made = self._configured = (values, settings, self._configure(values, settings))
        return made[2]

    def _configure(self, values: Mapping[str, Value], settings: Settings) -> ImagesConfig:
        built_in = EngineConfig(
            name="builtin",
            options={
                "enabled": settings.enable_builtin,
                "latency_s": settings.builtin_latency_s,
                "script": settings.builtin_script,
                "ledger": settings.builtin_ledger,
            },
        )
        return assemble(values, built_in, others=self.names())

    def driver(self, name: str) -> type[Engine]:
        """The class of an engine's driver.

        Raises Misconfigured when there is none or it cannot be imported.
        """
        found = self._drivers.get(name)
        if found is None:
            known = ", ".join(self.names())
            raise Misconfigured(f"No driver for engine {name!r} is installed; there are {known}.")
        try:
            with guarded(name, "was imported"):
                driver: type[Engine] = found.load()
        except EngineFailed as error:
            raise Misconfigured(
                f"The driver of engine {name!r} cannot be imported: install it again."
            ) from error
        return driver

    def place(self, config: EngineConfig) -> Place:
        """One server as it is configured, for who chooses among several. Asks nobody."""
        limit = config.max_in_flight
        if limit is None:
            try:
                limit = self.driver(config.name).max_in_flight
            except Misconfigured:
                return Place(server=config.server)
        return Place(server=config.server, limit=limit)

    def pool(self, config: EngineConfig, servers: Sequence[Engine]) -> Pool:
        """An engine for who chooses among its servers: those of `servers`, or the one that is
        configured where none can be used."""
        try:
            driver = self.driver(config.name)
            resumes, begins_anew = driver.resumes, not driver.paid
        except Misconfigured:
            resumes = begins_anew = False
        places = [
            replace(self.place(each.config), models=self.listings.told(each)) for each in servers
        ]
        return Pool(
            engine=config.name,
            places=tuple(places) or (self.place(replace(config, servers=())),),
            resumes=resumes,
            begins_anew=begins_anew,
        )

    def create(self, config: EngineConfig) -> Engine:
        """The engine of that name, configured so; of several servers, one. Asks nobody.

        Raises Misconfigured when it has no driver or its driver cannot be imported.
        """
        key = (config.name, config.server)
        made = self._made.get(key, [])
        for engine in made:
            if engine.config is config or engine.config == config:
                return engine
        engine = self.driver(config.name)(config, self.catalog)
        self._made[key] = [engine, *made[:1]]
        return engine

    def engines(self, config: ImagesConfig, operation: Operation = Operation.GENERATE) -> "Engines":
        """The engines as they are configured now, for one operation."""
        return Engines(self, config, operation)

    def pools(self, config: ImagesConfig) -> "Pools":
        """The servers of all engines as they are configured now."""
        return Pools(self, config)

    @cached_property
    def _drivers(self) -> Mapping[str, EntryPoint]:
        return {each.name: each for each in entry_points(group=GROUP)}


class Pools:
    """The servers of all engines at one moment, for who chooses among them."""

    def __init__(self, registry: Registry, config: ImagesConfig) -> None:
        self._engines = {each: registry.engines(config, each) for each in Operation}

    def of(self, engine: str, operation: Operation) -> Pool:
        """Those that an operation can go to."""
        return self._engines[operation].pool(engine)

    def whole(self, engine: str) -> Pool:
        """Those that any operation can go to."""
        return merged(each.pool(engine) for each in self._engines.values())


class Engines:
    """The engines at one moment, for one operation."""

    def __init__(self, registry: Registry, config: ImagesConfig, operation: Operation) -> None:
        editing = operation is Operation.EDIT
        self.operation = operation
        self._registry = registry
        self.listings = registry.listings
        self.purpose: Purpose = config.edit if editing else config.generation
        #: The engine used when a request names none. It may not be enabled.
        self.default_engine = self.purpose.engine or config.generation.engine
        #: Those that can be used, by name; the default one first. Of several servers, the first.
        self.enabled: dict[str, Engine] = {}
        #: All their servers that can be used.
        self.servers: dict[str, tuple[Engine, ...]] = {}
        #: Those of them that cannot, which says what each is missing.
        self.unusable: dict[str, list[Engine]] = {}
        self._missing: dict[str, str] = {}

        self._configs = config.edit_engines if editing else config.engines
        for name in sorted(self._configs, key=lambda each: each != self.default_engine):
            try:
                servers = [registry.create(each) for each in self._configs[name].members()]
            except Misconfigured as error:
                self._missing[name] = error.detail
                continue
            if operation not in servers[0].operations:
                self._missing[name] = f"Engine {name!r} cannot {operation} pictures."
                continue
            usable = tuple(each for each in servers if each.missing is None)
            self.unusable[name] = [each for each in servers if each.missing is not None]
            if usable:
                self.enabled[name] = usable[0]
                self.servers[name] = usable
            else:
                self._missing[name] = servers[0].missing or ""

    def get(self, name: str) -> Engine:
        """The enabled engine called `name`.

        Raises Misconfigured that says what to set when it is not enabled.
        """
        if name in self.enabled:
            return self.enabled[name]
        enabled = ", ".join(self.enabled) or "none"
        editing = self.operation is Operation.EDIT
        setting = f"DARKROOM_IMAGE_{'EDIT' if editing else 'GENERATION'}_ENGINE"
        raise Misconfigured(
            f"{self._why_not(name)} To use another engine by default, set {setting}; enabled"
            f" engines: {enabled}."
        )

    def server(self, name: str, server: str | None) -> Engine:
        """One server of the enabled engine called `name`.

        Raises Misconfigured as `get` does, and EngineUnreachable when it has no such server.
        """
        self.get(name)
        for each in self.servers[name]:
            if each.config.server == server:
                return each
        raise EngineUnreachable(
            f"Engine {name!r} has no server {server!r} any more: its configuration was changed."
        )

    def pool(self, name: str) -> Pool:
        """The servers of an engine, for who chooses among them. Asks nobody."""
        config = self._configs.get(name) or EngineConfig(name=name)
        return self._registry.pool(config, self.servers.get(name, ()))

    def models(self) -> list[Model]:
        """What all enabled engines offer for this operation; the default engine's come first.

        Asks none of them; `listings.refresh` does.
        """
        return [model for engine in self.enabled.values() for model in self.offers(engine)]

    def offers(self, engine: Engine) -> list[Model]:
        """What one of them offers for this operation, best first; with all its servers."""
        editing = self.operation is Operation.EDIT
        return [
            each
            for each in self._known(engine)
            if not editing or each.capabilities.max_input_images
        ]

    def resolve(self, model: str | None = None, engine: str | None = None) -> tuple[str, Model]:
        """The name of the engine that serves a request, and the model it uses.

        `model` is `engine/model`, or an id that one enabled engine offers; with `engine` given it
        may be any model of that engine. Without either, the configured default is used.

        Raises UnknownModel or InvalidRequest for the caller's mistakes, and Misconfigured when the
        default cannot be used.
        """
        if engine:
            return self._resolve_within(engine, model)
        if model:
            return self._resolve_anywhere(model)
        chosen = self.get(self.default_engine)
        if self.purpose.model:
            return self._choose(chosen, self.purpose.model)
        return self._first(chosen)

    def _resolve_within(self, name: str, model: str | None) -> tuple[str, Model]:
        engine = self.enabled.get(name)
        if engine is None:
            enabled = ", ".join(self.enabled) or "none"
            raise InvalidRequest(
                f"{self._why_not(name)} Enabled engines: {enabled}.", param="engine"
            )
        if model:
            return self._choose(engine, model)
        if name == self.default_engine:
            return self.resolve()
        return self._first(engine)

    def _resolve_anywhere(self, model: str) -> tuple[str, Model]:
        # A model's own id may hold slashes, so the part before the first need not be an engine.
        prefix, _, rest = model.partition("/")
        named = self.enabled.get(prefix) if rest else None
        if named and any(each.id == rest for each in self.offers(named)):
            return self._choose(named, rest)

        offers = [each for each in self.models() if each.id == model]
        if not offers and not named:
            # It may be new, or nobody has asked the engines yet.
            self.listings.refresh(self.all_servers())
            offers = [each for each in self.models() if each.id == model]
        if len(offers) > 1 and offers[0].engine != self.default_engine:
            choices = ", ".join(each.full_id for each in offers)
            raise UnknownModel(
                f"Several engines offer the model {model!r}: name one of {choices}.", param="model"
            )
        if offers:
            return offers[0].engine, offers[0]
        if named:
            return self._choose(named, rest)

        hint = f" {self._missing[prefix]}" if rest and prefix in self._missing else ""
        raise UnknownModel(
            f"No enabled engine offers the model {model!r}.{hint} Name it as `engine/model`;"
            f" {LISTING}.",
            param="model",
        )

    def _choose(self, engine: Engine, model_id: str) -> tuple[str, Model]:
        """A model of one engine, by its id or by its full id."""
        name = engine.config.name
        if self._listed(engine, model_id) is None:
            model_id = model_id.removeprefix(f"{name}/")
        model = self._listed(engine, model_id) or engine.model(model_id)
        if model is None:
            raise UnknownModel(
                f"Engine {name!r} has no model {model_id!r}; {LISTING}.", param="model"
            )
        return name, model

    def _first(self, engine: Engine) -> tuple[str, Model]:
        for model in self.offers(engine):
            return engine.config.name, model
        raise Misconfigured(
            f"Engine {engine.config.name!r} lists no model to {self.operation}: set a default"
            " model, or choose another engine."
        )

    def all_servers(self) -> list[Engine]:
        """Every server of every enabled engine."""
        return [each for servers in self.servers.values() for each in servers]

    def _listed(self, engine: Engine, model_id: str) -> Model | None:
        return next((each for each in self._known(engine) if each.id == model_id), None)

    def _known(self, engine: Engine) -> Sequence[Model]:
        servers = self.servers.get(engine.config.name, (engine,))
        if len(servers) == 1:
            return self.listings.known(servers[0])
        found: dict[str, Model] = {}
        for each in servers:
            for model in self.listings.known(each):
                found.setdefault(model.id, model)
        return list(found.values())

    def _why_not(self, name: str) -> str:
        return self._missing.get(name, f"There is no engine {name!r}.")

"""From an order to what an engine is asked: defaults, model, limits and fit."""

from dataclasses import dataclass
from math import isqrt

from api.orders import AUTO, Order
from api.services import Services
from darkroom.configuration import ImagesConfig, Purpose
from darkroom.domain import ImageRequest, Limits, Model, Operation, Size
from darkroom.errors import Disabled, InvalidRequest, Misconfigured, UnknownModel, Unsupported
from engines.fitting import fit
from engines.permitting import first_allowed, refuse_beyond, refuse_model, refuse_open_size
from engines.registry import Engines


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an order comes to; its pictures and mask are still as the order gives them."""

    engine: str
    model: str
    request: ImageRequest
    warnings: tuple[str, ...]
    #: What it is expected to cost at most, in millionths; None where nobody knows.
    estimated_cost: int | None


class Planner:
    """Plans any number of orders by the configuration of one moment, and somebody's limits."""

    def __init__(self, services: Services, limits: Limits) -> None:
        self._services = services
        self._limits = limits
        self._config: ImagesConfig | None = None
        self._engines: dict[Operation, Engines] = {}

    def plan(self, order: Order) -> Plan:
        """Raises Disabled, InvalidRequest, ModelNotAllowed or Misconfigured."""
        engines = self.engines(order.operation)
        _refuse_too_many(order.n, self._services.settings.max_count)
        if order.operation is Operation.EDIT and not engines.models():
            raise UnknownModel(
                "No enabled engine can edit pictures: ask an admin to configure one that can.",
                param="model",
            )
        model = self._model(order, engines)
        asked = _request(order, engines.purpose, model, self._limits)
        refuse_beyond(asked, self._limits)
        fitted = fit(asked, model, strict=order.strict)
        # A size that was adjusted may have grown.
        refuse_beyond(fitted.request, self._limits)
        refuse_open_size(fitted.request, model, self._limits)
        return Plan(
            engine=model.engine,
            model=model.id,
            request=fitted.request,
            warnings=(*fitted.warnings, *_not_honoured(order)),
            estimated_cost=self._services.registry.price(model.engine, model.id).estimate(
                fitted.request
            ),
        )

    def engines(self, operation: Operation) -> Engines:
        """The engines for an operation. Raises Disabled when it is switched off."""
        if operation not in self._engines:
            self._config = self._config or self._services.config()
            self._engines[operation] = self._services.registry.engines(self._config, operation)
        found = self._engines[operation]
        _refuse_disabled(found.purpose, operation)
        return found

    def refuse_repeat(self, engine: str, model: str, request: ImageRequest) -> None:
        """Judge a request that was planned before, as the limits are now.

        Raises Disabled, InvalidRequest or ModelNotAllowed.
        """
        refuse_model(f"{engine}/{model}", self._limits)
        refuse_beyond(request, self._limits)
        driver = self.engines(request.operation).enabled.get(engine)
        offered = driver.model(model) if driver is not None else None
        if offered is not None:
            refuse_open_size(request, offered, self._limits)

    def _model(self, order: Order, engines: Engines) -> Model:
        if order.model is None and self._limits.models is not None:
            return self._first_allowed(order.engine, engines)
        _, model = engines.resolve(order.model, order.engine)
        refuse_model(model.full_id, self._limits)
        return model

    def _first_allowed(self, engine: str | None, engines: Engines) -> Model:
        """The default where it is allowed, else the best that is."""
        try:
            _, usual = engines.resolve(None, engine)
        except Misconfigured:
            if engine is not None:
                raise
            # The default engine cannot be used, which matters little to who may not use it.
            return first_allowed(engines.models(), self._limits)
        offers = [each for each in engines.models() if engine in (None, each.engine)]
        return first_allowed([usual, *offers], self._limits)


def _refuse_disabled(purpose: Purpose, operation: Operation) -> None:
    if not purpose.enabled:
        what = "Image generation" if operation is Operation.GENERATE else "Image editing"
        raise Disabled(f"{what} is switched off on this server: ask an admin.")


def _refuse_too_many(count: int, most: int) -> None:
    if count > most:
        raise InvalidRequest(
            f"n: It must be from 1 to {most}; ask for more in several requests.", param="n"
        )


def _not_honoured(order: Order) -> tuple[str, ...]:
    """What to warn of besides what the model cannot honour. Raises Unsupported when `strict`."""
    reasons = {each: f"{each}: Darkroom passes it on to no engine" for each in order.not_honoured}
    if order.strict and reasons:
        param, reason = next(iter(reasons.items()))
        raise Unsupported(f"{reason}.", param=param)
    return tuple(f"{reason}; it was left out." for reason in reasons.values())


def _request(order: Order, purpose: Purpose, model: Model, limits: Limits) -> ImageRequest:
    # A default that this model cannot use is none; only what the caller asked for is warned about.
    usual_size = _default_size(purpose, limits) if model.capabilities.sizes else None
    size = order.size or usual_size or AUTO
    usual_steps = _default_steps(purpose, limits) if model.capabilities.max_steps else None
    steps = order.steps or usual_steps
    return ImageRequest(
        prompt=order.prompt,
        operation=order.operation,
        count=order.n,
        size=None if size == AUTO else Size.parse(size),
        steps=steps,
        negative_prompt=order.negative_prompt,
        seed=order.seed,
        quality=order.quality,
        output_format=order.output_format,
        background=order.background,
        images=order.image,
        mask=order.mask,
    )


def _default_size(purpose: Purpose, limits: Limits) -> str | None:
    """The size of who names none, which gives way to the largest that they may ask for."""
    size = None if purpose.size in (None, "", AUTO) else Size.parse(purpose.size)
    if limits.max_size is not None and (size is None or not limits.allow_size(size)):
        size = limits.max_size
    if limits.max_pixels is not None:
        side = isqrt(limits.max_pixels)
        size = (size or Size(side, side)).of_at_most(limits.max_pixels)
    return purpose.size if size is None else str(size)


def _default_steps(purpose: Purpose, limits: Limits) -> int | None:
    """The steps of who names none, which give way to the most that they may ask for."""
    if purpose.steps is None or limits.max_steps is None:
        return purpose.steps
    return min(purpose.steps, limits.max_steps)

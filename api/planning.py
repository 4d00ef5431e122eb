"""From an order to what an engine is asked: defaults, model and fit."""

from dataclasses import dataclass

from api.orders import AUTO, Order
from api.services import Services
from darkroom.configuration import ImagesConfig, Purpose
from darkroom.domain import ImageRequest, Model, Operation, Size
from darkroom.errors import Disabled, InvalidRequest, UnknownModel, Unsupported
from engines.fitting import fit
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
    """Plans any number of orders by the configuration of one moment."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._config: ImagesConfig | None = None
        self._engines: dict[Operation, Engines] = {}

    def plan(self, order: Order) -> Plan:
        """Raises Disabled, InvalidRequest or Misconfigured."""
        engines = self.engines(order.operation)
        _refuse_too_many(order.n, self._services.settings.max_count)
        if order.operation is Operation.EDIT and not engines.models():
            raise UnknownModel(
                "No enabled engine can edit pictures: ask an admin to configure one that can.",
                param="model",
            )
        engine, model = engines.resolve(order.model, order.engine)
        fitted = fit(_request(order, engines.purpose, model), model, strict=order.strict)
        return Plan(
            engine=engine,
            model=model.id,
            request=fitted.request,
            warnings=(*fitted.warnings, *_not_honoured(order)),
            estimated_cost=self._services.registry.price(engine, model.id).estimate(fitted.request),
        )

    def engines(self, operation: Operation) -> Engines:
        """The engines for an operation. Raises Disabled when it is switched off."""
        if operation not in self._engines:
            self._config = self._config or self._services.config()
            self._engines[operation] = self._services.registry.engines(self._config, operation)
        found = self._engines[operation]
        _refuse_disabled(found.purpose, operation)
        return found


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


def _request(order: Order, purpose: Purpose, model: Model) -> ImageRequest:
    # A default that this model cannot use is none; only what the caller asked for is warned about.
    size = order.size or (purpose.size if model.capabilities.sizes else None) or AUTO
    steps = order.steps or (purpose.steps if model.capabilities.max_steps else None)
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

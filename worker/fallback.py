"""Fallback: the model that takes a job over while its own engine cannot draw at all.

The admin names one model for another (`DARKROOM_FALLBACK_MODELS`). It is only used when surely
nothing was drawn or charged, when its engine is well, when it can do all that was asked for, and
when the job's owner may use it; and the job says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from darkroom.domain import ImageRequest, Job, Limits, Operation
from darkroom.errors import CallerError, EngineError
from engines.fitting import fit
from engines.permitting import refuse_beyond, refuse_model, refuse_open_size
from engines.registry import Engines
from storage.health import Health


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """Another model that can do a job."""

    engine: str
    model: str
    request: ImageRequest
    warning: str


@dataclass(frozen=True, kw_only=True)
class Fallbacks:
    """Which model stands in for which, both as `engine/model`."""

    models: Mapping[str, str]
    #: The engines of this moment, for one operation.
    engines: Callable[[Operation], Engines]
    health: Health
    #: What a job's owner may ask for, by id.
    limits: Callable[[str], Limits]

    def covered(self, engine: str) -> set[str]:
        """The models of an engine that have a stand-in."""
        own = f"{engine}/"
        return {each.removeprefix(own) for each in self.models if each.startswith(own)}

    def find(self, job: Job, reason: str) -> Alternative | None:
        """The stand-in for a job's model, if there is one that can do the job now."""
        wanted = self.models.get(f"{job.engine}/{job.model}")
        if wanted is None:
            return None
        try:
            engines = self.engines(job.request.operation)
            engine, model = engines.resolve(wanted)
            fitted = fit(job.request, model, strict=True)
            limits = self.limits(job.owner_id)
            refuse_model(model.full_id, limits)
            refuse_beyond(fitted.request, limits)
            refuse_open_size(fitted.request, model, limits)
        except (CallerError, EngineError):
            return None
        if engine == job.engine:
            return None
        if engines.pool(engine).rests(self.health.resting()):
            return None
        return Alternative(
            engine=engine,
            model=model.id,
            request=fitted.request,
            warning=(
                f"model: {job.engine}/{job.model} could not draw ({reason}), so {model.full_id} is"
                " used."
            ),
        )

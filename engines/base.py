"""The port every image engine fills.

A driver is a class that takes an `EngineConfig` and the `Catalog`, and fills `Engine`. It is found
by the name it has among the entry points of the group `darkroom.engines`; ours are declared in
`pyproject.toml` and enter by the same door as anyone else's.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from darkroom.configuration import EngineConfig
from darkroom.domain import GeneratedImage, ImageRequest, InputImage, Model, Operation, Progress
from engines.catalog import Catalog


@dataclass(frozen=True, kw_only=True)
class Task:
    """One call to an engine."""

    #: Darkroom's id of the job, for engines that take an id from their caller.
    job_id: str
    #: The engine's own name of the model.
    model: str
    #: Already fitted to the model's capabilities.
    request: ImageRequest
    #: The pictures to change, at least one for an edit.
    images: tuple[InputImage, ...] = ()
    #: Where to repaint the first picture: a greyscale PNG of its size, 255 = repaint, 0 = keep.
    mask: bytes | None = None
    #: How long the whole call may take, in seconds.
    timeout_s: float
    #: Which try this is, from 1.
    attempt: int = 1
    #: The engine's own id of the run that an earlier try began: go on with that one. Only for
    #: engines that say `resumes`.
    upstream_id: str | None = None


class Engine(ABC):
    """One image engine, reached with one configuration. Safe to use from several threads.

    Making one is cheap and asks nobody; a configuration that cannot work shows in `missing`.
    """

    #: Whether a call costs money. A paid call that may have happened is never repeated.
    paid: ClassVar[bool] = True

    #: What the driver can be asked to do, whatever its models could.
    operations: ClassVar[frozenset[Operation]] = frozenset({Operation.GENERATE})

    #: Whether a run whose caller died can be found again by its upstream id.
    resumes: ClassVar[bool] = False

    #: Whether it may be asked for models that it does not list.
    takes_unlisted: ClassVar[bool] = True

    #: How many jobs it may be given at once, by all workers together; None for any number.
    max_in_flight: ClassVar[int | None] = None

    #: Why it cannot be used yet and what to set, in one sentence; None when it can.
    missing: str | None = None

    def __init__(self, config: EngineConfig, catalog: Catalog) -> None:
        self.config = config
        self.catalog = catalog

    def models(self) -> Sequence[Model]:
        """The models it offers, best first, as far as that is known without asking it."""
        return self.catalog.models(self.config.name)

    def list_models(self) -> Sequence[Model]:
        """Ask the engine which models it offers now, at no cost, within 10 s; best first.

        Raises EngineError as `check` does.
        """
        return self.models()

    def model(self, model_id: str) -> Model | None:
        """What is known of `model_id`, or what to assume of it; None when it cannot be asked for.

        A model that is not listed passes through with all that the engine can do at most.
        """
        for each in self.models():
            if each.id == model_id:
                return each
        if self.takes_unlisted:
            return self.catalog.model(self.config.name, model_id)
        return None

    def describe(self, operation: Operation) -> Mapping[str, Any]:
        """What it made of its configuration, for the admin who wrote it. Asks nobody."""
        return {}

    @abstractmethod
    def check(self) -> str:
        """Ask the engine whether it can be used, at no cost, within 10 s.

        Returns a sentence that says what answered. Raises the EngineError that a job would meet:
        EngineUnreachable, Misconfigured, EngineBusy …
        """

    @abstractmethod
    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        """Draw `task.request.count` pictures and return them encoded, in order.

        Returns fewer, but at least one, when the engine drew only some of them. Blocks for at most
        `task.timeout_s`. Raises the most specific EngineError; lets what `progress` raises pass.
        """

"""The port every image engine fills.

A driver is a class that takes an `EngineConfig` and fills `Engine`. It is found by the name it
has among the entry points of the group `darkroom.engines`; ours are declared in
`pyproject.toml` and enter by the same door as anyone else's.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from darkroom.configuration import EngineConfig
from darkroom.domain import Capabilities, GeneratedImage, ImageRequest, Model, Progress


@dataclass(frozen=True, kw_only=True)
class Task:
    """One call to an engine."""

    #: Darkroom's id of the job, for engines that take an id from their caller.
    job_id: str
    #: The engine's own name of the model.
    model: str
    #: Already fitted to the model's capabilities.
    request: ImageRequest
    #: How long the whole call may take, in seconds.
    timeout_s: float
    #: Which try this is, from 1.
    attempt: int = 1


class Engine(ABC):
    """One image engine, reached with one configuration. Safe to use from several threads."""

    #: Whether a call costs money. A paid call that may have happened is never repeated.
    paid: ClassVar[bool] = True

    #: Whether the engine has what it needs to be used.
    is_configured: bool

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.is_configured = True

    @abstractmethod
    def models(self) -> Sequence[Model]:
        """The models it offers, best first."""

    def capabilities(self, model: str) -> Capabilities:
        """What `model` can do; one it does not list may be anything the engine can do at most."""
        for each in self.models():
            if each.id == model:
                return each.capabilities
        return Capabilities()

    @abstractmethod
    def check(self) -> str:
        """Ask the engine whether it can be used, at no cost, within 10 s.

        Returns a sentence that says what answered. Raises EngineUnreachable or Misconfigured.
        """

    @abstractmethod
    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        """Draw `task.request.count` pictures and return them encoded, in order.

        Blocks for at most `task.timeout_s`. Raises the most specific EngineError; lets what
        `progress` raises pass.
        """

"""What engines said they offer: asked when somebody looks, kept for a while.

A request for pictures never waits for it, as long as it names an engine or the defaults do.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from weakref import WeakKeyDictionary

from darkroom.configuration import named
from darkroom.domain import Model
from darkroom.errors import EngineError
from engines.base import Engine
from engines.foreign import guarded

logger = logging.getLogger(__name__)

#: How long an answer, or a failure to answer, is good for, in seconds.
FRESH_S = 30.0


@dataclass
class _Listing:
    """The last word of one engine."""

    models: Sequence[Model] | None = None
    problem: str | None = None
    asked_at: float | None = None
    #: Held while it is asked: who comes meanwhile waits for the same answer.
    lock: Lock = field(default_factory=Lock)

    @property
    def is_fresh(self) -> bool:
        return self.asked_at is not None and time.monotonic() - self.asked_at < FRESH_S


class Listings:
    """The models of all engines of a process, for all of its threads."""

    def __init__(self) -> None:
        # An engine with another configuration is another engine, with nothing said yet.
        self._listings: WeakKeyDictionary[Engine, _Listing] = WeakKeyDictionary()
        self._lock = Lock()

    def known(self, engine: Engine) -> Sequence[Model]:
        """What it offers, best first, as far as that is known without asking it."""
        models = self._of(engine).models
        return engine.models() if models is None else models

    def told(self, engine: Engine) -> frozenset[str] | None:
        """The ids of the models it said it offers; None while it said nothing."""
        models = self._of(engine).models
        return None if models is None else frozenset(each.id for each in models)

    def refresh(self, engines: Iterable[Engine]) -> None:
        """Ask those that were not asked lately, all at the same time. Takes up to 10 s."""
        stale = [each for each in engines if not self._of(each).is_fresh]
        if stale:
            with ThreadPoolExecutor(max_workers=len(stale), thread_name_prefix="listing") as pool:
                list(pool.map(self._ask, stale))

    def problem(self, engine: Engine) -> str | None:
        """Why it did not say what it offers when it was last asked, in a sentence."""
        problem = self._of(engine).problem
        return None if problem is None else named(engine.config, problem)

    def _of(self, engine: Engine) -> _Listing:
        with self._lock:
            return self._listings.setdefault(engine, _Listing())

    def _ask(self, engine: Engine) -> None:
        listing = self._of(engine)
        with listing.lock:
            if listing.is_fresh:
                return
            try:
                with guarded(engine.config.name, "listed its models"):
                    listing.models, listing.problem = engine.list_models(), None
            except EngineError as error:
                # What it said before is still the best guess.
                listing.problem = error.detail
                logger.warning("Models not listed: %s", named(engine.config, error.detail))
            listing.asked_at = time.monotonic()

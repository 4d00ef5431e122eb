"""Engines are asked what they offer when somebody looks, and not more often than that."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from darkroom.configuration import EngineConfig
from darkroom.domain import Capabilities, GeneratedImage, Model, Progress
from darkroom.errors import EngineUnreachable
from engines import listings as module
from engines.base import Engine, Task
from engines.catalog import Catalog
from engines.listings import Listings


class Painter(Engine):
    """Offers what it is told to, and counts how often it is asked."""

    def __init__(self, offers: Sequence[str] = ("new",)) -> None:
        super().__init__(EngineConfig(name="painter"), Catalog([]))
        self.offers: Sequence[str] | None = offers
        self.asked = 0

    def models(self) -> Sequence[Model]:
        return [self._model("known")]

    def list_models(self) -> Sequence[Model]:
        self.asked += 1
        if self.offers is None:
            raise EngineUnreachable("The painter does not answer.")
        return [self._model(each) for each in self.offers]

    def check(self) -> str:
        return "The painter is ready."

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        raise NotImplementedError

    def _model(self, name: str) -> Model:
        return Model(id=name, name=name, engine="painter", capabilities=Capabilities())


def names(listings: Listings, engine: Engine) -> list[str]:
    return [each.id for each in listings.known(engine)]


def test_nobody_is_asked_until_somebody_looks() -> None:
    painter, listings = Painter(), Listings()

    assert names(listings, painter) == ["known"]
    assert painter.asked == 0

    listings.refresh([painter])

    assert names(listings, painter) == ["new"]


def test_an_answer_is_good_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    painter, listings = Painter(), Listings()

    listings.refresh([painter])
    painter.offers = ["newer"]
    listings.refresh([painter])
    assert names(listings, painter) == ["new"]

    monkeypatch.setattr(module, "FRESH_S", 0.0)
    listings.refresh([painter])
    assert names(listings, painter) == ["newer"]


def test_an_engine_that_does_not_answer_keeps_its_models_and_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    painter, listings = Painter(), Listings()
    listings.refresh([painter])
    with monkeypatch.context() as patch:
        patch.setattr(module, "FRESH_S", 0.0)
        painter.offers = None
        listings.refresh([painter])

    listings.refresh([painter])

    assert names(listings, painter) == ["new"]
    assert listings.problem(painter) == "The painter does not answer."
    assert painter.asked == 2


def test_those_who_look_at_the_same_moment_share_one_answer() -> None:
    painter, listings, barrier = Painter(), Listings(), Barrier(8)

    def look() -> list[str]:
        barrier.wait()
        listings.refresh([painter])
        return names(listings, painter)

    with ThreadPoolExecutor(8) as pool:
        seen = [each.result() for each in [pool.submit(look) for _ in range(8)]]

    assert seen == [["new"]] * 8
    assert painter.asked == 1


def test_engines_are_asked_at_the_same_time() -> None:
    barrier = Barrier(2, timeout=10)

    class Slow(Painter):
        def list_models(self) -> Sequence[Model]:
            barrier.wait()
            return super().list_models()

    pair, listings = [Slow(), Slow()], Listings()

    listings.refresh(pair)

    assert [each.asked for each in pair] == [1, 1]


def test_an_engine_that_was_configured_anew_is_asked_anew() -> None:
    listings = Listings()
    listings.refresh([Painter(["old"])])

    assert names(listings, Painter()) == ["known"]


def test_a_driver_that_breaks_is_no_matter_of_the_others() -> None:
    class Broken(Painter):
        def list_models(self) -> Sequence[Model]:
            super().list_models()
            raise RuntimeError("secret words")

    broken, painter, listings = Broken(), Painter(), Listings()

    for _ in range(2):
        listings.refresh([broken, painter])

    assert names(listings, painter) == ["new"]
    assert names(listings, broken) == ["known"]
    assert broken.asked == 1
    problem = listings.problem(broken)
    assert problem is not None
    assert "broke" in problem
    assert "secret" not in problem

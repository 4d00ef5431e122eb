"""What every engine promises, whichever driver it is."""

import itertools
from dataclasses import dataclass

import pytest

from darkroom.configuration import EngineConfig
from darkroom.domain import Size
from darkroom.errors import Canceled, LeaseLost
from engines.base import Engine
from engines.builtin import BuiltinEngine
from engines.catalog import Catalog
from engines.comfyui import ComfyUI
from engines.fitting import fit
from engines.openai_images import OpenAIImages
from tests.engines.builders import Reports, a_request, a_task, comfyui_config, openai_config, opened
from tests.engines.servers.comfyui import ComfyUIServer
from tests.engines.servers.openai import OpenAIServer


@dataclass(frozen=True)
class Driver:
    """An engine that is ready to draw, and the model to ask for."""

    engine: Engine
    model: str


@pytest.fixture(
    params=["builtin", "comfyui", "gpt-image-2", "gpt-image-1.5", "dall-e-3", "dall-e-2"]
)
def driver(request: pytest.FixtureRequest, server: OpenAIServer, catalog: Catalog) -> Driver:
    if request.param == "builtin":
        return Driver(BuiltinEngine(EngineConfig(name="builtin"), catalog), "placeholder")
    if request.param == "comfyui":
        comfy: ComfyUIServer = request.getfixturevalue("comfy")
        return Driver(ComfyUI(comfyui_config(comfy), catalog), "default")
    return Driver(OpenAIImages(openai_config(server), catalog), request.param)


def test_it_is_configured_and_says_what_answers(driver: Driver) -> None:
    assert driver.engine.missing is None

    assert driver.engine.check().endswith(".")


def test_it_offers_models_under_its_own_name(driver: Driver) -> None:
    models = driver.engine.models()

    assert driver.model in [each.id for each in models]
    assert {each.engine for each in models} == {driver.engine.config.name}


def test_it_draws_as_many_pictures_as_asked(driver: Driver) -> None:
    task = a_task(driver.model, count=3)

    images = driver.engine.generate(task, Reports())

    assert len(images) == 3
    for each in images:
        assert opened(each.data).format == "PNG"


@pytest.mark.parametrize("size", [Size(1024, 1024), Size(1920, 1080), Size(500, 700)], ids=str)
def test_it_draws_the_size_of_a_fitted_request(driver: Driver, size: Size) -> None:
    model = driver.engine.model(driver.model)
    assert model is not None
    request = fit(a_request(size=size), model).request
    assert request.size is not None

    images = driver.engine.generate(a_task(driver.model, size=request.size), Reports())

    assert opened(images[0].data).size == (request.size.width, request.size.height)


def test_it_draws_whatever_fitting_lets_through(driver: Driver) -> None:
    model = driver.engine.model(driver.model)
    assert model is not None
    everything = a_request(
        steps=20,
        seed=7,
        negative_prompt="fog",
        quality="high",
        output_format="webp",
        background="transparent",
    )
    request = fit(everything, model).request

    images = driver.engine.generate(
        a_task(
            driver.model,
            steps=request.steps,
            seed=request.seed,
            negative_prompt=request.negative_prompt,
            quality=request.quality,
            output_format=request.output_format,
            background=request.background,
        ),
        Reports(),
    )

    assert opened(images[0].data).format == ("WEBP" if request.output_format else "PNG")


def test_its_progress_only_grows(driver: Driver) -> None:
    reports = Reports()

    driver.engine.generate(a_task(driver.model, count=2), reports)

    assert reports.shares[0] == 0.0
    assert all(a <= b for a, b in itertools.pairwise(reports.shares))
    assert reports.shares[-1] <= 1.0


@pytest.mark.parametrize("reason", [Canceled, LeaseLost])
def test_it_stops_when_it_is_told_to(
    driver: Driver, reason: type[Canceled | LeaseLost], server: OpenAIServer
) -> None:
    def stop() -> None:
        raise reason("Stop.")

    with pytest.raises(reason):
        driver.engine.generate(a_task(driver.model), Reports(until=stop))

    assert server.generations == []

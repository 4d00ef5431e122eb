"""What every engine promises, whichever driver it is and whatever its models can do."""

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from PIL import Image

from darkroom.domain import ImageRequest, InputImage, MaskSupport, Model, Operation, Size
from darkroom.errors import Canceled, InvalidRequest, LeaseLost, Unsupported
from engines.base import Engine, Task
from engines.fitting import fit
from tests.engines.builders import Reports, a_request, opened
from tests.engines.drivers import EVERYTHING, FAMILIES, PAGE, Family, written
from tests.engines.servers.stand_in import StandIn

RED = (255, 0, 0)


@dataclass(frozen=True)
class Driver:
    """An engine that is ready to draw, and the model to ask for."""

    family: Family
    engine: Engine
    server: StandIn | None

    @property
    def model(self) -> Model:
        model = self.engine.model(self.family.model)
        assert model is not None
        return model

    @property
    def edits(self) -> bool:
        return self.model.capabilities.max_input_images > 0

    def task(self, request: ImageRequest, **rest: object) -> Task:
        return Task(job_id="job-1", model=self.model.id, request=request, timeout_s=20, **rest)  # type: ignore[arg-type]

    def calls_to_draw(self) -> int:
        if self.server is None:
            return 0
        return sum(each.method == "POST" for each in self.server.calls)


@pytest.fixture(params=FAMILIES, ids=lambda each: each.label)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    family: Family = request.param
    with family.ready() as (engine, server):
        yield Driver(family, engine, server)


def picture(color: tuple[int, int, int] = RED, size: int = 256) -> InputImage:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), color).save(buffer, "PNG")
    return InputImage(data=buffer.getvalue(), content_type="image/png", size=Size(size, size))


def right_half(size: int = 256) -> bytes:
    """A mask that lets the right half be repainted."""
    mask = Image.new("L", (size, size), 0)
    mask.paste(255, (size // 2, 0, size, size))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def test_it_is_configured_and_says_what_answers(driver: Driver) -> None:
    assert driver.engine.missing is None

    assert driver.engine.check().endswith(".")


def test_it_offers_models_under_its_own_name(driver: Driver) -> None:
    listed = driver.engine.list_models()

    assert {each.engine for each in [*driver.engine.models(), *listed]} == {
        driver.engine.config.name
    }
    assert len({each.id for each in listed}) == len(listed)


def test_asking_what_it_is_draws_nothing(driver: Driver) -> None:
    driver.engine.check()
    driver.engine.list_models()

    assert driver.calls_to_draw() == 0


@pytest.mark.parametrize("count", [1, 3])
def test_it_draws_as_many_pictures_as_asked(driver: Driver, count: int) -> None:
    images = driver.engine.generate(driver.task(a_request(count=count)), Reports())

    assert len(images) == count
    for each in images:
        assert opened(each.data).format == "PNG"


@pytest.mark.parametrize("size", [Size(1024, 1024), Size(1920, 1080), Size(500, 700)], ids=str)
def test_it_draws_the_size_of_a_fitted_request(driver: Driver, size: Size) -> None:
    request = fit(a_request(size=size), driver.model).request
    assert request.size is not None

    images = driver.engine.generate(driver.task(request), Reports())

    assert opened(images[0].data).size == (request.size.width, request.size.height)


def test_it_draws_whatever_fitting_lets_through(driver: Driver) -> None:
    asked = {
        name: value
        for name, value in EVERYTHING.items()
        if name not in {"mask", "images", "operation", "count"}
    }
    request = fit(a_request(**asked | {"quality": "high"}), driver.model).request

    images = driver.engine.generate(driver.task(request), Reports())

    assert opened(images[0].data).format == ("WEBP" if request.output_format else "PNG")


def test_a_strict_request_is_refused_for_what_it_lacks(driver: Driver) -> None:
    with pytest.raises((Unsupported, InvalidRequest)):
        fit(a_request(**EVERYTHING), driver.model, strict=True)


def test_seeds_are_told_and_make_the_same_picture_again(driver: Driver) -> None:
    [first] = driver.engine.generate(driver.task(a_request()), Reports())
    if first.seed is None:
        return

    [again] = driver.engine.generate(driver.task(a_request(seed=first.seed)), Reports())
    [other] = driver.engine.generate(driver.task(a_request(seed=first.seed + 1)), Reports())

    assert driver.model.capabilities.seed
    assert again.seed == first.seed
    assert opened(again.data).tobytes() == opened(first.data).tobytes()
    assert opened(other.data).tobytes() != opened(first.data).tobytes()


@pytest.mark.parametrize("count", [1, 3])
def test_it_changes_pictures_where_it_says_so(driver: Driver, count: int) -> None:
    request = a_request(operation=Operation.EDIT, count=count, images=("a key",))
    if not driver.edits:
        with pytest.raises(InvalidRequest):
            fit(request, driver.model)
        return

    images = driver.engine.generate(driver.task(request, images=(picture(),)), Reports())

    assert Operation.EDIT in driver.engine.operations
    assert len(images) == count
    changed = opened(images[0].data).convert("RGB")
    assert changed.tobytes() != Image.new("RGB", changed.size, RED).tobytes()


def test_it_keeps_what_is_outside_a_mask_where_it_says_so(driver: Driver) -> None:
    if driver.model.capabilities.mask is MaskSupport.NONE:
        return
    request = a_request(operation=Operation.EDIT, images=("a key",), mask="another key")

    [image] = driver.engine.generate(
        driver.task(request, images=(picture(),), mask=right_half()), Reports()
    )

    changed = opened(image.data).convert("RGB")
    assert changed.getpixel((2, changed.height // 2)) == RED
    assert changed.getpixel((changed.width - 2, 2)) != RED


def test_its_progress_only_grows(driver: Driver) -> None:
    reports = Reports()

    driver.engine.generate(driver.task(a_request(count=2)), reports)

    assert reports.shares[0] == 0.0
    assert all(a <= b for a, b in itertools.pairwise(reports.shares))
    assert reports.shares[-1] <= 1.0


@pytest.mark.parametrize("family", FAMILIES, ids=lambda each: each.label)
def test_it_shows_previews_where_it_says_so(family: Family) -> None:
    reports = Reports()

    with family.ready(step_s=0.06) as (engine, server):
        driver = Driver(family, engine, server)
        engine.generate(driver.task(fit(a_request(steps=20), driver.model).request), reports)

    assert bool(reports.previews) is family.previews
    for each in reports.previews:
        assert opened(each).size


@pytest.mark.parametrize("reason", [Canceled, LeaseLost])
def test_it_stops_before_it_began_when_it_is_told_to(
    driver: Driver, reason: type[Canceled | LeaseLost]
) -> None:
    def stop() -> None:
        raise reason("Stop.")

    with pytest.raises(reason):
        driver.engine.generate(driver.task(a_request()), Reports(until=stop))

    assert driver.calls_to_draw() == 0


def test_the_tables_of_the_docs_are_current() -> None:
    page = PAGE.read_text()

    assert page == written(page), "run `python -m tests.engines.drivers`"

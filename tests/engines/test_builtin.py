"""The built-in engine: placeholders, and rehearsals of slow and faulty engines."""

import inspect
from typing import Any

import pytest
from PIL import Image

from darkroom import errors
from darkroom.configuration import EngineConfig
from darkroom.domain import InputImage, Operation, Size
from darkroom.errors import Canceled, EngineBusy, EngineError, EngineFailed, RequestRejected
from engines.builtin import BuiltinEngine
from engines.catalog import Catalog
from tests.engines.builders import Reports, a_task, an_input, as_png, opened

FAULTS = sorted(
    name
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, EngineError)
)


def builtin(**options: Any) -> BuiltinEngine:
    return BuiltinEngine(EngineConfig(name="builtin", options=options), Catalog())


def drawn(engine: BuiltinEngine, **rest: Any) -> list[bytes]:
    return [each.data for each in engine.generate(a_task("placeholder", **rest), Reports())]


def test_it_costs_nothing_and_can_be_switched_off() -> None:
    assert not BuiltinEngine.paid
    assert builtin().missing is None
    assert builtin(enabled=False).missing


@pytest.mark.parametrize("size", ["64x64", "64x4096", "4096x64", "1023x517", "2048x2048"])
def test_it_draws_exactly_the_size_asked_for(size: str) -> None:
    [data] = drawn(builtin(), size=Size.parse(size))

    assert "{}x{}".format(*opened(data).size) == size


def test_without_a_size_it_draws_a_square() -> None:
    [data] = drawn(builtin())

    assert opened(data).size == (1024, 1024)


def test_the_same_prompt_seed_and_size_give_the_same_bytes() -> None:
    wishes: dict[str, Any] = {"seed": 5, "size": Size(256, 256)}

    assert drawn(builtin(), **wishes) == drawn(builtin(), **wishes)
    assert drawn(builtin(), **wishes) != drawn(builtin(), **wishes | {"seed": 6})
    assert drawn(builtin(), **wishes) != drawn(builtin(), prompt="another", **wishes)


def test_each_picture_has_the_next_seed_and_can_be_had_alone() -> None:
    task = a_task("placeholder", seed=40, count=3, size=Size(128, 128))

    images = builtin().generate(task, Reports())

    assert [each.seed for each in images] == [40, 41, 42]
    assert drawn(builtin(), seed=42, size=Size(128, 128)) == [images[2].data]


def test_a_seed_is_chosen_and_told_when_none_is_asked_for() -> None:
    task = a_task("placeholder", size=Size(64, 64))

    [first], [second] = (builtin().generate(task, Reports()) for _ in range(2))

    assert first.seed is not None
    assert first.seed != second.seed


def test_steps_and_negative_prompt_show_on_the_label() -> None:
    plain = drawn(builtin(), seed=1)

    assert drawn(builtin(), seed=1, steps=20) != plain
    assert drawn(builtin(), seed=1, negative_prompt="fog") != plain


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_it_encodes_the_format_asked_for(output_format: str) -> None:
    [data] = drawn(builtin(), output_format=output_format, size=Size(128, 128))

    assert opened(data).format == output_format.upper()


def test_a_transparent_picture_has_nothing_in_its_corners() -> None:
    [data] = drawn(builtin(), background="transparent")

    alpha = opened(data).getchannel("A")
    assert alpha.getpixel((0, 0)) == 0
    assert alpha.getpixel((512, 512)) == 255


@pytest.mark.parametrize(
    "prompt",
    [
        "x" * 32_000,
        "line\nbreak\ttab\x00\x1b[31m",
        "日本語 عربى 🦊🏽‍🚀 e\u0301\u0302\u0303",
        "\ud800 half a surrogate",
        "\u202e\u2028\u2029\ufeff",
        " ",
        "[latency=9] [fault=EngineBusy]",
    ],
)
@pytest.mark.parametrize("size", ["64x64", "512x512"])
def test_any_prompt_can_be_drawn(prompt: str, size: str) -> None:
    [data] = drawn(builtin(), prompt=prompt, size=Size.parse(size))

    assert opened(data).format == "PNG"


def test_a_slow_picture_reports_and_can_be_canceled() -> None:
    reports = Reports()

    def stop_half_way() -> None:
        if reports.shares[-1] >= 0.001:
            raise Canceled("Stop.")

    reports = Reports(until=stop_half_way)

    with pytest.raises(Canceled):
        builtin(latency_s=60).generate(a_task("placeholder"), reports)


def test_it_gives_up_at_the_deadline() -> None:
    with pytest.raises(EngineFailed, match="in time"):
        builtin(latency_s=60).generate(a_task("placeholder", timeout_s=0.05), Reports())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_script_can_raise_every_error_an_engine_may_meet(fault: str) -> None:
    task = a_task("placeholder", prompt=f"a cat [fault={fault}]")

    with pytest.raises(EngineError) as caught:
        builtin(script=True).generate(task, Reports())

    assert type(caught.value).__name__ == fault


def test_a_scripted_fault_may_pass_after_some_attempts() -> None:
    prompt = "a cat [fault=EngineBusy:2] [retry_after=0.5]"
    engine = builtin(script=True)

    for attempt in (1, 2):
        with pytest.raises(EngineBusy) as caught:
            engine.generate(a_task("placeholder", prompt=prompt, attempt=attempt), Reports())
        assert caught.value.retry_after_s == 0.5

    assert len(engine.generate(a_task("placeholder", prompt=prompt, attempt=3), Reports())) == 1


def test_a_script_can_make_a_picture_slow() -> None:
    task = a_task("placeholder", prompt="a cat [latency=60]", timeout_s=0.05)

    with pytest.raises(EngineFailed, match="in time"):
        builtin(script=True).generate(task, Reports())


def test_directives_do_not_show_on_the_label() -> None:
    wishes: dict[str, Any] = {"seed": 1, "size": Size(256, 256)}

    scripted = drawn(
        builtin(script=True), prompt="a [latency=0] cat [fault=EngineBusy:0]", **wishes
    )

    assert scripted == drawn(builtin(), prompt="a cat", **wishes)


def test_a_fault_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RequestRejected, match="'KeyboardInterrupt'"):
        drawn(builtin(script=True), prompt="[fault=KeyboardInterrupt]")


class TestEditing:
    """An edit shows the picture it was made from."""

    @staticmethod
    def left_red_right_blue(size: tuple[int, int] = (400, 200)) -> InputImage:
        picture = Image.new("RGB", size, "red")
        picture.paste("blue", (size[0] // 2, 0, *size))
        return an_input(picture)

    @staticmethod
    def edited(*images: InputImage, **rest: Any) -> Image.Image:
        [data] = drawn(builtin(), operation=Operation.EDIT, images=images, **rest)
        return opened(data).convert("RGB")

    def test_the_picture_shines_through(self) -> None:
        result = self.edited(self.left_red_right_blue(), seed=1)

        red, _, blue = result.getpixel((10, 10))  # type: ignore[misc]
        assert red > blue
        red, _, blue = result.getpixel((390, 10))  # type: ignore[misc]
        assert blue > red

    @pytest.mark.parametrize(
        ("given", "drawn_as"),
        [((400, 200), (400, 200)), ((16, 8), (128, 64)), ((8192, 4096), (4096, 2048))],
    )
    def test_without_a_size_it_is_as_large_as_the_picture_within_limits(
        self, given: tuple[int, int], drawn_as: tuple[int, int]
    ) -> None:
        assert self.edited(self.left_red_right_blue(given)).size == drawn_as

    def test_a_size_that_is_asked_for_is_drawn(self) -> None:
        assert self.edited(self.left_red_right_blue(), size=Size(320, 240)).size == (320, 240)

    def test_with_a_mask_nothing_else_changes(self) -> None:
        base = self.left_red_right_blue()
        mask = Image.new("L", (400, 200), 0)
        mask.paste(255, (0, 0, 100, 200))

        result = self.edited(base, mask=as_png(mask), seed=1)

        before = opened(base.data)
        kept = (100, 0, 400, 200)
        assert result.crop(kept).tobytes() == before.crop(kept).tobytes()
        assert result.getpixel((10, 10)) != before.getpixel((10, 10))

    def test_the_same_edit_of_another_picture_is_another_picture(self) -> None:
        red, blue = (an_input(Image.new("RGB", (64, 64), each)) for each in ("red", "blue"))

        assert self.edited(red, seed=1).tobytes() != self.edited(blue, seed=1).tobytes()

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
    def test_any_kind_of_picture_can_be_changed(self, mode: str) -> None:
        assert self.edited(an_input(Image.new(mode, (64, 64)))).size == (64, 64)

    def test_sixteen_pictures_can_be_given(self) -> None:
        model = builtin().model("placeholder")
        assert model is not None
        assert model.capabilities.max_input_images == 16

        assert self.edited(*[self.left_red_right_blue()] * 16).size == (400, 200)

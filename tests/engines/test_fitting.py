"""What happens to a request that a model cannot honour as it is."""

from typing import Any

import pytest

from darkroom.domain import Capabilities, ImageRequest, MaskSupport, Model, Operation, Size
from darkroom.errors import InvalidRequest, Unsupported
from engines.catalog import Catalog
from engines.fitting import fit
from tests.engines.builders import a_request


def a_model(**capabilities: Any) -> Model:
    return Model(
        id="painter", name="Painter", engine="ours", capabilities=Capabilities(**capabilities)
    )


def model(name: str) -> Model:
    return Catalog().model("builtin" if name == "placeholder" else "openai", name)


def test_a_model_that_decides_the_size_itself_says_so() -> None:
    fitted = fit(a_request(size=Size(512, 512)), a_model(sizes=()))

    assert fitted.request.size is None
    assert fitted.warnings == ("size: painter has no size to choose; it was left out.",)


#: Model, what was asked, what is asked of the engine, and the field each warning begins with.
MISFITS: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("gpt-image-2", {"steps": 30}, {"steps": None}, ["steps"]),
    ("gpt-image-2", {"negative_prompt": "fog"}, {"negative_prompt": None}, ["negative_prompt"]),
    ("gpt-image-2", {"seed": 0}, {"seed": None}, ["seed"]),
    ("gpt-image-2", {"quality": "hd"}, {"quality": None}, ["quality"]),
    ("gpt-image-2", {"quality": "max"}, {"quality": None}, ["quality"]),
    ("gpt-image-2", {"output_format": "gif"}, {"output_format": None}, ["output_format"]),
    ("gpt-image-2", {"count": 12}, {"count": 10}, ["n"]),
    ("gpt-image-2", {"size": Size(1000, 1000)}, {"size": Size(1008, 1008)}, ["size"]),
    ("gpt-image-1", {"size": Size(1920, 1080)}, {"size": Size(1536, 1024)}, ["size"]),
    ("dall-e-3", {"quality": "high"}, {"quality": None}, ["quality"]),
    ("dall-e-3", {"background": "transparent"}, {"background": None}, ["background"]),
    ("dall-e-2", {"output_format": "webp"}, {"output_format": None}, ["output_format"]),
    ("placeholder", {"steps": 5000}, {"steps": 150}, ["steps"]),
    ("placeholder", {"quality": "high"}, {"quality": None}, ["quality"]),
    (
        "gpt-image-1.5",
        {"background": "transparent", "output_format": "jpeg"},
        {"background": "opaque", "output_format": "jpeg"},
        ["background"],
    ),
    (
        "dall-e-2",
        {"seed": 1, "steps": 2, "count": 99},
        {"seed": None, "steps": None, "count": 10},
        ["n", "seed", "steps"],
    ),
]

FITS: list[tuple[str, dict[str, Any]]] = [
    ("gpt-image-2", {"size": Size(1920, 1088), "quality": "low", "background": "transparent"}),
    ("gpt-image-2.5-flare", {"quality": "xhigh", "output_format": "jpeg", "count": 10}),
    ("gpt-image-1", {"background": "transparent", "output_format": "webp"}),
    ("dall-e-3", {"quality": "hd", "size": Size(1792, 1024), "count": 10}),
    ("placeholder", {"seed": 3, "steps": 20, "negative_prompt": "fog", "size": Size(64, 4096)}),
    ("my-own-model", {"size": Size(333, 777), "quality": "high"}),
]


@pytest.mark.parametrize(("name", "asked", "expected", "warned"), MISFITS)
def test_what_a_model_cannot_do_is_changed_with_a_warning_that_names_the_field(
    name: str, asked: dict[str, Any], expected: dict[str, Any], warned: list[str]
) -> None:
    fitted = fit(a_request(**asked), model(name))

    assert fitted.request == a_request(**expected)
    assert sorted(each.partition(":")[0] for each in fitted.warnings) == warned
    for each in fitted.warnings:
        assert each.endswith(".")


@pytest.mark.parametrize(("name", "asked", "expected", "warned"), MISFITS)
def test_a_strict_request_is_refused_instead_and_every_fault_is_named(
    name: str, asked: dict[str, Any], expected: dict[str, Any], warned: list[str]
) -> None:
    with pytest.raises(Unsupported) as caught:
        fit(a_request(**asked), model(name), strict=True)

    assert caught.value.param in warned
    assert sorted(param for param, _ in caught.value.problems) == warned


@pytest.mark.parametrize(("name", "asked"), FITS)
def test_what_a_model_can_do_stays_as_it_was_asked(name: str, asked: dict[str, Any]) -> None:
    request = a_request(**asked)

    fitted = fit(request, model(name), strict=True)

    assert fitted.request == request
    assert fitted.warnings == ()


@pytest.mark.parametrize("name", ["dall-e-3", "placeholder", "gpt-image-2", "my-own-model"])
def test_a_request_without_wishes_fits_every_model(name: str) -> None:
    request = ImageRequest(prompt="a cat")

    assert fit(request, model(name), strict=True).request == request


def test_asking_for_nothing_in_particular_needs_no_warning() -> None:
    request = a_request(quality="auto", background="auto", negative_prompt="")

    fitted = fit(request, model("dall-e-3"), strict=True)

    assert fitted.request == a_request()
    assert fitted.warnings == ()


@pytest.mark.parametrize("strict", [True, False])
def test_a_prompt_that_is_too_long_is_always_refused(strict: bool) -> None:
    with pytest.raises(InvalidRequest) as caught:
        fit(a_request("x" * 1001), model("dall-e-2"), strict=strict)

    assert caught.value.param == "prompt"
    assert "1001" in caught.value.detail
    assert "1000" in caught.value.detail


def test_a_warning_says_what_is_done_instead() -> None:
    fitted = fit(a_request(size=Size(1920, 1080), quality="hd"), model("gpt-image-1"))

    assert fitted.warnings == (
        "size: gpt-image-1 cannot draw 1920x1080, the nearest it can is 1536x1024;"
        " 1536x1024 is drawn.",
        "quality: gpt-image-1 takes auto, low, medium or high, not 'hd'; it was left out.",
    )


def test_more_pictures_than_the_model_can_change_are_refused() -> None:
    pair = a_request(operation=Operation.EDIT, images=("a", "b"))

    with pytest.raises(InvalidRequest, match="at most 1 pictures at once, not 2") as caught:
        fit(pair, a_model(max_input_images=1))

    assert caught.value.param == "image"


@pytest.mark.parametrize(
    ("support", "kept", "warning"),
    [
        (MaskSupport.NONE, None, "mask: painter takes no mask; it was left out."),
        (
            MaskSupport.APPROXIMATE,
            "m",
            "mask: painter takes a mask only as a hint; it may repaint more or less.",
        ),
    ],
)
def test_a_mask_is_dropped_or_doubted_with_a_warning(
    support: MaskSupport, kept: str | None, warning: str
) -> None:
    edit = a_request(operation=Operation.EDIT, images=("a",), mask="m")
    model = a_model(max_input_images=1, mask=support)

    fitted = fit(edit, model)

    assert fitted.request.mask == kept
    assert fitted.warnings == (warning,)
    with pytest.raises(Unsupported):
        fit(edit, model, strict=True)


def test_a_mask_that_the_model_obeys_is_no_reason_to_warn() -> None:
    edit = a_request(operation=Operation.EDIT, images=("a",), mask="m")

    fitted = fit(edit, a_model(max_input_images=1, mask=MaskSupport.EXACT), strict=True)

    assert fitted.request == edit


def test_a_seed_the_model_cannot_count_to_is_wrapped() -> None:
    fitted = fit(a_request(seed=2**32 + 6), a_model(seed=True, max_seed=2**32 - 1))

    assert fitted.request.seed == 6
    assert "takes seeds up to 4294967295" in fitted.warnings[0]

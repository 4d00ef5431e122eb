"""What pictures cost: by the vendors' lists, by an admin's file, before and afterwards."""

from pathlib import Path

import orjson
import pytest

from darkroom.domain import ImageRequest, Size, Usage
from darkroom.errors import SettingsError
from engines.catalog import Catalog
from engines.price_list import gpt_image_2_tokens
from engines.registry import Registry


def asked(count: int = 1, size: str | None = None, quality: str | None = None) -> ImageRequest:
    return ImageRequest(
        prompt="p", count=count, size=Size.parse(size) if size else None, quality=quality
    )


@pytest.mark.parametrize(
    ("model", "request_", "expected"),
    [
        ("openai/gpt-image-1", asked(2, "1024x1024", "low"), 2 * 10_880),
        # What the model chooses itself is taken at its dearest.
        ("openai/gpt-image-1", asked(1, "1024x1024", "auto"), 166_400),
        ("openai/gpt-image-1", asked(1), 249_600),
        ("openai/gpt-image-2", asked(1, "1024x1024", "high"), 210_720),
        ("openai/gpt-image-2", asked(1, "1536x1024", "medium"), 41_160),
        ("openai/dall-e-3", asked(1, "1792x1024"), 80_000),
        ("gemini/gemini-3-pro-image", asked(3, "1024x1024"), 3 * 134_400),
        ("gemini/gemini-3-pro-image", asked(1, "4096x4096"), 240_000),
        ("gemini/gemini-3-pro-image", asked(1), 134_400),
        # Between two sizes of the list the larger one counts.
        ("openai/gpt-image-1", asked(1, "1100x1024", "low"), 16_320),
        # Unknown is not nothing.
        ("openai/gpt-image-2.5-flare", asked(1, "1024x1024", "low"), None),
        ("openai/gpt-image-2", asked(1, "1024x1024", "unheard-of"), None),
        ("gemini/gemini-nano-banana-2.1", asked(1, "4096x4096"), None),
        ("openai/unheard-of", asked(1), None),
        ("nowhere/unheard-of", asked(1), None),
        # Engines that charge nothing.
        ("builtin/placeholder", asked(4), 0),
        ("comfyui/any.safetensors", asked(4), 0),
    ],
)
def test_a_request_is_estimated_in_millionths(
    model: str, request_: ImageRequest, expected: int | None
) -> None:
    engine, _, model_id = model.partition("/")

    assert Registry(Catalog()).price(engine, model_id).estimate(request_) == expected


def test_counted_tokens_are_what_is_paid() -> None:
    usage = Usage(
        input_tokens=1010, output_tokens=1056, input_text_tokens=10, input_image_tokens=1000
    )
    price = Catalog().price("openai", "gpt-image-1")
    assert price is not None

    # 10 * 5 + 1000 * 10 + 1056 * 40
    assert price.settle(asked(1, "1024x1024", "medium"), 1, usage) == 52_290
    assert price.settle(asked(2, "1024x1024", "medium"), 1, None) == 42_240


def test_a_model_whose_estimate_is_unknown_can_be_settled_by_its_tokens() -> None:
    price = Catalog().price("openai", "gpt-image-2.5-flare")
    assert price is not None

    assert price.settle(asked(), 1, Usage(input_tokens=10, output_tokens=1000)) == 30_050
    assert price.settle(asked(), 1, None) is None


def test_what_a_model_thinks_is_no_picture() -> None:
    price = Catalog().price("gemini", "gemini-3-pro-image")
    assert price is not None

    # 10 * 2 + 1120 * 120 + 200 * 12
    usage = Usage(input_tokens=10, output_tokens=1320)
    assert price.settle(asked(1, "1024x1024"), 1, usage) == 136_820


def test_tokens_of_a_picture_are_counted_as_by_the_vendor() -> None:
    sizes = ("1024x1024", "1536x1024", "1024x1536", "1792x1024")

    assert [gpt_image_2_tokens(Size.parse(each), "high") for each in sizes] == [
        7024,
        5488,
        5488,
        5063,
    ]


@pytest.fixture
def catalog_file(tmp_path: Path) -> Path:
    return tmp_path / "models.json"


def test_an_admin_says_what_a_model_costs(catalog_file: Path) -> None:
    catalog_file.write_bytes(
        orjson.dumps(
            {
                "openai": {
                    "gpt-image-2": {"price": "0.05"},
                    "dall-e-3": {"price": None},
                    "ours": {"price": {"512x512": 0.01, "*": {"hd": 0.3, "*": 0.1}}},
                    "counted": {
                        "price": {"tokens": {"input_text": 1, "input_image": 1, "output": 2}}
                    },
                },
                "comfyui": {"*": {"price": 0.002}},
            }
        )
    )
    catalog = Catalog.load(catalog_file)
    registry = Registry(catalog)

    def estimate(engine: str, model: str, request: ImageRequest) -> int | None:
        return registry.price(engine, model).estimate(request)

    assert estimate("openai", "gpt-image-2", asked(2)) == 100_000
    assert estimate("openai", "dall-e-3", asked(1)) is None
    assert estimate("openai", "ours", asked(1, "512x512")) == 10_000
    assert estimate("openai", "ours", asked(1, "64x64", "hd")) == 300_000
    assert estimate("openai", "ours", asked(1, "64x64", "low")) == 100_000
    assert estimate("comfyui", "any", asked(3)) == 6_000
    usage = Usage(input_tokens=3, output_tokens=4)
    assert registry.price("openai", "counted").settle(asked(), 1, usage) == 11
    assert all(each.id != "*" for each in catalog.models("comfyui"))


def test_prices_in_dollars_are_not_taken_for_others() -> None:
    catalog = Catalog.load(currency="EUR")

    assert catalog.price("openai", "gpt-image-1") is None


@pytest.mark.parametrize(
    "price",
    [-1, "much", True, [1], {"huge": 1}, {"64x64": {"hd": "nan"}}, {"tokens": {"output": 1}}, 1e9],
)
def test_a_price_that_is_none_is_named_with_its_place(catalog_file: Path, price: object) -> None:
    catalog_file.write_bytes(orjson.dumps({"openai": {"ours": {"price": price}}}))

    with pytest.raises(SettingsError, match=r"openai\.ours: `price`"):
        Catalog.load(catalog_file)


def test_the_stand_in_for_all_models_has_a_price_and_nothing_else(catalog_file: Path) -> None:
    catalog_file.write_bytes(orjson.dumps({"openai": {"*": {"max_count": 1}}}))

    with pytest.raises(SettingsError, match="nothing else"):
        Catalog.load(catalog_file)

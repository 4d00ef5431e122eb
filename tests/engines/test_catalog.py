"""What is known about models, and how an admin corrects it."""

import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.domain import FreeSizes, Size
from darkroom.errors import SettingsError
from engines.catalog import Catalog


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "models.json"


def load(file: Path, content: Any) -> Catalog:
    file.write_text(json.dumps(content))
    return Catalog.load(file)


def test_no_engine_begins_with_a_retired_model() -> None:
    catalog = Catalog.load()

    assert catalog.models("openai")[0].retired_on is None
    assert catalog.model("openai", "dall-e-3").retired_on == "2026-05-12"


def test_a_model_nobody_described_may_do_all_its_engine_can() -> None:
    model = Catalog.load().model("openai", "stable/diffusion")

    assert model.full_id == "openai/stable/diffusion"
    assert isinstance(model.capabilities.sizes, FreeSizes)
    assert "transparent" in model.capabilities.backgrounds


def test_an_admin_adds_a_model_after_the_known_ones(file: Path) -> None:
    catalog = load(
        file,
        {
            "openai": {
                "ours": {
                    "name": "Our deployment",
                    "sizes": ["1024x1024", "512x512"],
                    "max_count": 1,
                    "seed": True,
                    "max_steps": 50,
                }
            }
        },
    )

    added = catalog.models("openai")[-1]

    assert (added.id, added.name) == ("ours", "Our deployment")
    assert added.capabilities.sizes == (Size(1024, 1024), Size(512, 512))
    assert added.capabilities.max_count == 1
    assert added.capabilities.seed
    assert added.capabilities.max_steps == 50


def test_an_admin_corrects_only_what_the_file_names(file: Path) -> None:
    before = Catalog.load().model("openai", "gpt-image-2")
    catalog = load(
        file,
        {
            "openai": {
                "gpt-image-2": {
                    "qualities": ["low"],
                    "retired_on": "2027-01-31",
                    "sizes": {"multiple": 8, "max_edge": 2048, "max_aspect": 2},
                }
            }
        },
    )

    after = catalog.model("openai", "gpt-image-2")

    assert after.capabilities.qualities == ("low",)
    assert after.capabilities.sizes == FreeSizes(multiple=8, max_edge=2048, max_aspect=2.0)
    assert after.retired_on == "2027-01-31"
    assert after.name == before.name
    assert after.capabilities.output_formats == before.capabilities.output_formats
    assert catalog.models("openai")[0] == after


def test_one_file_does_not_change_another_catalog(file: Path) -> None:
    load(file, {"openai": {"gpt-image-2": {"name": "Changed"}}})

    assert Catalog.load().model("openai", "gpt-image-2").name == "GPT Image 2"


def test_an_engine_of_foreign_make_can_be_described_too(file: Path) -> None:
    catalog = load(file, {"elsewhere": {"m1": {"max_input_images": 0}}})

    assert [each.full_id for each in catalog.models("elsewhere")] == ["elsewhere/m1"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], ["the file", "object"]),
        ({"openai": []}, ["openai", "object"]),
        ({"openai": {"m": 1}}, ["openai.m", "object"]),
        ({"openai": {"m": {"colour": 1}}}, ["openai.m", "`colour`", "max_count"]),
        ({"openai": {"m": {"max_count": 0}}}, ["openai.m", "`max_count`", "at least 1"]),
        ({"openai": {"m": {"max_count": True}}}, ["`max_count`"]),
        ({"openai": {"m": {"mask": "yes"}}}, ["`mask`", "approximate"]),
        ({"openai": {"m": {"max_input_images": -1}}}, ["`max_input_images`", "at least 0"]),
        ({"openai": {"m": {"seed": "yes"}}}, ["`seed`", "true or false"]),
        ({"openai": {"m": {"qualities": "low"}}}, ["`qualities`"]),
        ({"openai": {"m": {"name": 3}}}, ["`name`"]),
        ({"openai": {"m": {"retired_on": "soon"}}}, ["`retired_on`"]),
        ({"openai": {"m": {"sizes": []}}}, ["`sizes`", "at least one"]),
        ({"openai": {"m": {"sizes": ["big"]}}}, ["`sizes`", "'big'"]),
        ({"openai": {"m": {"sizes": {"colour": 1}}}}, ["`sizes`", "`colour`"]),
        ({"openai": {"m": {"sizes": {"max_aspect": 0.5}}}}, ["`max_aspect`"]),
        ({"openai": {"m": {"sizes": {"min_edge": 0}}}}, ["`min_edge`"]),
        ({"openai": {"m": {"sizes": {"min_edge": 900, "max_edge": 800}}}}, ["contradict"]),
        ({"openai": {"m": {"sizes": {"min_pixels": 900, "max_pixels": 8}}}}, ["contradict"]),
        ({"openai": {"m": {"sizes": {"multiple": 5000}}}}, ["contradict"]),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(
    file: Path, content: Any, words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(file, content)

    for word in ["DARKROOM_MODEL_CATALOG", str(file), *words]:
        assert word in caught.value.detail


def test_a_file_that_is_missing_or_no_json_is_named(file: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        Catalog.load(file)

    file.write_text("{")
    with pytest.raises(SettingsError, match="is not JSON"):
        Catalog.load(file)

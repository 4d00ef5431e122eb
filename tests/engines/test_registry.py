"""Which engines can be used, and which of them serves a request."""

from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from darkroom.configuration import EngineConfig, ImagesConfig
from darkroom.domain import GeneratedImage, Model, Operation, Progress
from darkroom.errors import InvalidRequest, Misconfigured, UnknownModel
from engines import registry
from engines.base import Engine, Task
from engines.catalog import Catalog
from engines.registry import Engines, Registry
from tests.engines.builders import images_config

KEY: dict[str, Any] = {"IMAGES_OPENAI_API_KEY": "sk-1"}


class OtherEngine(Engine):
    """A driver from elsewhere, whose models share ids with ours."""

    operations = frozenset(Operation)

    def models(self) -> list[Model]:
        known = self.catalog.model("openai", "gpt-image-2")
        others = (self.catalog.model("other", each) for each in ("acme/xl", "builtin/odd"))
        return [replace(known, engine="other"), *others]

    def check(self) -> str:
        return "Fine."

    def generate(self, task: Task, progress: Progress) -> list[GeneratedImage]:
        return []


class PlainEngine(OtherEngine):
    """A driver that can only generate."""

    operations = frozenset({Operation.GENERATE})


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our drivers, one from elsewhere, and one that is broken."""
    targets = {
        "builtin": "engines.builtin:BuiltinEngine",
        "openai": "engines.openai_images:OpenAIImages",
        "other": f"{__name__}:OtherEngine",
        "plain": f"{__name__}:PlainEngine",
        "broken": "engines.no_such_module:Engine",
    }
    points = [EntryPoint(name, target, "darkroom.engines") for name, target in targets.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def engines(*others: str, operation: Operation = Operation.GENERATE, **values: Any) -> Engines:
    config = images_config(**values)
    added = {name: EngineConfig(name=name) for name in others}
    config = ImagesConfig(
        generation=config.generation,
        edit=config.edit,
        engines={**config.engines, **added},
        edit_engines={**config.edit_engines, **added},
    )
    return Registry(Catalog()).engines(config, operation)


def resolved(view: Engines, model: str | None = None, engine: str | None = None) -> str:
    name, found = view.resolve(model, engine)
    assert found.engine == name
    return found.full_id


def test_drivers_are_known_by_name_without_being_imported() -> None:
    assert Registry(Catalog()).names() == ("broken", "builtin", "openai", "other", "plain")


def test_engines_without_driver_or_key_are_not_enabled() -> None:
    assert list(engines().enabled) == ["builtin"]
    assert list(engines(**KEY).enabled) == ["builtin", "openai"]
    assert list(engines("broken").enabled) == ["builtin"]


def test_an_own_openai_server_needs_no_key() -> None:
    view = engines(IMAGES_OPENAI_API_BASE_URL="http://localhost:8080")

    assert "openai" in view.enabled


def test_models_of_all_enabled_engines_are_listed_the_default_engine_first() -> None:
    view = engines(**KEY, IMAGE_GENERATION_ENGINE="openai")

    models = view.models()

    assert models[0].full_id == "openai/gpt-image-2"
    assert models[-1].full_id == "builtin/placeholder"


@pytest.mark.parametrize("address", ["https://api.openai.com/v1", "http://localhost:8080"])
def test_models_that_openai_switched_off_are_listed_last(address: str) -> None:
    view = engines(
        **KEY, IMAGES_OPENAI_API_BASE_URL=address, IMAGE_GENERATION_ENGINE="openai", builtin=False
    )

    retired = [each.retired_on for each in view.offers(view.get("openai"))]

    assert retired[0] is None
    assert retired[-3:] == ["2026-10-23", "2026-05-12", "2026-05-12"]


def test_without_a_model_the_configured_default_is_used() -> None:
    assert resolved(engines()) == "builtin/placeholder"
    assert resolved(engines(**KEY, IMAGE_GENERATION_ENGINE="openai")) == "openai/gpt-image-2"


@pytest.mark.parametrize("model", ["gpt-image-1.5", "openai/gpt-image-1.5"])
def test_the_default_model_may_be_given_with_or_without_its_engine(model: str) -> None:
    view = engines(**KEY, IMAGE_GENERATION_ENGINE="openai", IMAGE_GENERATION_MODEL=model)

    assert resolved(view) == "openai/gpt-image-1.5"
    assert resolved(view, engine="openai") == "openai/gpt-image-1.5"
    assert resolved(view, engine="builtin") == "builtin/placeholder"


def test_a_default_that_is_retired_keeps_what_is_known_of_it() -> None:
    view = engines(**KEY, IMAGE_GENERATION_ENGINE="openai", IMAGE_GENERATION_MODEL="dall-e-3")

    _, model = view.resolve()

    assert model.retired_on == "2026-05-12"
    assert model.capabilities.max_prompt_chars == 4000


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("placeholder", "builtin/placeholder"),
        ("builtin/placeholder", "builtin/placeholder"),
        ("gpt-image-1.5", "openai/gpt-image-1.5"),
        ("openai/gpt-image-1.5", "openai/gpt-image-1.5"),
        ("openai/brand-new", "openai/brand-new"),
        ("openai/with/slashes", "openai/with/slashes"),
        ("acme/xl", "other/acme/xl"),
        ("other/acme/xl", "other/acme/xl"),
        ("builtin/odd", "other/builtin/odd"),
        ("other/gpt-image-2", "other/gpt-image-2"),
    ],
)
def test_a_model_is_found_by_its_full_id_or_by_its_own(model: str, expected: str) -> None:
    assert resolved(engines("other", **KEY), model) == expected


@pytest.mark.parametrize(
    ("engine", "model", "expected"),
    [
        ("openai", "gpt-image-2", "openai/gpt-image-2"),
        ("openai", "openai/gpt-image-2", "openai/gpt-image-2"),
        ("openai", "brand-new", "openai/brand-new"),
        ("openai", None, "openai/gpt-image-2"),
        ("other", "gpt-image-2", "other/gpt-image-2"),
    ],
)
def test_an_engine_that_is_named_serves_the_request(
    engine: str, model: str | None, expected: str
) -> None:
    assert resolved(engines("other", **KEY), model, engine) == expected


def test_of_several_engines_with_the_same_model_the_default_one_serves_it() -> None:
    view = engines("other", **KEY, IMAGE_GENERATION_ENGINE="other")

    assert resolved(view, "gpt-image-2") == "other/gpt-image-2"


def test_a_model_of_several_engines_must_be_named_in_full() -> None:
    with pytest.raises(UnknownModel) as caught:
        engines("other", **KEY).resolve("gpt-image-2")

    assert caught.value.param == "model"
    assert "openai/gpt-image-2" in caught.value.detail
    assert "other/gpt-image-2" in caught.value.detail


def test_an_unknown_model_is_answered_with_what_to_do() -> None:
    with pytest.raises(UnknownModel) as caught:
        engines().resolve("nonesuch")

    assert caught.value.param == "model"
    assert "'nonesuch'" in caught.value.detail
    assert "engine/model" in caught.value.detail
    assert "GET /api/images/models" in caught.value.detail


def test_a_model_of_an_engine_without_a_key_says_what_to_set() -> None:
    with pytest.raises(UnknownModel, match="DARKROOM_IMAGES_OPENAI_API_KEY"):
        engines().resolve("openai/gpt-image-2")


def test_the_built_in_engine_does_not_pretend_to_have_other_models() -> None:
    with pytest.raises(UnknownModel) as caught:
        engines().resolve("gpt-image-2", "builtin")

    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("engine", "words"),
    [("nonesuch", "no engine 'nonesuch'"), ("openai", "DARKROOM_IMAGES_OPENAI_API_KEY")],
)
def test_an_engine_that_is_not_enabled_is_refused_by_name(engine: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        engines().resolve(engine=engine)

    assert caught.value.param == "engine"
    assert "builtin" in caught.value.detail


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"IMAGE_GENERATION_ENGINE": "openai"}, "DARKROOM_IMAGES_OPENAI_API_KEY"),
        ({"IMAGE_GENERATION_ENGINE": "comfyui"}, "engine 'comfyui'|DARKROOM_COMFYUI"),
        ({"IMAGE_GENERATION_ENGINE": "typo"}, "DARKROOM_IMAGE_GENERATION_ENGINE"),
        ({"builtin": False}, "DARKROOM_ENABLE_BUILTIN"),
    ],
)
def test_a_default_that_cannot_be_used_says_what_to_set(values: dict[str, Any], words: str) -> None:
    view = engines(**values)

    with pytest.raises(Misconfigured, match=words):
        view.resolve()
    with pytest.raises(Misconfigured, match=words):
        view.get(view.default_engine)


def test_a_driver_that_cannot_be_imported_is_a_configuration_error() -> None:
    with pytest.raises(Misconfigured, match="'broken'"):
        engines("broken").get("broken")


def test_edits_go_to_their_own_engine_and_only_to_models_that_can_edit() -> None:
    view = engines("other", operation=Operation.EDIT, IMAGE_EDIT_ENGINE="other")

    assert [each.full_id for each in view.models()][:1] == ["other/gpt-image-2"]
    assert "other/acme/xl" not in [each.full_id for each in view.models()]
    assert resolved(view) == "other/gpt-image-2"


def test_edits_without_an_engine_of_their_own_use_the_one_that_generates() -> None:
    view = engines("other", operation=Operation.EDIT, IMAGE_GENERATION_ENGINE="other")

    assert resolved(view) == "other/gpt-image-2"


def test_a_default_engine_that_cannot_edit_says_so() -> None:
    with pytest.raises(Misconfigured, match="'plain' cannot edit"):
        engines("plain", operation=Operation.EDIT, IMAGE_EDIT_ENGINE="plain").resolve()


def test_an_engine_stays_the_same_until_its_configuration_changes() -> None:
    known = Registry(Catalog())
    first = known.create(EngineConfig(name="builtin"))

    assert known.create(EngineConfig(name="builtin")) is first
    assert known.create(EngineConfig(name="builtin", options={"script": True})) is not first

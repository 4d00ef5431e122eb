"""Which models can be asked for, what they can do, and whether their engines work."""

from tests.api.conftest import Caller
from tests.engines.servers.gemini import GeminiServer
from tests.engines.servers.openai import OpenAIServer

UPDATE = "/api/images/config/update"
MODELS = "/api/images/models"


def use_google(admin: Caller, server: GeminiServer) -> None:
    admin.post(
        UPDATE,
        json={"IMAGES_GEMINI_API_BASE_URL": server.url, "IMAGES_GEMINI_API_KEY": server.key},
    )


def use(admin: Caller, server: OpenAIServer, **more: str) -> None:
    admin.post(
        UPDATE,
        json={
            "IMAGES_OPENAI_API_BASE_URL": server.url,
            "IMAGES_OPENAI_API_KEY": server.key,
            **more,
        },
    )


def test_the_default_engine_is_listed_with_what_its_models_can_do(anna: Caller) -> None:
    (model,) = anna.get(MODELS).json

    assert model["id"] == "builtin/placeholder"
    assert model["can_generate"]
    assert model["capabilities"]["sizes"]["max_edge"] == 4096
    assert model["capabilities"]["seed"] is True
    assert model["capabilities"]["output_formats"] == ["png", "jpeg", "webp"]


def test_another_engine_or_all_can_be_listed(anna: Caller, admin: Caller) -> None:
    with OpenAIServer() as server:
        use(admin, server)

        named = anna.get(f"{MODELS}?engine=openai").json
        everything = anna.get(f"{MODELS}?engine=all").json

    assert {each["engine"] for each in named} == {"openai"}
    assert everything[0]["id"] == "builtin/placeholder"
    assert {each["engine"] for each in everything} == {"builtin", "openai"}
    fixed = next(each for each in named if each["id"] == "openai/gpt-image-1.5")
    assert "1536x1024" in fixed["capabilities"]["sizes"]


def test_an_engine_there_is_not_is_refused(anna: Caller) -> None:
    answer = anna.get(f"{MODELS}?engine=nothing-like-it")

    assert (answer.status_code, answer.json["param"]) == (400, "engine")
    assert "builtin" in answer.json["detail"]


def test_an_engine_that_is_not_set_up_says_what_to_set(anna: Caller) -> None:
    answer = anna.get(f"{MODELS}?engine=openai")

    assert answer.json["code"] == "engine_misconfigured"
    assert "DARKROOM_IMAGES_OPENAI_API_KEY" in answer.json["detail"]


def test_all_engines_are_checked_each_for_what_it_is_used_for(admin: Caller) -> None:
    with OpenAIServer() as server:
        use(admin, server, IMAGES_EDIT_OPENAI_API_KEY="sk-another-key")

        found = admin.post("/api/images/verify").json

    by_use = {(each["engine"], *each["operations"]): each["ok"] for each in found}
    assert by_use[("openai", "generate")] is True
    assert by_use.get(("openai", "edit"), False) is False
    assert any(each["engine"] == "builtin" and each["ok"] for each in found)


def test_an_engine_is_asked_at_most_every_half_minute(anna: Caller, admin: Caller) -> None:
    with GeminiServer() as server:
        use_google(admin, server)

        for _ in range(3):
            anna.get(f"{MODELS}?engine=all")

        assert len([each for each in server.calls if each.path == "/v1beta/models"]) == 1


def test_an_engine_that_does_not_answer_is_named_beside_what_is_known_of_it(
    anna: Caller, admin: Caller
) -> None:
    with GeminiServer() as server:
        use_google(admin, server)

    answer = anna.get(f"{MODELS}?engine=all")

    assert answer.status_code == 200
    assert {each["engine"] for each in answer.json} == {"builtin", "gemini"}
    assert "'gemini' cannot be reached" in answer.headers["Warning"]

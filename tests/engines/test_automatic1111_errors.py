"""What becomes of failures of AUTOMATIC1111 and Forge, and of addresses and keys that are wrong."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from darkroom.configuration import FIELDS_BY_NAME, EngineConfig
from darkroom.domain import InputImage, Size
from darkroom.errors import (
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
    RequestRejected,
)
from engines.answers import Answer
from engines.automatic1111 import Automatic1111
from engines.automatic1111_address import root_of
from engines.automatic1111_errors import ADDRESS_SETTING, AUTH_SETTING, PARAMS_SETTING, error_for
from engines.base import Task
from engines.catalog import Catalog
from engines.scrubbing import Scrubber
from tests.engines.automatic1111_builders import an_edit, engine_at, plain, with_params
from tests.engines.builders import Reports, a_request, a_task
from tests.engines.servers.automatic1111 import Automatic1111Server

AUTH = "anna:correct-horse"


@pytest.fixture
def server() -> Iterator[Automatic1111Server]:
    with Automatic1111Server() as server:
        yield server


@pytest.fixture(params=[False, True], ids=["automatic1111", "forge"])
def either(request: pytest.FixtureRequest) -> Iterator[Automatic1111Server]:
    """AUTOMATIC1111, and then Forge, which writes its errors in another form."""
    with Automatic1111Server(is_forge=request.param) as server:
        yield server


def configured(**parts: Any) -> Automatic1111:
    return Automatic1111(EngineConfig(name="automatic1111", **parts), Catalog())


def failure(engine: Automatic1111, task: Task | None = None) -> EngineError:
    with pytest.raises(EngineError) as caught:
        engine.generate(task or a_task("default"), Reports())
    return caught.value


@pytest.mark.parametrize(
    ("mode", "expected", "code"),
    [
        ("out_of_memory", EngineFailed, "OutOfMemoryError"),
        ("nans", EngineFailed, "NansException"),
        ("cuda", EngineFailed, "RuntimeError"),
        ("broken", EngineFailed, "RuntimeError"),
        ("type_error", EngineFailed, "TypeError"),
        ("frozen", Misconfigured, "AssertionError"),
        ("overflow", RequestRejected, "ValueError"),
        ("html_502", OutcomeUnknown, None),
        ("gateway_504", OutcomeUnknown, None),
        ("reset", OutcomeUnknown, None),
        ("cut", OutcomeUnknown, None),
        ("busy_503", EngineBusy, None),
        ("too_large_413", RequestRejected, None),
    ],
)
def test_every_failure_has_its_error(
    either: Automatic1111Server, mode: str, expected: type[EngineError], code: str | None
) -> None:
    either.fail(mode)

    error = failure(engine_at(either))

    assert type(error) is expected
    assert "'automatic1111'" in error.detail
    assert "<" not in error.detail
    assert error.upstream_code == code
    assert len(either.drawing_calls()) == 1


def test_a_busy_gateway_says_when_to_come_back(server: Automatic1111Server) -> None:
    server.fail("busy_503")

    error = failure(engine_at(server))

    assert isinstance(error, EngineBusy)
    assert error.retry_after_s == 7


def test_running_out_of_memory_says_what_helps(either: Automatic1111Server) -> None:
    either.fail("out_of_memory")

    assert "smaller or fewer" in failure(engine_at(either)).detail


@pytest.mark.parametrize("field", ["steps", "cfg_scale"])
def test_a_refused_field_of_the_params_names_their_setting(
    server: Automatic1111Server, field: str
) -> None:
    error = failure(with_params(server, **{field: "many"}))

    assert isinstance(error, Misconfigured)
    assert f'"{field}: value is not a valid' in error.detail
    assert PARAMS_SETTING in error.detail


def test_a_refused_field_of_the_request_is_named() -> None:
    body = b'{"detail":[{"loc":["body","steps"],"msg":"not valid","type":"type_error"}]}'

    error = error_for(
        Answer(status=422, headers={}, body=body), engine="a", scrub=Scrubber([]), params=["x"]
    )

    assert isinstance(error, RequestRejected)
    assert error.param == "steps"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"script_name": "nope"}, "Script 'nope' not found"),
        ({"alwayson_scripts": {"nope": {"args": []}}}, "Script 'nope' not found"),
        ({"override_settings": {"no_such": 1}}, "'no_such'"),
        ({"enable_hr": True, "hr_upscaler": "nope"}, "could not find upscaler named nope"),
    ],
)
def test_a_mistake_in_the_params_is_a_500_and_names_their_setting(
    either: Automatic1111Server, params: dict[str, Any], words: str
) -> None:
    error = failure(with_params(either, **params))

    assert isinstance(error, Misconfigured)
    assert words in error.detail
    assert PARAMS_SETTING in error.detail


def test_a_picture_that_cannot_be_read_is_a_500_and_yet_the_requests_fault(
    either: Automatic1111Server,
) -> None:
    image = InputImage(data=b"no picture", content_type="image/png", size=Size(64, 64))
    task = Task(job_id="job-1", model="default", request=a_request(), images=(image,), timeout_s=20)

    error = failure(engine_at(either), task)

    assert isinstance(error, RequestRejected)
    assert "Invalid encoded image" in error.detail


@pytest.mark.parametrize(
    ("status", "detail"), [(500, "Requests not allowed"), (404, "Init image not found")]
)
def test_a_missing_init_image_is_a_404_and_yet_the_requests_fault(status: int, detail: str) -> None:
    body = b'{"error":"HTTPException","detail":"%s","body":"","errors":""}' % detail.encode()

    error = error_for(Answer(status=status, headers={}, body=body), engine="a", scrub=Scrubber([]))

    assert type(error) is RequestRejected


@pytest.mark.parametrize(
    "body",
    [
        {"detail": [{"loc": ["body", "steps"], "msg": "no integer", "type": "type_error"}]},
        {"error": "HTTPException", "detail": "no integer", "body": "", "errors": ""},
        {"error": "RuntimeError", "detail": "", "body": "", "errors": "no integer"},
        {"error": "RuntimeError", "detail": "", "body": "", "message": "no integer"},
        {"detail": "no integer"},
    ],
    ids=["fields", "own_in_detail", "own_in_errors", "forge_in_message", "plain"],
)
def test_all_shapes_of_errors_are_read(body: dict[str, Any]) -> None:
    answer = Answer(status=500, headers={}, body=json.dumps(body).encode())

    error = error_for(answer, engine="a", scrub=Scrubber([]))

    assert "no integer" in error.detail


@pytest.mark.parametrize(
    "params",
    [{"steps": 0}, {"steps": -1}, {"width": 0}, {"enable_hr": True, "hr_upscaler": "nope"}],
)
def test_a_500_that_is_a_mistake_of_the_caller_is_no_failure_of_the_engine(
    server: Automatic1111Server, params: dict[str, Any]
) -> None:
    error = failure(with_params(server, **params))

    assert error.upstream_status == 500
    assert isinstance(error, RequestRejected | Misconfigured)


def test_a_checkpoint_that_vanished_from_the_server_is_no_fault_of_the_engine() -> None:
    body = b'{"error":"RuntimeError","detail":"","body":"","errors":"model \'x\' not found"}'

    error = error_for(Answer(status=500, headers={}, body=body), engine="a", scrub=Scrubber([]))

    assert type(error) is ModelNotOffered


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"images":[],"info":"{}"}', EngineFailed),
        (b'{"images":null}', EngineFailed),
        (b"<html>hello</html>", Misconfigured),
        (b"[]", EngineFailed),
    ],
)
def test_a_success_without_pictures_is_a_failure(body: bytes, expected: type[EngineError]) -> None:
    error = error_for(Answer(status=200, headers={}, body=body), engine="a", scrub=Scrubber([]))

    assert type(error) is expected


def test_what_the_server_says_is_passed_on_without_secrets_and_paths() -> None:
    with Automatic1111Server(auth=AUTH) as server:
        server.fail("leaky")

        detail = failure(engine_at(server)).detail

    assert "cannot open" in detail
    for secret in (AUTH, "correct-horse", "/srv", "anna"):
        assert secret not in detail


def test_the_signature_is_a_secret_too() -> None:
    signature = base64.b64encode(AUTH.encode()).decode()
    engine = configured(base_url="http://127.0.0.1:9", api_key=AUTH)

    assert signature not in engine._server.http.scrub(f"got Basic {signature}")


def test_a_file_type_that_cannot_be_sent_fails_after_drawing(server: Automatic1111Server) -> None:
    server.machine.options["samples_format"] = "tiff"

    error = failure(engine_at(server))

    assert isinstance(error, Misconfigured)
    assert "samples_format" in error.detail
    assert server.runs[0].drawn == 1


# Who may ask


def test_a_password_is_sent_with_every_call_to_the_api() -> None:
    with Automatic1111Server(auth=AUTH) as server:
        engine = engine_at(server)

        assert engine.check()
        assert engine.generate(a_task("anime"), Reports())

        assert all(each.headers["authorization"].startswith("Basic ") for each in server.calls)


@pytest.mark.parametrize("key", ["", "anna:wrong-horse"])
@pytest.mark.parametrize("is_forge", [False, True])
def test_a_wrong_password_is_named_and_never_shown_even_without_www_authenticate(
    key: str, is_forge: bool
) -> None:
    with Automatic1111Server(auth=AUTH, is_forge=is_forge) as server:
        engine = engine_at(server, api_key=key)

        for call in (lambda: engine.generate(a_task("default"), Reports()), engine.check):
            with pytest.raises(Misconfigured, match=AUTH_SETTING) as caught:
                call()
            assert "horse" not in caught.value.detail
            assert caught.value.upstream_status == 401


# Where it is


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("http://gpu:7860", "http://gpu:7860"),
        (" http://gpu:7860/ ", "http://gpu:7860"),
        ("http://gpu:7860/sdapi/v1", "http://gpu:7860"),
        ("http://gpu:7860/sdapi/v1/txt2img/", "http://gpu:7860"),
        ("https://gpu/webui/", "https://gpu/webui"),
        ("https://gpu/webui/sdapi/v1/", "https://gpu/webui"),
        ("http://gpu:7860/?__theme=dark", "http://gpu:7860"),
        ("http://[::1]:7860", "http://[::1]:7860"),
    ],
)
def test_an_address_is_read_as_people_paste_it(text: str, root: str) -> None:
    assert root_of(text) == root


@pytest.mark.parametrize("ending", ["", "/", "/sdapi/v1", "/sdapi/v1/"])
def test_a_server_behind_a_path_is_found(ending: str) -> None:
    with Automatic1111Server(subpath="/webui") as server:
        engine = engine_at(server, base_url=server.url + ending)

        assert engine.check()
        assert engine.generate(a_task("default"), Reports())


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ({}, f"set {ADDRESS_SETTING}"),
        ({"base_url": " "}, f"set {ADDRESS_SETTING}"),
        ({"base_url": "gpu:7860"}, ADDRESS_SETTING),
        ({"base_url": "http://anna:horse@gpu:7860"}, AUTH_SETTING),
        ({"base_url": "http://gpu", "api_key": "horse"}, f"set {AUTH_SETTING}"),
        ({"base_url": "http://gpu", "options": {"params": {"batch_size": 0}}}, PARAMS_SETTING),
        (
            {"base_url": "http://gpu", "options": {"params": {"override_settings": "x"}}},
            PARAMS_SETTING,
        ),
    ],
)
def test_what_is_missing_is_named_by_its_setting(parts: dict[str, Any], missing: str) -> None:
    engine = configured(**parts)

    assert engine.missing
    assert missing in engine.missing
    assert "horse" not in engine.missing


@pytest.mark.parametrize("parts", [{}, {"api_key": "anna:horse"}, {"api_key": "anna:a:b"}])
def test_an_address_is_enough(parts: dict[str, Any]) -> None:
    assert configured(base_url="http://gpu:7860", **parts).missing is None


def test_settings_named_in_messages_exist() -> None:
    named = {ADDRESS_SETTING, AUTH_SETTING, PARAMS_SETTING}

    assert {each.removeprefix("DARKROOM_") for each in named} <= FIELDS_BY_NAME.keys()


# Checks


def test_a_check_says_which_checkpoint_is_loaded(either: Automatic1111Server) -> None:
    assert engine_at(either).check() == (
        "Engine 'automatic1111' answers and lists 3 checkpoints; 'dreamscape' is loaded."
    )


def test_a_server_that_has_loaded_nothing_yet_answers(server: Automatic1111Server) -> None:
    server.machine.options["sd_model_checkpoint"] = None

    assert "none is loaded" in engine_at(server).check()


def test_a_server_without_checkpoints_says_where_they_belong() -> None:
    with (
        Automatic1111Server(checkpoints=[]) as server,
        pytest.raises(Misconfigured, match="models/Stable-diffusion"),
    ):
        engine_at(server).check()


@pytest.mark.parametrize("model", ["default", "anime"])
def test_a_404_of_a_server_without_its_api_flag_says_so(model: str) -> None:
    with Automatic1111Server(api=False) as server:
        engine = engine_at(server)

        calls = (engine.check, lambda: engine.generate(a_task(model), Reports()))
        for call in calls:
            with pytest.raises(Misconfigured, match="start it with --api"):
                call()


@pytest.mark.parametrize("model", ["default", "anime"])
def test_a_wrong_path_is_not_a_missing_flag(server: Automatic1111Server, model: str) -> None:
    engine = engine_at(server, base_url=f"{server.origin}/elsewhere")

    for call in (engine.check, lambda: engine.generate(a_task(model), Reports())):
        with pytest.raises(Misconfigured, match=ADDRESS_SETTING):
            call()


def test_a_server_that_is_down_is_unreachable(server: Automatic1111Server) -> None:
    engine = engine_at(server)
    server.__exit__(None, None, None)

    for call in (engine.check, lambda: engine.generate(a_task("default"), Reports())):
        with pytest.raises(EngineUnreachable):
            call()


def test_an_edit_fails_like_a_drawing(server: Automatic1111Server) -> None:
    server.fail("nans")

    assert isinstance(failure(engine_at(server), an_edit(plain())), EngineFailed)

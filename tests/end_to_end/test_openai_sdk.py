"""The official SDK of OpenAI, unmodified, against a Darkroom with every engine."""

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import requests
from openai import AzureOpenAI, DefaultHttpxClient, OpenAI
from PIL import Image

from tests.end_to_end.caller import PATIENCE_S
from tests.end_to_end.cluster import Cluster
from tests.end_to_end.engine_servers import RED, SUBJECTS, Colour, Servers, Subject, all_engines

#: How long a call may wait, in seconds: what the SDK sends again comes after that.
WAIT_S = 4.0

#: How long each step takes of an engine that is to be watched, or to be slow, in seconds.
WATCHED_STEP_S, SLOW_STEP_S = 0.1, 0.5

every_engine = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda each: each.engine)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Servers]]:
    folder = tmp_path_factory.mktemp("sdk")
    with all_engines(folder, retry_for_s=0, wait_s=WAIT_S, builtin_script=True) as running:
        yield running


@pytest.fixture
def cluster(running: tuple[Cluster, Servers]) -> Iterator[Cluster]:
    yield running[0]
    # An engine that failed in one test must not rest in the next.
    running[0].storage.health.forget()


@pytest.fixture
def servers(running: tuple[Cluster, Servers]) -> Iterator[Servers]:
    yield running[1]
    _hurry(running[1])
    for each in (running[1].openai, running[1].gemini):
        each.released.clear()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{cluster.url}/v1", api_key=cluster.key) as client:
        yield client


@every_engine
def test_pictures_come_as_base64(cluster: Cluster, client: OpenAI, subject: Subject) -> None:
    prompt = f"a lighthouse by {subject.engine}"

    answer = client.images.with_raw_response.generate(
        prompt=prompt, model=subject.full_id, size=subject.size, n=2
    )

    made = answer.parse()
    assert made.size == subject.size
    assert made.output_format == "png"
    assert made.created > 0
    # OpenAI and Google count tokens.
    assert (made.usage is not None) is (subject.engine in {"openai", "gemini"})
    assert made.data is not None
    job = cluster.job(answer.headers["darkroom-job"])
    assert len(made.data) == len(job["images"]) == 2
    for position, (item, stored) in enumerate(zip(made.data, job["images"], strict=True)):
        assert item.url is None
        picture = _opened(item.b64_json)
        assert f"{picture.width}x{picture.height}" == subject.size
        if subject.colour is not None:
            corner = picture.getpixel((picture.width - 2, 1))
            assert corner == subject.colour(prompt, stored["seed"], position)


@every_engine
def test_a_link_needs_no_key_and_leads_to_the_picture(
    cluster: Cluster, client: OpenAI, subject: Subject
) -> None:
    answer = client.images.with_raw_response.generate(
        prompt="a ship", model=subject.full_id, size=subject.size, response_format="url"
    )

    [item] = answer.parse().data or []
    assert item.b64_json is None
    assert item.url is not None
    assert item.url.startswith(f"{cluster.url}/v1/")
    download = requests.get(item.url, timeout=PATIENCE_S)
    [stored] = cluster.job(answer.headers["darkroom-job"])["images"]
    assert download.headers["Content-Type"] == "image/png"
    assert download.content == cluster.call("GET", stored["url"]).content
    assert requests.get(item.url[:-1], timeout=PATIENCE_S).status_code == 403


def test_behind_a_proxy_a_link_names_the_server_as_its_callers_do(client: OpenAI) -> None:
    made = client.images.generate(
        prompt="a ship",
        model="builtin/placeholder",
        size="128x96",
        response_format="url",
        extra_headers={"Host": "images.example.org", "X-Forwarded-Proto": "https"},
    )

    [item] = made.data or []
    assert str(item.url).startswith("https://images.example.org/v1/images/files/")


@every_engine
def test_a_picture_is_changed_where_its_mask_is_transparent(
    client: OpenAI, subject: Subject
) -> None:
    mask = Image.new("RGBA", (128, 128), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (64, 0, 128, 128))

    answer = client.images.with_raw_response.edit(
        image=_png(RED), mask=_encoded(mask), prompt="a hat", model=subject.full_id
    )

    [item] = answer.parse().data or []
    changed = _opened(item.b64_json)
    assert changed.getpixel((2, changed.height // 2)) == RED
    assert changed.getpixel((changed.width - 2, 2)) != RED
    assert ("mask" in answer.headers.get("warning", "")) is not subject.obeys_mask


@every_engine
def test_two_pictures_are_changed_by_engines_that_take_as_many(
    cluster: Cluster, client: OpenAI, subject: Subject
) -> None:
    images: Any = [("a.png", _png(RED), "image/png"), ("b.png", _png((0, 0, 255)), "image/png")]
    most = _capabilities(cluster, subject)["max_input_images"]

    def change() -> Any:
        return client.images.edit(image=images, prompt="two hats", model=subject.full_id)

    if most >= len(images):
        assert len(change().data) == 1
        return
    with pytest.raises(openai.BadRequestError, match="at most 1 pictures") as caught:
        change()
    assert caught.value.param == "image"


@every_engine
def test_a_picture_is_varied(client: OpenAI, subject: Subject) -> None:
    # OpenAI itself has retired the call.
    with pytest.deprecated_call():
        varied = client.images.create_variation(
            image=_png(RED), model=subject.full_id, n=2, response_format="b64_json"
        )

    assert len(varied.data or []) == 2
    for each in varied.data or []:
        assert _opened(each.b64_json).size


@every_engine
def test_models_are_listed_and_found(client: OpenAI, subject: Subject) -> None:
    listed = {each.id: each for each in client.models.list()}

    model = listed[subject.full_id]
    assert (model.object, model.owned_by) == ("model", subject.engine)
    assert client.models.retrieve(subject.full_id) == model
    assert client.models.retrieve(subject.model) == model


@every_engine
def test_a_picture_is_streamed(client: OpenAI, servers: Servers, subject: Subject) -> None:
    servers.comfyui.worker.step_s = servers.automatic1111.machine.step_s = WATCHED_STEP_S
    prompt = "a slow ship"
    if subject.engine == "builtin":
        prompt += " [latency=2]"

    with client.images.generate(
        prompt=prompt, model=subject.full_id, size=subject.size, stream=True, partial_images=2
    ) as stream:
        events = list(stream)

    *partial, completed = events
    assert completed.type == "image_generation.completed"
    assert completed.size == subject.size
    assert (completed.usage.total_tokens > 0) is (subject.engine in {"openai", "gemini"})
    picture = _opened(completed.b64_json)
    assert f"{picture.width}x{picture.height}" == subject.size
    if subject.engine in {"builtin", "comfyui", "automatic1111"}:
        assert partial
    for index, each in enumerate(partial):
        assert each.type == "image_generation.partial_image"
        assert each.partial_image_index == index < 2
        assert _opened(each.b64_json).size


@every_engine
def test_a_changed_picture_is_streamed(client: OpenAI, subject: Subject) -> None:
    with client.images.edit(
        image=_png(RED), prompt="a hat", model=subject.full_id, stream=True
    ) as stream:
        events = [each.type for each in stream]

    assert events == ["image_edit.completed"]


@every_engine
def test_a_call_that_outlasts_the_wait_is_sent_again_and_drawn_once(
    cluster: Cluster, servers: Servers, subject: Subject
) -> None:
    statuses: list[int] = []

    def note(response: Any) -> None:
        statuses.append(response.status_code)
        _hurry(servers)

    prompt = f"{subject.engine} takes its time"
    _slow_down(servers, subject)
    before = _drawn(cluster, servers, subject)
    with (
        DefaultHttpxClient(event_hooks={"response": [note]}) as http,
        OpenAI(base_url=f"{cluster.url}/v1", api_key=cluster.key, http_client=http) as client,
    ):
        made = client.images.generate(
            prompt=f"{prompt} [latency={WAIT_S + 1}]", model=subject.full_id, size=subject.size
        )

    assert len(made.data or []) == 1
    assert statuses == [504, 200]
    assert _drawn(cluster, servers, subject) == before + 1


def test_a_caller_who_hangs_up_and_calls_again_gets_the_same_picture(
    cluster: Cluster, client: OpenAI
) -> None:
    before = cluster.runs_begun()

    made = client.with_options(timeout=1.0, max_retries=5).images.generate(
        prompt="an impatient caller [latency=2]", model="builtin/placeholder", size="128x96"
    )

    assert len(made.data or []) == 1
    assert cluster.runs_begun() == before + 1


def test_each_failure_is_the_exception_that_the_sdk_defines(
    cluster: Cluster, client: OpenAI
) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.images.generate(prompt="x", size="big")
    with pytest.raises(openai.BadRequestError) as unknown:
        client.images.generate(prompt="x", extra_body={"colour": "red"})
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(prompt="x", model="nothing")
    with pytest.raises(openai.NotFoundError) as unlisted:
        client.models.retrieve("org/nothing")
    with pytest.raises(openai.NotFoundError) as elsewhere:
        client.embeddings.create(input="x", model="y")
    with pytest.raises(openai.AuthenticationError) as stranger:
        client.with_options(api_key="sk-nobody").models.list()
    nobody = cluster.storage.users.create(email="n@example.org", name="n", permissions=[])
    _, key = cluster.storage.users.create_key(nobody.id, name="test")
    with pytest.raises(openai.PermissionDeniedError) as denied:
        client.with_options(api_key=key).images.generate(prompt="x")

    found = [
        (each.value.status_code, each.value.code, each.value.param)
        for each in (bad, unknown, missing, unlisted, elsewhere, stranger, denied)
    ]
    assert found == [
        (400, "invalid_value", "size"),
        (400, "unknown_parameter", "colour"),
        (404, "model_not_found", "model"),
        (404, "model_not_found", "model"),
        (404, "unknown_url", None),
        (401, "invalid_api_key", None),
        (403, "permission_denied", None),
    ]
    assert bad.value.type == "invalid_request_error"
    assert bad.value.request_id


def test_what_the_vendor_refuses_is_told_once(
    cluster: Cluster, servers: Servers, client: OpenAI
) -> None:
    before = len(servers.openai.generations)
    asked: dict[str, Any] = {"prompt": "x", "model": "openai/gpt-image-1.5"}

    servers.openai.fail("moderation")
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(**asked)
    servers.openai.fail("quota")
    with pytest.raises(openai.RateLimitError) as poor:
        client.images.generate(**asked)
    cluster.storage.health.forget()
    servers.openai.fail("server_error")
    with pytest.raises(openai.InternalServerError):
        client.images.generate(**asked)

    assert refused.value.code == "moderation_blocked"
    assert (poor.value.code, poor.value.type) == ("insufficient_quota", "insufficient_quota")
    # The SDK would repeat 429 and 5xx.
    assert len(servers.openai.generations) == before + 3


def test_a_failure_in_a_stream_is_raised(client: OpenAI) -> None:
    with (
        pytest.raises(openai.APIError, match="scripted") as caught,
        client.images.generate(
            prompt="[fault=ContentRefused]", model="builtin/placeholder", stream=True
        ) as stream,
    ):
        list(stream)

    assert caught.value.code == "content_policy_violation"


def test_azures_client_is_served(cluster: Cluster) -> None:
    with AzureOpenAI(
        azure_endpoint=cluster.url, api_key=cluster.key, api_version="2025-04-01-preview"
    ) as client:
        made = client.images.generate(prompt="x", model="builtin/placeholder", size="128x96")

    assert made.size == "128x96"


def _slow_down(servers: Servers, subject: Subject) -> None:
    """Let the engine take longer than a call may wait; the built-in one does what prompts say."""
    if subject.engine == "openai":
        servers.openai.fail("hang")
    if subject.engine == "gemini":
        servers.gemini.fail("hang")
    servers.comfyui.worker.step_s = servers.automatic1111.machine.step_s = SLOW_STEP_S


def _hurry(servers: Servers) -> None:
    for each in (servers.openai, servers.gemini):
        each.released.set()
    servers.comfyui.worker.step_s = servers.automatic1111.machine.step_s = 0.0


def _drawn(cluster: Cluster, servers: Servers, subject: Subject) -> int:
    """How many pictures the engine was asked for so far."""
    counts: dict[str, Callable[[], int]] = {
        "builtin": cluster.runs_begun,
        "openai": lambda: len(servers.openai.drawn),
        "gemini": lambda: len(servers.gemini.drawn),
        "comfyui": lambda: len(servers.comfyui.accepted),
        "automatic1111": lambda: len(servers.automatic1111.runs),
    }
    return counts[subject.engine]()


def _capabilities(cluster: Cluster, subject: Subject) -> Any:
    models = cluster.call("GET", f"/api/images/models?engine={subject.engine}").json()
    return next(each["capabilities"] for each in models if each["id"] == subject.full_id)


def _opened(encoded: str | None) -> Image.Image:
    assert encoded is not None
    return Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")


def _png(colour: Colour) -> bytes:
    return _encoded(Image.new("RGB", (128, 128), colour))


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()

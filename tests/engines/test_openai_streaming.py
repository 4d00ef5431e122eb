"""Pictures that are shown while they are drawn, and the ways in which a stream goes wrong."""

from typing import Any

import pytest
from PIL import Image

from darkroom.domain import Capabilities, Model, Operation
from darkroom.errors import (
    Canceled,
    ContentRefused,
    EngineBusy,
    EngineError,
    OutcomeUnknown,
    QuotaExhausted,
)
from engines import openai_address
from engines.catalog import KNOWN, Catalog
from engines.openai_images import OpenAIImages
from tests.engines.builders import Reports, a_task, an_input, openai_config, opened
from tests.engines.servers.openai import OpenAIServer
from tests.engines.servers.openai_pictures import colour

GREY = (128, 128, 128)


@pytest.fixture
def streaming(server: OpenAIServer, catalog: Catalog) -> OpenAIImages:
    return OpenAIImages(openai_config(server, params={"partial_images": 2}), catalog)


@pytest.fixture
def vendor(server: OpenAIServer, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> OpenAIImages:
    """The stand-in, taken for OpenAI itself."""
    monkeypatch.setattr(openai_address, "VENDOR_HOST", "127.0.0.1")
    return OpenAIImages(openai_config(server), catalog)


def shown(data: bytes) -> Any:
    return opened(data).getpixel((0, 0))


def test_unfinished_pictures_are_previews_and_the_final_one_is_the_result(
    streaming: OpenAIImages, server: OpenAIServer
) -> None:
    reports = Reports()

    (image,) = streaming.generate(a_task(prompt="a cat"), reports)

    assert server.calls[0].body["stream"] is True
    assert server.calls[0].body["partial_images"] == 2
    assert [shown(each) for each in reports.previews] == [GREY, GREY]
    assert shown(image.data) == colour("a cat")
    assert reports.shares == [0.0, pytest.approx(1 / 3), pytest.approx(2 / 3)]


def test_edits_are_streamed_too(streaming: OpenAIImages, server: OpenAIServer) -> None:
    reports = Reports()
    picture = an_input(Image.new("RGB", (64, 64)))

    (image,) = streaming.generate(a_task(images=(picture,), operation=Operation.EDIT), reports)

    assert server.calls[0].body["stream"] == "true"
    assert server.calls[0].body["partial_images"] == "2"
    assert len(reports.previews) == 2
    assert shown(image.data) != GREY


def test_openai_itself_is_asked_for_one_preview(vendor: OpenAIImages, server: OpenAIServer) -> None:
    reports = Reports()

    vendor.generate(a_task(), reports)

    assert server.calls[0].body["partial_images"] == 1
    assert len(reports.previews) == 1


@pytest.mark.parametrize("params", [{"stream": False}, {"partial_images": 0}])
def test_an_admin_can_switch_previews_off(
    vendor: OpenAIImages, server: OpenAIServer, params: dict[str, Any]
) -> None:
    openai = OpenAIImages(openai_config(server, params=params), vendor.catalog)

    openai.generate(a_task(), Reports())

    assert server.calls[0].body.keys() == {"model", "prompt", "n"}


@pytest.mark.parametrize(
    ("params", "expected"),
    [({"stream": True}, 1), ({"partial_images": 3}, 3), ({"partial_images": 7}, 3)],
)
def test_an_admin_can_switch_previews_on_for_other_servers(
    server: OpenAIServer, catalog: Catalog, params: dict[str, Any], expected: int
) -> None:
    openai = OpenAIImages(openai_config(server, params=params), catalog)

    openai.generate(a_task(), Reports())

    assert server.calls[0].body["partial_images"] == expected


def test_other_servers_are_not_asked_to_stream(openai: OpenAIImages, server: OpenAIServer) -> None:
    openai.generate(a_task(), Reports())

    assert "stream" not in server.calls[0].body


@pytest.mark.parametrize("task", [a_task(count=2), a_task("dall-e-3"), a_task("dall-e-2")])
def test_several_pictures_and_models_that_cannot_are_not_streamed(
    streaming: OpenAIImages, server: OpenAIServer, task: Any
) -> None:
    streaming.generate(task, Reports())

    assert "stream" not in server.calls[0].body
    assert "partial_images" not in server.calls[0].body


@pytest.mark.parametrize("output_format", ["gif", "svg"])
def test_formats_that_cannot_be_streamed_are_not(
    server: OpenAIServer, catalog: Catalog, output_format: str
) -> None:
    params = {"partial_images": 2, "output_format": output_format}
    openai = OpenAIImages(openai_config(server, params=params), catalog)

    # The stand-in draws neither.
    with pytest.raises(EngineError):
        openai.generate(a_task(), Reports())

    assert "stream" not in server.calls[0].body


def test_a_model_that_an_admin_describes_is_streamed_as_described(server: OpenAIServer) -> None:
    quiet = Model(id="gpt-image-2", name="", engine="openai", capabilities=Capabilities())
    openai = OpenAIImages(
        openai_config(server, params={"partial_images": 2}), Catalog([*KNOWN, quiet])
    )

    openai.generate(a_task(), Reports())

    assert "stream" not in server.calls[0].body


@pytest.mark.parametrize(
    ("mode", "previews"),
    [("final_first", 0), ("final_only", 0), ("dressed_up", 2), ("bad_partial", 0)],
)
def test_the_final_picture_counts_whatever_comes_around_it(
    streaming: OpenAIImages, server: OpenAIServer, mode: str, previews: int
) -> None:
    reports = Reports()
    server.fail(mode)

    (image,) = streaming.generate(a_task(prompt="a cat"), reports)

    assert shown(image.data) == colour("a cat")
    assert len(reports.previews) == previews


@pytest.mark.parametrize("mode", ["silent_after_final", "lost_after_final"])
def test_a_picture_that_is_here_is_kept_whatever_the_connection_does_then(
    streaming: OpenAIImages, server: OpenAIServer, mode: str
) -> None:
    server.fail(mode)

    (image,) = streaming.generate(a_task(prompt="a cat", timeout_s=60), Reports())

    assert shown(image.data) == colour("a cat")


def test_a_server_that_answers_without_streaming_is_understood(
    streaming: OpenAIImages, server: OpenAIServer
) -> None:
    reports = Reports()
    server.fail("unstreamed")

    (image,) = streaming.generate(a_task(prompt="a cat"), reports)

    assert shown(image.data) == colour("a cat")
    assert reports.previews == []


@pytest.mark.parametrize("mode", ["rate_limited", "moderation", "server_error", "html_502"])
def test_errors_before_the_stream_are_the_same_as_without(
    streaming: OpenAIImages, openai: OpenAIImages, server: OpenAIServer, mode: str
) -> None:
    failures = []
    for engine in (streaming, openai):
        server.fail(mode)
        with pytest.raises(EngineError) as caught:
            engine.generate(a_task(), Reports())
        failures.append((type(caught.value), caught.value.detail))

    assert failures[0] == failures[1]


@pytest.mark.parametrize(
    ("mode", "expected", "code"),
    [
        ("unended", OutcomeUnknown, None),
        ("late_error", OutcomeUnknown, "server_error"),
        ("late_error_nested", OutcomeUnknown, "server_error"),
        ("late_error_flat", OutcomeUnknown, "server_error"),
        ("late_refusal", ContentRefused, "moderation_blocked"),
        ("early_refusal", ContentRefused, "moderation_blocked"),
        ("early_quota", QuotaExhausted, "insufficient_quota"),
        # Nothing was drawn yet, so it is safe to come again …
        ("early_limit", EngineBusy, "rate_limit_exceeded"),
        # … and something was.
        ("late_limit", OutcomeUnknown, "rate_limit_exceeded"),
    ],
)
def test_a_stream_without_its_end_has_its_error(
    streaming: OpenAIImages,
    server: OpenAIServer,
    mode: str,
    expected: type[EngineError],
    code: str | None,
) -> None:
    server.fail(mode)

    with pytest.raises(EngineError) as caught:
        streaming.generate(a_task(), Reports())

    assert type(caught.value) is expected
    assert caught.value.upstream_code == code
    assert caught.value.upstream_request_id == "req_1"
    assert len(server.drawn) == 1


def test_a_stream_that_is_cut_leaves_the_outcome_unknown(
    streaming: OpenAIImages, server: OpenAIServer
) -> None:
    server.fail("broken_off")

    with pytest.raises(OutcomeUnknown, match="charged"):
        streaming.generate(a_task(), Reports())

    assert len(server.calls) == 1


def test_a_stream_that_falls_silent_is_left_at_the_deadline(
    streaming: OpenAIImages, server: OpenAIServer
) -> None:
    server.fail("silent")

    with pytest.raises(OutcomeUnknown):
        streaming.generate(a_task(timeout_s=1.0), Reports())


def test_canceling_a_stream_ends_the_wait(streaming: OpenAIImages, server: OpenAIServer) -> None:
    server.fail("silent")

    def stop() -> None:
        if server.hanging.is_set():
            raise Canceled("Stop.")

    with pytest.raises(Canceled):
        streaming.generate(a_task(timeout_s=60), Reports(until=stop))

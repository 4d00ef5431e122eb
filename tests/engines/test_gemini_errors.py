"""Why there is no picture: errors of Google, of gateways, and answers that look like success."""

import pytest
import requests

from darkroom.configuration import FIELDS_BY_NAME
from darkroom.domain import Size
from darkroom.errors import (
    ContentRefused,
    EngineBusy,
    EngineError,
    EngineFailed,
    Misconfigured,
    ModelNotOffered,
    OutcomeUnknown,
    QuotaExhausted,
    RequestRejected,
)
from engines.gemini import Gemini
from engines.gemini_answers import FINAL, REFUSALS
from engines.gemini_errors import ADDRESS_SETTING, KEY_SETTING, METHOD_SETTING, MODEL_SETTING
from tests.engines.builders import Reports, a_task
from tests.engines.gemini_builders import MODEL, configured
from tests.engines.servers.gemini import GeminiServer


def failure(gemini: Gemini, google: GeminiServer, mode: str) -> EngineError:
    google.fail(mode)
    with pytest.raises(EngineError) as caught:
        gemini.generate(a_task(MODEL), Reports())
    assert len(google.generations) == 1
    return caught.value


@pytest.mark.parametrize(
    ("mode", "expected", "code"),
    [
        ("bad_key", Misconfigured, "API_KEY_INVALID"),
        ("bad_argument", RequestRejected, "INVALID_ARGUMENT"),
        ("precondition", Misconfigured, "FAILED_PRECONDITION"),
        ("unauthenticated", Misconfigured, "UNAUTHENTICATED"),
        ("prepaid_gone", QuotaExhausted, "FAILED_PRECONDITION"),
        ("denied", Misconfigured, "PERMISSION_DENIED"),
        ("not_found", ModelNotOffered, "NOT_FOUND"),
        ("html_404", Misconfigured, None),
        ("too_large", RequestRejected, "INVALID_ARGUMENT"),
        ("html_413", RequestRejected, None),
        ("per_minute", EngineBusy, "RESOURCE_EXHAUSTED"),
        ("per_day", QuotaExhausted, "RESOURCE_EXHAUSTED"),
        ("bare_429", EngineBusy, "RESOURCE_EXHAUSTED"),
        ("wrapped_429", EngineBusy, "RESOURCE_EXHAUSTED"),
        ("canceled", OutcomeUnknown, "CANCELLED"),
        ("internal", OutcomeUnknown, "INTERNAL"),
        ("html_502", OutcomeUnknown, None),
        ("overloaded", EngineBusy, "UNAVAILABLE"),
        ("hidden_503", EngineBusy, "UNAVAILABLE"),
        ("deadline", OutcomeUnknown, "DEADLINE_EXCEEDED"),
        ("redirect", Misconfigured, None),
        ("html_200", Misconfigured, None),
    ],
)
def test_every_error_has_its_class_and_the_vendors_code(
    gemini: Gemini,
    google: GeminiServer,
    mode: str,
    expected: type[EngineError],
    code: str | None,
) -> None:
    error = failure(gemini, google, mode)

    assert type(error) is expected
    assert error.upstream_code == code
    assert error.upstream_request_id == "request-1"
    assert "'gemini'" in error.detail
    assert "<" not in error.detail


@pytest.mark.parametrize("mode", ["cut", "reset"])
def test_a_lost_answer_may_have_been_charged(
    gemini: Gemini, google: GeminiServer, mode: str
) -> None:
    assert isinstance(failure(gemini, google, mode), OutcomeUnknown)


def test_an_engine_that_hangs_is_given_up_at_the_deadline(
    gemini: Gemini, google: GeminiServer
) -> None:
    google.fail("hang")

    with pytest.raises(OutcomeUnknown):
        gemini.generate(a_task(MODEL, timeout_s=0.3), Reports())


@pytest.mark.parametrize(
    ("mode", "seconds"),
    [("per_minute", 38.2), ("wrapped_429", 38.0), ("header_429", 4.0), ("bare_429", None)],
)
def test_a_busy_engine_says_when_to_come_back(
    gemini: Gemini, google: GeminiServer, mode: str, seconds: float | None
) -> None:
    error = failure(gemini, google, mode)

    assert isinstance(error, EngineBusy)
    assert error.retry_after_s == seconds


def test_an_error_wrapped_in_an_array_is_read(gemini: Gemini, google: GeminiServer) -> None:
    error = failure(gemini, google, "wrapped_429")

    assert isinstance(error, EngineBusy)
    assert error.upstream_code == "RESOURCE_EXHAUSTED"


def test_the_quota_of_a_day_is_not_waited_for_though_a_short_delay_is_named(
    gemini: Gemini, google: GeminiServer
) -> None:
    assert isinstance(failure(gemini, google, "per_day"), QuotaExhausted)


@pytest.mark.parametrize(
    "reason",
    [
        "SAFETY",
        "OTHER",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "IMAGE_SAFETY",
        "MODEL_ARMOR",
        "JAILBREAK",
    ],
)
def test_a_blocked_prompt_is_answered_with_200_and_refused(
    gemini: Gemini, google: GeminiServer, reason: str
) -> None:
    error = failure(gemini, google, f"block:{reason}")

    assert isinstance(error, ContentRefused)
    assert error.upstream_code == reason
    assert reason in error.detail
    assert google.drawn == []


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((each, ContentRefused) for each in sorted(REFUSALS)),
        *((each, RequestRejected) for each in sorted(FINAL)),
        ("NO_IMAGE", EngineFailed),
        ("IMAGE_OTHER", EngineFailed),
        ("OTHER", EngineFailed),
        ("MALFORMED_RESPONSE", EngineFailed),
        ("SOMETHING_NEW", EngineFailed),
    ],
)
def test_every_finish_reason_without_a_picture_has_its_error(
    gemini: Gemini, google: GeminiServer, reason: str, expected: type[EngineError]
) -> None:
    error = failure(gemini, google, f"finish:{reason}")

    assert type(error) is expected
    assert error.upstream_code == reason
    assert error.upstream_request_id == "response-1"
    assert f"The run ended with {reason}." in error.detail


def test_an_answer_of_text_only_is_passed_on_without_what_is_private(
    gemini: Gemini, google: GeminiServer
) -> None:
    error = failure(gemini, google, "text_only")

    assert isinstance(error, ContentRefused)
    assert "I cannot draw that." in error.detail
    assert "/srv" not in error.detail


@pytest.mark.parametrize("mode", ["empty_object", "no_parts", "no_content", "bad_base64"])
def test_an_answer_without_anything_is_a_failure(
    gemini: Gemini, google: GeminiServer, mode: str
) -> None:
    assert isinstance(failure(gemini, google, mode), EngineFailed)


def test_a_refused_parameter_is_named(gemini: Gemini, google: GeminiServer) -> None:
    with pytest.raises(RequestRejected, match="must be one of") as caught:
        gemini.generate(a_task(MODEL, size=Size(4096, 1024)), Reports())

    assert caught.value.param == "aspect_ratio"


@pytest.mark.parametrize("model", ["gemini-2.0-flash-image", "imagen-2"])
def test_a_model_that_is_gone_fails_alone_and_says_what_to_do(
    gemini: Gemini, google: GeminiServer, model: str
) -> None:
    with pytest.raises(ModelNotOffered, match="is not found for API version v1beta") as caught:
        gemini.generate(a_task(model), Reports())

    for setting in (MODEL_SETTING, METHOD_SETTING, ADDRESS_SETTING):
        assert setting in caught.value.detail


def test_a_retired_model_is_named_with_the_day_it_ended(
    gemini: Gemini, google: GeminiServer
) -> None:
    google.fail("not_found")

    with pytest.raises(ModelNotOffered, match=r"'imagen-4.0-generate-001'.*2026-08-17"):
        gemini.generate(a_task("imagen-4.0-generate-001"), Reports())


@pytest.mark.parametrize("key", ["AIzaSyWrong-and-secret", ""])
def test_a_wrong_key_is_a_400_or_403_and_is_named_by_its_setting_and_never_shown(
    google: GeminiServer, key: str
) -> None:
    gemini = configured(base_url=google.url, api_key=key)

    for call in (lambda: gemini.generate(a_task(MODEL), Reports()), gemini.check):
        with pytest.raises(Misconfigured, match="DARKROOM_IMAGES_GEMINI_API_KEY") as caught:
            call()
        assert "Wrong-and-secret" not in caught.value.detail


def test_what_the_engine_says_is_passed_on_without_secrets_and_paths(
    gemini: Gemini, google: GeminiServer
) -> None:
    error = failure(gemini, google, "leaky")

    assert "Bad key" in error.detail
    for secret in (google.key, "/srv", "Other_0123"):
        assert secret not in error.detail


def test_settings_named_in_messages_exist() -> None:
    named = {KEY_SETTING, ADDRESS_SETTING, METHOD_SETTING, MODEL_SETTING}

    assert {each.removeprefix("DARKROOM_") for each in named} <= FIELDS_BY_NAME.keys()


def naive_status(google: GeminiServer, mode: str) -> tuple[int, str]:
    """All that a client sees that reads the status, and how long it is told to wait."""
    google.fail(mode)
    answer = requests.post(
        f"{google.url}/models/{MODEL}:generateContent",
        json={"contents": [{"parts": [{"text": "x"}]}]},
        headers={"x-goog-api-key": google.key},
        timeout=10,
    )
    return answer.status_code, "RetryInfo" if "RetryInfo" in answer.text else ""


def test_a_naive_client_that_reads_the_status_alone_cannot_tell_errors_apart(
    google: GeminiServer,
) -> None:
    # One of them is gone for the day, and still names a short wait.
    assert naive_status(google, "per_day") == naive_status(google, "per_minute")
    assert naive_status(google, "bare_429") == (429, "")
    # One of them is a wrong key.
    assert naive_status(google, "bad_key") == naive_status(google, "bad_argument")
    # One of them is a wrong address.
    assert naive_status(google, "not_found") == naive_status(google, "html_404")

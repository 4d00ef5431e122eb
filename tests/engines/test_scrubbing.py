"""What is left of an engine's words."""

import pytest

from engines.scrubbing import Scrubber


@pytest.mark.parametrize(
    "text",
    [
        "key hunter2/secret+word is wrong",
        "https://host/?key=hunter2%2Fsecret%2Bword failed",
        "You sent Bearer hunter2/secret+word.",
    ],
)
def test_the_engines_own_key_never_comes_through(text: str) -> None:
    scrubbed = Scrubber(["hunter2/secret+word"])(text)

    assert "hunter2" not in scrubbed
    assert "[secret]" in scrubbed


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abc_123-XYZ",
        "sk-abc1****wxyz",
        "dk_0123456789",
        "AIzaSyA-0123_4567",
        "Bearer eyJhbGciOi.x.y",
    ],
)
def test_keys_of_other_accounts_never_come_through(secret: str) -> None:
    assert Scrubber([])(f"Incorrect API key provided: {secret}") == (
        "Incorrect API key provided: [secret]"
    )


def test_passwords_in_addresses_never_come_through() -> None:
    assert "pass" not in Scrubber([])("cannot reach http://user:pass@proxy:3128")


def test_paths_and_tracebacks_of_the_engines_machine_are_left_out() -> None:
    text = (
        "Failed in /home/joe/app.py and C:\\models\\x.bin\n"
        'Traceback (most recent call last):\n  File "a"'
    )

    assert Scrubber([])(text) == "Failed in [path] and [path]"


def test_addresses_stay_readable() -> None:
    text = "See https://platform.example/account/api-keys, or POST /v1/images/generations."

    assert Scrubber([])(text) == text


def test_a_long_text_becomes_one_line_of_sane_length() -> None:
    scrubbed = Scrubber([""])("word\n\x00" * 1000)

    assert len(scrubbed) <= 300
    assert scrubbed.endswith("…")
    assert scrubbed.isprintable()

"""The configuration: built-in defaults, then the environment's, then what an admin stored."""

from functools import partial

import pytest
from sqlalchemy import select

from darkroom.configuration import Value
from darkroom.errors import KeysUnreadable
from darkroom.secrets import SecretBox
from storage import Storage
from storage.config import Config
from storage.tables import config
from tests.storage.builders import together

ADDRESS, KEY = "IMAGES_OPENAI_API_BASE_URL", "IMAGES_OPENAI_API_KEY"


def opened(storage: Storage, *, secret: str | None = None, **defaults: str) -> Config:
    return Config(storage.database, SecretBox(secret or "any"), defaults)


def test_without_anything_said_the_built_in_defaults_hold(storage: Storage) -> None:
    assert opened(storage).values()[ADDRESS] == "https://api.openai.com/v1"


def test_the_environment_wins_over_the_built_in_defaults(storage: Storage) -> None:
    assert opened(storage, **{ADDRESS: "http://env"}).values()[ADDRESS] == "http://env"


def test_what_is_stored_wins_over_the_environment(storage: Storage) -> None:
    values = opened(storage, **{ADDRESS: "http://env"})

    values.update({ADDRESS: "http://stored"})

    assert values.values()[ADDRESS] == "http://stored"


def test_an_empty_value_is_stored_too(storage: Storage) -> None:
    values = opened(storage, **{KEY: "from the environment"})

    values.update({KEY: ""})

    assert values.values()[KEY] == ""


def test_values_of_every_kind_come_back(storage: Storage) -> None:
    changes: dict[str, Value] = {
        "ENABLE_IMAGE_GENERATION": False,
        "IMAGE_STEPS": 20,
        "IMAGE_SIZE": "512x512",
        "IMAGES_OPENAI_API_PARAMS": {"moderation": "low"},
        "COMFYUI_WORKFLOW_NODES": [{"type": "prompt", "node_ids": ["6"]}],
        KEY: "sk-ä",
    }

    storage.config.update(changes)

    values = storage.config.values()
    assert {name: values[name] for name in changes} == changes


def test_a_later_change_replaces_the_earlier(storage: Storage) -> None:
    storage.config.update({"IMAGE_STEPS": 20})
    storage.config.update({"IMAGE_STEPS": None})

    assert storage.config.values()["IMAGE_STEPS"] is None


def test_a_secret_is_not_readable_in_the_database(storage: Storage) -> None:
    storage.config.update({KEY: "sk-very-secret", ADDRESS: "http://plain"})

    with storage.database.reading() as connection:
        rows = str(connection.execute(select(config)).all())
    assert "http://plain" in rows
    assert "sk-very-secret" not in rows


def test_another_secret_key_is_named_as_the_cause(storage: Storage) -> None:
    opened(storage, secret="one").update({KEY: "sk-1"})

    with pytest.raises(KeysUnreadable, match=r"DARKROOM_SECRET_KEY.*save all of these keys anew"):
        opened(storage, secret="another").values()


def test_a_key_saved_anew_can_be_read_again(storage: Storage) -> None:
    opened(storage, secret="one").update({KEY: "sk-1"})

    opened(storage, secret="another").update({KEY: "sk-2"})

    assert opened(storage, secret="another").values()[KEY] == "sk-2"


def test_a_change_that_fails_changes_nothing(storage: Storage) -> None:
    before = storage.config.values()

    with pytest.raises(KeyError):
        storage.config.update({"IMAGE_STEPS": 20, "NO_SUCH_FIELD": 1})

    assert storage.config.values() == before


def test_changes_at_one_moment_all_succeed(storage: Storage) -> None:
    together(
        *(
            partial(storage.config.update, {"IMAGE_STEPS": number, "IMAGE_SIZE": f"{number}x64"})
            for number in range(64, 72)
        )
    )

    values = storage.config.values()
    assert values["IMAGE_SIZE"] == f"{values['IMAGE_STEPS']}x64"

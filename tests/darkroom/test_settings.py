"""Settings: what is read, from where, and what is said when it cannot be used."""

from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

from darkroom.configuration import FIELDS
from darkroom.errors import SettingsError
from darkroom.settings import (
    ClientSettings,
    Settings,
    exposed_files,
    load_client_settings,
    load_settings,
    variables,
)


def test_nothing_set_means_the_embedded_stack() -> None:
    settings = load_settings()

    assert settings == Settings()
    assert settings.database.startswith("sqlite:////")
    assert settings.storage.startswith("file:///")
    assert settings.redis_url is None


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("DARKROOM_PORT", "http", "integer"),
        ("DARKROOM_PORT", "-1", "at least 0"),
        ("DARKROOM_LEASE_S", "soon", "number"),
        ("DARKROOM_STOP_S", "0", "at least 1"),
        ("DARKROOM_ENABLE_SIGNUP", "perhaps", "boolean"),
        ("DARKROOM_FALLBACK_MODELS", "{", "JSON"),
        ("DARKROOM_FALLBACK_MODELS", "[1]", "values are strings"),
        ("DARKROOM_FALLBACK_MODELS", '{"a/b": 1}', "values are strings"),
        ("DARKROOM_MAX_RUNNING_PER_USER", "0", "at least 1"),
        ("IMAGE_SIZE", "1024", "WIDTHxHEIGHT"),
        ("IMAGE_STEPS", "-5", "at least 1"),
        ("IMAGES_OPENAI_API_PARAMS", "[1]", "JSON object"),
        ("COMFYUI_WORKFLOW_NODES", "{}", "JSON list"),
        ("DARKROOM_LOG_FORMAT", "xml", "text, json"),
        ("DARKROOM_LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("DARKROOM_SECRET_KEY", "short", "openssl rand -hex 32"),
        ("DARKROOM_ADMIN_PASSWORD", "hunter2 hunter2", "DARKROOM_ADMIN_EMAIL"),
        ("DARKROOM_SECRET_KEY_FILE", "/no/such/file", "readable"),
        ("IMAGE_STEPS", "many", "integer"),
        ("AUTOMATIC1111_PARAMS", "{", "JSON"),
    ],
)
def test_a_fault_names_its_variable_and_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, hint: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert name in caught.value.detail
    assert hint in caught.value.detail


def test_a_secret_is_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s" * 40 + "\n")
    monkeypatch.setenv("DARKROOM_SECRET_KEY_FILE", str(file))

    assert load_settings().secret_key == "s" * 40


SECRETS = [
    *(
        f"DARKROOM_{each.name.upper()}"
        for each in fields(Settings)
        if "help" in each.metadata and not each.repr
    ),
    "DARKROOM_DATABASE_URL",
    "DARKROOM_REDIS_URL",
    *(each.name for each in FIELDS if each.secret and each.kind == "text"),
]


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_can_come_from_a_file_and_does_not_show(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    value = f"amqp://{'precious' * 5}"
    (tmp_path / "secret").write_text(f"{value}\n")
    monkeypatch.setenv("DARKROOM_ADMIN_EMAIL", "ada@example.org")
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))

    settings = load_settings()

    read = {**vars(settings), **settings.config_defaults}
    found = read[name] if name in read else read[name.removeprefix("DARKROOM_").lower()]
    assert found in {value, (value,)}
    assert name.endswith("_URL") or value not in repr(settings)


@pytest.mark.parametrize("name", [each.name for each in FIELDS if each.kind == "servers"])
def test_the_keys_of_several_servers_can_come_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_text('[{"name": "a", "api_key": "precious"}]\n')
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))

    settings = load_settings()

    assert settings.config_defaults[name] == [{"name": "a", "api_key": "precious"}]
    assert "precious" not in repr(settings)


@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_secret_file_that_others_may_read_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int, is_told: bool
) -> None:
    file = tmp_path / "secret"
    file.write_text("s" * 40)
    file.chmod(mode)
    monkeypatch.setenv("DARKROOM_SECRET_KEY_FILE", str(file))

    assert exposed_files() == ([("DARKROOM_SECRET_KEY_FILE", file)] if is_told else [])


def test_a_client_reads_what_it_needs_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_client_settings() == ClientSettings()
    (tmp_path / "key").write_text("dk_precious\n")
    monkeypatch.setenv("DARKROOM_SERVER", "http://127.0.0.1:9000")
    monkeypatch.setenv("DARKROOM_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DARKROOM_PORT", "of the service, and wrong")

    found = load_client_settings()

    assert found == ClientSettings(
        server="http://127.0.0.1:9000", key="dk_precious", data_dir=tmp_path
    )
    assert "dk_precious" not in repr(found)


def test_a_blank_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_PORT", " ")
    monkeypatch.setenv("OPENAI_API_KEY", "")

    assert load_settings() == Settings()


def test_an_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_WORKER_CONCURRENCY", "4")

    assert load_settings().worker_concurrency == 4
    assert load_settings(worker_concurrency=2).worker_concurrency == 2


def test_engines_answer_to_the_names_open_webui_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> object:
        return load_settings().config_defaults["IMAGES_OPENAI_API_KEY"]

    monkeypatch.setenv("OPENAI_API_KEY", "shared")
    assert key() == "shared"

    monkeypatch.setenv("IMAGES_OPENAI_API_KEY", "for images")
    assert key() == "for images"

    monkeypatch.setenv("DARKROOM_IMAGES_OPENAI_API_KEY", "for this service")
    assert key() == "for this service"


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DARKROOM_MAX_RUNNING_PER_USER", "4", "max_running_per_user", 4),
        ("DARKROOM_KEEP_IMAGES_DAYS", "0.5", "keep_images_days", 0.5),
        ("DARKROOM_KEEP_IMAGES_MB_PER_USER", "100", "keep_images_mb_per_user", 100),
        ("DARKROOM_REPEAT_PAID_CALLS", "true", "repeat_paid_calls", True),
        ("DARKROOM_FALLBACK_MODELS", '{"a/b": "c/d"}', "fallback_models", {"a/b": "c/d"}),
    ],
)
def test_a_variable_without_a_default_is_read_as_what_it_is(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, field: str, value: object
) -> None:
    monkeypatch.setenv(name, text)

    found = getattr(load_settings(), field)

    assert (found, type(found)) == (value, type(value))


def test_a_database_by_url_may_be_shared() -> None:
    assert Settings(database_url="postgresql://db/darkroom").is_shared
    assert not Settings(database_url="sqlite:////tmp/darkroom.db").is_shared


def test_secrets_do_not_show_in_the_settings() -> None:
    settings = Settings(
        secret_key="s" * 40,
        admin_email="ada@example.org",
        admin_password="hunter2 hunter2",
        config_defaults={"IMAGES_OPENAI_API_KEY": "sk-precious"},
    )

    assert not any(secret in repr(settings) for secret in ("s" * 40, "hunter2", "sk-precious"))


def test_every_variable_is_described_once() -> None:
    names = Counter(each.name for each in variables())

    assert set(names.values()) == {1}
    assert all(each.help.endswith((".", "catalog")) for each in variables())

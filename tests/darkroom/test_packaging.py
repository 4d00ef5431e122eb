"""What is shipped beside the code: lock files, containers."""

import re
from pathlib import Path
from typing import Any

import pytest

from darkroom.settings import PREFIX, variables

ROOT = Path(__file__).parents[2]


@pytest.fixture
def compose() -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.mark.parametrize("name", ["base.txt", "dev.txt"])
def test_locked_requirements_are_pinned_and_hashed_and_name_no_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    requirements = re.findall(r"^[a-z0-9].*(?:\n    --hash=.*)*", text, re.MULTILINE)

    assert requirements
    assert all("==" in each and "--hash=sha256:" in each for each in requirements)
    assert "://" not in text
    assert not re.search(r"^--|/\w+/", text, re.MULTILINE)


def test_tools_are_locked_to_the_same_versions_as_the_service() -> None:
    base, dev = (
        set(re.findall(r"^(\S+==\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))
        for name in ("base.txt", "dev.txt")
    )

    assert base < dev


def test_no_secret_in_the_compose_file_has_a_value_or_a_default(compose: Any) -> None:
    values = [
        (name, str(value))
        for service in compose["services"].values()
        for name, value in service.get("environment", {}).items()
        if value is not None
    ]

    secret = re.compile(r"KEY|PASSWORD|SECRET|_URL$|EMAIL")
    public = {"DARKROOM_STORAGE_URL"}
    found = [(name, value) for name, value in values if secret.search(name) and name not in public]
    assert {"DARKROOM_SECRET_KEY", "DARKROOM_ADMIN_PASSWORD", "POSTGRES_PASSWORD"} <= dict(
        found
    ).keys()
    for name, value in found:
        assert re.search(r"\$\{\w+:\?", value), f"{name} must be required"


def test_docker_waits_longer_than_the_service_takes_to_stop(compose: Any) -> None:
    default = next(each.default for each in variables() if each.name == f"{PREFIX}STOP_S")

    ours = [each for each in compose["services"].values() if each["image"].startswith("darkroom")]
    assert len(ours) > 5
    for service in ours:
        assert int(service["stop_grace_period"].removesuffix("s")) > int(default)


def test_the_example_environment_names_all_that_is_required_and_fills_in_nothing() -> None:
    example = (ROOT / ".env.example").read_text()
    required = re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text())

    assert set(required) == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    assert not re.search(r"^\w+=.", example, re.MULTILINE)

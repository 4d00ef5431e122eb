"""A copy of the data folder, taken while it is in use, is a Darkroom that goes on from there."""

from pathlib import Path

import pytest

from tests.backends.choice import only_embedded
from tests.end_to_end.caller import until
from tests.end_to_end.commands import Person
from tests.end_to_end.service import Service

# `darkroom backup` copies a data folder. Elsewhere the servers' own tools copy what they hold.
pytestmark = only_embedded


@pytest.mark.timeout(120)
def test_a_copy_that_is_put_in_place_has_pictures_keys_and_waiting_jobs(tmp_path: Path) -> None:
    copy = tmp_path / "backups" / "darkroom"
    settings = {"builtin_script": True, "lease_s": 2}
    with Service(tmp_path / "data", **settings) as service:
        person = Person(tmp_path / "person", data_dir=tmp_path / "data")
        [old] = service.generate(prompt="in the first copy").json()
        assert person.types("backup", str(copy)).returncode == 0
        [new] = service.generate(prompt="in the second copy").json()
        service.call(
            "POST", "/api/images/config/update", json={"IMAGES_OPENAI_API_KEY": "sk-kept-in-it"}
        )
        slow = service.submit(prompt="[latency=3] half drawn")
        until(lambda: service.job(slow)["status"] == "running", "it is being drawn")
        again = person.types("backup", str(copy))
        pictures = {each["url"]: service.call("GET", each["url"]).content for each in (old, new)}
        [late] = service.generate(prompt="too late").json()

    assert again.returncode == 0
    assert (copy / "darkroom.db").stat().st_mode & 0o077 == 0
    with Service(copy, **settings) as restored:
        restored.key = service.key
        for url, content in pictures.items():
            assert restored.call("GET", url).content == content
        assert restored.call("GET", late["url"]).status_code == 404
        engines = restored.call("GET", "/api/images/models?engine=all").text
        assert "openai/gpt-image" in engines  # which is enabled by its key
        assert restored.finished(slow)["status"] == "succeeded"


def test_a_folder_in_use_is_not_written_to(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        person = Person(tmp_path / "person", data_dir=tmp_path / "data")

        refused = person.types("backup", str(tmp_path / "data"))

        assert refused.returncode != 0
        assert "uses the data folder" in refused.stderr
        assert service.generate().status_code == 200

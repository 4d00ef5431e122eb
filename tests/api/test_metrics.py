"""What `/metrics` says and to whom, and the files that are written for it."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from darkroom.settings import Settings
from storage.gallery import Gallery
from tests.api.conftest import Caller
from tests.backends.choice import installed

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
TOKEN = "a token for prometheus only"

#: What Prometheus makes of one metric of a type.
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def expressions(content: Any) -> Iterator[str]:
    """Every query in a dashboard or in rules."""
    match content:
        case {"expr": str(expression)}:
            yield expression
        case {"query": str(query)}:
            yield query
    match content:
        case dict():
            for each in content.values():
                yield from expressions(each)
        case list():
            for each in content:
                yield from expressions(each)


@pytest.mark.parametrize(
    "content",
    [
        json.loads((DEPLOY / "grafana/darkroom.json").read_text()),
        yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text()),
    ],
    ids=["dashboard", "alerts"],
)
def test_every_metric_that_is_asked_for_is_shown(admin: Caller, content: Any) -> None:
    families = list(text_string_to_metric_families(admin.get("/metrics").text))
    shown = {each.name + ending for each in families for ending in ENDINGS[each.type]}

    asked = {name for each in expressions(content) for name in re.findall(r"\bdarkroom_\w+", each)}

    assert len(asked) > 10
    assert asked <= shown


def test_prometheus_takes_what_is_shown(admin: Caller) -> None:
    admin.generate(prompt="a ship")
    check("check", "metrics", given=admin.get("/metrics").text)


def test_the_rules_are_valid_and_fire_when_they_should(tmp_path: Path) -> None:
    folder = shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus")
    (folder / "metrics_token").write_text(TOKEN)

    check("check", "config", str(folder / "prometheus.yml"))
    check("test", "rules", str(folder / "alerts_test.yml"))


def check(*arguments: str, given: str = "") -> None:
    """Let Prometheus' own tool say whether it is content."""
    promtool = installed(shutil.which("promtool"), "prometheus")
    done = subprocess.run(
        [promtool, *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_part_that_does_not_answer_keeps_nobody_waiting(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), list[Gallery]()

    def hang(gallery: Gallery) -> None:
        asked.append(gallery)
        answers.wait()

    monkeypatch.setattr(Gallery, "check", hang)
    try:
        said = admin.get("/metrics").text
        ready = admin.get("/ready")
    finally:
        answers.set()

    assert 'darkroom_part_up{part="store"} 0.0' in said
    assert 'darkroom_part_up{part="database"} 1.0' in said
    assert "darkroom_jobs{" in said
    assert ready.status_code == 200
    late = {name for name, each in ready.json["checks"].items() if not each["ok"]}
    assert late - {"workers"} == {"files"}
    # The first look goes on, and no other was begun.
    assert len(asked) == 1


class TestToken:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, metrics_token=TOKEN)

    def test_it_reads_metrics_and_nothing_else(self, anna: Caller) -> None:
        prometheus = Caller(anna.client, {"Authorization": f"Bearer {TOKEN}"}, anna.user)

        assert prometheus.get("/metrics").status_code == 200
        assert prometheus.get("/api/v1/jobs/").status_code == 401

    def test_others_are_refused_as_before(self, anna: Caller, admin: Caller) -> None:
        wrong = Caller(anna.client, {"Authorization": "Bearer wrong"}, anna.user)

        assert wrong.get("/metrics").status_code == 401
        assert anna.nobody.get("/metrics").status_code == 401
        assert anna.get("/metrics").status_code == 403
        assert admin.get("/metrics").status_code == 200


def test_paths_of_callers_are_no_labels(anna: Caller, admin: Caller) -> None:
    anna.get("/api/v1/jobs/a-path-of-mine")
    anna.get("/nowhere/a-path-of-mine")
    anna.client.open("/api/v1/jobs/", method="MADEUP", headers=anna.headers)

    said = admin.get("/metrics").text

    assert "a-path-of-mine" not in said
    assert "MADEUP" not in said
    assert 'route="/api/v1/jobs/<job_id>"' in said


def test_users_and_models_are_no_labels(anna: Caller, admin: Caller) -> None:
    anna.generate(model="builtin/placeholder")

    said = admin.get("/metrics").text

    assert anna.user.id not in said
    assert "placeholder" not in said


def test_waiting_calls_are_counted_down_again(anna: Caller, admin: Caller) -> None:
    anna.generate()

    assert "darkroom_waiting_calls 0.0" in admin.get("/metrics").text

"""How the engines are doing, for callers, for load balancers and for Prometheus."""

import fakeredis
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from darkroom import bus
from storage import Storage
from storage.health import FAILURES_TO_REST
from tests.api.conftest import WORKER, Caller, InlineQueue

UPDATE = "/api/images/config/update"
REASON = "Engine 'builtin' at http://10.0.0.7 does not answer."


@pytest.fixture
def resting(storage: Storage) -> None:
    """The built-in engine failed until it was put to rest."""
    for _ in range(FAILURES_TO_REST):
        storage.health.note_failure("builtin", code="engine_unreachable", reason=REASON)


def engine(caller: Caller, name: str = "builtin") -> dict[str, object]:
    (found,) = [each for each in caller.get("/api/v1/engines").json if each["name"] == name]
    assert isinstance(found, dict)
    return found


def metrics(caller: Caller) -> dict[tuple[str, ...], float]:
    """What `/metrics` says: name and label values to value."""
    answer = caller.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


class TestEngines:
    def test_every_installed_engine_is_listed_with_its_state(self, anna: Caller) -> None:
        listed = {each["name"]: each for each in anna.get("/api/v1/engines").json}

        assert (listed["builtin"]["state"], listed["builtin"]["enabled"]) == ("ready", True)
        assert listed["builtin"]["models"] == 1
        assert (listed["openai"]["state"], listed["openai"]["enabled"]) == ("disabled", False)
        assert listed["openai"]["models"] == 0

    def test_only_admins_are_told_why_an_engine_is_not_enabled(
        self, anna: Caller, admin: Caller
    ) -> None:
        assert "detail" not in engine(anna, "openai")
        assert "IMAGES_OPENAI_API_KEY" in str(engine(admin, "openai")["detail"])

    def test_a_resting_engine_says_why_to_all_and_in_words_to_admins(
        self, resting: None, anna: Caller, admin: Caller
    ) -> None:
        shown = engine(anna)

        assert (shown["state"], shown["reason"]) == ("resting", "engine_unreachable")
        assert shown["rests_until"] is not None
        assert "10.0.0.7" not in str(shown)
        assert engine(admin)["detail"] == REASON

    def test_what_an_engine_has_to_do_is_counted(
        self, anna: Caller, queue: InlineQueue, storage: Storage
    ) -> None:
        queue.is_held = True
        for _ in range(3):
            anna.generate(headers={"Prefer": "respond-async"})
        storage.attempts.claim(queue.sent[0].id, worker=WORKER, lease_s=30)

        shown = engine(anna)

        assert (shown["queued"], shown["running"]) == (2, 1)

    def test_a_change_of_the_configuration_is_a_fresh_start(
        self, resting: None, admin: Caller
    ) -> None:
        admin.post(UPDATE, json={"IMAGE_SIZE": "512x512"})

        assert engine(admin)["state"] == "ready"

    def test_a_change_that_is_refused_is_none(self, resting: None, admin: Caller) -> None:
        admin.post(UPDATE, json={"IMAGE_SIZE": "big"})

        assert engine(admin)["state"] == "resting"


class TestReady:
    def test_a_resting_engine_shows_but_requests_are_served(
        self, resting: None, anna: Caller
    ) -> None:
        ready = anna.nobody.get("/ready")

        assert ready.status_code == 200
        assert ready.json["checks"]["engines"] == {
            "ok": False,
            "resting": {"builtin": "engine_unreachable"},
        }
        assert "10.0.0.7" not in ready.text

    def test_an_engine_that_is_not_enabled_does_not_count(
        self, anna: Caller, storage: Storage
    ) -> None:
        for _ in range(FAILURES_TO_REST):
            storage.health.note_failure("openai", code="engine_unreachable", reason="Away.")

        checks = anna.nobody.get("/ready").json["checks"]

        assert checks["engines"] == {"ok": True, "resting": {}}


class TestMetrics:
    def test_jobs_are_counted_by_engine_lane_and_state(
        self, admin: Caller, queue: InlineQueue, storage: Storage
    ) -> None:
        queue.is_held = True
        for lane in ("interactive", "batch", "batch"):
            admin.generate(lane=lane, headers={"Prefer": "respond-async"})
        storage.attempts.claim(queue.sent[0].id, worker=WORKER, lease_s=30)

        read = metrics(admin)

        assert read["darkroom_jobs", "builtin", "interactive", "running"] == 1
        assert read["darkroom_jobs", "builtin", "interactive", "queued"] == 0
        assert read["darkroom_jobs", "builtin", "batch", "queued"] == 2
        assert read["darkroom_oldest_waiting_seconds", "builtin", "batch"] > 0
        assert read["darkroom_oldest_waiting_seconds", "builtin", "interactive"] == 0

    def test_workers_and_resting_engines_are_told(
        self, resting: None, admin: Caller, broker: "redis.Redis"
    ) -> None:
        for name in ("one", "two"):
            bus.give_sign_of_life(broker, bus.Hand(name=name, slots=16), lasts_s=60)

        read = metrics(admin)

        assert (read["darkroom_workers",], read["darkroom_worker_slots",]) == (2, 32)
        assert read["darkroom_engine_resting", "builtin"] == 1
        assert read["darkroom_engine_resting", "openai"] == 0
        assert read["darkroom_waiting_calls",] == 0

    def test_without_redis_the_rest_is_told(
        self, admin: Caller, redis_server: fakeredis.FakeServer
    ) -> None:
        redis_server.connected = False

        read = metrics(admin)

        assert ("darkroom_workers",) not in read
        assert ("darkroom_jobs", "builtin", "batch", "queued") in read

    def test_metrics_are_for_admins(self, anna: Caller) -> None:
        assert anna.get("/metrics").status_code == 403
        assert anna.nobody.get("/metrics").status_code == 401


def test_admins_see_each_server_and_the_engine_rests_when_all_do(
    admin: Caller, anna: Caller, storage: Storage
) -> None:
    servers = [{"name": each, "base_url": f"http://{each}:8188"} for each in ("a", "b")]
    admin.post(UPDATE, json={"COMFYUI_SERVERS": servers})

    def rest(server: str) -> None:
        storage.health.note_failure(
            f"comfyui/{server}", code="engine_unreachable", reason="Away.", rest_s=60
        )

    rest("a")
    found = admin.get("/api/v1/engines/").json
    [comfyui] = [each for each in found if each["name"] == "comfyui"]
    assert comfyui["state"] == "ready"
    assert [(each["name"], each["state"]) for each in comfyui["servers"]] == [
        ("a", "resting"),
        ("b", "ready"),
    ]
    # Their names may be addresses.
    assert engine(anna, "comfyui")["servers"] == []
    assert metrics(admin)["darkroom_server_resting", "comfyui", "a"] == 1

    rest("b")
    assert engine(anna, "comfyui")["state"] == "resting"
    assert engine(anna, "comfyui")["reason"] == "engine_unreachable"

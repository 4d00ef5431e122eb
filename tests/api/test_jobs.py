"""Jobs: what they tell of themselves, and what can be done about them."""

import time
from collections.abc import Callable

import fakeredis
import pytest
import redis

from darkroom import bus
from darkroom.domain import Job, JobError
from storage import Storage
from tests.api.conftest import WORKER, Caller, InlineQueue

PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture
def held(queue: InlineQueue) -> None:
    """Jobs stay queued until a test takes them."""
    queue.is_held = True


def ask(caller: Caller, **body: object) -> str:
    """A job's URL."""
    answer = caller.generate(headers={"Prefer": "respond-async"}, **body)
    assert answer.status_code == 202
    return str(answer.headers["Location"])


def claim(storage: Storage, url: str) -> Job:
    """A worker takes the job."""
    held = storage.attempts.claim(url.rpartition("/")[2], worker=WORKER, lease_s=30)
    assert held is not None
    return held


def fail(storage: Storage, url: str) -> None:
    storage.attempts.fail(claim(storage, url), JobError(code="engine_failed", detail="It broke."))


class TestDetails:
    """A job says all that is known of it, and guesses the rest."""

    def test_the_order_of_the_caller_comes_back(self, held: None, anna: Caller) -> None:
        before = time.time()

        job = anna.get(ask(anna, lane="batch", deadline_s=60)).json

        assert job["lane"] == "batch"
        assert before + 59 < job["deadline"] < time.time() + 61
        assert (job["retry_of"], job["not_before"], job["revision"]) == (None, None, 0)

    def test_jobs_are_interactive_and_without_a_deadline_by_default(
        self, held: None, anna: Caller
    ) -> None:
        job = anna.get(ask(anna)).json

        assert (job["lane"], job["deadline"]) == ("interactive", None)

    def test_every_attempt_is_told_but_its_worker_only_to_admins(
        self, held: None, anna: Caller, admin: Caller, storage: Storage
    ) -> None:
        url = ask(anna)
        first = claim(storage, url)
        storage.attempts.hand_back(first, outcome="lease_lost", detail=f"{WORKER} died")
        claim(storage, url)

        for_anna, for_admin = anna.get(url), admin.get(url)

        assert WORKER not in for_anna.text
        lost, running = for_anna.json["attempts"]
        assert (lost["number"], lost["outcome"]) == (1, "lease_lost")
        assert lost["detail"] == "The worker died"
        assert (running["number"], running["outcome"]) == (2, None)
        assert for_admin.json["attempts"][0]["worker"] == WORKER
        assert for_admin.json["attempts"][0]["detail"] == f"{WORKER} died"

    def test_the_place_in_the_queue_counts_older_jobs_and_faster_lanes(
        self, held: None, anna: Caller, sign_in: Callable[..., Caller]
    ) -> None:
        bo = sign_in("bo@example.org")
        first_batch, first = ask(anna, lane="batch"), ask(anna)
        second_batch, second = ask(bo, lane="batch"), ask(bo)

        places = [
            caller.get(url).json["queue_position"]
            for caller, url in (
                (anna, first),
                (bo, second),
                (anna, first_batch),
                (bo, second_batch),
            )
        ]

        assert places == [1, 2, 3, 4]

    def test_a_job_that_is_not_queued_has_no_place(
        self, held: None, anna: Caller, storage: Storage
    ) -> None:
        url, behind = ask(anna), ask(anna)
        claim(storage, url)

        assert anna.get(url).json["queue_position"] is None
        assert anna.get(behind).json["queue_position"] == 1

    def test_far_behind_nobody_counts(
        self,
        held: None,
        anna: Caller,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("storage.outlook.COUNTED_AHEAD", 1)
        urls = [ask(anna) for _ in range(3)]

        assert [anna.get(url).json["queue_position"] for url in urls] == [1, 2, None]

    def test_without_a_finished_job_of_the_model_nothing_is_guessed(
        self, held: None, anna: Caller, broker: "redis.Redis"
    ) -> None:
        bus.give_sign_of_life(broker, bus.Hand(name=WORKER, slots=1), lasts_s=60)

        job = anna.get(ask(anna)).json

        assert (job["estimated_start_at"], job["estimated_finish_at"]) == (None, None)

    def test_once_a_job_of_the_model_succeeded_the_next_are_guessed(
        self, anna: Caller, queue: InlineQueue, broker: "redis.Redis", storage: Storage
    ) -> None:
        anna.generate()
        queue.is_held = True
        bus.give_sign_of_life(broker, bus.Hand(name=WORKER, slots=1), lasts_s=60)

        first, second = ask(anna), ask(anna)

        early, late = anna.get(first).json, anna.get(second).json
        assert early["estimated_start_at"] < early["estimated_finish_at"]
        assert early["estimated_start_at"] < late["estimated_start_at"]
        claim(storage, first)
        running = anna.get(first).json
        assert running["estimated_start_at"] is None
        assert running["estimated_finish_at"] >= running["started_at"]

    def test_without_a_living_worker_no_start_is_guessed(
        self, anna: Caller, queue: InlineQueue
    ) -> None:
        anna.generate()
        queue.is_held = True

        assert anna.get(ask(anna)).json["estimated_start_at"] is None

    def test_without_redis_the_job_is_shown_all_the_same(
        self, anna: Caller, queue: InlineQueue, redis_server: fakeredis.FakeServer
    ) -> None:
        anna.generate()
        queue.is_held = True
        url = ask(anna)
        redis_server.connected = False

        job = anna.get(url)

        assert (job.status_code, job.json["estimated_start_at"]) == (200, None)

    def test_waiting_and_running_make_up_the_life_of_a_job(self, anna: Caller) -> None:
        job = anna.get(f"/api/v1/jobs/{anna.generate().headers['Darkroom-Job']}").json

        life_s = job["finished_at"] - job["created_at"]
        assert job["waited_s"] + job["ran_s"] == pytest.approx(life_s, abs=0.01)

    def test_a_list_shows_each_job_with_its_own_pictures(self, anna: Caller) -> None:
        made = [anna.generate(n=count).json for count in (1, 2)]

        listed = anna.get("/api/v1/jobs/").json

        shown = [[each["id"] for each in job["images"]] for job in listed]
        assert shown == [[each["id"] for each in pictures] for pictures in reversed(made)]


class TestPreview:
    """A running job can be looked at."""

    def test_the_newest_preview_is_shown_while_the_job_runs(
        self, held: None, anna: Caller, storage: Storage
    ) -> None:
        url = ask(anna)
        running = claim(storage, url)
        assert anna.get(url).json["preview_url"] is None

        storage.gallery.keep_preview(running.id, PNG)

        preview = anna.get(anna.get(url).json["preview_url"])
        assert (preview.data, preview.content_type) == (PNG, "image/png")
        assert preview.headers["Cache-Control"] == "no-store"

    def test_a_preview_that_is_no_picture_is_never_run_by_a_browser(
        self, held: None, anna: Caller, storage: Storage
    ) -> None:
        running = claim(storage, ask(anna))
        storage.gallery.keep_preview(running.id, b"<script>")

        preview = anna.get(f"/api/v1/jobs/{running.id}/preview")

        assert preview.content_type == "application/octet-stream"
        assert preview.headers["X-Content-Type-Options"] == "nosniff"

    def test_without_a_preview_the_answer_is_404(self, held: None, anna: Caller) -> None:
        answer = anna.get(f"{ask(anna)}/preview")

        assert (answer.status_code, answer.json["code"]) == (404, "not_found")

    def test_a_preview_that_was_left_behind_is_not_shown(
        self, held: None, anna: Caller, storage: Storage
    ) -> None:
        url = ask(anna)
        job_id = url.rpartition("/")[2]
        fail(storage, url)
        storage.gallery.keep_preview(job_id, PNG)

        assert anna.get(url).json["preview_url"] is None
        assert anna.get(f"{url}/preview").status_code == 404


class TestCancel:
    """A job that nobody wants any more ends."""

    def test_a_queued_job_is_canceled_at_once_and_never_generated(
        self, held: None, anna: Caller, queue: InlineQueue
    ) -> None:
        url = ask(anna)

        canceled = anna.post(f"{url}/cancel")

        assert (canceled.status_code, canceled.json["status"]) == (200, "canceled")
        queue.run(queue.sent[0])
        assert anna.get(url).json["status"] == "canceled"
        assert anna.get(url).json["attempts"] == []

    def test_a_running_job_is_asked_to_stop(
        self, held: None, anna: Caller, storage: Storage
    ) -> None:
        url = ask(anna)
        running = claim(storage, url)

        assert anna.post(f"{url}/cancel").json["status"] == "canceling"

        assert storage.attempts.cancel_held(running)
        assert anna.get(url).json["status"] == "canceled"

    def test_canceling_again_changes_nothing(self, held: None, anna: Caller) -> None:
        url = ask(anna)
        first = anna.post(f"{url}/cancel").json

        again = anna.post(f"{url}/cancel")

        assert again.status_code == 200
        assert again.json["revision"] == first["revision"]

    def test_a_finished_job_keeps_its_pictures(self, anna: Caller) -> None:
        job_id = anna.generate().headers["Darkroom-Job"]

        answer = anna.post(f"/api/v1/jobs/{job_id}/cancel")

        assert (answer.status_code, answer.json["status"]) == (200, "succeeded")
        assert len(answer.json["images"]) == 1

    def test_only_the_owner_and_admins_can_cancel(
        self, held: None, anna: Caller, admin: Caller, sign_in: Callable[..., Caller]
    ) -> None:
        url = ask(anna)

        assert sign_in("bo@example.org").post(f"{url}/cancel").status_code == 404
        assert anna.nobody.post(f"{url}/cancel").status_code == 401
        assert admin.post(f"{url}/cancel").json["status"] == "canceled"

    def test_a_call_that_waits_hears_of_it(
        self, held: None, anna: Caller, broker: "redis.Redis"
    ) -> None:
        url = ask(anna)
        with broker.pubsub() as ear:  # type: ignore[no-untyped-call]
            ear.subscribe(bus.FINISHED)
            assert ear.get_message(timeout=5)["type"] == "subscribe"

            anna.post(f"{url}/cancel")

            assert ear.get_message(timeout=5)["data"] == url.rpartition("/")[2]

    def test_jobs_are_canceled_while_redis_is_away(
        self, held: None, anna: Caller, redis_server: fakeredis.FakeServer
    ) -> None:
        url = ask(anna)
        redis_server.connected = False

        assert anna.post(f"{url}/cancel").json["status"] == "canceled"


class TestRetry:
    """A job that ended without pictures can be asked for again."""

    def test_a_retry_is_a_new_job_for_the_same_pictures(
        self, held: None, anna: Caller, storage: Storage, queue: InlineQueue
    ) -> None:
        url = ask(anna, seed=7, metadata={"chat_id": "c"}, lane="batch", deadline_s=60)
        fail(storage, url)

        answer = anna.post(f"{url}/retry")

        assert answer.status_code == 202
        assert answer.headers["Location"] == answer.json["url"] != url
        old, new = anna.get(url).json, answer.json
        assert new["retry_of"] == old["id"]
        for name in ("engine", "model", "prompt", "size", "n", "seed", "metadata", "lane"):
            assert new[name] == old[name], name
        assert new["deadline"] is None
        queue.run(queue.sent[-1])
        assert anna.get(new["url"]).json["status"] == "succeeded"
        assert anna.get(url).json["status"] == "failed"

    def test_a_retry_waits_for_the_pictures_when_asked_to(
        self, anna: Caller, queue: InlineQueue, storage: Storage
    ) -> None:
        queue.is_held = True
        url = ask(anna)
        fail(storage, url)
        queue.is_held = False

        answer = anna.post(f"{url}/retry", headers={"Prefer": "wait=2"})

        assert answer.status_code == 200
        assert answer.headers["Preference-Applied"] == "wait=2"
        assert len(answer.json) == 1

    @pytest.mark.parametrize("is_running", [True, False])
    def test_a_job_that_is_not_finished_is_not_retried(
        self, held: None, anna: Caller, storage: Storage, is_running: bool
    ) -> None:
        url = ask(anna)
        if is_running:
            claim(storage, url)

        answer = anna.post(f"{url}/retry")

        assert (answer.status_code, answer.json["code"]) == (409, "conflict")

    def test_a_job_that_succeeded_is_not_retried(self, anna: Caller) -> None:
        job_id = anna.generate().headers["Darkroom-Job"]

        assert anna.post(f"/api/v1/jobs/{job_id}/retry").status_code == 409

    def test_a_key_makes_a_repeated_retry_safe(self, held: None, anna: Caller) -> None:
        url, other = ask(anna), ask(anna)
        for each in (url, other):
            anna.post(f"{each}/cancel")
        key = {"Idempotency-Key": "k1"}

        first, again = (anna.post(f"{url}/retry", headers=key) for _ in range(2))

        assert again.json["id"] == first.json["id"]
        assert anna.post(f"{url}/retry").json["id"] != first.json["id"]
        assert anna.post(f"{other}/retry", headers=key).status_code == 422

    def test_a_retry_by_an_admin_belongs_to_the_owner_of_the_job(
        self, held: None, anna: Caller, admin: Caller, sign_in: Callable[..., Caller]
    ) -> None:
        url = ask(anna)
        anna.post(f"{url}/cancel")

        answer = admin.post(f"{url}/retry")

        assert answer.json["user_id"] == anna.user.id
        assert sign_in("bo@example.org").post(f"{url}/retry").status_code == 404

    def test_a_retry_needs_what_a_new_request_needs(
        self, held: None, anna: Caller, admin: Caller
    ) -> None:
        url = ask(anna)
        anna.post(f"{url}/cancel")

        admin.post("/api/images/config/update", json={"ENABLE_IMAGE_GENERATION": False})
        assert anna.post(f"{url}/retry").json["code"] == "disabled"

        admin.post("/api/images/config/update", json={"ENABLE_IMAGE_GENERATION": True})
        admin.patch(f"/api/v1/users/{anna.user.id}", json={"permissions": []})
        assert anna.post(f"{url}/retry").json["code"] == "permission_denied"

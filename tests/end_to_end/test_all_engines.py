"""Every engine through the public API: pictures made and changed, sizes, seeds, secrets."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text

from tests.end_to_end.cluster import Cluster
from tests.end_to_end.engine_servers import (
    RED,
    SUBJECTS,
    Servers,
    Subject,
    all_engines,
    details,
    half_mask,
    pictures,
    plain,
)

every_engine = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda each: each.engine)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Servers]]:
    with all_engines(tmp_path_factory.mktemp("engines"), retry_for_s=0) as running:
        yield running


@pytest.fixture
def cluster(running: tuple[Cluster, Servers]) -> Cluster:
    return running[0]


@pytest.fixture
def servers(running: tuple[Cluster, Servers]) -> Servers:
    return running[1]


@every_engine
@pytest.mark.parametrize("count", [1, 3])
def test_pictures_are_made(cluster: Cluster, subject: Subject, count: int) -> None:
    prompt = f"{count} ships by {subject.engine}"

    answer = cluster.generate(prompt=prompt, model=subject.full_id, size=subject.size, n=count)

    made = pictures(cluster, answer)
    assert len(made) == count
    assert {f"{each.width}x{each.height}" for each in made} == {subject.size}
    assert "Warning" not in answer.headers
    job = details(cluster, answer)
    assert (job["engine"], job["model"]) == (subject.engine, subject.model)
    _show(made, [each["seed"] for each in job["images"]], prompt, subject)


@every_engine
def test_a_size_it_cannot_draw_becomes_the_nearest_and_is_said(
    cluster: Cluster, subject: Subject
) -> None:
    asked: dict[str, Any] = {"model": subject.full_id, "size": subject.misfit}

    answer = cluster.generate(**asked)
    strict = cluster.generate(**asked, strict=True)

    [made] = pictures(cluster, answer)
    assert f"{made.width}x{made.height}" == subject.nearest
    assert subject.nearest in answer.headers["Warning"]
    assert strict.status_code == 400
    assert strict.json()["param"] == "size"


@pytest.mark.parametrize(
    "subject", [each for each in SUBJECTS if each.tells_seed], ids=lambda each: each.engine
)
def test_the_same_seed_makes_the_same_picture(cluster: Cluster, subject: Subject) -> None:
    asked: dict[str, Any] = {"model": subject.full_id, "size": subject.size, "n": 2}
    first = cluster.generate(**asked)
    seeds = [each["seed"] for each in details(cluster, first)["images"]]

    again = cluster.generate(**asked, seed=seeds[0])

    assert None not in seeds
    assert [each["seed"] for each in details(cluster, again)["images"]] == seeds
    # The files differ where they hold the moment or the workflow they were made with.
    pixels = [[each.tobytes() for each in pictures(cluster, one)] for one in (first, again)]
    assert pixels[0] == pixels[1]


@every_engine
@pytest.mark.parametrize("count", [1, 3])
def test_pictures_are_changed(cluster: Cluster, subject: Subject, count: int) -> None:
    answer = cluster.call(
        "POST",
        "/api/images/edit",
        json={
            "prompt": f"{count} hats",
            "image": plain(RED),
            "mask": half_mask(),
            "model": subject.full_id,
            "n": count,
        },
    )

    made = pictures(cluster, answer)
    assert len(made) == count
    for each in made:
        assert each.getpixel((2, each.height // 2)) == RED
        assert each.getpixel((each.width - 2, 2)) != RED
    assert ("mask" in answer.headers.get("Warning", "")) is not subject.obeys_mask


def test_callers_who_ask_at_the_same_time_get_their_own_pictures(cluster: Cluster) -> None:
    asked = [
        (subject, f"{subject.engine} for caller {number}")
        for subject in SUBJECTS
        for number in range(3)
    ]

    def ask(subject: Subject, prompt: str) -> None:
        answer = cluster.generate(prompt=prompt, model=subject.full_id, size=subject.size)
        seeds = [each["seed"] for each in details(cluster, answer)["images"]]
        _show(pictures(cluster, answer), seeds, prompt, subject)

    with ThreadPoolExecutor(len(asked)) as pool:
        for each in [pool.submit(ask, *one) for one in asked]:
            each.result()


def test_what_engines_let_slip_is_seen_nowhere(cluster: Cluster, servers: Servers) -> None:
    # Each is asked twice: with a wait, and without one.
    servers.openai.fail("leaky", "leaky")
    servers.gemini.fail("leaky", "leaky")
    servers.automatic1111.fail(*["leaky"] * 6)
    # The file of that checkpoint is broken, and ComfyUI tells where it is.
    models = ["openai/gpt-image-1.5", "gemini/gemini-2.5-flash-image", "automatic1111/dreamscape"]
    models.append("comfyui/corrupt.safetensors")

    answers = [cluster.generate(model=each) for each in models]
    jobs = [cluster.finished(cluster.submit(model=each)) for each in models]

    assert {each.status_code for each in answers} == {400}
    assert {each["status"] for each in jobs} == {"failed"}
    pages = ["/api/v1/engines/", "/metrics", "/ready", "/api/images/config", "/api/v1/jobs"]
    answers += [cluster.call("GET", each) for each in pages]
    with cluster.storage.database.reading() as connection:
        rows = "\n".join(
            str(row)
            for table in ("jobs", "attempts", "engine_health")
            for row in connection.execute(text(f"SELECT * FROM {table}"))  # noqa: S608 - ours
        )
    logs = "\n".join(each.read_text() for each in cluster.folder.glob("*.log"))
    seen = "\n".join([str(jobs), rows, logs, *(each.text for each in answers)])
    for slip in (*servers.secrets, "/srv/", "main.py", "Traceback"):
        assert slip not in seen, slip


def test_every_engine_is_checked_in_a_sentence(cluster: Cluster) -> None:
    found = cluster.call("POST", "/api/images/verify").json()

    assert {each["engine"] for each in found if each["ok"]} == {each.engine for each in SUBJECTS}
    assert all(each["operations"] == ["generate", "edit"] for each in found)


def test_the_models_of_every_engine_are_listed(cluster: Cluster) -> None:
    listed = cluster.call("GET", "/api/images/models?engine=all").json()

    ids = {each["id"] for each in listed if each["can_generate"] and each["can_edit"]}
    assert {each.full_id for each in SUBJECTS} <= ids


def _show(made: list[Image.Image], seeds: list[int], prompt: str, subject: Subject) -> None:
    """Each picture is the one that was asked for."""
    assert all((each is not None) is subject.tells_seed for each in seeds)
    if subject.colour is None:
        assert len({each.tobytes() for each in made}) == len(made)
        return
    for position, (picture, seed) in enumerate(zip(made, seeds, strict=True)):
        corner = picture.getpixel((picture.width - 2, 1))
        assert corner == subject.colour(prompt, seed, position)

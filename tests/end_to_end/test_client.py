"""The client library against a real Darkroom."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom import errors
from darkroom.client import Client, NotFinished
from tests.end_to_end.commands import size_of
from tests.end_to_end.service import Service

SMALL = "64x64"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(
        tmp_path_factory.mktemp("client"), builtin_script=True, worker_concurrency=4
    ) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, service.key) as client:
        yield client


def test_a_prompt_becomes_pictures_on_disk(client: Client, tmp_path: Path) -> None:
    changes: list[float] = []

    job = client.generate(
        "a ship", size=SMALL, n=2, seed=7, on_change=lambda job: changes.append(job.progress)
    )

    paths = [client.files.download(each, tmp_path) for each in job.images]
    assert [size_of(each) for each in paths] == [(64, 64), (64, 64)]
    assert [each.seed for each in job.images] == [7, 8]
    assert changes[-1] == 1.0
    assert {each.name for each in tmp_path.iterdir()} == {each.name for each in job.images}


def test_pictures_are_changed_whatever_form_they_come_in(client: Client, tmp_path: Path) -> None:
    (image,) = client.generate("a ship", size=SMALL).images
    path = client.files.download(image, tmp_path)

    for form in (path, path.read_bytes(), image, image.id):
        (edited,) = client.edit("add a boat", form, mask=path, size=SMALL).images
        assert size_of(io.BytesIO(client.files.content(edited))) == (64, 64)


def test_a_wait_that_is_over_leaves_the_job_alone(client: Client) -> None:
    with pytest.raises(NotFinished) as caught:
        client.generate("[latency=2] a slow ship", size=SMALL, timeout_s=0.5)

    assert client.wait(caught.value.job).checked().images


def test_a_job_is_followed_canceled_and_asked_for_again(client: Client) -> None:
    job = client.submit("[latency=20] a slow ship", size=SMALL)

    canceled = client.cancel(job)
    last = client.wait(job)
    again = client.retry(job)

    assert canceled.status in {"canceling", "canceled"}
    assert last.status == "canceled"
    assert again.retry_of == job.id
    with pytest.raises(errors.Canceled):
        last.checked()
    assert {again.id, job.id} <= {each.id for each in client.jobs()}
    client.cancel(again)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "nobody/nothing"}, errors.UnknownModel),
        ({"size": "large"}, errors.InvalidRequest),
        ({"quality": "high", "strict": True}, errors.Unsupported),
    ],
)
def test_refusals_are_the_classes_of_the_server(
    client: Client, fields: dict[str, Any], kind: type[errors.DarkroomError]
) -> None:
    with pytest.raises(kind) as caught:
        client.generate("a ship", **fields)

    assert caught.value.problem["request_id"]


def test_a_wrong_key_is_told(service: Service) -> None:
    with Client(service.url, "dk_wrong") as client, pytest.raises(errors.NotSignedIn):
        client.jobs()


def test_files_are_listed_and_deleted(client: Client) -> None:
    (image,) = client.generate("a ship", size=SMALL).images

    assert image.id in {each.id for each in client.files.list()}
    assert client.files.get(image.id) == image
    client.files.delete(image)
    with pytest.raises(errors.NotFound):
        client.files.content(image)


def test_models_and_engines_are_listed(client: Client) -> None:
    assert "builtin/placeholder" in {each.id for each in client.models()}
    assert {each.name: each.state for each in client.engines()}["builtin"] == "ready"


def test_a_batch_is_followed_to_its_end(client: Client, tmp_path: Path) -> None:
    prompts = ("[fault=ContentRefused] a ship" if n == 3 else f"ship {n}" for n in range(10))

    batch = client.batches.create(prompts, name="ships", defaults={"size": SMALL})
    results = {each.custom_id: each for each in client.batches.follow(batch)}

    done = client.batches.get(batch)
    assert done.is_finished
    assert done.counts.total == len(results) == 10
    assert {each.custom_id for each in client.batches.results(batch)} == set(results)
    assert done.id in {each.id for each in client.batches.list()}
    assert {each.batch_id for each in client.jobs(batch=done.id)} == {done.id}
    pictures = sum(len(each.images) for each in results.values())
    with zipfile.ZipFile(client.batches.archive(batch, tmp_path)) as archive:
        assert len(archive.namelist()) == pictures + 1, "the pictures and the manifest"


def test_a_batch_with_faults_is_refused_by_line(client: Client) -> None:
    with pytest.raises(errors.InvalidBatch) as caught:
        client.batches.create(["a ship", {"prompt": "a boat", "size": "large"}])

    assert [(each.line, each.param) for each in caught.value.lines] == [(2, "size")]


def test_a_batch_is_canceled_and_its_rest_asked_for_again(client: Client) -> None:
    batch = client.batches.create(
        [f"[latency=30] ship {n}" for n in range(6)], defaults={"size": SMALL}
    )

    client.batches.cancel(batch)
    statuses = [each.status for each in client.batches.follow(batch)]
    again = client.batches.retry(batch)

    assert statuses == ["canceled"] * 6
    assert again.retry_of == batch.id
    client.batches.cancel(again)


def test_the_one_that_runs_here_is_found_without_being_named(
    service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(service.folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    with Client() as client:
        assert client.url == service.url
        assert client.account().role == "admin"


def test_its_key_ends_with_it(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.start()
    (key,) = [
        each
        for each in service.call("GET", "/api/v1/auths/api_key").json()
        if each["name"].startswith("darkroom up")
    ]
    service.stop()
    assert not (tmp_path / "running.json").exists()

    service.start()

    keys = {each["id"] for each in service.call("GET", "/api/v1/auths/api_key").json()}
    assert key["id"] not in keys
    assert len(keys) == 2, "the admin's first, and the one of this start"
    service.stop()

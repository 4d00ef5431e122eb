"""The official SDK of OpenAI, unmodified: batches from upload to output, over every engine."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types import Batch
from PIL import Image

from tests.end_to_end.caller import until
from tests.end_to_end.cluster import Cluster
from tests.end_to_end.engine_servers import SUBJECTS, Subject, all_engines

GENERATIONS: Any = "/v1/images/generations"
EDITS: Any = "/v1/images/edits"

every_engine = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda each: each.engine)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("sdk-batches")
    with all_engines(folder, retry_for_s=0, builtin_script=True) as (cluster, _):
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{cluster.url}/v1", api_key=cluster.key) as client:
        yield client


def lines(*bodies: dict[str, Any], url: str = GENERATIONS) -> bytes:
    return "\n".join(
        json.dumps({"custom_id": f"r{number}", "method": "POST", "url": url, "body": body})
        for number, body in enumerate(bodies)
    ).encode()


def handed_over(client: OpenAI, data: bytes, endpoint: Any = GENERATIONS) -> Batch:
    file = client.files.create(file=("prompts.jsonl", data), purpose="batch")
    assert client.files.wait_for_processing(file.id).status == "processed"
    return client.batches.create(
        input_file_id=file.id,
        endpoint=endpoint,
        completion_window="24h",
        metadata={"project": "harbour"},
    )


def over(client: OpenAI, batch: Batch) -> Batch:
    def look() -> Batch | None:
        now = client.batches.retrieve(batch.id)
        return now if now.status in ("completed", "failed", "cancelled", "expired") else None

    return until(look, "the batch is over")


def written(client: OpenAI, file_id: str | None) -> dict[str, Any]:
    """The lines of an output or error file, by their names."""
    assert file_id is not None
    found = [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
    return {each["custom_id"]: each for each in found}


def size_of(line: dict[str, Any]) -> str:
    [item] = line["response"]["body"]["data"]
    with Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))) as picture:
        return f"{picture.width}x{picture.height}"


@every_engine
def test_a_batch_goes_from_an_upload_to_an_output(client: OpenAI, subject: Subject) -> None:
    bodies = [
        {"prompt": f"a lighthouse, {number}", "model": subject.full_id, "size": subject.size}
        for number in range(3)
    ]

    done = over(client, handed_over(client, lines(*bodies)))

    assert done.status == "completed"
    assert done.metadata == {"project": "harbour"}
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed) == (3, 3)
    assert done.error_file_id is None
    found = written(client, done.output_file_id)
    assert sorted(found) == ["r0", "r1", "r2"]
    for each in found.values():
        assert each["response"]["status_code"] == 200
        # Others name theirs by another size: what was drawn is what counts.
        assert size_of(each) == each["response"]["body"]["size"] == subject.size


def test_a_batch_of_edits_works_on_an_uploaded_picture(client: OpenAI) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (128, 128), "red").save(buffer, "PNG")
    picture = client.files.create(file=("red.png", buffer.getvalue()), purpose="vision")
    body = {"prompt": "a hat", "images": [{"file_id": picture.id}]}

    done = over(client, handed_over(client, lines(body, body, url=EDITS), EDITS))

    assert (done.status, done.error_file_id) == ("completed", None)
    assert len(written(client, done.output_file_id)) == 2


def test_what_fails_is_in_a_file_of_its_own(client: OpenAI) -> None:
    good, bad = {"prompt": "a ship"}, {"prompt": "[fault=ContentRefused] a ship"}

    done = over(client, handed_over(client, lines(good, bad)))

    assert done.status == "completed"
    assert done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
    assert list(written(client, done.output_file_id)) == ["r0"]
    failure = written(client, done.error_file_id)["r1"]
    assert failure["response"]["status_code"] == 400
    assert failure["response"]["body"]["error"]["code"] == "content_policy_violation"


def test_wrong_lines_are_told_by_their_number(client: OpenAI) -> None:
    failed = handed_over(client, lines({"prompt": "a ship"}, {"prompt": "a ship", "n": 0}))

    assert failed.status == "failed"
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert [(each.line, each.param) for each in failed.errors.data] == [(2, "n")]


def test_a_batch_is_cancelled(client: OpenAI) -> None:
    slow = {"prompt": "[latency=20] a ship"}
    batch = handed_over(client, lines(*[slow] * 40))

    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")

    done = over(client, batch)
    assert done.status == "cancelled"
    assert done.output_file_id is None
    found = written(client, done.error_file_id)
    assert len(found) == 40
    assert {each["error"]["code"] for each in found.values()} == {"batch_cancelled"}


def test_lists_end_by_themselves(client: OpenAI) -> None:
    made = {handed_over(client, lines({"prompt": f"ship {number}"})).id for number in range(5)}

    batches = [each.id for each in client.batches.list(limit=2)]
    files = [each.id for each in client.files.list(limit=2, purpose="batch")]

    assert made <= set(batches)
    assert len(set(batches)) == len(batches)
    assert len(set(files)) == len(files) >= 5


def test_a_file_is_read_and_deleted(client: OpenAI) -> None:
    file = client.files.create(file=b"one\ntwo\n", purpose="user_data")

    assert client.files.content(file.id).read() == b"one\ntwo\n"
    assert client.files.retrieve(file.id).bytes == 8
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_what_is_not_there_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")
    with pytest.raises(openai.NotFoundError):
        client.batches.cancel("batch_none")
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(
            input_file_id="file-none", endpoint=GENERATIONS, completion_window="24h"
        )
    assert caught.value.param == "input_file_id"

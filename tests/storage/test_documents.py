"""Documents are kept until they are deleted or expire; bytes as long as anything names them."""

import io
from functools import partial

import pytest

from darkroom.domain import Document, InputImage, OpenAIBatch, Size
from darkroom.errors import NotFound
from storage import Storage
from storage.documents import new_document_id
from storage.jobs import new_job_id
from tests.storage.builders import encoded, together


def kept(storage: Storage, owner_id: str, data: bytes = b"lines", **rest: object) -> Document:
    usual: dict[str, object] = {"owner_id": owner_id, "filename": "a.jsonl", "purpose": "batch"}
    return storage.documents.keep(io.BytesIO(data), **usual | rest)  # type: ignore[arg-type]


def an_output(owner_id: str) -> Document:
    return Document(
        id=new_document_id(),
        owner_id=owner_id,
        filename="out.jsonl",
        purpose="batch_output",
        size_bytes=5,
        file_key=None,
        created_at=1.0,
        expires_at=None,
    )


def test_a_document_is_kept_as_it_was(storage: Storage, owner_id: str) -> None:
    data = b"0123456789" * 700_000
    document = kept(storage, owner_id, data)

    assert storage.documents.get(document.id, owner_id=owner_id) == document
    assert document.size_bytes == len(data)
    with storage.documents.open(document) as file:
        assert file.read() == data
    storage.inputs.release()
    with storage.documents.open(document) as file:
        assert file.read(3) == b"012"


def test_documents_are_their_owners(storage: Storage, owner_id: str) -> None:
    other = storage.users.create(email="bert@example.org", name="Bert").id
    document = kept(storage, owner_id)

    assert storage.documents.list(owner_id=other) == []
    with pytest.raises(NotFound):
        storage.documents.get(document.id, owner_id=other)


def test_lists_go_either_way_and_end(storage: Storage, owner_id: str) -> None:
    first, second, third = (kept(storage, owner_id, bytes([number])) for number in range(3))
    picture = kept(storage, owner_id, purpose="vision")
    listed = storage.documents.list

    assert listed(owner_id=owner_id, purpose="batch") == [third, second, first]
    assert listed(owner_id=owner_id, purpose="vision") == [picture]
    assert listed(owner_id=owner_id, after=second.id) == [first]
    assert listed(owner_id=owner_id, after=first.id, is_newest_first=False, limit=1) == [second]
    assert listed(owner_id=owner_id, after=first.id) == []


def test_a_deleted_document_is_gone_with_its_bytes(storage: Storage, owner_id: str) -> None:
    document = kept(storage, owner_id)

    storage.documents.delete(document)

    assert storage.files.keys() == []
    with pytest.raises(NotFound):
        storage.documents.get(document.id)


def test_bytes_that_a_job_or_another_document_has_too_stay(storage: Storage, owner_id: str) -> None:
    data = encoded()
    first, second = kept(storage, owner_id, data), kept(storage, owner_id, data)
    storage.inputs.keep(
        new_job_id(), [InputImage(data=data, content_type="image/png", size=Size(64, 48))]
    )
    storage.documents.delete(first)
    storage.documents.delete(second)

    assert len(storage.files.keys()) == 1


def test_an_expired_document_is_gone(storage: Storage, owner_id: str) -> None:
    expired, lasting = kept(storage, owner_id, lasts_s=-1), kept(storage, owner_id, lasts_s=60)

    with pytest.raises(NotFound):
        storage.documents.get(expired.id)
    assert storage.documents.list(owner_id=owner_id) == [lasting]
    storage.documents.delete(lasting)
    assert len(storage.files.keys()) == 1
    storage.documents.delete_expired()
    assert storage.files.keys() == []


def test_what_a_batch_wrote_is_named_once(storage: Storage, owner_id: str) -> None:
    batch = storage.openai_batches.add(
        OpenAIBatch(
            id=new_document_id(),
            owner_id=owner_id,
            input_file_id="f",
            endpoint="/v1/images/generations",
            completion_window="24h",
        )
    )
    first, second = an_output(owner_id), an_output(owner_id)

    storage.openai_batches.settle(batch, output=first, errors=None)
    settled = storage.openai_batches.settle(batch, output=second, errors=second)

    assert (settled.output_file_id, settled.error_file_id) == (first.id, None)
    assert storage.documents.list(owner_id=owner_id) == [first]
    assert settled.is_settled
    with pytest.raises(NotFound):
        storage.documents.open(first)


def test_a_batch_that_is_added_twice_at_once_is_there_once(storage: Storage, owner_id: str) -> None:
    batch = OpenAIBatch(
        id=new_document_id(),
        owner_id=owner_id,
        input_file_id="f",
        endpoint="/v1/images/generations",
        completion_window="24h",
    )

    added = together(*[partial(storage.openai_batches.add, batch)] * 8)

    assert set(map(repr, added)) == {repr(added[0])}
    assert len(storage.openai_batches.list(owner_id=owner_id)) == 1

"""What is particular to stores that are reached over a network."""

import io
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from darkroom.errors import FileStoreUnavailable, NotFound, SettingsError
from storage import stores
from storage.files import Files
from tests.backends import choice
from tests.backends.object_store import ObjectStore

MIB = 1024 * 1024

CALLS: dict[str, Callable[[Files], object]] = {
    "put": lambda files: files.put("key", b"data"),
    "put_file": lambda files: files.put_file("key", io.BytesIO(b"data")),
    "read": lambda files: files.read("key"),
    "exists": lambda files: files.exists("key"),
    "delete": lambda files: files.delete("key"),
    "keys": lambda files: files.keys(),
    "check": lambda files: files.check(),
}


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ObjectStore.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def shared() -> Files:
    return Files(choice.new_store())


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_store_that_never_answers_is_unavailable_in_the_end(
    silent_port: int, call: Callable[[Files], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SILENCE_S", 0.1)
    monkeypatch.setattr(stores, "CALL_S", 0.2)
    monkeypatch.setattr(stores, "RETRY_S", 0.1)
    files = Files(f"s3://pictures?endpoint=http://127.0.0.1:{silent_port}")

    with pytest.raises(FileStoreUnavailable):
        call(files)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://pictures?secret_access_key=abc", "AWS_SECRET_ACCESS_KEY"),
        ("s3://pictures?AWS_ACCESS_KEY_ID=abc", "AWS_SECRET_ACCESS_KEY"),
        ("s3://pictures?colour=red", "colour"),
        ("s3://pictures?endpoint", "DARKROOM_STORAGE_URL"),
    ],
)
def test_options_that_cannot_be_used_are_a_wrong_setting(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        Files(url)

    assert "abc" not in caught.value.detail


@choice.only_shared
def test_a_large_file_is_sent_in_parts_and_read_by_ranges(shared: Files) -> None:
    data = os.urandom(12 * MIB)

    shared.put_file("large", io.BytesIO(data))

    with shared.open("large") as file:
        file.seek(11 * MIB)
        assert file.read(1000) == data[11 * MIB : 11 * MIB + 1000]
    assert shared.read("large") == data


@choice.only_shared
def test_an_upload_that_breaks_half_way_leaves_nothing(shared: Files) -> None:
    class Torn(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 6 * MIB:
                raise OSError("The disk is gone.")
            return super().read(size)

    with pytest.raises(FileStoreUnavailable):
        shared.put_file("torn", Torn(bytes(20 * MIB)))

    assert shared.keys() == []


@choice.only_shared
def test_a_store_that_comes_back_has_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "RETRY_S", 0.1)
    with ObjectStore(choice.required_store()) as store:
        files = Files(store.url("here"))
        files.put("key", b"data")

        store.kill()

        for call in CALLS.values():
            with pytest.raises(FileStoreUnavailable):
                call(files)

        store.start()

        assert files.read("key") == b"data"
        files.delete("key")
        with pytest.raises(NotFound):
            files.read("key")

"""What every file store promises, be it a folder or an object store."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from darkroom.errors import NotFound, SettingsError, Unavailable
from storage.files import Files

DATA = bytes(range(256)) * 64


@pytest.fixture(params=["folder", "object store"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return Files(tmp_path.as_uri() if request.param == "folder" else "memory:///")


@pytest.fixture
def folder(tmp_path: Path) -> Files:
    return Files(tmp_path.as_uri())


def test_what_was_put_is_read_back(files: Files) -> None:
    files.put("images/aa/key", DATA)

    assert files.read("images/aa/key") == DATA
    assert files.exists("images/aa/key")


def test_putting_again_does_no_harm(files: Files) -> None:
    files.put("key", DATA)
    files.put("key", DATA)

    assert files.read("key") == DATA
    assert files.keys() == ["key"]


def test_a_file_that_a_power_cut_left_empty_is_written_anew(files: Files) -> None:
    files.put("key", b"")

    files.put("key", DATA)

    assert files.read("key") == DATA


def test_a_file_is_read_from_any_place(files: Files) -> None:
    files.put("key", DATA)

    with files.open("key") as file:
        assert file.seekable()
        assert file.read(10) == DATA[:10]
        assert file.tell() == 10
        assert file.seek(-6, os.SEEK_END) == len(DATA) - 6
        assert file.read() == DATA[-6:]
        assert file.read() == b""
        assert file.seek(1000) == 1000
        assert file.seek(24, os.SEEK_CUR) == 1024
        assert file.read(5) == DATA[1024:1029]
        file.seek(0)
        assert file.read() == DATA


def test_behind_the_end_of_a_file_is_nothing(files: Files) -> None:
    files.put("key", DATA)

    with files.open("key") as file:
        file.seek(len(DATA) + 100)
        assert file.read(10) == b""


def test_an_empty_file_can_be_read(files: Files) -> None:
    files.put("key", b"")

    assert files.read("key") == b""


def test_a_deleted_file_is_gone(files: Files) -> None:
    files.put("key", DATA)

    files.delete("key")

    assert not files.exists("key")
    assert files.keys() == []
    with pytest.raises(NotFound):
        files.open("key")


def test_deleting_what_is_gone_is_no_error(files: Files) -> None:
    files.delete("images/aa/key")


def test_what_was_never_there_is_not_found(files: Files) -> None:
    with pytest.raises(NotFound):
        files.read("images/aa/key")


def test_keys_are_sorted_and_complete(files: Files) -> None:
    names = [f"images/{number % 7}/{number}" for number in range(120)]
    for each in names:
        files.put(each, b"x")

    assert files.keys() == sorted(names)


def test_a_store_that_answers_can_be_used(files: Files) -> None:
    files.check()


def test_a_file_that_goes_while_it_is_read_is_not_found() -> None:
    files = Files("memory:///")
    files.put("key", DATA)

    with files.open("key") as file:
        files.delete("key")
        with pytest.raises(NotFound):
            file.read()


def test_a_folder_is_made_when_it_is_missing(tmp_path: Path) -> None:
    files = Files((tmp_path / "a folder" / "files").as_uri())
    files.put("key", DATA)

    assert (tmp_path / "a folder" / "files" / "key").read_bytes() == DATA


def test_a_folder_holds_nothing_but_whole_files(folder: Files, tmp_path: Path) -> None:
    folder.put("images/aa/key", DATA)

    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [tmp_path / "images/aa/key"]


@pytest.mark.parametrize("draft", ["key#1", "key#2"])
def test_what_a_killed_writer_left_goes_with_the_next_write(
    folder: Files, tmp_path: Path, draft: str
) -> None:
    (tmp_path / draft).write_bytes(DATA[:10])

    folder.put("key", DATA)

    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_what_a_killed_writer_left_goes_when_the_file_is_deleted(
    folder: Files, tmp_path: Path
) -> None:
    (tmp_path / "key#1").write_bytes(DATA[:10])

    folder.delete("key")

    assert list(tmp_path.iterdir()) == []


def test_many_writers_of_the_same_bytes_leave_one_file(folder: Files, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda _: folder.put("key", DATA), range(200)))

    assert [each.name for each in tmp_path.iterdir()] == ["key"]
    assert folder.read("key") == DATA


def test_a_folder_that_cannot_take_a_file_is_unavailable(folder: Files, tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")

    with pytest.raises(Unavailable):
        folder.put("images/key", DATA)


def test_a_folder_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    files = Files((tmp_path / "files").as_uri())
    (tmp_path / "files").rmdir()

    with pytest.raises(Unavailable):
        files.check()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "/a/folder", "ftp://host/folder", "s3://", "file://data/files"]
)
def test_a_url_that_cannot_be_used_says_what_to_give(url: str) -> None:
    with pytest.raises(SettingsError, match=r"DARKROOM_STORAGE_URL.*file:///folder") as caught:
        Files(url)

    assert "\n" not in caught.value.detail


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(SettingsError, match="DARKROOM_STORAGE_URL"):
        Files((tmp_path / "file" / "files").as_uri())

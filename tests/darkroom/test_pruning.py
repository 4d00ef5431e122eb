"""`darkroom prune`, as it is typed: old pictures go, or are only counted."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from darkroom.cli import commands, main
from darkroom.domain import GeneratedImage, ImageRequest, NewJob, StoredImage
from darkroom.errors import FileStoreUnavailable, SettingsError
from darkroom.settings import Settings
from storage import Storage, open_storage
from storage.files import Files
from storage.retention import DAY_S, MIB
from tests.backends.choice import prepare

Keep = Callable[..., StoredImage]


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Storage]:
    """What the command finds in the folder it is typed in."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage(Settings())
    prepare(storage.database)
    yield storage
    storage.close()


@pytest.fixture
def keep(storage: Storage) -> Keep:
    """A picture of someone, that is so old and, as far as its row says, so large."""
    owners = {
        name: storage.users.create(email=f"{name}@example.org", name=name).id
        for name in ("anna", "bert")
    }

    def make(owner: str = "anna", *, age_days: float, mib: int = 1) -> StoredImage:
        request = ImageRequest(prompt="a lighthouse")
        job, _ = storage.jobs.submit(
            NewJob(owner_id=owners[owner], engine="builtin", model="m", request=request)
        )
        held = storage.attempts.claim(job.id, worker="w1", lease_s=30)
        assert held is not None
        pictures = storage.gallery.keep(held, [_a_picture(int(age_days))])
        storage.attempts.succeed(held, pictures, warnings=[])
        (image,) = storage.images.of_job(job.id)
        with storage.database.writing() as connection:
            connection.exec_driver_sql(
                "UPDATE images SET created_at = created_at - ?, size_bytes = ? WHERE id = ?",
                (age_days * DAY_S, mib * MIB, image.id),
            )
        return image

    return make


def _a_picture(shade: int) -> GeneratedImage:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(buffer, "PNG")
    return GeneratedImage(data=buffer.getvalue())


def _prune(*words: str) -> list[str]:
    result = CliRunner().invoke(commands, ["prune", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def _kept(storage: Storage) -> set[str]:
    return {each.id for each in storage.images.list()}


def test_pictures_over_the_age_that_is_typed_are_deleted(storage: Storage, keep: Keep) -> None:
    keep(age_days=31)
    fresh = keep(age_days=1)

    assert _prune("--days", "30") == ["Deleted 1 pictures."]

    assert _kept(storage) == {fresh.id}
    (key,) = storage.files.keys()
    assert fresh.file_key in key


def test_pictures_beyond_what_a_user_may_keep_are_deleted(storage: Storage, keep: Keep) -> None:
    keep(age_days=3, mib=4)
    newer = keep(age_days=2, mib=4)
    theirs = keep("bert", age_days=9, mib=4)

    assert _prune("--mb-per-user", "5") == ["Deleted 1 pictures."]

    assert _kept(storage) == {newer.id, theirs.id}


def test_a_dry_run_says_whose_pictures_would_go_and_deletes_none(
    storage: Storage, keep: Keep
) -> None:
    images = [
        keep("bert", age_days=31, mib=1),
        keep(age_days=40, mib=2),
        keep(age_days=50, mib=3),
        keep(age_days=1),
    ]
    files = storage.files.keys()

    said = _prune("--days", "30", "--dry-run")

    assert said == [
        "anna@example.org: 2 pictures, 5.0 MiB",
        "bert@example.org: 1 pictures, 1.0 MiB",
        "3 pictures would be deleted.",
    ]
    assert _kept(storage) == {each.id for each in images}
    assert storage.files.keys() == files


@pytest.mark.usefixtures("storage")
def test_a_dry_run_with_nothing_to_delete_says_so() -> None:
    assert _prune("--days", "30", "--dry-run") == ["0 pictures would be deleted."]


def test_the_limits_of_the_settings_hold_where_none_is_typed(
    storage: Storage, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(age_days=31)
    fresh = keep(age_days=9)
    monkeypatch.setenv("DARKROOM_KEEP_IMAGES_DAYS", "30")

    assert _prune() == ["Deleted 1 pictures."]
    assert _kept(storage) == {fresh.id}
    assert _prune("--days", "8") == ["Deleted 1 pictures."]


def test_a_picture_that_cannot_be_deleted_is_counted_and_keeps_no_other(
    storage: Storage, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, _ = keep(age_days=41), keep(age_days=31)
    delete = Files.delete

    def refuse(files: Files, key: str) -> None:
        if stuck.file_key in key:
            raise FileStoreUnavailable("Permission denied.")
        delete(files, key)

    monkeypatch.setattr(Files, "delete", refuse)
    monkeypatch.setattr("sys.argv", ["darkroom", "prune", "--days", "30"])
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)

    with pytest.raises(SystemExit, match="1"):
        main()

    assert "Error: 1 pictures could not be deleted" in said.getvalue()
    assert _kept(storage) == {stuck.id}


@pytest.mark.usefixtures("storage")
def test_without_any_limit_the_ways_to_give_one_are_named() -> None:
    with pytest.raises(SettingsError, match=r"--days.*DARKROOM_KEEP_IMAGES_DAYS"):
        _prune()

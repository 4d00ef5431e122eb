"""The account of a folder of pictures."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.client import BatchResult
from darkroom.commands.manifest import Manifest
from darkroom.errors import InvalidRequest

FULL = Path("/dev/full")

DONE = BatchResult(custom_id="a", line=1, status="succeeded", job="/api/v1/jobs/1")
FAILED = BatchResult(
    custom_id="b", line=2, status="failed", job="/api/v1/jobs/2", error={"code": "engine_failed"}
)


def test_what_was_noted_is_known_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    manifest = Manifest(tmp_path)
    manifest.add(DONE, ["a.png"])
    manifest.add(FAILED, [])

    again = Manifest(tmp_path)

    assert again.holds(DONE)
    assert again.holds(FAILED)
    assert (again.count, again.succeeded, again.pictures) == (2, 1, 1)
    assert again.unsuccessful() == {"engine_failed": 1}


def test_a_picture_that_is_gone_is_not_held(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add(DONE, ["a.png"])

    assert not manifest.holds(DONE)


def test_the_last_line_of_an_item_counts(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add(FAILED, [])
    manifest.add(BatchResult(custom_id="b", line=2, status="succeeded", job="/api/v1/jobs/3"), [])

    again = Manifest(tmp_path)

    assert not again.holds(FAILED)
    assert (again.count, again.succeeded, again.unsuccessful()) == (1, 1, {})


def test_a_line_that_was_torn_off_is_forgotten(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add(FAILED, [])
    with manifest.path.open("a") as file:
        file.write('{"custom_id": "c", "sta')

    again = Manifest(tmp_path)
    again.add(DONE, [])

    assert again.count == 2
    lines = manifest.path.read_text().splitlines()
    assert [json.loads(each)["custom_id"] for each in lines] == ["b", "a"]


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_told_in_words(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.path.symlink_to(FULL)

    with pytest.raises(InvalidRequest, match="--resume"):
        manifest.add(DONE, [])

    assert not manifest.holds(DONE)


def test_it_is_counted_while_pictures_are_still_added(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor() as downloads:
            adding = [
                downloads.submit(manifest.add, replace(FAILED, custom_id=f"line-{n}"), [])
                for n in range(500)
            ]
            while not all(each.done() for each in adding):
                manifest.unsuccessful()
    finally:
        sys.setswitchinterval(usual)

    assert manifest.unsuccessful() == {"engine_failed": 500}

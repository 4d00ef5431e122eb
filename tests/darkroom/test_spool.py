"""A temporary file that does not fit on the disk is said to be that."""

import errno
from pathlib import Path

import pytest

from darkroom.errors import Unavailable
from darkroom.spool import IN_MEMORY_BYTES, Spool

FULL = Path("/dev/full")


def test_what_is_written_comes_back_however_long_it_is() -> None:
    with Spool() as spool:
        for _ in range(3):
            spool.write(b"x" * IN_MEMORY_BYTES)
        spool.seek(0)

        assert len(spool.read()) == 3 * IN_MEMORY_BYTES


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_told_in_words() -> None:
    with FULL.open("wb", buffering=0) as full, Spool() as spool:
        spool._file = full

        with pytest.raises(Unavailable, match="TMPDIR") as caught:
            spool.write(b"x")

    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC

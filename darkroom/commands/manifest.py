"""The account of a folder of pictures: a line for each item of a batch that is finished."""

import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.errors import InvalidRequest

if TYPE_CHECKING:
    from darkroom.client import BatchResult

FILE = "manifest.jsonl"


class Manifest:
    """What is in a folder. A line is written once all pictures of its item are there; of several
    lines of one item the last counts. Usable from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._entries: dict[str, Mapping[str, Any]] = {}
        try:
            self._read()
        except OSError as error:
            raise InvalidRequest(f"{self.path} cannot be read: {error.strerror}.") from error

    def holds(self, result: "BatchResult") -> bool:
        """Whether this very result is here, with all its pictures."""
        entry = self._entries.get(result.custom_id)
        return (
            entry is not None
            and entry["job"] == result.job
            and entry["status"] == result.status
            and all((self._folder / name).is_file() for name in entry["files"])
        )

    def add(self, result: "BatchResult", files: list[str]) -> None:
        """Note an item whose pictures are in these files of the folder. Raises InvalidRequest."""
        entry = {**asdict(result), "files": files}
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        with self._lock:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(line)
            except OSError as error:
                raise InvalidRequest(
                    f"{self.path} cannot be written: {error.strerror}. Make room, then go on with"
                    " --resume."
                ) from error
            self._entries[result.custom_id] = entry

    @property
    def count(self) -> int:
        return len(self._entries)

    @property
    def pictures(self) -> int:
        return sum(len(each["files"]) for each in self._all())

    @property
    def succeeded(self) -> int:
        return sum(each["status"] == "succeeded" for each in self._all())

    def unsuccessful(self) -> Counter[str]:
        """How many items failed, by the code of the error; canceled ones as `canceled`."""
        return Counter(
            (each["error"] or {}).get("code", each["status"])
            for each in self._all()
            if each["status"] != "succeeded"
        )

    def _all(self) -> list[Mapping[str, Any]]:
        """What is noted at this moment, while others note more."""
        with self._lock:
            return list(self._entries.values())

    def _read(self) -> None:
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8", errors="replace")
        *lines, torn = text.split("\n")
        if torn:
            # Written when the machine stopped; the item comes again.
            self.path.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")
        for entry in map(json.loads, lines):
            self._entries[entry["custom_id"]] = entry

"""The items of a batch, from a file of prompts."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from darkroom.client.bodies import sent_picture
from darkroom.errors import InvalidRequest

Item = dict[str, Any]
#: An item and the line of the file that it is on.
Numbered = tuple[int, Item]

#: Longer texts are pictures in base64, in characters.
LONGEST_PATH = 255

WHOLE_NUMBERS = frozenset({"n", "steps", "seed", "deadline_s"})
AS_JSON = frozenset({"metadata", "expand", "strict"})


def items_in(path: Path) -> Iterator[Numbered]:
    """Every item, in order, each with a `custom_id`. Raises InvalidRequest that names the line."""
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise InvalidRequest(
            f"{path} must end with {', '.join(READERS)}, which says how it is read."
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for line, item in read(file):
                yield line, {"custom_id": f"line-{line}", **_with_pictures(item, path.parent)}
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8 text: {error.reason}.") from error
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error


def fingerprint(items: Iterator[Numbered], defaults: Mapping[str, Any]) -> str:
    """The same for the same items and options only. Raises InvalidRequest when there are none."""
    digest = hashlib.sha256(json.dumps(defaults, sort_keys=True).encode())
    is_empty = True
    for _, item in items:
        is_empty = False
        digest.update(b"\n" + json.dumps(item, sort_keys=True).encode())
    if is_empty:
        raise InvalidRequest("There is no prompt in the file.")
    return digest.hexdigest()


def _with_pictures(item: Item, folder: Path) -> Item:
    """The item with its pictures instead of the names of files; `folder` is where names begin."""
    read = {name: _sent(item[name], folder) for name in ("image", "mask") if name in item}
    return item | read


def _sent(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_sent(each, folder) for each in value]
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_PATH:
        return value
    local = folder / value
    # What is no file here may be an id, a URL or base64: the server knows.
    return sent_picture(local) if local.is_file() else value


def _prompts(file: IO[str]) -> Iterator[Numbered]:
    for number, line in enumerate(file, start=1):
        if prompt := line.strip():
            yield number, {"prompt": prompt}


def _json_lines(file: IO[str]) -> Iterator[Numbered]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield number, _json_object(line, number)


def _json_object(text: str, line: int) -> Item:
    value = _json(text, line, "it")
    if not isinstance(value, dict):
        raise InvalidRequest(f'Line {line} must be a JSON object, such as {{"prompt": "a fox"}}.')
    return value


def _rows(file: IO[str]) -> Iterator[Numbered]:
    reader = csv.DictReader(file, restkey="", strict=True)
    try:
        for row in reader:
            if "" in row:
                raise InvalidRequest(f"Line {reader.line_num} has more cells than the header.")
            yield reader.line_num, _item(row, reader.line_num)
    except csv.Error as error:
        raise InvalidRequest(f"Line {reader.line_num} is no valid CSV: {error}.") from error


def _item(row: Mapping[str, str | None], line: int) -> Item:
    """A row's cells as fields; an empty cell leaves its field out."""
    return {name.strip(): _value(name.strip(), cell, line) for name, cell in row.items() if cell}


def _value(name: str, cell: str, line: int) -> Any:
    if name in AS_JSON:
        return _json(cell, line, name)
    if name not in WHOLE_NUMBERS:
        return cell
    try:
        return int(cell)
    except ValueError as error:
        raise InvalidRequest(
            f"Line {line}: {name} must be a whole number, not {cell!r}."
        ) from error


def _json(text: str, line: int, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"Line {line}: {what} is no valid JSON: {error}.") from error


READERS: Mapping[str, Callable[[IO[str]], Iterator[Numbered]]] = {
    ".txt": _prompts,
    ".jsonl": _json_lines,
    ".csv": _rows,
}

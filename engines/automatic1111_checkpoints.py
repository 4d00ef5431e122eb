"""The checkpoints of an AUTOMATIC1111 server: what they are called, and which one really drew."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One model file, as the server lists it."""

    #: The file within the folder of models, with its short hash once that is known. It is the
    #: only name the server never takes for another checkpoint's.
    title: str
    #: The same without hash and extension, and with `_` between folders.
    name: str
    short_hash: str | None = None
    sha256: str | None = None
    #: The full path on the server.
    path: str | None = None

    @classmethod
    def read(cls, content: Any) -> Self | None:
        """One entry of `sd-models`; None when it names nothing."""
        if not isinstance(content, dict):
            return None
        title, name, short_hash, sha256, path = (
            value if isinstance(value := content.get(key), str) and value else None
            for key in ("title", "model_name", "hash", "sha256", "filename")
        )
        title = title or name
        if title is None:
            return None
        return cls(
            title=title,
            name=name or PureWindowsPath(_without_hash(title)).stem,
            short_hash=short_hash,
            sha256=sha256,
            path=path,
        )

    @property
    def file(self) -> str:
        """The file within the folder of models."""
        return _without_hash(self.title)

    @property
    def stem(self) -> str:
        """The file's name alone: what the server calls the checkpoint after drawing."""
        # Windows paths know both kinds of slashes.
        return PureWindowsPath(self.file).stem

    @property
    def names(self) -> tuple[str | None, ...]:
        """All that it may be asked for by, the most exact first."""
        return (
            self.title,
            self.file,
            self.path,
            self.sha256,
            self.short_hash,
            self.name,
            PureWindowsPath(self.file).name,
            self.stem,
        )

    def has_drawn(self, name: str | None, short_hash: str | None) -> bool | None:
        """Whether a picture is by this checkpoint, going by what the server says of the picture.

        None when it says nothing. Two files of one name are told apart by their hashes.
        """
        if short_hash and self.short_hash and len(short_hash) == len(self.short_hash):
            return short_hash.lower() == self.short_hash.lower()
        if name is None:
            return None
        return name in self.names


def read_checkpoints(content: Sequence[Any]) -> dict[str, Checkpoint]:
    """The checkpoints by the ids we give them, in the server's order.

    An id is a checkpoint's name, which stays when its hash becomes known. Where two files share
    a name (`a.ckpt` and `a.safetensors`) it is the file.
    """
    found = [each for each in map(Checkpoint.read, content) if each is not None]
    names = Counter(each.name for each in found)
    return {each.name if names[each.name] == 1 else each.file: each for each in found}


def find(wanted: str, checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """The checkpoint that is called so, by any of its names; an exact name goes before a loose."""
    listed = list(checkpoints)
    for names in zip(*(each.names for each in listed), strict=True):
        for each, name in zip(listed, names, strict=True):
            if name == wanted:
                return each
    return None


def _without_hash(title: str) -> str:
    return re.sub(r" \[[0-9a-fA-F]+\]$", "", title)

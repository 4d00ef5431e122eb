"""The tree of failures."""

import re
from collections import Counter
from collections.abc import Iterator

from darkroom import errors
from darkroom.errors import DarkroomError


def _tree(root: type[DarkroomError]) -> Iterator[type[DarkroomError]]:
    yield root
    for each in root.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from _tree(each)


def _drawn() -> dict[str, str]:
    """Each class in the module's drawing, with the class it hangs from."""
    parents, path = {}, [""]
    drawing = (errors.__doc__ or "").split("```")[1]
    for line in drawing.strip().splitlines():
        match = re.search(r"[A-Z]\w+", line)
        assert match is not None
        depth = match.start() // 4
        path[depth + 1 :] = [match[0]]
        parents[match[0]] = path[depth]
    return parents


def test_the_drawing_shows_the_classes_as_they_are() -> None:
    real = {
        each.__name__: "" if each is DarkroomError else each.__mro__[1].__name__
        for each in _tree(DarkroomError)
    }

    assert _drawn() == real


def test_a_code_stands_for_one_class() -> None:
    codes = Counter(each.__dict__["code"] for each in _tree(DarkroomError) if "code" in vars(each))

    assert set(codes.values()) == {1}


def test_each_failure_says_what_it_means() -> None:
    assert all(each.__doc__ for each in _tree(DarkroomError))

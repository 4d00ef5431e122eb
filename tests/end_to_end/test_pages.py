"""Every example of the pages for users is carried out, and prints what the page shows."""

from pathlib import Path

import pytest

from tests.end_to_end.pages import DOCS, Terminal, examples, is_as_shown
from tests.end_to_end.service import Service


@pytest.mark.parametrize("page", ["for-api-users.md", "for-batch-scripts.md"])
@pytest.mark.timeout(180)
def test_a_page_works_when_it_is_carried_out(page: str, tmp_path: Path) -> None:
    setup, *rest = examples(DOCS / page)
    assert "DARKROOM_KEY=dk_…" in setup.text

    with Service(tmp_path / "data") as service:
        terminal = Terminal(
            tmp_path / "here", {"DARKROOM": service.url, "DARKROOM_KEY": service.key}
        )
        for example in rest:
            output = terminal.carry_out(example)

            assert "…" not in example.text
            if example.shown is not None:
                assert is_as_shown(output, example.shown), f"{example.text}\n{output}"


def test_every_page_shows_outputs() -> None:
    for page in ("for-api-users.md", "for-batch-scripts.md"):
        assert sum(each.shown is not None for each in examples(DOCS / page)) >= 5


@pytest.mark.parametrize(
    ("output", "shown", "same"),
    [
        ('{"id":"41d2"}\n', '{"id": "41d2…"}', True),
        ('{"id":"41d2","n":1}', '{"id": "41d2"}', False),
        ("a (b) c", "a (b) …", True),
        ("", "…", True),
    ],
)
def test_an_output_is_compared_but_for_what_is_left_open(
    output: str, shown: str, same: bool
) -> None:
    assert is_as_shown(output, shown) is same

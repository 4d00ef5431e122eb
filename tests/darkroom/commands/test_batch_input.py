"""Files of prompts, as people write them."""

from pathlib import Path
from typing import Any

import pytest

from darkroom.commands.batch_input import fingerprint, items_in
from darkroom.errors import InvalidRequest


def _read(folder: Path, name: str, text: str) -> list[dict[str, Any]]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return [item for _, item in items_in(path)]


def test_each_line_of_text_is_a_prompt(tmp_path: Path) -> None:
    assert _read(tmp_path, "ships.txt", "\ufeffa ship\r\n\r\n  a boat \n") == [
        {"custom_id": "line-1", "prompt": "a ship"},
        {"custom_id": "line-3", "prompt": "a boat"},
    ]


def test_a_header_names_the_fields_of_rows(tmp_path: Path) -> None:
    text = 'prompt,seed,metadata,custom_id\n"a ship, red",7,"{""shop"": 1}",red\na boat,,,\n'

    assert _read(tmp_path, "ships.csv", text) == [
        {"custom_id": "red", "prompt": "a ship, red", "seed": 7, "metadata": {"shop": 1}},
        {"custom_id": "line-3", "prompt": "a boat"},
    ]


def test_each_line_of_json_is_an_item(tmp_path: Path) -> None:
    text = '{"prompt": "a ship", "n": 2}\n\n{"prompt": "a boat", "custom_id": "boat"}'

    assert _read(tmp_path, "ships.jsonl", text) == [
        {"custom_id": "line-1", "prompt": "a ship", "n": 2},
        {"custom_id": "boat", "prompt": "a boat"},
    ]


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("ships.jsonl", '{"prompt": "a"}\n{', "Line 2"),
        ("ships.jsonl", "[1]\n", "JSON object"),
        ("ships.csv", "prompt,n\na ship,many\n", "whole number"),
        ("ships.csv", "prompt\na ship,more\n", "more cells"),
        ("ships.csv", 'prompt\n"a ship', "CSV"),
        ("ships.doc", "a ship", "must end with"),
    ],
)
def test_a_fault_names_its_line(tmp_path: Path, name: str, text: str, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=hint):
        _read(tmp_path, name, text)


def test_a_file_without_prompts_is_no_batch() -> None:
    with pytest.raises(InvalidRequest, match="no prompt"):
        fingerprint(iter(()), {})


def test_items_and_options_make_the_fingerprint() -> None:
    def of(prompt: str, **options: str) -> str:
        return fingerprint(iter([(1, {"prompt": prompt})]), options)

    assert of("a ship", size="64x64") == of("a ship", size="64x64")
    assert len({of("a ship"), of("a boat"), of("a ship", size="64x64")}) == 3


def test_a_picture_beside_the_file_is_sent_along(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "harbour.png").write_bytes(b"a picture")

    [edited] = _read(tmp_path, "boats.csv", "prompt,image\nadd a boat,in/harbour.png\n")
    [several] = _read(
        tmp_path,
        "boats.jsonl",
        '{"prompt": "x", "image": ["in/harbour.png", "https://example.org/a.png"],'
        ' "mask": "in/harbour.png"}',
    )

    assert edited["image"] == "YSBwaWN0dXJl"
    assert several["image"] == ["YSBwaWN0dXJl", "https://example.org/a.png"]
    assert several["mask"] == "YSBwaWN0dXJl"
    assert _read(tmp_path, "ids.csv", f"prompt,image\nx,{'A' * 400}\n")[0]["image"] == "A" * 400

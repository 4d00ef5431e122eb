"""The documentation is compared with the code."""

import ast
import re
from pathlib import Path

import pytest

from api.errors import HTTP_CODES
from darkroom import errors
from darkroom.cli import commands
from darkroom.settings import settings_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_settings_table_is_current() -> None:
    shown = README.split("<!-- settings")[1].split("-->", 1)[1].split("<!-- end of settings")[0]

    assert shown.strip() == settings_table().strip()


@pytest.mark.parametrize(
    "page",
    [each.relative_to(ROOT) for each in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]],
    ids=str,
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_every_error_code_is_explained() -> None:
    def codes(root: type[errors.DarkroomError]) -> set[str]:
        return {root.code}.union(*(codes(each) for each in root.__subclasses__()))

    never_answered = {"error", "settings_invalid", "interrupted", "lease_lost", "worker_stops"}
    explained = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs/api.md").read_text()))

    assert (codes(errors.DarkroomError) | set(HTTP_CODES.values())) - never_answered <= explained


def test_every_make_target_and_command_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()

    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in re.findall(r"darkroom (\w+)`", README):
        assert command in commands.commands, command


def test_the_map_names_every_package() -> None:
    for package in ("darkroom", "api", "worker", "engines", "storage", "tests", "docs"):
        assert f"`{package}/`" in README


def test_every_test_that_the_threat_notes_name_exists() -> None:
    notes = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", notes)

    assert len(named) > 40
    for file, path in named:
        code = ast.parse((ROOT / file).read_text())
        for name in path.split("::"):
            found = [
                each
                for each in code.body
                if isinstance(each, ast.ClassDef | ast.FunctionDef) and each.name == name
            ]
            assert found, f"{file}::{path}"
            code = ast.Module(found[0].body, [])

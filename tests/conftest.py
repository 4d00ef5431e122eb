"""For every test: nothing that is configured on this machine reaches it."""

import os

import pytest

from darkroom.configuration import FIELDS
from darkroom.settings import PREFIX

ENGINE_VARIABLES = frozenset(name for each in FIELDS for name in (each.name, *each.fallbacks))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX) or name.removesuffix("_FILE") in ENGINE_VARIABLES:
            monkeypatch.delenv(name)

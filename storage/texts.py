"""Texts from engines, as every database keeps them.

An engine, or a driver from elsewhere, may send anything. PostgreSQL keeps no NUL character and no
database half of a surrogate pair, and an INSERT that fails for one would lose pictures that may
have been paid for.
"""

from typing import Any

from sqlalchemy import JSON, Dialect, Text, TypeDecorator


def cleaned(text: str) -> str:
    """The text without what no database keeps: NUL goes, a lone surrogate becomes `?`."""
    return text.replace("\0", "").encode(errors="replace").decode()


class EngineText(TypeDecorator[str]):
    """A text that holds an engine's words."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else cleaned(value)


class EngineJSON(TypeDecorator[Any]):
    """JSON that holds an engine's words."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return _cleaned_within(value)


def _cleaned_within(value: Any) -> Any:
    match value:
        case str():
            return cleaned(value)
        case list():
            return [_cleaned_within(each) for each in value]
        case dict():
            return {name: _cleaned_within(each) for name, each in value.items()}
        case _:
            return value

"""The configuration an admin changed: flat names and values, over the environment's defaults."""

from collections.abc import Mapping
from types import MappingProxyType

import orjson
from sqlalchemy import select

from darkroom.configuration import FIELDS, FIELDS_BY_NAME, Value
from darkroom.secrets import SecretBox
from storage.database import Database, epoch_now, upsert
from storage.tables import config

STORED = select(config.c.name, config.c.value)


class Config:
    """Values by the flat names of `darkroom.configuration.FIELDS`."""

    def __init__(self, database: Database, box: SecretBox, defaults: Mapping[str, Value]) -> None:
        self._database = database
        self._box = box
        self._defaults = {each.name: each.default for each in FIELDS} | dict(defaults)
        #: What was stored when it was last read, and what that came to.
        self._read: tuple[dict[str, str], Mapping[str, Value]] | None = None

    def values(self) -> Mapping[str, Value]:
        """Every value as it holds now, secrets in plain text. The same object as before when
        nothing has changed since."""
        with self._database.reading() as connection:
            stored: dict[str, str] = {row.name: row.value for row in connection.execute(STORED)}
        read = self._read
        if read is None or read[0] != stored:
            read = self._read = (stored, MappingProxyType(self._defaults | self._opened(stored)))
        return read[1]

    def _opened(self, stored: Mapping[str, str]) -> dict[str, Value]:
        return {
            name: orjson.loads(self._unseal(name, text))
            for name, text in stored.items()
            if name in FIELDS_BY_NAME
        }

    def update(self, changes: Mapping[str, Value]) -> None:
        """Set several values at once, or none of them."""
        with self._database.writing() as connection:
            # In one order, so that two updates at once wait for each other and not in a circle.
            for name, value in sorted(changes.items()):
                row = upsert(connection, config).values(
                    name=name,
                    value=self._seal(name, orjson.dumps(value).decode()),
                    updated_at=epoch_now(),
                )
                connection.execute(
                    row.on_conflict_do_update(
                        index_elements=[config.c.name],
                        set_={"value": row.excluded.value, "updated_at": row.excluded.updated_at},
                    )
                )

    def _seal(self, name: str, text: str) -> str:
        return self._box.seal(text) if FIELDS_BY_NAME[name].secret else text

    def _unseal(self, name: str, text: str) -> str:
        return self._box.open(text) if FIELDS_BY_NAME[name].secret else text

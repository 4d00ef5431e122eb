"""The configuration an admin changed: flat names and values, over the environment's defaults."""

from collections.abc import Mapping
from types import MappingProxyType

import orjson
from sqlalchemy import select, update

from darkroom.configuration import FIELDS, FIELDS_BY_NAME, Value
from darkroom.errors import KeysUnreadable, SettingsError
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
        nothing has changed since. Raises KeysUnreadable."""
        with self._database.reading() as connection:
            stored: dict[str, str] = {row.name: row.value for row in connection.execute(STORED)}
        read = self._read
        if read is None or read[0] != stored:
            read = self._read = (stored, MappingProxyType(self._defaults | self._opened(stored)))
        return read[1]

    def _opened(self, stored: Mapping[str, str]) -> dict[str, Value]:
        values, unreadable = {}, []
        for name, text in stored.items():
            if name not in FIELDS_BY_NAME:
                continue
            try:
                values[name] = orjson.loads(self._unseal(name, text))
            except SettingsError:
                unreadable.append(name)
        if unreadable:
            raise KeysUnreadable(
                f"Stored engine keys cannot be read ({', '.join(sorted(unreadable))}):"
                " DARKROOM_SECRET_KEY is not the one they were saved with. Set the old one in"
                " DARKROOM_SECRET_KEY_PREVIOUS and restart, or save all of these keys anew."
            )
        return values

    def seal_again(self) -> int:
        """Encrypt every secret with the secret of now, and say how many there are.

        All or none: raises SettingsError when one cannot be read.
        """
        secret = [each.name for each in FIELDS if each.secret]
        with self._database.writing() as connection:
            rows = connection.execute(
                STORED.where(config.c.name.in_(secret)).order_by(config.c.name).with_for_update()
            ).all()
            for name, text in rows:
                connection.execute(
                    update(config)
                    .where(config.c.name == name)
                    .values(value=self._seal(name, self._unseal(name, text)))
                )
        return len(rows)

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

"""What `darkroom batch` must know to go on after an interruption: a small file beside the folder.

A call is written down, with the key that makes it safe to repeat, before it is made. So it does not
matter whether it was interrupted before, while or after the server accepted it.
"""

import json
import os
import secrets
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from darkroom.errors import InvalidRequest

SUFFIX = ".batch.json"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One call that makes a batch."""

    idempotency_key: str
    #: Whose failed items it asks for again; None for the first call.
    retry_of: str | None = None
    #: None as long as it is not known to be accepted.
    batch_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """One run of `darkroom batch` over one input."""

    server: str
    #: Of the items and the options.
    fingerprint: str
    #: The first call, and one for each retry of what failed.
    calls: tuple[Sent, ...]

    @classmethod
    def begun(cls, *, server: str, fingerprint: str) -> Self:
        return cls(
            server=server,
            fingerprint=fingerprint,
            calls=(Sent(idempotency_key=str(uuid.uuid4())),),
        )

    @property
    def current(self) -> Sent:
        return self.calls[-1]

    def accepted(self, batch_id: str) -> Self:
        """The newest call made this batch."""
        return replace(self, calls=(*self.calls[:-1], replace(self.current, batch_id=batch_id)))

    def refused(self) -> Self:
        """The newest call was not accepted, and made nothing."""
        return replace(self, calls=self.calls[:-1])

    def retried(self) -> Self:
        """What failed in the newest batch is asked for again."""
        again = Sent(idempotency_key=str(uuid.uuid4()), retry_of=self.current.batch_id)
        return replace(self, calls=(*self.calls, again))


def state_file(folder: Path) -> Path:
    """Beside the folder of the pictures."""
    folder = folder.absolute()
    return folder.with_name(f"{folder.name}{SUFFIX}")


def read_state(path: Path) -> State | None:
    """None when there is none. Raises InvalidRequest when it cannot be understood."""
    try:
        content = json.loads(path.read_text())
        return State(**(content | {"calls": tuple(Sent(**each) for each in content["calls"])}))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidRequest(
            f"{path} cannot be read: {error}. Is it of another release?"
        ) from error


def write_state(path: Path, state: State) -> None:
    """Replace it: the old or the new one is there, whenever the machine stops. A state without
    calls is nothing to keep."""
    if not state.calls:
        path.unlink(missing_ok=True)
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("w") as file:
            json.dump(asdict(state), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}.") from error

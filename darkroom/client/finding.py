"""Which server, and with which key, for programs that are not told.

The first of: what the caller says, DARKROOM_SERVER, `darkroom login`, and a `darkroom up` in the
data folder. A key goes only to the server it was kept for, unless the caller or DARKROOM_KEY names
it.
"""

from dataclasses import dataclass, field

from darkroom.client.signed_in import read_login
from darkroom.errors import Unavailable
from darkroom.running import find_running
from darkroom.settings import load_client_settings

#: Where `darkroom up` listens unless it is told otherwise.
USUAL_URL = "http://127.0.0.1:8787"


class NoServer(Unavailable):
    """Nothing says which server to use."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where to call, and as whom."""

    url: str
    key: str | None = field(repr=False)


def find_server(*, url: str | None = None, key: str | None = None) -> Server:
    """Raises NoServer when nothing says which, SettingsError for variables that are wrong."""
    settings = load_client_settings()
    url = url or settings.server
    key = key or settings.key
    login, running = read_login(), find_running(settings.data_dir)
    known = [Server(url=each.url, key=each.key) for each in (login, running) if each is not None]
    if url is None:
        if known:
            return Server(url=known[0].url, key=key or known[0].key)
        if key is not None:
            return Server(url=USUAL_URL, key=key)
        raise NoServer(
            "No Darkroom is known here: start one with `darkroom up`, sign in to one with"
            " `darkroom login URL`, or name it with DARKROOM_SERVER and DARKROOM_KEY."
        )
    kept = next((each.key for each in known if each.url.rstrip("/") == url.rstrip("/")), None)
    return Server(url=url, key=key or kept)

"""`darkroom demo`: proof on one page that this installation draws pictures.

A whole Darkroom on a free port and a temporary folder, used over HTTP like any client does, and
stopped without a trace.
"""

import json
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast
from urllib.parse import urljoin

import requests
from PIL import Image

from darkroom.errors import Unavailable
from darkroom.launcher import READY_LINE
from darkroom.processes import Program, darkroom, spawn
from darkroom.settings import PREFIX, variables

EMAIL = "demo@localhost"

REQUEST = {
    "prompt": "a lighthouse on a cliff at dusk, oil painting",
    "model": "builtin/placeholder",
    "size": "1024x1024",
    "n": 1,
}

PICTURE_NAME = "darkroom-demo.png"

#: How long one call may take, and everything to stop, in seconds.
PATIENCE_S = 60.0


def run(output: Path, say: Callable[[str], None]) -> None:
    """Draw one picture into `output`, a file or a folder. `say` gets what a person should read.

    Raises DarkroomError, in words, when anything does not work as it should.
    """
    picture = output / PICTURE_NAME if output.is_dir() else output
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="darkroom-demo-") as folder:
        password = secrets.token_urlsafe(16)
        say("Starting broker, worker and API …")
        with _running(Path(folder), password) as url:
            say(f"  {url}, after {time.monotonic() - started_at:.1f} s")
            _use(url, password, picture, say)
        say("Stopped: no process is left, the data is deleted.")
    say(f"It works. The whole demo took {time.monotonic() - started_at:.1f} s.")


@contextmanager
def _running(folder: Path, password: str) -> Iterator[str]:
    """A Darkroom of its own; yields its URL, and makes sure that nothing of it is left."""
    process = spawn(
        Program(
            name="darkroom up",
            command=darkroom("up"),
            environment=_environment(folder, password),
        ),
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            yield _url_in(cast("IO[bytes]", process.stdout))
        finally:
            process.terminate()
        _await_end(process)


def _environment(folder: Path, password: str) -> dict[str, str | None]:
    """Nothing that is configured here may reach the demo, or be touched by it."""
    names = {name for each in variables() for name in (each.name, PREFIX + each.name)}
    return {
        **dict.fromkeys(names | {f"{name}_FILE" for name in names}),
        f"{PREFIX}DATA_DIR": str(folder),
        f"{PREFIX}PORT": "0",
        f"{PREFIX}ADMIN_EMAIL": EMAIL,
        f"{PREFIX}ADMIN_PASSWORD": password,
        f"{PREFIX}LOG_LEVEL": "warning",
    }


def _url_in(output: IO[bytes]) -> str:
    for line in output:
        _, found, url = line.decode().rstrip().partition(READY_LINE)
        if found:
            return url
    raise Unavailable("`darkroom up` ended before it was ready; what it printed above says why.")


def _await_end(process: "subprocess.Popen[bytes]") -> None:
    """Wait until `darkroom up` and all it started are gone: they share the pipe we read, which
    ends with the last of them. Raises Unavailable when something stays, or stops badly."""
    try:
        process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"Not everything stopped within {PATIENCE_S:.0f} s.") from error
    if process.returncode != 0:
        raise Unavailable(f"`darkroom up` stopped with exit code {process.returncode}.")


def _use(url: str, password: str, picture: Path, say: Callable[[str], None]) -> None:
    with requests.Session() as session:
        # A proxy that is configured here leads away from here.
        session.trust_env = False
        signed_in = _call(
            session, "POST", f"{url}/api/v1/auths/signin", {"email": EMAIL, "password": password}
        )
        session.headers["Authorization"] = f"Bearer {signed_in.json()['token']}"

        say(f"\nPOST /api/images/generations\n{json.dumps(REQUEST)}\n")
        answer = _call(session, "POST", f"{url}/api/images/generations", REQUEST)
        say(f"200 OK\n{json.dumps(answer.json(), indent=2)}\n")

        data = _call(session, "GET", urljoin(url, answer.json()[0]["url"])).content
    try:
        picture.write_bytes(data)
        with Image.open(picture) as opened:
            opened.load()
            say(f"{opened.width} x {opened.height} {opened.format}: {picture.absolute()}\n")
    except OSError as error:
        raise Unavailable(f"The picture cannot be kept as {picture}: {error}.") from error


def _call(
    session: requests.Session, method: str, url: str, body: Mapping[str, object] | None = None
) -> requests.Response:
    """Raises Unavailable unless it is answered with 200."""
    try:
        response = session.request(method, url, json=body, timeout=PATIENCE_S)
    except requests.RequestException as error:
        raise Unavailable(f"{method} {url} got no answer: {error}") from error
    if response.status_code != requests.codes.ok:
        raise Unavailable(
            f"{method} {url} was answered with {response.status_code}: {response.text}"
        )
    return response

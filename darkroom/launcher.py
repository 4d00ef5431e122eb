"""`darkroom up`: broker, worker and API in one command, watched over until it is stopped."""

import errno
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from darkroom import readiness
from darkroom.aside import in_a_child
from darkroom.broker import embedded_broker
from darkroom.domain import FirstAdmin
from darkroom.errors import SettingsError, Unavailable
from darkroom.ownership import owning
from darkroom.processes import Program, allow_open_files, darkroom
from darkroom.running import Running, announced
from darkroom.settings import PREFIX, Settings
from darkroom.signals import Signals
from darkroom.supervision import Supervisor

#: Everything must run within this time, in seconds …
START_WITHIN_S = 60.0

#: … and no part may die this often before it does.
DEATHS_BEFORE_READY = 3

#: How often a condition is looked at that nobody reports, in seconds.
LOOK_EVERY_S = 0.05

#: What a part may take, beyond the configured time, to stop itself, in seconds.
STOP_MARGIN_S = 5.0

#: Callers that may wait for the API to take their connection.
BACKLOG = 2048

READY_LINE = "Darkroom is ready at "


def up(settings: Settings, say: Callable[[str], None]) -> None:
    """Run everything until SIGTERM or SIGINT, then stop it in order.

    `say` gets what a person should read. Raises SettingsError when it cannot run as configured,
    Unavailable when a part does not come up; nothing is left running then either.
    """
    allow_open_files()
    settings = replace(settings, data_dir=settings.data_dir.absolute())
    with (
        Signals() as signals,
        owning(settings.data_dir) as lock,
        _listen(settings) as listener,
        ExitStack() as at_the_end,
    ):
        settings = replace(settings, port=listener.getsockname()[1])
        running = Running(url=_base_url(settings), pid=os.getpid())
        admin, running = in_a_child(_prepare, settings, running)
        at_the_end.callback(in_a_child, _clear_up, settings, running)
        supervisor = Supervisor(signals)
        log_files: dict[str, Path] = {}
        try:
            if settings.redis_url is None:
                broker = embedded_broker(settings, lock=lock)
                settings = replace(settings, redis_url=broker.url)
                log_files[broker.program.name] = broker.log_file
                supervisor.start(broker.program)
            _start_parts(settings, supervisor, listener)
            _await_ready(settings, supervisor, log_files)
            if not supervisor.stop_requested:
                at_the_end.enter_context(announced(settings.data_dir, running))
                say(_greeting(settings, admin))
                admin = None
            while not supervisor.stop_requested:
                supervisor.tend()
        finally:
            if admin is not None:
                say(_about(admin))
            # A caller who comes now is refused at once, instead of waiting for nobody.
            listener.close()
            supervisor.stop()


def _prepare(settings: Settings, running: Running) -> tuple[FirstAdmin | None, Running]:
    """What the database needs before anything uses it, and a key for commands beside us."""
    from darkroom import first_start, local_key

    return first_start.prepare(settings), local_key.make(settings, running)


def _clear_up(settings: Settings, running: Running) -> None:
    from darkroom import local_key

    local_key.revoke(settings, running)


def _listen(settings: Settings) -> socket.socket:
    """The API's socket. It is ours, so that a caller waits while the API is started again."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(
            address[:2],
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=family == socket.AF_INET6 and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"Port {settings.port} is taken: stop what listens on it, or set DARKROOM_PORT"
                " (0 takes any free port)."
            ) from error
        raise SettingsError(
            f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror}."
            " Set DARKROOM_HOST and DARKROOM_PORT."
        ) from error


def _start_parts(settings: Settings, supervisor: Supervisor, listener: socket.socket) -> None:
    environment = _handed_on(
        {
            "HOST": settings.host,
            "PORT": str(settings.port),
            "DATA_DIR": str(settings.data_dir),
            "REDIS_URL": str(settings.redis_url),
        }
    )
    grace_s = settings.stop_s + STOP_MARGIN_S
    supervisor.start(
        Program(name="worker", command=darkroom("worker"), environment=environment, grace_s=grace_s)
    )
    descriptor = listener.fileno()
    supervisor.start(
        Program(
            name="API",
            command=darkroom("serve", "--listener", str(descriptor)),
            environment=environment,
            descriptors=(descriptor,),
            grace_s=settings.drain_s + grace_s,
        )
    )


def _handed_on(values: Mapping[str, str]) -> dict[str, str | None]:
    """Environment that gives a child these settings, whatever ours says of them."""
    environment: dict[str, str | None] = {}
    for name, value in values.items():
        environment[f"{PREFIX}{name}"] = value
        environment[f"{PREFIX}{name}_FILE"] = None
    return environment


def _await_ready(settings: Settings, supervisor: Supervisor, log_files: Mapping[str, Path]) -> None:
    """Return once everything runs, or someone asked to stop. Raises Unavailable.

    `log_files` are those of the parts that do not print what they do.
    """
    host, port = _reachable(settings.host), settings.port
    give_up_at = time.monotonic() + START_WITHIN_S
    while not supervisor.stop_requested and (reason := readiness.missing(host, port)) is not None:
        for name, deaths in supervisor.deaths().items():
            if deaths >= DEATHS_BEFORE_READY:
                said = log_files.get(name, "what it printed above")
                raise Unavailable(
                    f"The {name} died {deaths} times before it was ready: {reason}. Read {said}."
                )
        if time.monotonic() > give_up_at:
            raise Unavailable(f"Not ready after {START_WITHIN_S:.0f} s: {reason}.")
        supervisor.tend(LOOK_EVERY_S)


def _greeting(settings: Settings, admin: FirstAdmin | None) -> str:
    url = _base_url(settings)
    key = admin.key if admin is not None else "$DARKROOM_KEY"
    return "\n".join(
        [
            f"{READY_LINE}{url}",
            *([_about(admin)] if admin is not None else []),
            "",
            "Ask for a picture:",
            f'  curl {url}/api/images/generations -H "Authorization: Bearer {key}" \\',
            "    -H 'Content-Type: application/json' \\",
            """    -d '{"prompt": "a lighthouse on a cliff at dusk, oil painting"}'""",
            "",
        ]
    )


def _about(admin: FirstAdmin) -> str:
    return f"  Admin:   {admin.email}\n  API key: {admin.key}  (shown this once, keep it)"


def _base_url(settings: Settings) -> str:
    """Where a caller on this machine reaches the API."""
    host = _reachable(settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _reachable(host: str) -> str:
    """An address to call, for one that listens everywhere."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)

"""A RabbitMQ of our own, in a temporary folder and on the loopback interface only.

It shares nothing with one that the system runs: its ports, name, cookie and port mapper (epmd) are
its own.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import amqp

from tests.backends.certificates import make_certificate
from tests.backends.ports import free_port

#: How long the server may take to start, in seconds.
PATIENCE_S = 90.0

USER, PASSWORD = "darkroom", "the broker's secret"


def program() -> Path | None:
    """The server's own script: Debian's on PATH would change to an account and a folder."""
    own = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    found = shutil.which(own) or shutil.which("rabbitmq-server")
    return None if found is None or shutil.which("epmd") is None else Path(found)


class RabbitMQ:
    """Runs while the block does. Killed and started again, it has the same address."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self.port, self.tls_port = free_port(), free_port()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="darkroom-rabbitmq-"))
        (self._folder / "plugins").write_text("[].\n")
        self.certificate, key = make_certificate(self._folder)
        (self._folder / "server.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.certfile = {self.certificate}\n"
            f"ssl_options.keyfile = {key}\n"
            f"default_user = {USER}\n"
            f"default_pass = {PASSWORD}\n"
            "log.console = true\n"
            "log.console.level = info\n"
            "log.file = false\n"
        )
        self._epmd_port = free_port()
        self._environment = os.environ | {
            "HOME": str(self._folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"darkroom-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "server.conf"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            # Ours is started by us, so that it ends with us.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1} +S 1:1"
            ),
        }
        self._mapper = subprocess.Popen(
            ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{quote(PASSWORD)}@127.0.0.1:{self.port}//"

    @property
    def tls_url(self) -> str:
        return f"amqps://{USER}:{quote(PASSWORD)}@127.0.0.1:{self.tls_port}//"

    def start(self) -> None:
        """Returns once it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program)],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while not self._answers():
            assert self._process.poll() is None, self._output
            assert time.monotonic() < deadline, self._output
            pause.wait(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def forget(self) -> None:
        """Throw away what the killed server kept."""
        shutil.rmtree(self._folder / "data")

    def connect(self) -> amqp.Connection:
        connection = amqp.Connection(
            f"127.0.0.1:{self.port}", USER, PASSWORD, connect_timeout=5, read_timeout=10
        )
        connection.connect()
        return connection

    def _end(self) -> None:
        self.kill()
        self._mapper.kill()
        self._mapper.wait()
        shutil.rmtree(self._folder)

    @property
    def _output(self) -> str:
        return (self._folder / "log").read_text()[-4000:]

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except (OSError, amqp.AMQPError):
            return False
        return True

"""Fetches pictures that callers link to, and nothing inside the network of this server.

A host's name is resolved once, every address it has is judged, and the socket is connected to one
that passed: a name that resolves to something else a moment later leads nowhere. Redirects are
followed one by one, each judged the same way. A proxy of the environment is not used, because it
would be the one that resolves names. Why a host cannot be reached is not said: that would tell
which names and ports there are inside.
"""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread, Timer
from urllib.parse import urljoin, urlsplit

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, SSLError

#: The longest a fetch may take, redirects included, in seconds.
TIME_LIMIT_S = 10.0
#: The longest all that one fetcher does may take, in seconds.
TOTAL_TIME_LIMIT_S = 30.0
MOST_REDIRECTS = 3
#: Longer ones are no addresses; and Python would remember them, however long they are.
MOST_URL_CHARS = 8192
CHUNK_BYTES = 64 * 1024

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: IPv6 that carries an IPv4 address in its last 32 bits: for translators, and as it was once meant.
CARRIERS = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))

#: Where the addresses of the open internet are, among all of IPv6.
UNICAST = ipaddress.IPv6Network("2000::/3")

#: Set apart for other uses, which the tables of older Pythons do not know.
SET_APART = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv6Network("3fff::/20"))

NOT_REACHED = "its host does not answer, or is not a public one"


class CannotFetch(Exception):
    """Why, in words that end a sentence and tell nothing of the network of this server."""


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Fetches over http and https, for one call of one caller."""

    largest_bytes: int
    #: Whether hosts may be private, such as `localhost` or `192.168.0.7`.
    allows_private: bool = False
    _until: float = field(default_factory=lambda: time.monotonic() + TOTAL_TIME_LIMIT_S)

    def fetch(self, url: str) -> bytes:
        """The bytes behind `url`. Raises CannotFetch."""
        with _Deadline(min(time.monotonic() + TIME_LIMIT_S, self._until)) as deadline:
            for _ in range(MOST_REDIRECTS + 1):
                with self._opened(url, deadline) as response:
                    location = response.get_redirect_location()
                    if not location:
                        return self._read(response, deadline)
                    url = _joined(url, location)
        raise CannotFetch("it redirects too often")

    @contextmanager
    def _opened(self, url: str, deadline: "_Deadline") -> Iterator[urllib3.BaseHTTPResponse]:
        _refuse_odd(url)
        with _pool(self._connector(deadline)) as pool, _explained(deadline):
            response = pool.request(
                "GET",
                url,
                headers={
                    "Accept": "image/*",
                    "Accept-Encoding": "identity",
                    "User-Agent": "darkroom",
                },
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(total=deadline.left_s),
            )
            try:
                yield response
            finally:
                response.close()

    def _read(self, response: urllib3.BaseHTTPResponse, deadline: "_Deadline") -> bytes:
        if response.status != 200:
            raise CannotFetch(f"it answers with status {response.status}")
        body = bytearray()
        for chunk in response.stream(CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > self.largest_bytes:
                raise CannotFetch(f"it is larger than {self.largest_bytes // 2**20} MiB")
            deadline.check()
        # A connection that was cut looks like one that was at its end.
        deadline.check()
        return bytes(body)

    def _connector(self, deadline: "_Deadline") -> Callable[[str, int], socket.socket]:
        def connect(host: str, port: int) -> socket.socket:
            for address in _resolve(host, port, deadline):
                if not (self.allows_private or is_public(address)):
                    continue
                with suppress(OSError):
                    return deadline.guard(
                        socket.create_connection((str(address), port), timeout=deadline.left_s)
                    )
            deadline.check()
            raise CannotFetch(NOT_REACHED)

        return connect


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet; of one that carries another, whether that
    one is."""
    if any(address in each for each in SET_APART):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    carried = address.ipv4_mapped or address.sixtofour
    if any(address in each for each in CARRIERS):
        carried = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if carried is not None:
        return is_public(carried)
    return address in UNICAST and address.is_global


class _Deadline:
    """When all must be done: then the connections are cut, whatever they are waiting for."""

    def __init__(self, at: float) -> None:
        self._at = at
        self._sockets: list[socket.socket] = []
        self._timer = Timer(self.left_s, self._cut)
        self._timer.daemon = True

    @property
    def left_s(self) -> float:
        return max(self._at - time.monotonic(), 0.001)

    def guard(self, connection: socket.socket) -> socket.socket:
        """Let the connection be cut with the others. Raises CannotFetch when it is too late."""
        # A duplicate: TLS takes the socket itself away, and shutting one down ends both.
        self._sockets.append(connection.dup())
        try:
            self.check()
        except CannotFetch:
            connection.close()
            raise
        return connection

    def check(self) -> None:
        """Raises CannotFetch when it has come."""
        if time.monotonic() >= self._at:
            raise CannotFetch("it takes too long")

    def _cut(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for each in self._sockets:
            each.close()


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise CannotFetch("it is no URL") from None


def _refuse_odd(url: str) -> None:
    if len(url) > MOST_URL_CHARS:
        raise CannotFetch(f"it has more than {MOST_URL_CHARS} characters")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise CannotFetch("it is no URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CannotFetch("only http and https URLs are fetched")
    if parts.username is not None or parts.password is not None:
        raise CannotFetch("it holds a user name")


def _resolve(host: str, port: int, deadline: _Deadline) -> list[Address]:
    """Every address of a host, looked up where it holds up nobody: it takes as long as it takes."""
    found: Future[list[Address]] = Future()

    def look_up() -> None:
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.set_result([ipaddress.ip_address(each[0]) for *_, each in addresses])
        except (OSError, ValueError) as error:
            found.set_exception(error)

    Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        return found.result(timeout=deadline.left_s)
    except (OSError, ValueError):
        deadline.check()
        raise CannotFetch(NOT_REACHED) from None


def _pool(connect: Callable[[str, int], socket.socket]) -> urllib3.PoolManager:
    """Connections that are made by `connect` and by nothing else."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self._dns_host, self.port)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connect(self._dns_host, self.port)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    manager = urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=DEFAULT_CA_BUNDLE_PATH)
    manager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return manager


@contextmanager
def _explained(deadline: _Deadline) -> Iterator[None]:
    try:
        yield
    except SSLError:
        deadline.check()
        raise CannotFetch("its certificate cannot be verified") from None
    except (HTTPError, OSError):
        deadline.check()
        raise CannotFetch("the connection broke") from None
    except UnicodeError:
        raise CannotFetch("it is no URL") from None

"""What callers link to is fetched, and nothing inside the network of the server."""

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from api import fetching
from api.fetching import CannotFetch, Fetcher, is_public
from tests.engines.servers.stand_in import Call, Handler, StandIn

PICTURE = b"\x89PNG and so on"


class Files(Handler):
    """`/picture`, `/large`, `/missing`, and `/to?<url>` which redirects."""

    def answer(self, call: Call) -> None:
        match call.path:
            case "/picture":
                self.reply(200, PICTURE, "image/png")
            case "/large":
                self.reply(200, bytes(200_000), "image/png")
            case "/loop":
                self.reply(302, b"", "", {"Location": "/loop"})
            case "/to":
                self.reply(302, b"", "", {"Location": self.path.partition("?")[2]})
            case _:
                self.reply(404, b"", "")


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn(Files) as server:
        yield server


@pytest.fixture
def homely() -> Fetcher:
    return Fetcher(largest_bytes=100_000, allows_private=True)


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(largest_bytes=100_000)


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets every name resolve to these addresses, whatever port is asked for."""

    def make(*addresses: str) -> None:
        def resolve(host: str, port: int, **_: object) -> list[object]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)

    return make


def test_what_a_url_leads_to_is_fetched(homely: Fetcher, server: StandIn) -> None:
    assert homely.fetch(f"{server.origin}/picture") == PICTURE
    assert homely.fetch(f"{server.origin}/to?/picture") == PICTURE


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "10.0.0.7",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fd00::1]",
        "[fe80::1]",
    ],
)
def test_no_private_host_is_connected_to(fetcher: Fetcher, host: str) -> None:
    with pytest.raises(CannotFetch, match=r"not a public one|not known"):
        fetcher.fetch(f"http://{host}:1/secret")


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_hosts_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_name_of_a_private_address_is_not_connected_to(
    fetcher: Fetcher, server: StandIn, resolves: Callable[..., None]
) -> None:
    resolves("127.0.0.1")

    with pytest.raises(CannotFetch, match="not a public one"):
        fetcher.fetch(server.origin.replace("127.0.0.1", "pictures.example.org") + "/picture")

    assert server.calls == []


def test_the_address_that_was_judged_is_the_one_connected_to(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere the second time it is asked for leads nowhere."""
    answers = iter(["93.184.215.14", "127.0.0.1", "127.0.0.1"])
    connected: list[object] = []

    def resolve(host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    def connect(address: object, **_: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)

    with pytest.raises(CannotFetch, match="does not answer"):
        fetcher.fetch("http://pictures.example.org/picture")

    assert connected == [("93.184.215.14", 80)]


def test_no_redirect_leads_to_a_private_host(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = Fetcher(largest_bytes=100_000)
    own = ipaddress.ip_address("127.0.0.1")
    judged: list[object] = []

    def only_the_first(address: fetching.Address) -> bool:
        judged.append(address)
        return len(judged) == 1

    monkeypatch.setattr(fetching, "is_public", only_the_first)

    with pytest.raises(CannotFetch, match="not a public one"):
        guarded.fetch(f"{server.origin}/to?{server.origin}/picture")

    assert judged == [own, own]
    assert [each.path for each in server.calls] == ["/to"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "status 404"),
        ("/large", "larger than"),
        ("/loop", "redirects too often"),
        ("/to?ftp://example.org/a", "only http and https"),
        ("/to?file:///etc/passwd", "only http and https"),
        ("/to?http://user:word@example.org/", "user name"),
    ],
)
def test_what_cannot_be_had_is_said(
    homely: Fetcher, server: StandIn, path: str, reason: str
) -> None:
    with pytest.raises(CannotFetch, match=reason):
        homely.fetch(f"{server.origin}{path}")


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Slow: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"."),
    ],
    ids=["headers", "body"],
)
def test_a_host_that_dribbles_is_left_at_the_deadline(
    homely: Fetcher, head: bytes, drop: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIME_LIMIT_S", 0.5)
    stopped = threading.Event()

    def dribble(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(head)
            while not stopped.wait(0.02):
                try:
                    connection.sendall(drop)
                except OSError:
                    return

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=dribble, args=(listener,))
        thread.start()
        try:
            with pytest.raises(CannotFetch, match="takes longer"):
                homely.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        finally:
            stopped.set()
            thread.join()

"""What callers link to is fetched, and nothing inside the network of the server."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

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
            case "/odd":
                self.reply(302, b"", "", {"Location": "http://["})
            case "/to":
                self.reply(302, b"", "", {"Location": self.path.partition("?")[2]})
            case _:
                self.reply(404, b"", "")


class SecureStandIn(StandIn):
    """A stand-in that speaks TLS."""

    def __init__(self, handler: type[Handler], context: ssl.SSLContext) -> None:
        super().__init__(handler)
        self._listener.socket = context.wrap_socket(self._listener.socket, server_side=True)


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
        def resolve(host: str, port: int, *_: object, **__: object) -> list[object]:
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
        "[fec0::1]",
        "[::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[ff02::1]",
        "127.1",
        "0177.0.0.1",
        "127.0.0.1.",
    ],
)
def test_no_private_host_is_connected_to(fetcher: Fetcher, host: str) -> None:
    with pytest.raises(CannotFetch, match="not a public one"):
        fetcher.fetch(f"http://{host}:1/secret")


@pytest.mark.parametrize(
    "address",
    [
        "93.184.215.14",
        "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
        "::ffff:93.184.215.14",
        "64:ff9b::93.184.215.14",
        "2002:5db8:d70e::1",
    ],
)
def test_public_hosts_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "192.0.0.8",
        "192.0.0.170",
        "198.18.0.1",
        "198.51.100.1",
        "240.0.0.1",
        "255.255.255.255",
        "::ffff:192.0.0.8",
        "::ffff:0:127.0.0.1",
        "2002:c000:8::1",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
    ],
)
def test_addresses_set_apart_for_something_are_not_public(address: str) -> None:
    """Whatever the table of this Python says: older ones lack some."""
    assert not is_public(ipaddress.ip_address(address))


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


def test_a_host_that_is_not_there_looks_like_one_that_is_private(
    fetcher: Fetcher, resolves: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else one could ask which names and ports there are inside."""

    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(CannotFetch) as private:
        fetcher.fetch("http://127.0.0.1:1/")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(CannotFetch) as missing:
        fetcher.fetch("http://intranet.example.org/")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        resolves("127.0.0.1")
        url = f"http://intranet.example.org:{listener.getsockname()[1]}/"
        with pytest.raises(CannotFetch) as listening:
            fetcher.fetch(url)

    reasons = {str(each.value) for each in (private, missing, listening)}
    assert len(reasons) == 1


@pytest.mark.parametrize(
    "host", ["a" * 64 + ".example.org", "..", "a..b", "%00", "xn--\u00e9", "[fe80::1%25lo]", "*"]
)
def test_a_name_that_cannot_be_one_is_refused(fetcher: Fetcher, host: str) -> None:
    with pytest.raises(CannotFetch):
        fetcher.fetch(f"http://{host}/")


def test_a_url_without_end_is_refused(fetcher: Fetcher) -> None:
    with pytest.raises(CannotFetch, match="8192 characters"):
        fetcher.fetch("http://example.org/" + "a" * 8192)


def test_a_name_that_takes_forever_to_resolve_is_left_at_the_deadline(
    fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIME_LIMIT_S", 0.2)
    is_over = threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        is_over.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    with pytest.raises(CannotFetch, match="takes too long"):
        fetcher.fetch("http://pictures.example.org/picture")

    is_over.set()


def test_all_that_one_call_fetches_has_a_limit_too(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TOTAL_TIME_LIMIT_S", 0.0)
    late = Fetcher(largest_bytes=100_000, allows_private=True)

    with pytest.raises(CannotFetch, match="takes too long"):
        late.fetch(f"{server.origin}/picture")


def test_no_proxy_and_no_password_of_the_server_is_used(
    homely: Fetcher, server: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(netrc))
    for each in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(each, "http://127.0.0.1:1")

    assert homely.fetch(f"{server.origin}/picture") == PICTURE

    (call,) = server.calls
    assert "authorization" not in call.headers
    assert call.headers["accept-encoding"] == "identity"


class TestTLS:
    """The certificate must be that of the name in the URL, whatever address it has."""

    @pytest.fixture
    def secure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
        """A server with a certificate for pictures.example.org, which is trusted."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Darkroom's tests")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName("pictures.example.org")]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        public, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
        public.write_bytes(certificate.public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        monkeypatch.setattr(fetching, "DEFAULT_CA_BUNDLE_PATH", str(public))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(public, private)
        with SecureStandIn(Files, context) as server:
            yield server

    def test_a_name_that_the_certificate_has_is_fetched(
        self, homely: Fetcher, secure: StandIn, resolves: Callable[..., None]
    ) -> None:
        resolves("127.0.0.1")
        port = secure.origin.rpartition(":")[2]

        assert homely.fetch(f"https://pictures.example.org:{port}/picture") == PICTURE
        assert secure.calls[0].headers["host"] == f"pictures.example.org:{port}"

    def test_another_name_is_refused(
        self, homely: Fetcher, secure: StandIn, resolves: Callable[..., None]
    ) -> None:
        resolves("127.0.0.1")
        port = secure.origin.rpartition(":")[2]

        with pytest.raises(CannotFetch, match="certificate"):
            homely.fetch(f"https://other.example.org:{port}/picture")


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
        ("/odd", "no URL"),
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
            with pytest.raises(CannotFetch, match="takes too long"):
                homely.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        finally:
            stopped.set()
            thread.join()

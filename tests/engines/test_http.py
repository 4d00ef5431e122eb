"""What a call to a remote engine does when the network does not."""

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from darkroom.errors import (
    Canceled,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    OutcomeUnknown,
)
from engines.events import Event
from engines.exchange import Body
from engines.http import Http
from tests.engines.servers.openai import OpenAIServer
from tests.engines.servers.stand_in import Call, Handler, StandIn

BODY = {"model": "gpt-image-2", "prompt": "a cat"}


def http(server: OpenAIServer) -> Http:
    return Http("openai", headers={"Authorization": f"Bearer {server.key}"}, secrets=[server.key])


@pytest.fixture
def client(server: OpenAIServer) -> Http:
    return http(server)


@pytest.fixture
def target(server: OpenAIServer) -> str:
    return f"{server.url}/images/generations"


@pytest.fixture
def closed_port() -> str:
    """An address where nothing listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as once:
        return f"http://127.0.0.1:{once.getsockname()[1]}"


Talk = Callable[[socket.socket], None]


@pytest.fixture
def raw_server() -> Iterator[Callable[[Talk], str]]:
    """Starts a server that answers its only connection as told."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        threads: list[Thread] = []

        def start(talk: Talk) -> str:
            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    _read_request(connection)
                    talk(connection)

            threads.append(Thread(target=serve))
            threads[0].start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield start
        for each in threads:
            each.join()


def _read_request(connection: socket.socket) -> None:
    """Read it to its end: what is left unread resets the connection."""
    with connection.makefile("rb") as stream:
        _, *head = iter(stream.readline, b"\r\n")
        stream.read(int(message_from_bytes(b"".join(head)).get("Content-Length", 0)))


def test_an_answer_is_read_whatever_its_status(
    client: Http, server: OpenAIServer, target: str
) -> None:
    server.fail("rate_limited")

    answer = client.call("POST", target, json=BODY, timeout_s=10)

    assert answer.status == 429
    assert answer.retry_after_s == 7
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_no_call_is_ever_repeated(client: Http, server: OpenAIServer, target: str) -> None:
    for mode in ("rate_limited", "server_error", "html_502", "overloaded"):
        server.fail(mode)
        client.call("POST", target, json=BODY, timeout_s=10)

    assert len(server.calls) == 4


def test_no_call_is_lost_in_a_connection_that_the_server_closed(
    client: Http, server: OpenAIServer
) -> None:
    # One in a hundred is lost when connections are kept, so that this many show it.
    for _ in range(600):
        assert client.call("GET", f"{server.url}/models", timeout_s=10).is_success


def test_redirects_are_not_followed(client: Http, server: OpenAIServer, target: str) -> None:
    server.fail("redirect")

    assert client.call("POST", target, json=BODY, timeout_s=10).status == 307


def test_no_cookie_comes_back(client: Http, server: OpenAIServer, target: str) -> None:
    server.fail("cookies", "cookies")

    for _ in range(2):
        client.call("POST", target, json=BODY, timeout_s=10)

    assert all("cookie" not in each.headers for each in server.calls)


@pytest.mark.parametrize("signed", [True, False])
def test_netrc_never_replaces_the_engines_key(
    client: Http,
    server: OpenAIServer,
    target: str,
    signed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setitem(os.environ, "NETRC", str(netrc))

    client.call("POST", target, json=BODY, timeout_s=10, signed=signed)

    expected = f"Bearer {server.key}" if signed else None
    assert server.calls[0].headers.get("authorization") == expected


def test_no_connection_means_that_nothing_was_drawn(client: Http, closed_port: str) -> None:
    with pytest.raises(EngineUnreachable, match="'openai'"):
        client.call("POST", closed_port, json=BODY, timeout_s=10)


def test_a_host_that_does_not_exist_is_unreachable(client: Http) -> None:
    with pytest.raises(EngineUnreachable):
        client.call("POST", "http://nowhere.invalid/", json=BODY, timeout_s=10)


@pytest.mark.parametrize("url", ["ftp://host/", "http://", "//x", "http://a b/"])
def test_an_address_that_cannot_work_is_a_configuration_error(client: Http, url: str) -> None:
    with pytest.raises(Misconfigured):
        client.call("GET", url, timeout_s=10)


@pytest.mark.parametrize("mode", ["reset", "cut"])
def test_a_connection_that_breaks_after_the_request_leaves_the_outcome_unknown(
    client: Http, server: OpenAIServer, target: str, mode: str
) -> None:
    server.fail(mode)

    with pytest.raises(OutcomeUnknown, match="charged"):
        client.call("POST", target, json=BODY, timeout_s=10)


def test_a_call_without_a_body_draws_nothing_so_losing_it_is_harmless(
    client: Http, raw_server: Callable[[Talk], str]
) -> None:
    url = raw_server(lambda connection: None)

    with pytest.raises(EngineUnreachable):
        client.call("GET", url, timeout_s=10)


def test_a_server_that_does_not_answer_is_left_at_the_deadline(
    client: Http, server: OpenAIServer, target: str
) -> None:
    server.fail("hang")

    started = time.monotonic()
    with pytest.raises(OutcomeUnknown, match="in time"):
        client.call("POST", target, json=BODY, timeout_s=0.3)

    assert time.monotonic() - started < 5


def test_a_server_that_dribbles_is_left_at_the_deadline(
    client: Http, raw_server: Callable[[Talk], str]
) -> None:
    left = Flag()

    def dribble(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not left.wait(0.02):
            connection.sendall(b"x")

    url = raw_server(dribble)
    try:
        with pytest.raises(OutcomeUnknown, match="in time"):
            client.call("POST", url, json=BODY, timeout_s=0.3)
    finally:
        left.set()


def test_a_waiting_call_can_be_stopped(client: Http, server: OpenAIServer, target: str) -> None:
    server.fail("hang")

    def stop() -> None:
        if server.hanging.is_set():
            raise Canceled("Stop.")

    with pytest.raises(Canceled):
        client.call("POST", target, json=BODY, timeout_s=30, keep_waiting=stop)


def test_a_body_that_was_withheld_in_time_is_never_sent() -> None:
    body = Body(b"draw me")

    body.withhold()

    with pytest.raises(OSError, match="nobody waits"):
        body.read()
    assert not body.is_sent


def test_an_answer_of_absurd_size_is_not_read_to_its_end(
    client: Http, server: OpenAIServer, target: str
) -> None:
    with pytest.raises(EngineFailed, match="more than"):
        client.call("POST", target, json=BODY, timeout_s=10, largest_bytes=1000)


def test_what_is_not_json_reads_as_nothing(client: Http, server: OpenAIServer, target: str) -> None:
    server.fail("html_502")

    answer = client.call("POST", target, json=BODY, timeout_s=10)

    assert answer.json() is None
    assert answer.is_web_page


def test_a_certificate_that_cannot_be_verified_names_the_remedy(
    client: Http, tls_server: str
) -> None:
    with pytest.raises(Misconfigured, match="REQUESTS_CA_BUNDLE"):
        client.call("POST", tls_server, json=BODY, timeout_s=10)


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[str]:
    """Speaks TLS with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        thread = Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_form_is_sent_with_its_files(client: Http) -> None:
    class Echo(Handler):
        def answer(self, call: Call) -> None:
            self.reply(200, call.body, call.headers["content-type"])

    with StandIn(Echo) as server:
        answer = client.call(
            "POST",
            server.origin,
            form=[("prompt", "a \u00fcber cat"), ("image[]", ("a.png", b"\x89PNG", "image/png"))],
            timeout_s=5,
        )

    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    text, picture = message_from_bytes(head + answer.body, policy=default).iter_parts()
    assert text.get_param("name", header="content-disposition") == "prompt"
    assert text.get_payload(decode=True) == "a \u00fcber cat".encode()
    assert picture.get_filename() == "a.png"
    assert picture.get_content_type() == "image/png"
    assert picture.get_payload(decode=True) == b"\x89PNG"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nx-request-id: r1\r\n\r\n"


def test_a_stream_is_given_away_event_by_event_as_it_comes(
    client: Http, raw_server: Callable[[Talk], str]
) -> None:
    seen: list[bytes] = []
    first_seen = Flag()

    def talk(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"data: one\n\n")
        # Whoever reads to the end first would wait for ever.
        assert first_seen.wait(20)
        connection.sendall(b"data: two\n\n")

    def take(event: Event) -> bool:
        seen.append(event.data)
        first_seen.set()
        return False

    answer = client.call("POST", raw_server(talk), json=BODY, timeout_s=20, on_event=take)

    assert seen == [b"one", b"two"]
    assert answer.status == 200
    assert answer.headers["x-request-id"] == "r1"
    assert answer.body == b""


def test_a_stream_is_left_once_enough_was_seen(
    client: Http, raw_server: Callable[[Talk], str]
) -> None:
    is_left = Flag()

    def talk(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"data: one\n\ndata: two\n\n")
        is_left.wait(20)

    seen: list[bytes] = []

    def take(event: Event) -> bool:
        seen.append(event.data)
        return True

    answer = client.call("POST", raw_server(talk), json=BODY, timeout_s=20, on_event=take)
    is_left.set()

    assert seen == [b"one"]
    assert answer.is_event_stream


def test_a_silent_stream_can_be_stopped(client: Http, raw_server: Callable[[Talk], str]) -> None:
    is_left, waited = Flag(), []

    def talk(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"data: one\n\n")
        is_left.wait(20)

    def keep_waiting() -> None:
        waited.append(time.monotonic())
        if len(waited) == 2:
            raise Canceled("Stop.")

    url = raw_server(talk)
    try:
        with pytest.raises(Canceled):
            client.call(
                "POST",
                url,
                json=BODY,
                timeout_s=20,
                keep_waiting=keep_waiting,
                on_event=lambda event: False,
            )
    finally:
        is_left.set()

    # Twice a second, whether anything arrives or not.
    assert waited[1] - waited[0] < 5


def test_a_stream_that_never_stops_is_left_at_the_deadline_and_may_be_stopped_until_then(
    client: Http, raw_server: Callable[[Talk], str]
) -> None:
    is_left, waited = Flag(), []

    def talk(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        while not is_left.wait(0.01):
            try:
                connection.sendall(b": still here\n\n")
            except OSError:
                # The caller is gone.
                return

    url = raw_server(talk)
    try:
        with pytest.raises(OutcomeUnknown, match="in time"):
            client.call(
                "POST",
                url,
                json=BODY,
                timeout_s=0.8,
                keep_waiting=lambda: waited.append(1),
                on_event=lambda event: False,
            )
    finally:
        is_left.set()

    assert len(waited) >= 2


def test_a_stream_that_breaks_leaves_the_outcome_unknown(
    client: Http, raw_server: Callable[[Talk], str]
) -> None:
    def talk(connection: socket.socket) -> None:
        head = HEAD.replace(b"x-request-id: r1", b"Transfer-Encoding: chunked")
        connection.sendall(head + b"b\r\ndata: one\n\n\r\n5\r\nda")

    with pytest.raises(OutcomeUnknown, match="charged"):
        client.call("POST", raw_server(talk), json=BODY, timeout_s=20, on_event=lambda event: False)


def test_what_is_no_stream_of_events_is_read_as_ever(
    client: Http, server: OpenAIServer, target: str
) -> None:
    answer = client.call("POST", target, json=BODY, timeout_s=20, on_event=lambda event: True)

    assert len(answer.json()["data"]) == 1


def test_a_stream_of_absurd_size_is_not_read_to_its_end(
    client: Http, raw_server: Callable[[Talk], str]
) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"data: " + b"x" * 5000)

    with pytest.raises(EngineFailed, match="more than"):
        client.call(
            "POST",
            raw_server(talk),
            json=BODY,
            timeout_s=20,
            largest_bytes=1000,
            on_event=lambda event: False,
        )

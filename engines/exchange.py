"""One HTTP request on its way, and what its failure says about the pictures."""

import io
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event, Lock

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from darkroom.errors import (
    EngineError,
    EngineFailed,
    EngineUnreachable,
    Misconfigured,
    OutcomeUnknown,
)
from engines.answers import Answer

#: The largest piece of a stream that is passed on at once.
LARGEST_PIECE_BYTES = 64 * 1024

#: What requests raises for an address or a header that cannot be sent at all.
UNSENDABLE = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
)


class Body(io.BytesIO):
    """A request's body that knows whether it was sent, and can be withheld until then.

    It is read only once a connection stands.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._lock = Lock()
        self._is_withheld = False
        self.is_sent = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises OSError when it was withheld."""
        with self._lock:
            if self._is_withheld:
                raise OSError("nobody waits for the answer any more")
            self.is_sent = True
        return super().read(size)

    def withhold(self) -> None:
        """From here on nothing is sent, unless it was already."""
        with self._lock:
            self._is_withheld = True


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request and its answer, which must be here by `deadline` on the monotonic clock."""

    engine: str
    method: str
    url: str
    auth: AuthBase
    body: Body | None
    deadline: float
    connect_timeout_s: float
    largest_bytes: int
    _is_abandoned: Event = field(default_factory=Event, init=False, repr=False)

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def run(self, pass_on: Callable[[Answer], None] | None = None) -> Answer:
        """Send, and read to the end. Raises what `Http.call` promises.

        With `pass_on`, a stream of events goes there piece by piece as it comes, each as an answer
        with that body, and the answer that is returned has none.
        """
        left_s = max(self.left_s, 0.001)
        try:
            with (
                _session() as session,
                session.request(
                    self.method,
                    self.url,
                    data=self.body,
                    auth=self.auth,
                    timeout=(min(self.connect_timeout_s, left_s), left_s),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                head = Answer(status=response.status_code, headers=response.headers, body=b"")
                if pass_on is not None and head.is_event_stream:
                    self._follow(response.raw, lambda piece: pass_on(replace(head, body=piece)))
                    return head
                return replace(head, body=self._read(response.raw))
        except UNSENDABLE as error:
            raise Misconfigured(
                f"Engine {self.engine!r} has an address or a key that cannot be sent: correct it."
            ) from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._lost(error) from error

    def abandon(self) -> None:
        """Send nothing any more, for a call that nobody waits for must not draw, or cost; and read
        no more of a stream.
        """
        self._is_abandoned.set()
        if self.body is not None:
            self.body.withhold()

    def late(self) -> EngineError:
        """The error for a call that came to its deadline."""
        return self._failure("it did not answer in time")

    def _read(self, raw: urllib3.BaseHTTPResponse) -> bytes:
        # In one piece, and not through `response.content`: both cost a multiple of the CPU. What
        # says how long it is, and is not packed, is not copied either.
        length = raw.length_remaining
        if (
            length is not None
            and length <= self.largest_bytes
            and not raw.headers.get("content-encoding")
        ):
            return raw.read(decode_content=False)
        body = raw.read(self.largest_bytes + 1, decode_content=True)
        if len(body) > self.largest_bytes:
            raise self._too_large()
        return body

    def _follow(self, raw: urllib3.BaseHTTPResponse, take: Callable[[bytes], None]) -> None:
        read_bytes = 0
        while not self._is_abandoned.is_set():
            piece = raw.read1(LARGEST_PIECE_BYTES, decode_content=True)
            if not piece:
                return
            read_bytes += len(piece)
            if read_bytes > self.largest_bytes:
                raise self._too_large()
            take(piece)

    def _too_large(self) -> EngineFailed:
        return EngineFailed(
            f"Engine {self.engine!r} answered with more than {self.largest_bytes / 2**20:.0f} MiB:"
            " ask for fewer or smaller pictures."
        )

    def _lost(self, error: Exception) -> EngineError:
        cause = _innermost(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Misconfigured(
                f"The certificate of engine {self.engine!r} cannot be verified"
                f" ({cause.verify_message}): correct its address, or trust its issuer with"
                " REQUESTS_CA_BUNDLE."
            )
        if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
            return self.late()
        return self._failure(getattr(cause, "strerror", None) or "it hung up")

    def _failure(self, reason: str) -> EngineError:
        if self.body is not None and self.body.is_sent:
            return OutcomeUnknown(
                f"The answer of engine {self.engine!r} was lost: {reason}. The pictures may have"
                " been drawn, and charged; ask again only if that is acceptable."
            )
        return EngineUnreachable(
            f"Engine {self.engine!r} cannot be reached: {reason}. Check its address and whether it"
            " is running."
        )


def _session() -> requests.Session:
    """A session for one request, which leaves nothing to the next: no cookie and no connection.

    A kept connection can be dead without anyone knowing, and what was sent into it counts as
    perhaps charged. A new one costs little beside a picture.
    """
    session = requests.Session()
    adapter = HTTPAdapter(max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.headers.update({"Connection": "close", "User-Agent": "darkroom"})
    return session


def _innermost(error: BaseException) -> BaseException:
    """The cause under what requests and urllib3 wrapped around it."""
    while True:
        inner = getattr(error, "reason", None) or error.__context__
        if not isinstance(inner, BaseException):
            return error
        error = inner

"""Calls to one server: who calls, what is repeated, and what an answer means."""

import json
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from darkroom.client.problems import error_of
from darkroom.errors import DarkroomError, InvalidRequest, Unavailable

T = TypeVar("T")

PROBLEM = "application/problem+json"

#: Answers that mean: not now, nothing was done, or nobody knows.
NOT_NOW = frozenset({429, 502, 503, 504})

#: Connections kept open to a server, for programs that call from several threads.
CONNECTIONS = 16

#: What goes wrong between two machines.
LOST: tuple[type[requests.RequestException], ...] = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a call that is safe to repeat is repeated, and after how long (in seconds)."""

    times: int = 5
    #: The first pause; each one after it is twice as long, and shortened a little by chance.
    first_pause_s: float = 0.25
    #: A server that asks for a longer pause is not called again.
    longest_pause_s: float = 60.0

    def pause_s(self, attempt: int, retry_after_s: float | None) -> float | None:
        """How long to wait after failed attempt number `attempt`, from 1; None for no more."""
        if attempt > self.times:
            return None
        if retry_after_s is not None:
            return retry_after_s if retry_after_s <= self.longest_pause_s else None
        usual_s: float = min(self.first_pause_s * 2 ** (attempt - 1), self.longest_pause_s)
        return usual_s * random.uniform(0.5, 1.0)  # noqa: S311 - only spreads callers out


class _Bearer(AuthBase):
    """Signs in with the key. As `auth` it also keeps a .netrc file from signing in."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call, complete enough to be made again."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Sent as JSON …
    content: Any = None
    #: … or these bytes as they are, from the file's beginning.
    body: IO[bytes] | None = None
    #: Whether doing it twice does no more than doing it once.
    is_repeatable: bool = False
    #: Whether the answer is read bit by bit by whoever called.
    is_streamed: bool = False
    #: How long a silence of the server is borne, in seconds. Default: the transport's.
    timeout_s: float | None = None


class Transport:
    """Makes calls, and repeats those that may be repeated."""

    def __init__(self, url: str, key: str | None, *, timeout_s: float, retries: Retries) -> None:
        self.url = _normal(url)
        self._timeout_s = timeout_s
        self._retries = retries
        self._session = requests.Session()
        # A proxy that is configured on this machine leads away from it.
        self._session.trust_env = not _is_loopback(self.url)
        self._session.auth = _Bearer(key)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))

    def close(self) -> None:
        self._session.close()

    def ask(self, call: Call) -> Any:
        """The parsed answer; None when it is empty. Raises like `send`."""
        with self.send(call) as response:
            return self._parsed(response) if response.content else None

    def send(self, call: Call) -> requests.Response:
        """The answer, which is a success; close it.

        Raises the exception that the server's problem document names, Unavailable when nobody
        answers.
        """
        return self.repeated(call, lambda response: response)

    def repeated(self, call: Call, use: Callable[[requests.Response], T]) -> T:
        """What `use` makes of the answer. A connection that breaks under it is a failed call, so
        it may be called again with another answer."""
        attempt = 1
        while True:
            retry_after_s = None
            try:
                response = self._once(call)
                if response.status_code < 300:
                    return use(response)
                retry_after_s = _retry_after_s(response)
                failure = self._refusal(response, retry_after_s)
                may_help = response.status_code in NOT_NOW
            except LOST as error:
                failure, may_help = self._unreachable(error), True
            pause_s = self._retries.pause_s(attempt, retry_after_s)
            if not (call.is_repeatable and may_help) or pause_s is None:
                raise failure
            time.sleep(pause_s)
            attempt += 1

    def _once(self, call: Call) -> requests.Response:
        if call.body is not None:
            call.body.seek(0)
        try:
            return self._session.request(
                call.method,
                self.url + call.path,
                params={name: value for name, value in call.params.items() if value is not None},
                headers={"Accept": "application/json", **call.headers},
                json=call.content,
                data=call.body,
                stream=call.is_streamed,
                timeout=call.timeout_s or self._timeout_s,
                # Redirects turn a POST into a GET, and may lead the key elsewhere.
                allow_redirects=False,
            )
        except requests.exceptions.InvalidURL as error:
            raise InvalidRequest(f"{self.url} is not an address of a server: {error}.") from error

    def _refusal(self, response: requests.Response, retry_after_s: float | None) -> DarkroomError:
        with response:
            if 300 <= response.status_code < 400:
                target = response.headers.get("Location", "elsewhere")
                return Unavailable(
                    f"{self.url} redirects to {target}: use the address of the Darkroom itself."
                )
            problem = {}
            if response.headers.get("Content-Type", "").startswith(PROBLEM):
                problem = self._parsed(response)
        if not problem:
            problem = {"detail": f"{self.url} answered with status {response.status_code}."}
        return error_of(problem, status=response.status_code, retry_after_s=retry_after_s)

    def _parsed(self, response: requests.Response) -> Any:
        try:
            return json.loads(response.content)
        except ValueError as error:
            raise Unavailable(
                f"{self.url} answered with something that is no JSON: is it a Darkroom?"
            ) from error

    def _unreachable(self, error: Exception) -> Unavailable:
        if isinstance(error, requests.exceptions.ReadTimeout):
            return Unavailable(f"{self.url} did not answer in time.")
        if isinstance(error, requests.exceptions.SSLError):
            return Unavailable(f"{self.url} cannot be trusted: its certificate is not valid.")
        if isinstance(error, requests.exceptions.ProxyError):
            return Unavailable(f"The proxy on the way to {self.url} does not let it through.")
        return Unavailable(
            f"Nobody answers at {self.url}: check the address, and whether Darkroom runs there."
        )


def _normal(url: str) -> str:
    """The URL without a trailing slash. Raises InvalidRequest when it is none."""
    url = url.strip().rstrip("/")
    if "://" not in url:
        url = f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise InvalidRequest(
            "The server's address must look like http://127.0.0.1:8787, without user or password.",
            param="url",
        )
    return url


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def _retry_after_s(response: requests.Response) -> float | None:
    """Seconds the server asks to wait; dates are passed over."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() else None

"""How often a password may be tried: counted by account and by the address that calls.

While Redis is away each process counts for itself: that must not be a way to guess on.
"""

import hashlib
import ipaddress
import math
import time
from collections.abc import Callable
from typing import TypeVar

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from api.counting import Counters
from darkroom.errors import TooManySignIns, Unavailable
from darkroom.settings import Settings

T = TypeVar("T")

#: How long an attempt counts, in seconds.
WINDOW_S = 300

#: How many bits of an IPv6 address tell one caller from another.
OF_ONE = 64


class SignIns:
    """The attempts at passwords."""

    def __init__(self, counters: Counters, settings: Settings) -> None:
        self._shared = counters
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._of_account = RateLimitItemPerSecond(settings.sign_ins_per_account, WINDOW_S)
        self._of_address = RateLimitItemPerSecond(settings.sign_ins_per_address, WINDOW_S)

    def attempt(self, email: str, address: str) -> None:
        """Count an attempt, before the password is looked at. Raises TooManySignIns.

        It is the same for an account that is not there.
        """
        self.refuse_address(address)
        key = _account(email)
        if not self._ask(self._shared.hit, self._own.hit, self._of_account, key):
            raise self._refusal(self._of_account, key)

    def succeeded(self, email: str) -> None:
        """Forget the account's attempts."""
        self._ask(self._shared.clear, self._own.clear, self._of_account, _account(email))

    def failed(self, address: str) -> None:
        """Note a wrong password, or another attempt that counts against the address."""
        self._ask(self._shared.hit, self._own.hit, self._of_address, _address(address))

    def refuse_address(self, address: str) -> None:
        """Raises TooManySignIns after too many failures from there."""
        key = _address(address)
        if not self._ask(self._shared.test, self._own.test, self._of_address, key):
            raise self._refusal(self._of_address, key)

    def _refusal(self, item: RateLimitItemPerSecond, key: str) -> TooManySignIns:
        free_at = self._ask(
            self._shared.free_at,
            lambda item, key: self._own.get_window_stats(item, key).reset_time,
            item,
            key,
        )
        return TooManySignIns(
            "There were too many attempts to sign in: wait some minutes. API keys and tokens work"
            " meanwhile.",
            retry_after_s=max(1, math.ceil(free_at - time.time())),
        )

    def _ask(
        self,
        shared: Callable[[RateLimitItemPerSecond, str], T],
        own: Callable[[RateLimitItemPerSecond, str], T],
        item: RateLimitItemPerSecond,
        key: str,
    ) -> T:
        try:
            return shared(item, key)
        except Unavailable:
            return own(item, key)


def _account(email: str) -> str:
    # People's addresses stay out of Redis.
    return "account:" + hashlib.sha256(email.strip().lower().encode()).hexdigest()[:32]


def _address(address: str) -> str:
    try:
        read = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # No network: a socket of this machine.
        return f"address:{address}"
    if isinstance(read, ipaddress.IPv6Address):
        if read.ipv4_mapped is not None:
            return f"address:{read.ipv4_mapped}"
        # Whoever has one address has all of such a network.
        return f"address:{ipaddress.ip_network((int(read), OF_ONE), strict=False)}"
    return f"address:{read}"

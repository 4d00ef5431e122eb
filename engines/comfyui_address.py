"""Where a ComfyUI server is, and how calls to it are signed."""

import base64
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a ComfyUI server is."""

    #: Without a slash at its end.
    base: str
    #: `user:password`, for a proxy that asks for them.
    login: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a base URL as people paste it. Raises ValueError when it is no web address."""
        parts = urlsplit(text.strip())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("it must begin with http:// or https:// and name a host")
        login, _, host = parts.netloc.rpartition("@")
        path = parts.path.rstrip("/").removesuffix("/api")
        return cls(base=f"{parts.scheme}://{host}{path}", login=unquote(login))

    @property
    def socket(self) -> str:
        """Where its WebSocket is."""
        return f"ws{self.base.removeprefix('http')}/ws"

    def headers(self, key: str) -> dict[str, str]:
        """What signs a call: it has no accounts of its own, a proxy before it may."""
        if key:
            return {"Authorization": f"Bearer {key}"}
        if self.login:
            return {"Authorization": f"Basic {base64.b64encode(self.login.encode()).decode()}"}
        return {}

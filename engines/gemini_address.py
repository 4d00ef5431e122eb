"""Where a server that speaks Google's API is, and how calls to it are signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

VENDOR_HOST = "generativelanguage.googleapis.com"
VERTEX_HOST = "aiplatform.googleapis.com"
VERSION = "/v1beta"


@dataclass(frozen=True, kw_only=True)
class Address:
    """One server, as the configuration names it."""

    #: What all paths are appended to, with the version of the API and without a slash at its end.
    base: str
    host: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a base URL as people paste it, with or without a version.

        Raises ValueError when it is no web address.
        """
        parts = urlsplit(text.strip())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("it must begin with http:// or https:// and name a host")
        path = parts.path.rstrip("/").removesuffix("/models") or VERSION
        return cls(base=f"{parts.scheme}://{parts.netloc}{path}", host=parts.hostname)

    @property
    def is_vendor(self) -> bool:
        return self.host == VENDOR_HOST or self.is_vertex

    @property
    def is_vertex(self) -> bool:
        return self.host == VERTEX_HOST or self.host.endswith(f"-{VERTEX_HOST}")

    def headers(self, key: str) -> Mapping[str, str]:
        """What signs a call. The key is never part of an address, which ends up in logs."""
        if not key:
            return {}
        return {"Authorization": f"Bearer {key}"} if self.is_vertex else {"x-goog-api-key": key}

    def models(self, page_token: str = "") -> str:
        """One page of the list of models."""
        query = {"pageSize": "1000"} | ({"pageToken": page_token} if page_token else {})
        return f"{self.base}/models?{urlencode(query)}"

    def method(self, model: str, method: str) -> str:
        """What draws: `generateContent` or `predict` of a model."""
        return f"{self.base}/models/{quote(model, safe='')}:{method}"

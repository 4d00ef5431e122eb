"""Where a server that speaks Google's API is, and how calls to it are signed."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

VENDOR_HOST = "generativelanguage.googleapis.com"
#: Google Cloud's own form of the API, in every region.
VERTEX_HOST = "aiplatform.googleapis.com"
DEFAULT_VERSION = "/v1beta"

#: What people paste beyond the base: the list of models, or one model with its method.
BEYOND_THE_BASE = re.compile(r"/models(?:/[^/]*)?$")


@dataclass(frozen=True, kw_only=True)
class Address:
    """One server, as the configuration names it."""

    #: Scheme, host, and the path with its version, without a slash at its end.
    base: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a base URL as people paste it, without anything secret that came with it.

        Raises ValueError when it is no web address.
        """
        parts = urlsplit(text.strip())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("it must begin with http:// or https:// and name a host")
        path = BEYOND_THE_BASE.sub("", parts.path.rstrip("/")) or DEFAULT_VERSION
        host = parts.netloc.rpartition("@")[2].lower()
        return cls(base=f"{parts.scheme}://{host}{path}")

    @property
    def is_vertex(self) -> bool:
        """Whether this is Google Cloud, where calls are signed with a token."""
        return self._host == VERTEX_HOST or self._host.endswith(f"-{VERTEX_HOST}")

    @property
    def is_vendor(self) -> bool:
        """Whether this is Google itself."""
        return self._host == VENDOR_HOST or self.is_vertex

    def method(self, model: str, method: str) -> str:
        """Where `method` of a model is called."""
        name = quote(model.removeprefix("models/"), safe="")
        return f"{self.base}/models/{name}:{method}"

    def models(self, page_token: str = "") -> str:
        """Where the models are listed, at no cost; page by page."""
        query = {"pageSize": "1000"} | ({"pageToken": page_token} if page_token else {})
        return f"{self._listing_base}/models?{urlencode(query)}"

    def headers(self, key: str) -> dict[str, str]:
        """What signs a call. A key never goes into an address, which is logged on its way."""
        if not key:
            return {}
        if self.is_vertex:
            return {"Authorization": f"Bearer {key}"}
        return {"x-goog-api-key": key}

    @property
    def _host(self) -> str:
        return urlsplit(self.base).hostname or ""

    @property
    def _listing_base(self) -> str:
        # Google Cloud lists the models of a publisher, and not of a project.
        if self.is_vertex:
            return f"https://{self._host}/v1beta1/publishers/google"
        return self.base

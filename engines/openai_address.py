"""Where an OpenAI-style server is, and how calls to it are signed.

People paste addresses in many forms: with and without `/v1`, Azure's by resource or by deployment.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, parse_qs, quote, urlencode, urlsplit

VENDOR_HOST = "api.openai.com"
AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com")
GENERATIONS = "/images/generations"
EDITS = "/images/edits"
DEPLOYMENTS = "/openai/deployments"


@dataclass(frozen=True, kw_only=True)
class Address:
    """One server, as the configuration names it."""

    #: Scheme and host.
    origin: str
    #: Path that all others are appended to, without a slash at its end.
    path: str
    api_version: str = ""

    @classmethod
    def parse(cls, text: str, api_version: str = "") -> Self:
        """Read a base URL as people paste it. Raises ValueError when it is no web address."""
        parts = urlsplit(text.strip())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("it must begin with http:// or https:// and name a host")
        path = parts.path.rstrip("/").removesuffix(GENERATIONS).removesuffix(EDITS)
        if not path:
            path = "/openai" if parts.hostname.endswith(AZURE_HOSTS) else "/v1"
        pasted = parse_qs(parts.query).get("api-version", [""])[0]
        return cls(origin=_origin(parts), path=path, api_version=api_version.strip() or pasted)

    @property
    def host(self) -> str:
        return urlsplit(self.origin).hostname or ""

    @property
    def is_vendor(self) -> bool:
        """Whether this is OpenAI itself, in any region."""
        return self.host == VENDOR_HOST or self.host.endswith(f".{VENDOR_HOST}")

    @property
    def is_classic_azure(self) -> bool:
        """Whether it is Azure's older form, in which models are deployments with own addresses."""
        on_azure = self.host.endswith(AZURE_HOSTS) and self.path == "/openai"
        return on_azure or DEPLOYMENTS in self.path

    def generations(self, model: str) -> str:
        """Where pictures are made from text."""
        return self._url(self._path_of(model) + GENERATIONS)

    def edits(self, model: str) -> str:
        """Where pictures are made from pictures."""
        return self._url(self._path_of(model) + EDITS)

    def models(self) -> str:
        """Where the models are listed, at no cost."""
        base, found, _ = self.path.partition(DEPLOYMENTS)
        return self._url(f"{base}/openai/models" if found else f"{self.path}/models")

    def headers(self, key: str) -> dict[str, str]:
        """What signs a call: a bearer token, or Azure's own header for its keys."""
        if not key:
            return {}
        # A token of Azure's directory is no key, and goes where tokens go.
        if self.is_classic_azure and not key.startswith("eyJ"):
            return {"api-key": key}
        return {"Authorization": f"Bearer {key}"}

    def owns(self, url: str) -> bool:
        """Whether `url` is on this very server, so that it may see the key."""
        return _origin(urlsplit(url)) == self.origin

    def _path_of(self, model: str) -> str:
        path = self.path
        if self.is_classic_azure and (path == "/openai" or path.endswith(DEPLOYMENTS)):
            return f"{path.removesuffix('/deployments')}/deployments/{quote(model, safe='')}"
        return path

    def _url(self, path: str) -> str:
        query = urlencode({"api-version": self.api_version}) if self.api_version else ""
        return f"{self.origin}{path}{'?' if query else ''}{query}"


def _origin(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{host}"

"""Where an AUTOMATIC1111 server is, as people paste it."""

from urllib.parse import urlsplit

from engines.automatic1111_errors import AUTH_SETTING

#: Before every route of the API; the routes for progress lie outside.
API = "/sdapi/v1"


def root_of(text: str) -> str:
    """The address of the server itself, without a slash at its end.

    A path that `--subpath` or a proxy put before everything is kept, one of the API is not. Raises
    ValueError when the text is no web address.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it must begin with http:// or https:// and name a host")
    if "@" in parts.netloc:
        raise ValueError(f"its user and password belong into {AUTH_SETTING}")
    path = parts.path.partition("/sdapi")[0].rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"
